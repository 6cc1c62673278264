"""A bounded tar scanner: an uncompressed archive in memory or mapped -> its entries. Pure.

For layers, `cp`, `load` and build contexts. It reads headers only and says where each file's bytes lie; it copies no
content. It knows v7, ustar, star's prefix, GNU long names, base-256 numbers, old GNU sparse files, and pax with
`SCHILY.xattr.*` and the three GNU sparse forms. Names are bytes, kept exactly.

The archive is a stranger's. Whatever is wrong with it is `InvalidTar`; limits are the constants below. What lies after
two zero blocks is ignored, as GNU tar and Go's archive/tar do.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Final

from sampan.formats import tar_sparse
from sampan.formats.tar_fields import (
    MAX_SECONDS,
    MAX_SEGMENTS,
    NANOSECONDS,
    InvalidTar,
    decimal,
    number,
    number_cached,
    pax_records,
    time_ns,
)
from sampan.formats.tar_model import BLOCK, MAX_PATH, MAX_PAX, Buffer, EntryKind, TarEntry, content_end

__all__ = ["BLOCK", "EntryKind", "InvalidTar", "TarEntry", "scan"]

MAX_ENTRIES: Final = 1_000_000  # in one archive; large public images have some 300,000 in all their layers
MAX_GLOBAL_RECORDS: Final = 32  # global pax records in force; each is looked at for every entry

_HEADER: Final = struct.Struct("100s8s8s8s12s12s8s1s100s8s64x8s8s155s12x")  # without the owners' names
_KINDS: Final = {kind.value: kind for kind in EntryKind} | {b"\0": EntryKind.FILE, b"7": EntryKind.FILE}
_ZERO_BLOCK: Final = bytes(BLOCK)
_NO_XATTRS: Final[Mapping[bytes, bytes]] = {}
_XATTR_KEY: Final = b"SCHILY.xattr."
_ADLER_MODULUS: Final = 65521


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


def _extension_block(buffer: Buffer, offset: int, header: bytes, limit: int) -> tuple[bytes, int]:
    """The content of the extension header at `offset`, and the offset behind it."""
    length = number(header[124:136])
    if length > limit:
        raise InvalidTar(f"an extension header has {length} bytes; at most {limit} are read")
    end = content_end(buffer, offset + BLOCK, length)
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
    if len(shared) > MAX_GLOBAL_RECORDS or sum(map(len, shared.values())) > MAX_PAX:
        raise InvalidTar(f"global pax headers hold more than {MAX_GLOBAL_RECORDS} records or {MAX_PAX} bytes")
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
        return tar_sparse.old(buffer, header, entry)
    end = content_end(buffer, entry.data_offset, entry.size_bytes)
    if extension is not None and tar_sparse.claimed(extension.attributes):
        entry = tar_sparse.from_pax(buffer, entry, extension.attributes, extension.sparse_numbers)
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
