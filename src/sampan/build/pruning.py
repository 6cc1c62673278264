"""Which records of the build cache a prune removes. Pure.

Source: the behaviour of `docker builder prune`: without `--all` what an image shares stays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from sampan import errors
from sampan.build.model import CacheEntry

_DURATION = re.compile(r"(\d+(?:\.\d*)?)(ns|us|ms|h|m|s)")
_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
FILTERS = frozenset({"until", "unused-for", "id", "type", "inuse", "shared", "private", "parent", "description"})


class FilterInvalid(errors.Invalid):
    """A filter that the cache does not know, or a value that it cannot have."""


def choose(
    entries: Sequence[CacheEntry],
    filters: Mapping[str, tuple[str, ...]],
    *,
    now_ns: int,
    everything: bool,
    keep_bytes: int = 0,
) -> list[str]:
    """Keys, the longest unused first; `keep_bytes` stops when so little is left. Raises `FilterInvalid`."""
    for name in filters:
        if name not in FILTERS:
            raise FilterInvalid(f"invalid filter '{name}'", remedy=f"use one of {', '.join(sorted(FILTERS))}")
    passing = [each for each in entries if (everything or not each.shared) and _passes(each, filters, now_ns)]
    left = sum(each.size_bytes for each in entries if not each.shared)
    chosen: list[str] = []
    for each in sorted(passing, key=lambda entry: (entry.used_ns, entry.created_ns)):
        if keep_bytes and left <= keep_bytes:
            break
        left -= 0 if each.shared else each.size_bytes
        chosen.append(each.key)
    return chosen


def _passes(entry: CacheEntry, filters: Mapping[str, tuple[str, ...]], now_ns: int) -> bool:
    for name, values in filters.items():
        match name:
            case "until" | "unused-for":
                if not all(entry.used_ns <= now_ns - _duration_ns(value) for value in values):
                    return False
            case "id":
                if not any(entry.key.partition(":")[2].startswith(value.removeprefix("sha256:")) for value in values):
                    return False
            case "parent":
                if entry.parent not in values:
                    return False
            case "type":
                if entry.kind not in values:
                    return False
            case "description":
                if entry.description not in values:
                    return False
            case _:
                wanted = all(_switch(name, value) for value in values)
                if wanted != {"inuse": entry.in_use, "shared": entry.shared, "private": not entry.shared}[name]:
                    return False
    return True


def _switch(name: str, value: str) -> bool:
    if value.lower() in ("", "1", "t", "true"):
        return True
    if value.lower() in ("0", "f", "false"):
        return False
    raise FilterInvalid(f"invalid filter '{name}={value[:100]}'", remedy="use true or false")


def _duration_ns(text: str) -> int:
    total, position = 0.0, 0
    for part in _DURATION.finditer(text):
        if part.start() != position:
            break
        total += float(part[1]) * _UNITS_S[part[2]]
        position = part.end()
    if not text or position != len(text):
        raise FilterInvalid(f"invalid filter 'until={text[:100]}'", remedy="write a duration like 24h")
    return int(total * 1e9)
