"""The two range notations of the protocol. Pure.

Source: RFC 9110 section 14 (`Range: bytes=0-499`); distribution-spec "Pushing a blob in chunks" (`0-499`).
"""

from __future__ import annotations

import re

from sampan.api.registry.errors import BadParameter, RangeUnsatisfiable

_RANGE = re.compile(r"bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*\Z")
_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?(\d{1,19})-(\d{1,19})(?:/(?:\d{1,19}|\*))?\Z")


def wanted(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """First and last byte of the part that is asked for; None for all of it.

    Several ranges and other units are answered with the whole, as RFC 9110 allows. Raises `RangeUnsatisfiable`.
    """
    if header is None or not header.startswith("bytes"):
        return None
    if "," in header:
        return None
    match = _RANGE.match(header)
    if match is None or not (match[1] or match[2]):
        return None
    if match[1]:
        first = int(match[1])
        last = min(int(match[2]), size_bytes - 1) if match[2] else size_bytes - 1
        empty = bool(match[2]) and int(match[2]) < first
    else:
        first, last = max(size_bytes - int(match[2]), 0), size_bytes - 1
        empty = int(match[2]) == 0
    if empty or first >= size_bytes:
        raise RangeUnsatisfiable(f"the blob has {size_bytes} bytes", why=f"{header[:80]!r} names none of them")
    return first, last


def chunk(header: str | None, length: int | None) -> tuple[int, int] | None:
    """Offset and length of a chunk; None where the client does not say. `length` is the Content-Length.

    Raises `BadParameter`.
    """
    if header is None:
        return None
    match = _CONTENT_RANGE.match(header.strip())
    if match is None:
        raise BadParameter(f"invalid Content-Range {header[:80]!r}", remedy="write it as FIRST-LAST")
    first, last = int(match[1]), int(match[2])
    if last < first or (length is not None and length != last - first + 1):
        raise BadParameter(f"Content-Range {header[:80]!r} does not fit the body", why=f"Content-Length is {length}")
    return first, last - first + 1
