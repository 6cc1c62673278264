"""A bounded tar scanner: an uncompressed archive in memory or mapped -> its entries. Pure.

For layers, `cp`, `load` and build contexts. It reads headers only and says where each file's bytes lie; it copies no
content. It knows v7, ustar, star's prefix, GNU long names, base-256 numbers, old GNU sparse files, and pax with
`SCHILY.xattr.*` and the three GNU sparse forms. Names are bytes, kept exactly.

The archive is a stranger's. Whatever is wrong with it is `InvalidTar`; limits are the constants below. What lies after
two zero blocks is ignored, as GNU tar and Go's archive/tar do.
"""

from __future__ import annotations

import enum
import mmap
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from sampan.formats.tar_fields import (
    MAX_SECONDS,
    MAX_SEGMENTS,
    NANOSECONDS,
    InvalidTar,
    Segment,
    checked_segments,
    decimal,
    listed_sparse,
    number,
    number_cached,
    old_sparse,
    pax_records,
    time_ns,
)

__all__ = ["BLOCK", "EntryKind", "InvalidTar", "TarEntry", "scan"]

BLOCK: Final = 512  # bytes; headers and contents start at multiples of it
MAX_PATH: Final = 4096  # bytes; PATH_MAX of Linux
MAX_PAX: Final = 1 << 20  # bytes in one pax header; xattr values of 64 KiB fit many times
MAX_ENTRIES: Final = 2_000_000  # in one archive; the largest public images have some 500,000
MAX_SPARSE_SIZE: Final = 64 << 30  # bytes a sparse file may claim to be; what is stored is bounded by the archive

Buffer = bytes | bytearray | memoryview | mmap.mmap


class EntryKind(enum.Enum):
    """What an entry makes. Values are the ustar type flags."""

    FILE = b"0"
    HARD_LINK = b"1"
    SYMLINK = b"2"
    CHAR = b"3"
    BLOCK_DEVICE = b"4"
    DIRECTORY = b"5"
    FIFO = b"6"


class TarEntry(NamedTuple):
    """One entry. `size_bytes` is the file's size; its bytes start at `data_offset`.

    `segments` is None for a plain file. For a sparse one it lists what is stored, packed together from `data_offset`.
    """

    path: bytes
    kind: EntryKind = EntryKind.FILE
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    size_bytes: int = 0
    link: bytes = b""
    dev_major: int = 0
    dev_minor: int = 0
    xattrs: Mapping[bytes, bytes] = {}
    data_offset: int = 0
    segments: tuple[Segment, ...] | None = None


_HEADER: Final = struct.Struct("100s8s8s8s12s12s8s1s100s8s64x8s8s155s12x")  # without the owners' names
_KINDS: Final = {kind.value: kind for kind in EntryKind} | {b"\0": EntryKind.FILE, b"7": EntryKind.FILE}
_ZERO_BLOCK: Final = bytes(BLOCK)
_NO_XATTRS: Final[Mapping[bytes, bytes]] = {}
_XATTR_KEY: Final = b"SCHILY.xattr."
_ADLER_MODULUS: Final = 65521
_OLD_GNU_REAL_SIZE: Final = slice(483, 495)


class _Extension:
    """What extension headers say about the entry that follows them."""

    __slots__ = ("attributes", "link", "path", "sparse_numbers")

    def __init__(self, shared: Mapping[bytes, bytes]) -> None:
        self.path: bytes | None = None
        self.link: bytes | None = None
        self.attributes = dict(shared)
        self.sparse_numbers: list[bytes] = []  # sparse format 0.0 repeats its keys, so their order is the data

    def add(self, block: bytes) -> None:
        for key, value in pax_records(block):
            if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
                self.sparse_numbers.append(value)
            elif value or key.startswith(_XATTR_KEY):
                self.attributes[key] = value
            else:
                self.attributes.pop(key, None)  # an empty value withdraws a global one
        if len(self.sparse_numbers) > 2 * MAX_SEGMENTS:
            raise InvalidTar(f"a sparse file has more than {MAX_SEGMENTS} pieces")


def scan(buffer: Buffer) -> Iterator[TarEntry]:
    """Every entry in its order. Raises `InvalidTar` at the first thing wrong, so a caller must be ready to undo."""
    offset = count = 0
    size = len(buffer)
    shared: dict[bytes, bytes] = {}
    extension: _Extension | None = None
    while not _ends(buffer, offset, size):
        header = bytes(buffer[offset : offset + BLOCK])
        flag = header[156:157]
        try:
            fields = _HEADER.unpack(header)
            _check_sum(header, fields[6])
            if flag in b"xXLK":
                extension = extension or _Extension(shared)
                offset = _extend(buffer, offset, header, extension)
                continue
            if flag == b"g":
                offset = _share(buffer, offset, header, shared)
                continue
            if extension is None and shared:
                extension = _Extension(shared)
            entry, offset = _entry(buffer, offset, fields, header, extension)
        except InvalidTar as invalid:
            raise InvalidTar(invalid.why, offset=offset) from None if invalid.offset is None else invalid
        extension = None
        count += 1
        if count > MAX_ENTRIES:
            raise InvalidTar(f"it has more than {MAX_ENTRIES} entries", offset=offset)
        yield entry
    if extension is not None:
        raise InvalidTar("an extension header is followed by no entry", offset=offset)


def _ends(buffer: Buffer, offset: int, size: int) -> bool:
    """Whether the archive ends here: at its last byte, at zeros shorter than a block, or at two zero blocks."""
    rest = size - offset
    if rest < BLOCK:
        if any(bytes(buffer[offset:size])):
            raise InvalidTar("it is truncated inside a header", offset=offset)
        return True
    if buffer[offset] or bytes(buffer[offset : offset + BLOCK]) != _ZERO_BLOCK:
        return False
    following = bytes(buffer[offset + BLOCK : offset + 2 * BLOCK])
    if any(following):
        raise InvalidTar("a lone zero block stands between entries", offset=offset)
    return True


def _check_sum(header: bytes, field: bytes) -> None:
    """Refuse a header whose checksum is wrong.

    The low half of Adler-32 started from 0 is the plain sum of the bytes modulo 65521: ten times faster than `sum`.
    The field itself counts as eight spaces (256). Some old writers summed signed bytes; that is tried second.
    """
    stored = number(field)
    plain = zlib.adler32(header, 0) & 0xFFFF
    if (stored - 256 + sum(field) - plain) % _ADLER_MODULUS == 0:
        return
    blank = header[:148] + b" " * 8 + header[156:]
    if stored != sum(byte - 256 if byte > 127 else byte for byte in blank):
        raise InvalidTar("a header's checksum is wrong")


def _content_end(buffer: Buffer, start: int, length: int) -> int:
    """Where the block after `length` bytes of content starts; refuses content that is not all there."""
    end = start + length + (-length % BLOCK)
    if length < 0 or end > len(buffer):
        raise InvalidTar(f"{length} bytes of content are announced but the archive ends before them")
    return end


def _extension_block(buffer: Buffer, offset: int, header: bytes, limit: int) -> tuple[bytes, int]:
    """The content of the extension header at `offset`, and the offset behind it."""
    length = number(header[124:136])
    if length > limit:
        raise InvalidTar(f"an extension header has {length} bytes; at most {limit} are read")
    end = _content_end(buffer, offset + BLOCK, length)
    return bytes(buffer[offset + BLOCK : offset + BLOCK + length]), end


def _extend(buffer: Buffer, offset: int, header: bytes, extension: _Extension) -> int:
    """Take in a header about the next entry; the offset behind it."""
    flag = header[156:157]
    block, end = _extension_block(buffer, offset, header, MAX_PATH + 1 if flag in b"LK" else MAX_PAX)
    if flag == b"L":
        extension.path = block.partition(b"\0")[0]
    elif flag == b"K":
        extension.link = block.partition(b"\0")[0]
    else:
        extension.add(block)
    return end


def _share(buffer: Buffer, offset: int, header: bytes, shared: dict[bytes, bytes]) -> int:
    """Take in a global pax header: what it says holds for every later entry. The offset behind it."""
    block, end = _extension_block(buffer, offset, header, MAX_PAX)
    shared.update(pax_records(block))
    if sum(map(len, shared)) + sum(map(len, shared.values())) > MAX_PAX:
        raise InvalidTar(f"global pax headers hold more than {MAX_PAX} bytes")
    return end


def _entry(
    buffer: Buffer, offset: int, fields: tuple[bytes, ...], header: bytes, extension: _Extension | None
) -> tuple[TarEntry, int]:
    """The entry whose header is at `offset`, and the offset of the next header."""
    name, mode, uid, gid, size, mtime, _, flag, link, magic, major, minor, prefix = fields
    kind = _KINDS.get(flag)
    if kind is None and flag != b"S":
        raise InvalidTar(f"entries of type {flag!r} are not known")
    path = name.partition(b"\0")[0]
    if prefix[0] and magic[:6] == b"ustar\0":
        if header[508:] == b"tar\0":
            prefix = prefix[:131]  # star keeps access and change times behind a shorter prefix
        path = prefix.partition(b"\0")[0] + b"/" + path
    if path[-1:] == b"/" and flag in b"\0007":
        kind = EntryKind.DIRECTORY  # how v7 marks one
    device = kind is EntryKind.CHAR or kind is EntryKind.BLOCK_DEVICE
    entry = TarEntry(
        path,
        kind or EntryKind.FILE,
        number_cached(mode) & 0o7777,
        number_cached(uid),
        number_cached(gid),
        number_cached(mtime) * NANOSECONDS,
        number(size),
        link.partition(b"\0")[0] if link[0] else b"",
        number(major) if device else 0,
        number(minor) if device else 0,
        _NO_XATTRS,
        offset + BLOCK,
    )
    if extension is not None:
        entry = _extended(entry, extension)
    if len(entry.path) > MAX_PATH or len(entry.link) > MAX_PATH:
        raise InvalidTar(f"a name is longer than {MAX_PATH} bytes")
    if not -MAX_SECONDS <= entry.mtime_ns // NANOSECONDS <= MAX_SECONDS:
        raise InvalidTar("a time is beyond what a file system stores")
    if entry.kind is not EntryKind.FILE:
        # Links, directories and devices carry no content, whatever their size field says (old cpio fills it in).
        return entry._replace(size_bytes=0), offset + BLOCK
    if flag == b"S":
        return _old_sparse_entry(buffer, header, entry)
    end = _content_end(buffer, entry.data_offset, entry.size_bytes)
    if extension is not None and (extension.sparse_numbers or _claims_sparse(extension.attributes)):
        entry = _pax_sparse_entry(buffer, entry, extension)
    return entry, end


def _extended(entry: TarEntry, extension: _Extension) -> TarEntry:
    """The entry with what its extension headers say in place of its header's fields; pax wins over GNU long names."""
    said = extension.attributes
    path = said.get(b"GNU.sparse.name") or said.get(b"path") or extension.path
    link = said.get(b"linkpath") or extension.link
    if b"\0" in (path or b"") or b"\0" in (link or b""):
        raise InvalidTar("a name holds a NUL byte")
    if path is not None:
        entry = entry._replace(path=path)
    if link is not None:
        entry = entry._replace(link=link)
    if b"size" in said:
        entry = entry._replace(size_bytes=decimal(said[b"size"], "a size"))
    if b"uid" in said:
        entry = entry._replace(uid=decimal(said[b"uid"], "an owner"))
    if b"gid" in said:
        entry = entry._replace(gid=decimal(said[b"gid"], "a group"))
    if b"mtime" in said:
        entry = entry._replace(mtime_ns=time_ns(said[b"mtime"]))
    xattrs = {key[len(_XATTR_KEY) :]: value for key, value in said.items() if key.startswith(_XATTR_KEY)}
    return entry._replace(xattrs=xattrs) if xattrs else entry


def _sparse(entry: TarEntry, segments: list[Segment], size_bytes: int, stored_bytes: int) -> TarEntry:
    if not 0 <= size_bytes <= MAX_SPARSE_SIZE:
        raise InvalidTar(f"a sparse file claims {size_bytes} bytes; at most {MAX_SPARSE_SIZE} are accepted")
    checked = checked_segments(segments, size_bytes=size_bytes, stored_bytes=stored_bytes)
    return entry._replace(size_bytes=size_bytes, segments=checked)


def _old_sparse_entry(buffer: Buffer, header: bytes, entry: TarEntry) -> tuple[TarEntry, int]:
    """An old GNU sparse file: the map starts in the header and goes on in blocks before the content."""
    segments, more = old_sparse(header, extension=False)
    offset = entry.data_offset
    while more:
        _content_end(buffer, offset, BLOCK)
        further, more = old_sparse(bytes(buffer[offset : offset + BLOCK]), extension=True)
        segments += further
        offset += BLOCK
        if len(segments) > MAX_SEGMENTS or not further:
            raise InvalidTar("a sparse map has too many pieces, or an empty part")
    end = _content_end(buffer, offset, entry.size_bytes)
    real_size = number(header[_OLD_GNU_REAL_SIZE])
    return _sparse(entry._replace(data_offset=offset), segments, real_size, entry.size_bytes), end


def _claims_sparse(said: Mapping[bytes, bytes]) -> bool:
    return b"GNU.sparse.map" in said or b"GNU.sparse.major" in said or b"GNU.sparse.size" in said


def _pax_sparse_entry(buffer: Buffer, entry: TarEntry, extension: _Extension) -> TarEntry:
    """A sparse file in pax form 0.0 or 0.1 (map in the header) or 1.0 (map before the content)."""
    said = extension.attributes
    claimed = said.get(b"GNU.sparse.realsize") or said.get(b"GNU.sparse.size") or b""
    real_size = decimal(claimed, "a sparse file's size")
    if b"GNU.sparse.major" in said:
        if (said[b"GNU.sparse.major"], said.get(b"GNU.sparse.minor")) != (b"1", b"0"):
            raise InvalidTar("the sparse format's version is not known")
        numbers, used = _map_before_content(buffer, entry)
        entry = entry._replace(data_offset=entry.data_offset + used)
        return _sparse(entry, listed_sparse(numbers), real_size, entry.size_bytes - used)
    text = said.get(b"GNU.sparse.map", b"")
    numbers = text.split(b",", 2 * MAX_SEGMENTS) if text else extension.sparse_numbers
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
