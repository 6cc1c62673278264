"""What a tar entry is: values shared by the scanner, its sparse half and the writer. Pure."""

from __future__ import annotations

import enum
import mmap
from collections.abc import Mapping
from typing import Final, NamedTuple

from sampan.formats.tar_fields import InvalidTar, Segment

BLOCK: Final = 512  # bytes; headers and contents start at multiples of it
MAX_PATH: Final = 4096  # bytes; PATH_MAX of Linux
MAX_PAX: Final = 1 << 20  # bytes in one pax header; xattr values of 64 KiB fit many times

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


def content_end(buffer: Buffer, start: int, length: int) -> int:
    """Where the block after `length` bytes of content starts; refuses content that is not all there.

    The zeros that fill the last block may be missing at the archive's end: `docker build -f -` leaves them out.
    """
    end = start + length
    if length < 0 or end > len(buffer):
        raise InvalidTar(f"{length} bytes of content are announced but the archive ends before them")
    return min(end + (-length % BLOCK), len(buffer))
