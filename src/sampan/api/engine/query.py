"""Reading query parameters as Docker does: leniently for switches, strictly for numbers and filters. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from sampan import errors

NS = 1_000_000_000
_FALSE = frozenset({"", "0", "no", "false", "none"})  # Source: moby/moby, api/server/httputils/form.go
_UNIX_TIME = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,18}))?\Z")


class InvalidQuery(errors.Invalid):
    """A query parameter that cannot be read."""


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters of one request. Of a parameter given twice, the first counts, as in Go."""

    values: Mapping[str, str]

    def text(self, name: str, default: str = "") -> str:
        """As it was given."""
        return self.values.get(name, default)

    def switch(self, name: str, *, default: bool = False) -> bool:
        """Everything but an empty value, 0, no, false and none is yes."""
        value = self.values.get(name)
        return default if value is None else value.strip().lower() not in _FALSE

    def number(self, name: str) -> int | None:
        """A decimal number, None when absent. Raises: InvalidQuery."""
        value = self.values.get(name, "").strip()
        if not value:
            return None
        if not re.fullmatch(r"-?[0-9]{1,18}", value):
            raise InvalidQuery(f"invalid value {value[:100]!r} of {name}", why="a number is expected")
        return int(value)

    def filters(self) -> dict[str, tuple[str, ...]]:
        """`filters={"status":["exited"]}`, and the form of old clients `{"status":{"exited":true}}`.

        Raises: InvalidQuery.
        """
        value = self.values.get("filters", "")
        return parse_filters(value) if value else {}

    def time_ns(self, name: str) -> int | None:
        """A time in seconds with an optional fraction, or RFC 3339; None when absent. Raises: InvalidQuery."""
        value = self.values.get(name, "")
        return parse_time_ns(name, value) if value else None


def parse_filters(text: str) -> dict[str, tuple[str, ...]]:
    """See `Query.filters`."""
    try:
        raw = msgspec.json.decode(text.encode(), type=dict[str, list[str] | dict[str, bool]])
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise InvalidQuery("invalid filter", why=str(error)) from error
    return {
        key: tuple(values) if isinstance(values, list) else tuple(value for value, wanted in values.items() if wanted)
        for key, values in raw.items()
        if values
    }


def parse_time_ns(name: str, text: str) -> int:
    """See `Query.time_ns`."""
    match = _UNIX_TIME.match(text)
    if match:
        return int(match[1]) * NS + int((match[2] or "").ljust(9, "0")[:9])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidQuery(
            f"invalid value {text[:100]!r} of {name}", why="a Unix time or RFC 3339 is expected"
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * NS + moment.microsecond * 1000


def parse_switch(name: str, text: str) -> bool:
    """A switch inside filters, where Docker is strict. Raises: InvalidQuery."""
    if text.lower() in ("1", "t", "true"):
        return True
    if text.lower() in ("0", "f", "false"):
        return False
    raise InvalidQuery(f"invalid filter '{name}={text[:100]}'", remedy="use true or false")


def is_label_match(wanted: str, labels: Mapping[str, str]) -> bool:
    """Whether labels satisfy `key` or `key=value`."""
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?)(ns|us|µs|ms|h|m|s)")


def parse_duration_s(text: str) -> float:
    """Go's `1h30m` in seconds. Raises: InvalidQuery."""
    total, position = 0.0, 0
    for part in _PART.finditer(text):
        if part.start() != position:
            break
        total += float(part[1]) * _UNITS_S[part[2]]
        position = part.end()
    if not text or position != len(text):
        raise InvalidQuery(f"invalid duration {text[:100]!r}", remedy="write it like 1h30m")
    return total


def parse_until_ns(text: str, now_ns: int) -> int:
    """The filter `until`: a moment, or how long ago. Raises: InvalidQuery."""
    if _PART.match(text):
        return now_ns - int(parse_duration_s(text) * NS)
    return parse_time_ns("until", text)
