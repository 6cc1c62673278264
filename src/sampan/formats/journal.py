"""Entries in the native protocol of systemd-journald. Pure.

Source: systemd, docs/JOURNAL_NATIVE_PROTOCOL.md.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping


def encode(fields: Mapping[str, bytes]) -> bytes:
    """One datagram: `NAME=value` a line; a value with a newline goes behind its length."""
    parts = []
    for name, value in fields.items():
        if b"\n" in value:
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n")
        else:
            parts.append(name.encode() + b"=" + value + b"\n")
    return b"".join(parts)


def decode(datagram: bytes) -> dict[str, bytes]:
    """The fields again; of one given twice the last counts. Raises ValueError."""
    fields: dict[str, bytes] = {}
    position = 0
    while position < len(datagram):
        end = datagram.index(b"\n", position)
        name, equals, value = datagram[position:end].partition(b"=")
        position = end + 1
        if not equals:
            (size,) = struct.unpack_from("<Q", datagram, position)
            value = datagram[position + 8 : position + 8 + size]
            position += 8 + size + 1
        fields[name.decode()] = value
    return fields


def field_name(key: str) -> str:
    """A label's or variable's name as journald takes names: capitals, digits and underscores, no underscore first."""
    name = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in key).upper()
    return name.lstrip("_0123456789")[:64]
