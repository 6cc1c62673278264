"""Sizes and durations as people type them. Pure.

Source: docker/go-units, RAMInBytes; Go's time.ParseDuration.
"""

from __future__ import annotations

import re

from sampan.cli import failures
from sampan.formats import sizes

_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?)(ns|us|ms|h|m|s)")
_UNITS_NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def parse_size(text: str) -> int:
    """`512m` in bytes, binary. Raises: BadUsage."""
    try:
        return sizes.parse(text)
    except ValueError as error:
        raise failures.BadUsage(f"invalid size: '{text}'", failures.DAEMON) from error


def parse_duration_ns(text: str) -> int:
    """`1m30s` in nanoseconds. Raises: BadUsage."""
    parts = list(_PART.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text:
        raise failures.BadUsage(f'time: invalid duration "{text}"', failures.DAEMON)
    return int(sum(float(part[1]) * _UNITS_NS[part[2]] for part in parts))


def parse_cpus(text: str) -> int:
    """`1.5` in billionths of a processor. Raises: BadUsage."""
    if not re.fullmatch(r"[0-9]+(\.[0-9]{1,9})?|\.[0-9]{1,9}", text):
        raise failures.BadUsage(f"failed to parse {text} as a rational number", failures.DAEMON)
    whole, _, part = text.partition(".")
    return int(whole or 0) * 10**9 + int(part.ljust(9, "0") or 0)
