"""Tar headers for entries: ustar where it can say everything, pax records where it cannot. Pure, and deterministic.

For commit, `cp`, export and save. The caller writes `entry_header(entry)`, then the content padded to whole blocks, and
`END` after the last entry. Equal entries give equal bytes. Source: POSIX.1-2018 pax; docker's `SCHILY.xattr.` keys.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from sampan.formats.tar import BLOCK, EntryKind, TarEntry
from sampan.formats.tar_fields import NANOSECONDS, InvalidTar

END: Final = bytes(2 * BLOCK)

_MAX_OCTAL_7: Final = 0o7777777
_MAX_OCTAL_11: Final = 0o77777777777
_NAME_BYTES: Final = 100
_PREFIX_BYTES: Final = 155
_BLOCK: Final = struct.Struct("100s8s8s8s12s12s8s1s100s8s64x8s8s155s12x")
_NO_DEVICE: Final = b"0000000"
_PLAIN: Final = bytes(byte if 32 < byte < 127 else 0x5F for byte in range(256))  # for names of pax headers


def padding(size_bytes: int) -> bytes:
    """The zeros that follow `size_bytes` of content."""
    return bytes(-size_bytes % BLOCK)


def padded(content: bytes) -> bytes:
    """Content filled up to whole blocks."""
    return content + padding(len(content))


def entry_header(entry: TarEntry) -> bytes:
    """The header blocks of one entry. Directory names get their trailing slash. Sparse files are written whole."""
    path = entry.path
    if entry.kind is EntryKind.DIRECTORY and not path.endswith(b"/"):
        path += b"/"
    split = _split(path)
    records = _records(entry, path, fits=split is not None)
    prefix, name = split or (b"", path[:_NAME_BYTES])
    header = _ustar(entry, prefix, name)
    return _pax_header(path, records) + header if records else header


def _split(path: bytes) -> tuple[bytes, bytes] | None:
    """(prefix, name) of a path as ustar stores it, or None if it does not fit."""
    if not path.isascii():
        return None  # ustar leaves the encoding open; pax records carry the bytes
    if len(path) <= _NAME_BYTES:
        return b"", path
    cut = path.find(b"/", max(0, len(path) - _NAME_BYTES - 1), len(path) - 1)
    if 0 < cut <= _PREFIX_BYTES:
        return path[:cut], path[cut + 1 :]
    return None


def _records(entry: TarEntry, path: bytes, *, fits: bool) -> list[tuple[bytes, bytes]]:
    """The pax records the entry needs, in a fixed order."""
    records: list[tuple[bytes, bytes]] = []
    if not fits:
        records.append((b"path", path))
    if len(entry.link) > _NAME_BYTES or not entry.link.isascii():
        records.append((b"linkpath", entry.link))
    if entry.size_bytes > _MAX_OCTAL_11:
        records.append((b"size", b"%d" % entry.size_bytes))
    for key, value in ((b"uid", entry.uid), (b"gid", entry.gid)):
        if value > _MAX_OCTAL_7:
            records.append((key, b"%d" % value))
    seconds, nanoseconds = divmod(entry.mtime_ns, NANOSECONDS)
    if nanoseconds or not 0 <= seconds <= _MAX_OCTAL_11:
        records.append((b"mtime", _decimal_time(entry.mtime_ns)))
    records += [(b"SCHILY.xattr." + key, value) for key, value in sorted(entry.xattrs.items())]
    return records


def _decimal_time(time_ns: int) -> bytes:
    sign = b"-" if time_ns < 0 else b""
    seconds, nanoseconds = divmod(abs(time_ns), NANOSECONDS)
    fraction = b".%09d" % nanoseconds if nanoseconds else b""
    return sign + b"%d" % seconds + fraction.rstrip(b"0")


def _pax_header(path: bytes, records: list[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(_record(key, value) for key, value in records)
    base = path.rstrip(b"/").rpartition(b"/")[2]
    name = (b"PaxHeaders/" + base.translate(_PLAIN))[:_NAME_BYTES]
    return _ustar(TarEntry(name, size_bytes=len(body)), b"", name, flag=b"x") + padded(body)


def _record(key: bytes, value: bytes) -> bytes:
    """One `length key=value` line, whose length counts its own digits."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + len(b"%d" % len(rest))
    if len(rest) + len(b"%d" % length) != length:
        length += 1  # counting the digits made one more
    return b"%d" % length + rest


def _ustar(entry: TarEntry, prefix: bytes, name: bytes, *, flag: bytes | None = None) -> bytes:
    """One ustar block. Values that do not fit are written as zero; their pax record stands before it."""
    seconds = entry.mtime_ns // NANOSECONDS
    size = entry.size_bytes if entry.kind is EntryKind.FILE else 0
    device = entry.dev_major or entry.dev_minor
    block = _BLOCK.pack(
        name,
        b"%07o" % (entry.mode & 0o7777),
        b"%07o" % _bounded(entry.uid, _MAX_OCTAL_7),
        b"%07o" % _bounded(entry.gid, _MAX_OCTAL_7),
        b"%011o" % _bounded(size, _MAX_OCTAL_11),
        b"%011o" % _bounded(seconds, _MAX_OCTAL_11),
        b" " * 8,
        flag or entry.kind.value,
        entry.link,
        b"ustar\00000",
        b"%07o" % _device_number(entry.dev_major) if device else _NO_DEVICE,
        b"%07o" % _device_number(entry.dev_minor) if device else _NO_DEVICE,
        prefix,
    )
    # The low half of Adler-32 from 0 is the plain sum modulo 65521; 512 bytes of ASCII stay below that.
    total = zlib.adler32(block, 0) & 0xFFFF if block.isascii() else sum(block)
    return b"%b%06o\0 %b" % (block[:148], total, block[156:])


def _bounded(value: int, limit: int) -> int:
    return value if 0 <= value <= limit else 0


def _device_number(value: int) -> int:
    if not 0 <= value <= _MAX_OCTAL_7:
        raise InvalidTar(f"a device number is {value}")
    return value
