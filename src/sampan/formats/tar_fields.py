"""The small grammars inside a tar archive: header numbers, pax records, GNU sparse maps. Pure.

Everything here takes bytes a stranger wrote. Whatever is wrong with them becomes `InvalidTar`, never another exception,
and nothing is allocated in proportion to a number that was only claimed.

Source: POSIX.1-2018 pax, "ustar Interchange Format" and "pax Interchange Format"; GNU tar manual, "Basic Tar Format",
"Storing Sparse Files" and "Extensions".
"""

from __future__ import annotations

import functools
import struct
from typing import Final

from sampan import errors

NANOSECONDS: Final = 1_000_000_000
MAX_SECONDS: Final = 1 << 62  # keeps a time inside a signed 64-bit count of seconds, with room for its nanoseconds
MAX_SEGMENTS: Final = 65_536  # pieces of data in one sparse file; GNU tar makes one per run of non-zero blocks

_SPARSE_PAIR: Final = struct.Struct("12s12s")
_SPARSE_IN_HEADER: Final = (386, 4)  # where the pairs start in an old GNU header, and how many fit
_SPARSE_IN_EXTENSION: Final = (0, 21)

Segment = tuple[int, int]  # (offset in the file, length): bytes that are stored; everything between is a hole


class InvalidTar(errors.Invalid):
    """The archive is malformed, truncated or beyond a limit. `offset` is where in the archive."""

    def __init__(self, why: str, *, offset: int | None = None) -> None:
        where = "" if offset is None else f" at byte {offset}"
        super().__init__(f"the tar archive cannot be read{where}", why=why, remedy="make the archive again")
        self.offset = offset


def number(field: bytes) -> int:
    """A header number: octal digits, or GNU's base-256 (first bit set, then a big-endian two's complement number)."""
    digits = field.strip(b" \0")
    if digits.isdigit():
        return _octal(digits)
    if not digits:
        return 0
    if field[0] & 0x80:
        return _base256(field)
    return _octal(digits.replace(b" ", b"\0").partition(b"\0")[0])


number_cached = functools.lru_cache(maxsize=4096)(number)  # modes, owners and times repeat from entry to entry


def _octal(digits: bytes) -> int:
    if not digits.isdigit():
        raise InvalidTar(f"{digits!r} is not an octal number")
    try:
        return int(digits, 8)
    except ValueError:
        raise InvalidTar(f"{digits!r} is not an octal number") from None


def _base256(field: bytes) -> int:
    value = int.from_bytes(field, "big")
    bits = len(field) * 8
    if field[0] & 0x40:
        return value - (1 << bits)
    return value - (1 << (bits - 1))


def decimal(text: bytes, what: str) -> int:
    """A non-negative decimal number of at most 20 digits, as pax writes sizes and owners."""
    if not text.isdigit() or len(text) > 20:
        raise InvalidTar(f"{what} is {text[:40]!r}, not a decimal number")
    return int(text)


def time_ns(text: bytes) -> int:
    """A pax time, seconds with an optional sign and fraction, in nanoseconds. Digits past the ninth are dropped."""
    sign = -1 if text.startswith(b"-") else 1
    whole, dot, fraction = text.removeprefix(b"-").partition(b".")
    seconds = decimal(whole, "a time")
    if dot and fraction and not fraction.isdigit():
        raise InvalidTar(f"a time is {text[:40]!r}")
    if seconds > MAX_SECONDS:
        raise InvalidTar(f"a time is {seconds} seconds, beyond what a file system stores")
    return sign * (seconds * NANOSECONDS + int(fraction[:9].ljust(9, b"0")))


def pax_records(block: bytes) -> list[tuple[bytes, bytes]]:
    """The `length key=value` records of one pax header, in their order."""
    records: list[tuple[bytes, bytes]] = []
    position, end = 0, len(block)
    while position < end:
        space = block.find(b" ", position, position + 12)
        if space < 0 or not block[position:space].isdigit():
            raise InvalidTar("a pax record does not start with its length")
        stop = position + int(block[position:space])
        if stop <= space + 1 or stop > end or block[stop - 1] != 0x0A:
            raise InvalidTar("a pax record does not end where its length says")
        key, equals, value = block[space + 1 : stop - 1].partition(b"=")
        if not equals or not key:
            raise InvalidTar("a pax record has no key")
        records.append((key, value))
        position = stop
    return records


def old_sparse(block: bytes, *, extension: bool) -> tuple[list[Segment], bool]:
    """The segments in an old GNU sparse header or one of its extension blocks, and whether one more block follows."""
    start, count = _SPARSE_IN_EXTENSION if extension else _SPARSE_IN_HEADER
    segments: list[Segment] = []
    for index in range(count):
        offset, length = _SPARSE_PAIR.unpack_from(block, start + index * _SPARSE_PAIR.size)
        if not offset.strip(b" \0") and not length.strip(b" \0"):
            break
        segments.append((number(offset), number(length)))
    return segments, block[start + count * _SPARSE_PAIR.size] != 0


def listed_sparse(numbers: list[bytes]) -> list[Segment]:
    """Segments from alternating offsets and lengths in decimal, as every pax sparse format lists them."""
    if len(numbers) % 2:
        raise InvalidTar("a sparse map has an offset without a length")
    values = [decimal(text, "a sparse map number") for text in numbers]
    return list(zip(values[::2], values[1::2], strict=True))


def checked_segments(segments: list[Segment], *, size_bytes: int, stored_bytes: int) -> tuple[Segment, ...]:
    """The segments without empty ones, after checking: ascending, apart, inside the file, as long as what is stored."""
    if len(segments) > MAX_SEGMENTS:
        raise InvalidTar(f"a sparse file has {len(segments)} pieces; at most {MAX_SEGMENTS} are read")
    end = total = 0
    for offset, length in segments:
        if offset < end or length < 0 or offset + length > size_bytes:
            raise InvalidTar("a sparse map is out of order or reaches past the end of its file")
        end = offset + length
        total += length
    if total != stored_bytes:
        raise InvalidTar(f"a sparse map describes {total} bytes but {stored_bytes} are stored")
    return tuple(segment for segment in segments if segment[1])
