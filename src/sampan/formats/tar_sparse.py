"""Sparse files in a tar: the old GNU header and the three pax forms -> an entry with its segments. Pure.

Source: GNU tar manual, "Storing Sparse Files".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sampan.formats.tar_fields import (
    MAX_SEGMENTS,
    InvalidTar,
    Segment,
    checked_segments,
    decimal,
    listed_sparse,
    number,
    old_sparse,
)
from sampan.formats.tar_model import BLOCK, MAX_PAX, Buffer, TarEntry, content_end

MAX_SPARSE_SIZE: Final = 64 << 30  # bytes a sparse file may claim to be; what is stored is bounded by the archive

_OLD_GNU_REAL_SIZE: Final = slice(483, 495)


def _sparse(entry: TarEntry, segments: list[Segment], size_bytes: int, stored_bytes: int) -> TarEntry:
    if not 0 <= size_bytes <= MAX_SPARSE_SIZE:
        raise InvalidTar(f"a sparse file claims {size_bytes} bytes; at most {MAX_SPARSE_SIZE} are accepted")
    checked = checked_segments(segments, size_bytes=size_bytes, stored_bytes=stored_bytes)
    return entry._replace(size_bytes=size_bytes, segments=checked)


def old(buffer: Buffer, header: bytes, entry: TarEntry) -> tuple[TarEntry, int]:
    """An old GNU sparse file: the map starts in the header and goes on in blocks before the content."""
    segments, more = old_sparse(header, extension=False)
    offset = entry.data_offset
    while more:
        content_end(buffer, offset, BLOCK)
        further, more = old_sparse(bytes(buffer[offset : offset + BLOCK]), extension=True)
        segments += further
        offset += BLOCK
        if len(segments) > MAX_SEGMENTS or not further:
            raise InvalidTar("a sparse map has too many pieces, or an empty part")
    end = content_end(buffer, offset, entry.size_bytes)
    real_size = number(header[_OLD_GNU_REAL_SIZE])
    return _sparse(entry._replace(data_offset=offset), segments, real_size, entry.size_bytes), end


def claimed(said: Mapping[bytes, bytes]) -> bool:
    """Whether pax records say that the entry is sparse; every form states the real size or its version."""
    return b"GNU.sparse.map" in said or b"GNU.sparse.major" in said or b"GNU.sparse.size" in said


def from_pax(buffer: Buffer, entry: TarEntry, said: Mapping[bytes, bytes], pairs: list[bytes]) -> TarEntry:
    """A sparse file in pax form 0.0 or 0.1 (map in the header) or 1.0 (map before the content)."""
    claimed_size = said.get(b"GNU.sparse.realsize") or said.get(b"GNU.sparse.size") or b""
    real_size = decimal(claimed_size, "a sparse file's size")
    if b"GNU.sparse.major" in said:
        if (said[b"GNU.sparse.major"], said.get(b"GNU.sparse.minor")) != (b"1", b"0"):
            raise InvalidTar("the sparse format's version is not known")
        numbers, used = _map_before_content(buffer, entry)
        entry = entry._replace(data_offset=entry.data_offset + used)
        return _sparse(entry, listed_sparse(numbers), real_size, entry.size_bytes - used)
    text = said.get(b"GNU.sparse.map", b"")
    numbers = text.split(b",", 2 * MAX_SEGMENTS) if text else pairs
    return _sparse(entry, listed_sparse(numbers), real_size, entry.size_bytes)


def _map_before_content(buffer: Buffer, entry: TarEntry) -> tuple[list[bytes], int]:
    """The decimal lines of a 1.0 map, without their count, and the bytes they take, rounded up to whole blocks."""
    limit = min(entry.size_bytes, MAX_PAX)
    text = bytes(buffer[entry.data_offset : entry.data_offset + limit])
    count_text, newline, _ = text[:32].partition(b"\n")
    count = decimal(count_text, "a sparse map's length")
    if not newline or count > MAX_SEGMENTS:
        raise InvalidTar(f"a sparse map announces {count} pieces; at most {MAX_SEGMENTS} are read")
    lines = text.split(b"\n", 2 * count + 1)
    if len(lines) != 2 * count + 2:
        raise InvalidTar("a sparse map is shorter than it says")
    length = len(text) - len(lines[-1])
    used = length + (-length % BLOCK)
    if used > entry.size_bytes:
        raise InvalidTar("a sparse map reaches past its entry")
    return lines[1:-1], used
