"""Chunk indexes of EROFS files: where each piece of a file lies, and how a sparse file of a tar becomes one. Pure.

GNU tar packs the stored pieces of a sparse file one behind the other, each as long as it is, so a piece may start at
any byte of the tar. A chunk that is all hole has the null address; one that lies on a block of the tar in one piece
points there; any other is copied into the metadata image. Source: Linux, fs/erofs/erofs_fs.h
(`erofs_inode_chunk_index`).
"""

from __future__ import annotations

import bisect
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sampan.formats.erofs_parts import BLOCK, BLOCK_BITS
from sampan.formats.layer import Node
from sampan.formats.tar_fields import InvalidTar

MAX_CHUNKS: Final = 1 << 17  # of one file: 1 MiB of indexes
MAX_LAYER_CHUNKS: Final = 1 << 21  # of all sparse files of a layer: 16 MiB of indexes
MAX_COPIED: Final = 128 << 20  # bytes of a layer's sparse files copied into its metadata
SMALLEST_CHUNK_BITS: Final = 3  # 4 KiB: file systems make holes no smaller

_INDEX: Final = struct.Struct("<HHI")
_HOLE: Final = _INDEX.pack(0, 0, 0xFFFF_FFFF)
_IMAGE_DEVICE: Final = 0
_TAR_DEVICE: Final = 1


class Budget:
    """What the sparse files of one layer may still use."""

    def __init__(self) -> None:
        self.chunks = MAX_LAYER_CHUNKS
        self.copied_bytes = MAX_COPIED


@dataclass(frozen=True, slots=True)
class Chunks:
    """The indexes of one file. Those of device 0 count from the start of `copied`; `relocate` makes them addresses."""

    chunk_bits: int
    indexes: bytes
    copied: bytes


def index(device: int, address: int) -> bytes:
    """One chunk index: block `address` of `device`."""
    return _INDEX.pack(0, device, address)


def of_sparse(node: Node, budget: Budget, read_tar: Callable[[int, int], bytes]) -> Chunks:
    """The chunks of a sparse file, of the smallest chunk size that keeps their number in bounds."""
    size = node.size_bytes
    bits = max(SMALLEST_CHUNK_BITS, ((size - 1) // MAX_CHUNKS >> BLOCK_BITS).bit_length())
    chunk = BLOCK << bits
    count = -(-size // chunk)
    budget.chunks -= count
    if budget.chunks < 0:
        raise InvalidTar("the sparse files of the layer are too large", offset=node.data_offset)
    pieces = _Pieces(node)
    indexes: list[bytes] = [_HOLE] * count
    copied = bytearray()
    for number in sorted(pieces.touched_chunks(chunk)):
        start = number * chunk
        end = min(start + chunk, size)
        whole = pieces.in_one(start, end)
        if whole is not None and whole % BLOCK == 0:
            indexes[number] = index(_TAR_DEVICE, whole >> BLOCK_BITS)
            continue
        budget.copied_bytes -= end - start
        if budget.copied_bytes < 0:
            raise InvalidTar("the sparse files of the layer are too fragmented", offset=node.data_offset)
        indexes[number] = index(_IMAGE_DEVICE, len(copied) >> BLOCK_BITS)
        copied += pieces.read(start, end, read_tar)
        copied += bytes(-len(copied) % BLOCK)
    return Chunks(bits, b"".join(indexes), bytes(copied))


def relocate(body: bytes, xattrs_length: int, address: int) -> bytes:
    """An inode body (alignment, then indexes) with device 0's indexes counted from block `address` of the image."""
    start = -xattrs_length % 8
    moved = bytearray(body)
    for position in range(start, len(body), _INDEX.size):
        _, device, block = _INDEX.unpack_from(body, position)
        if device == _IMAGE_DEVICE and block != 0xFFFF_FFFF:
            _INDEX.pack_into(moved, position, 0, _IMAGE_DEVICE, address + block)
    return bytes(moved)


class _Pieces:
    """The stored pieces of a sparse file by their place in the file and in the tar."""

    def __init__(self, node: Node) -> None:
        self._segments = node.segments or ()
        self._starts = [offset for offset, _ in self._segments]
        self._places: list[int] = []
        place = node.data_offset
        for _, length in self._segments:
            self._places.append(place)
            place += length

    def touched_chunks(self, chunk: int) -> set[int]:
        touched: set[int] = set()
        for offset, length in self._segments:
            touched.update(range(offset // chunk, (offset + length - 1) // chunk + 1))
        return touched

    def in_one(self, start: int, end: int) -> int | None:
        """Where in the tar [start, end) of the file begins, if one piece holds all of it."""
        at = bisect.bisect_right(self._starts, start) - 1
        if at < 0:
            return None
        offset, length = self._segments[at]
        return self._places[at] + start - offset if end <= offset + length else None

    def read(self, start: int, end: int, read_tar: Callable[[int, int], bytes]) -> bytes:
        """The bytes [start, end) of the file, zeros where it has holes."""
        content = bytearray(end - start)
        at = max(0, bisect.bisect_right(self._starts, start) - 1)
        while at < len(self._segments) and self._starts[at] < end:
            offset, length = self._segments[at]
            low, high = max(start, offset), min(end, offset + length)
            if low < high:
                content[low - start : high - start] = read_tar(self._places[at] + low - offset, high - low)
            at += 1
        return bytes(content)
