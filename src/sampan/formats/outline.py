"""A layer's outline: what a host needs to mount a layer whose tar has not arrived yet, and to check every piece of it.

An outline holds the tar's size, the SHA-256 of each MiB of it, and the parts of it that making the layer's metadata
reads: headers, names, attributes, sparse maps, but no file's content. `Outline.content` reads like the tar itself
within those parts, so the same code makes the same metadata from it, with every limit and refusal in force; a read
anywhere else is refused rather than answered with zeros. Pure.

    sampan-outline 1\n, 32 bytes SHA-256 of the tar (the layer's diff id), then, compressed by zstd:
    u64 size of the tar, u32 number of parts, u64 bytes in them,
    32 bytes for each MiB, (u64 offset, u32 length) for each part, the parts one behind the other; little endian
"""

from __future__ import annotations

import bisect
import hashlib
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, SupportsIndex, cast, overload

from sampan import errors
from sampan.formats import compression
from sampan.formats.digest import Digest
from sampan.formats.tar_model import Buffer

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MEDIA_TYPE: Final = "application/vnd.sampan.layer.outline.v1"
CHUNK_BYTES: Final = 1 << 20
LARGEST_BYTES: Final = 256 << 20  # of an outline, inflated: a million entries of a tar
LARGEST_TAR_BYTES: Final = 1 << 41  # what EROFS addresses
PART_BYTES: Final = 512  # parts closer than this become one
_MAGIC: Final = b"sampan-outline 1\n"
BEGIN_BYTES: Final = len(_MAGIC) + 32
_HEAD: Final = struct.Struct("<QIQ")
_PART: Final = struct.Struct("<QI")
_LIMITS: Final = compression.Limits(largest_bytes=LARGEST_BYTES, ratio=2000)
_ZERO_CHUNK: Final = hashlib.sha256(bytes(CHUNK_BYTES)).digest()


class InvalidOutline(errors.Invalid):
    """The outline is damaged or contradicts itself."""

    def __init__(self, why: str) -> None:
        super().__init__("invalid outline of a layer", why=why, remedy="pull without lazy start")


class NotOutlined(errors.Unsupported):
    """Something of the tar was read that the outline does not hold."""


Span = tuple[int, int]  # first byte, byte behind the last


class Recorder:
    """The whole tar, remembering which parts of it were read: what `record` makes an outline of."""

    def __init__(self, content: Buffer) -> None:
        self._content = content
        self.spans: list[Span] = []

    @property
    def buffer(self) -> Buffer:
        """Itself, as what the scanner takes."""
        return cast(Buffer, self)

    def __len__(self) -> int:
        return len(self._content)

    @overload
    def __getitem__(self, key: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> bytes: ...
    def __getitem__(self, key: SupportsIndex | slice) -> int | bytes:
        if isinstance(key, slice):
            start, stop, _ = key.indices(len(self._content))
            self.spans.append((start, max(start, stop)))
            return bytes(self._content[start:stop])
        place = key.__index__()
        self.spans.append((place, place + 1))
        return self._content[place]


class _Parts:
    """The tar as far as an outline holds it. Raises `NotOutlined` outside."""

    def __init__(self, size_bytes: int, starts: list[int], parts: list[bytes]) -> None:
        self._size_bytes = size_bytes
        self._starts = starts
        self._parts = parts
        self._last = 0  # the part that was read last: mostly the next read is in it, or in the one behind it

    def __len__(self) -> int:
        return self._size_bytes

    @overload
    def __getitem__(self, key: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> bytes: ...
    def __getitem__(self, key: SupportsIndex | slice) -> int | bytes:
        if isinstance(key, slice):
            start, stop, _ = key.indices(self._size_bytes)
            return self._read(start, stop)
        place = key.__index__()
        return self._read(place, place + 1)[0]

    def _read(self, start: int, stop: int) -> bytes:
        if start >= stop:
            return b""
        for number in (self._last, self._last + 1, bisect.bisect_right(self._starts, start) - 1):
            offset = start - self._starts[number] if 0 <= number < len(self._starts) else -1
            if offset < 0:
                continue
            piece = self._parts[number][offset : offset + stop - start]
            if len(piece) == stop - start:
                self._last = number
                return piece
        raise NotOutlined(f"the outline of a layer has no bytes {start} to {stop}", remedy="pull without lazy start")


@dataclass(frozen=True, slots=True)
class Outline:
    """One layer's. `hashes` has 32 bytes for each MiB; `spans` and `parts` go together, in order."""

    diff_id: Digest
    size_bytes: int
    hashes: bytes
    spans: tuple[Span, ...]
    parts: tuple[bytes, ...]

    @property
    def chunks(self) -> int:
        """How many pieces the tar has."""
        return len(self.hashes) // 32

    @property
    def content(self) -> Buffer:
        """What reads like the tar within the outline's parts."""
        return cast(Buffer, _Parts(self.size_bytes, [start for start, _ in self.spans], list(self.parts)))


def chunk_span(size_bytes: int, number: int) -> Span:
    """Which bytes of the tar a chunk is."""
    return number * CHUNK_BYTES, min((number + 1) * CHUNK_BYTES, size_bytes)


def is_zeros(hashes: bytes, number: int) -> bool:
    """Whether a whole chunk is zeros: a hole of the file is what it should be."""
    return hashes[32 * number : 32 * number + 32] == _ZERO_CHUNK


def matches(hashes: bytes, number: int, content: bytes | bytearray | memoryview) -> bool:
    """Whether a chunk's content is what the outline says. Releases the interpreter lock."""
    return hashlib.sha256(content).digest() == hashes[32 * number : 32 * number + 32]


def merge(spans: Iterable[Span]) -> list[Span]:
    """Sorted, with close ones joined."""
    merged: list[Span] = []
    for start, stop in sorted(span for span in spans if span[0] < span[1]):
        if merged and start - merged[-1][1] < PART_BYTES and stop - merged[-1][0] < 1 << 31:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        else:
            merged.append((start, stop))
    return merged


def record(content: Buffer, read: Iterable[Span]) -> Outline:
    """The outline of a whole tar, of which making the metadata read `read`."""
    size_bytes = len(content)
    view = memoryview(content)
    try:
        whole = hashlib.sha256()
        hashes = bytearray()
        for start in range(0, size_bytes, CHUNK_BYTES):
            piece = view[start : start + CHUNK_BYTES]
            hashes += hashlib.sha256(piece).digest()
            whole.update(piece)
            piece.release()
        spans = merge(read)
        parts = tuple(bytes(view[start:stop]) for start, stop in spans)
    finally:
        view.release()
    return Outline(Digest(f"sha256:{whole.hexdigest()}"), size_bytes, bytes(hashes), tuple(spans), parts)


def encode(outline: Outline) -> bytes:
    """The file."""
    table = b"".join(_PART.pack(start, stop - start) for start, stop in outline.spans)
    parts = b"".join(outline.parts)
    head = _HEAD.pack(outline.size_bytes, len(outline.spans), len(parts))
    return _MAGIC + bytes.fromhex(outline.diff_id.hex) + zstd.compress(head + outline.hashes + table + parts, 3)


def whose(content: bytes) -> Digest:
    """The diff id of the layer that an outline is of. Raises `InvalidOutline`."""
    if not content.startswith(_MAGIC) or len(content) < BEGIN_BYTES:
        raise InvalidOutline("it does not begin like one")
    return Digest(f"sha256:{content[len(_MAGIC) : BEGIN_BYTES].hex()}")


def decode(content: bytes) -> Outline:
    """Read a stranger's outline. Raises `InvalidOutline`, and what `compression` raises."""
    diff_id = whose(content)
    inflated = compression.inflate(content[BEGIN_BYTES:], _LIMITS)
    if len(inflated) < _HEAD.size:
        raise InvalidOutline("it is cut short")
    size_bytes, count, parts_bytes = _HEAD.unpack_from(inflated)
    chunks = -(-size_bytes // CHUNK_BYTES)
    table_at = _HEAD.size + 32 * chunks
    parts_at = table_at + _PART.size * count
    if size_bytes > LARGEST_TAR_BYTES or parts_at + parts_bytes != len(inflated):
        raise InvalidOutline("its sizes do not add up")
    spans, parts = _split(inflated, table_at, count, size_bytes)
    hashes = inflated[_HEAD.size : table_at]
    return Outline(diff_id, size_bytes, hashes, tuple(spans), tuple(parts))


def _split(inflated: bytes, table_at: int, count: int, size_bytes: int) -> tuple[list[Span], list[bytes]]:
    spans: list[Span] = []
    parts: list[bytes] = []
    place, last = table_at + _PART.size * count, 0
    for start, length in _PART.iter_unpack(inflated[table_at:place]):
        if start < last or start + length > size_bytes or place + length > len(inflated):
            raise InvalidOutline("its parts overlap or lie outside of the tar")
        spans.append((start, start + length))
        parts.append(inflated[place : place + length])
        place += length
        last = start + length
    if place != len(inflated):
        raise InvalidOutline("its parts do not add up")
    return spans, parts
