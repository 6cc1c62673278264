"""Durations, moments and sizes as Docker writes them. Pure, standard library only: the command line uses it too.

Source: docker/go-units, duration.go and size.go; Go's time.RFC3339Nano.
"""

from __future__ import annotations

import time

NS = 1_000_000_000
ZERO_TIME = "0001-01-01T00:00:00Z"


def moment(time_ns: int) -> str:
    """RFC 3339 with up to nine digits and no trailing zeros; Go's zero time for 0."""
    if time_ns == 0:
        return ZERO_TIME
    seconds, fraction = divmod(time_ns, NS)
    digits = f".{fraction:09d}".rstrip("0").rstrip(".")
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + digits + "Z"


def duration(seconds: float) -> str:
    """`About an hour`, `3 days`: one unit, as people read it."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = whole // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{int(seconds / 3600) // 24 // 365} years"


def size(count: float, *, digits: int = 3) -> str:
    """`7.33kB`, `1.2GB`: decimal units, three significant digits."""
    units = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
    position = 0
    while count >= 1000 and position < len(units) - 1:
        count /= 1000
        position += 1
    return f"{count:.{digits}g}{units[position]}"


def binary_size(count: float) -> str:
    """`15.5GiB`: binary units, four significant digits."""
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    position = 0
    while count >= 1024 and position < len(units) - 1:
        count /= 1024
        position += 1
    return f"{count:.4g}{units[position]}"
