"""Sizes as people write them: `10m`, `1.5g`, `64MiB`, `512`; the units are binary, as in Docker. Pure."""

from __future__ import annotations

import re

_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[kmgtp]?)(?:i?b)?", re.IGNORECASE)
_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def parse(text: str) -> int:
    """Bytes. Raises ValueError."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"invalid size: {text!r}")
    return int(float(found["number"]) * 1024 ** _UNITS[found["unit"].lower()])
