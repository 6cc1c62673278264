"""A layer's tree -> the EROFS metadata that makes its tar mountable. Pure.

The tar stays as it is and becomes the *external device* of a small EROFS image: directories, links, owners and
attributes lie in the image; a regular file is one chunk whose address points into the tar. Blocks are 512 bytes, so
that every tar payload starts at one. Mount it with the option `device=<tar>` (Linux 6.12 takes plain files for both).

    0     (zeros)        1024  superblock       1152  device slot
    1280  inodes, 32-byte aligned, the root first, each with its attributes and its small content or chunk index
    ...   blocks: large directories, long link targets, pieces of sparse files that lie askew in the tar

Source: Linux, Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h; struct and constant names follow it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sampan import errors
from sampan.formats import erofs_chunks, erofs_parts
from sampan.formats.erofs_parts import BLOCK, BLOCK_BITS
from sampan.formats.layer import LayerTree, Node
from sampan.formats.tar import EntryKind

MAGIC: Final = 0xE0F5E1E2
SUPERBLOCK_OFFSET: Final = 1024
DEVICE_SLOT_OFFSET: Final = 1152
FIRST_INODE: Final = 1280
MAX_DEVICE_BLOCKS: Final = (1 << 32) - 1  # block addresses have 32 bits, and all ones means a hole: 2 TiB of tar

_COMPAT: Final = 0x2  # MTIME: extended inodes hold the modification time
_INCOMPAT: Final = 0x4 | 0x8  # CHUNKED_FILE | DEVICE_TABLE
_SUPERBLOCK: Final = struct.Struct("<IIIBBHQQIIII16s16sIHHHBBIQB23x")
_DEVICE_SLOT: Final = struct.Struct("<64sII56x")
_INODE: Final = struct.Struct("<HHHHQIIIIqII16x")

_FLAT_PLAIN: Final = 1 | 0 << 1  # i_format: extended inode, data layout
_FLAT_INLINE: Final = 1 | 2 << 1
_CHUNK_BASED: Final = 1 | 4 << 1
_CHUNK_INDEXES: Final = 0x20
_TAR_DEVICE: Final = 1
_INODE_SIZE: Final = 64
_NID_SIZE: Final = 32

_FORMATS: Final = {
    EntryKind.FILE: 0o100000,
    EntryKind.DIRECTORY: 0o040000,
    EntryKind.SYMLINK: 0o120000,
    EntryKind.CHAR: 0o020000,
    EntryKind.BLOCK_DEVICE: 0o060000,
    EntryKind.FIFO: 0o010000,
}

ReadTar = Callable[[int, int], bytes]  # (offset, length) -> those bytes of the tar


class LayerTooLarge(errors.Unsupported):
    """The layer does not fit what EROFS can address."""


@dataclass(slots=True)
class _Placed:
    """One inode and where its parts go. `body` follows the attributes in the inode; `blocks` are whole blocks."""

    node: Node
    nlink: int
    layout: int
    size_bytes: int
    union: int  # i_u: chunk format, or device number; the block address is filled in when blocks are placed
    xattrs: bytes = b""
    body: bytes = b""
    blocks: bytes = b""
    position: int = 0
    names: list[list[tuple[bytes, Node]]] | None = None  # of a directory: its entries, a list for each block


def encode(tree: LayerTree, *, tar_size_bytes: int, read_tar: ReadTar, uuid: bytes = bytes(16)) -> bytes:
    """The whole metadata image. `uuid` (16 bytes) lets two layers be told apart; give the start of the tar's digest."""
    device_blocks = -(-tar_size_bytes // BLOCK)
    if device_blocks >= MAX_DEVICE_BLOCKS:
        raise LayerTooLarge(
            f"a layer of {tar_size_bytes} bytes is too large for EROFS",
            why="its block addresses reach 2 TiB",
            remedy="use the overlay2 storage driver",
        )
    placed = _place_all(tree.root, erofs_chunks.Budget(), read_tar)
    inodes_end = _assign_positions(placed)
    image = bytearray(inodes_end + (-inodes_end % BLOCK))
    blocks = _write_inodes(image, placed)
    image += blocks
    root_nid = placed[id(tree.root)].position // _NID_SIZE
    _SUPERBLOCK.pack_into(
        image, SUPERBLOCK_OFFSET, MAGIC, 0, _COMPAT, BLOCK_BITS, 0, root_nid, len(placed), 0, 0,
        len(image) // BLOCK, 0, 0, uuid, bytes(16), _INCOMPAT, 0, 1, DEVICE_SLOT_OFFSET // 128, 0, 0, 0, 0, 0,
    )  # fmt: skip
    _DEVICE_SLOT.pack_into(image, DEVICE_SLOT_OFFSET, bytes(64), device_blocks, 0)
    return bytes(image)


def _place_all(root: Node, budget: erofs_chunks.Budget, read_tar: ReadTar) -> dict[int, _Placed]:
    """Every inode once, by the identity of its node, the root first."""
    placed: dict[int, _Placed] = {}
    parents: dict[int, Node] = {id(root): root}
    stack = [root]
    while stack:
        node = stack.pop()
        key = id(node)
        if key in placed:
            continue
        children = node.children
        if children is None:
            placed[key] = _place_leaf(node, budget, read_tar)
            continue
        placed[key] = _place_directory(node, parents[key])
        for child in children.values():
            if child.children is not None:
                parents[id(child)] = node
        stack += children.values()
    return placed


def _place_directory(node: Node, parent: Node) -> _Placed:
    assert node.children is not None
    entries = sorted([*node.children.items(), (b".", node), (b"..", parent)])
    names, size_bytes = erofs_parts.split_directory(entries)
    nlink = 2 + sum(child.children is not None for child in node.children.values())
    xattrs = erofs_parts.xattr_body(node.xattrs, opaque=node.opaque) if node.xattrs or node.opaque else b""
    inline = len(names) == 1 and _INODE_SIZE + len(xattrs) + size_bytes <= BLOCK
    body, blocks = (bytes(size_bytes), b"") if inline else (b"", bytes(len(names) * BLOCK))
    layout = _FLAT_INLINE if inline else _FLAT_PLAIN
    return _Placed(node, nlink, layout, size_bytes, 0, xattrs, body, blocks, 0, names)


def _place_leaf(node: Node, budget: erofs_chunks.Budget, read_tar: ReadTar) -> _Placed:
    xattrs = erofs_parts.xattr_body(node.xattrs) if node.xattrs else b""
    if node.kind is EntryKind.FILE:
        return _place_file(node, xattrs, budget, read_tar)
    if node.kind is EntryKind.SYMLINK:
        length = len(node.link)
        if _INODE_SIZE + len(xattrs) + length <= BLOCK:
            return _Placed(node, node.nlink, _FLAT_INLINE, length, 0, xattrs, node.link)
        blocks = node.link + bytes(-length % BLOCK)
        return _Placed(node, node.nlink, _FLAT_PLAIN, length, 0, xattrs, b"", blocks)
    major, minor = node.rdev
    device = (minor & 0xFF) | major << 8 | (minor & ~0xFF) << 12  # the kernel's new_encode_dev
    return _Placed(node, node.nlink, _FLAT_PLAIN, 0, device, xattrs)


def _place_file(node: Node, xattrs: bytes, budget: erofs_chunks.Budget, read_tar: ReadTar) -> _Placed:
    size = node.size_bytes
    if not size:
        return _Placed(node, node.nlink, _FLAT_PLAIN, 0, 0, xattrs)
    padding = bytes(-len(xattrs) % 8)  # chunk indexes are aligned to their own size
    if node.segments is None:
        # One chunk as large as the file: any power of two of blocks not smaller than it.
        chunk_bits = ((size - 1) >> BLOCK_BITS).bit_length()
        index = erofs_chunks.index(_TAR_DEVICE, node.data_offset >> BLOCK_BITS)
        return _Placed(node, node.nlink, _CHUNK_BASED, size, _CHUNK_INDEXES | chunk_bits, xattrs, padding + index)
    chunks = erofs_chunks.of_sparse(node, budget, read_tar)
    union = _CHUNK_INDEXES | chunks.chunk_bits
    body = padding + chunks.indexes
    return _Placed(node, node.nlink, _CHUNK_BASED, size, union, xattrs, body, chunks.copied)


def _assign_positions(placed: dict[int, _Placed]) -> int:
    """Give every inode its place; the first free byte. Inline content never crosses a block, as the kernel demands."""
    position = FIRST_INODE
    for item in placed.values():
        length = _INODE_SIZE + len(item.xattrs) + len(item.body)
        if item.layout == _FLAT_INLINE and position % BLOCK + length > BLOCK:
            position += -position % BLOCK
        item.position = position
        position += length + (-length % _NID_SIZE)
    return position


def _write_inodes(image: bytearray, placed: dict[int, _Placed]) -> bytearray:
    """Fill in the inodes; what goes into whole blocks behind them is returned."""
    blocks = bytearray()
    pack_into = _INODE.pack_into
    nids = {key: item.position // _NID_SIZE for key, item in placed.items()}
    first_block = len(image) // BLOCK
    for number, item in enumerate(placed.values(), 1):
        node = item.node
        body, union = item.body, item.union
        if item.names is not None:
            content = erofs_parts.directory_content(item.names, nids)
            body, item.blocks = (content, b"") if body else (b"", content)
        if item.blocks:
            address = first_block + len(blocks) // BLOCK
            if item.layout == _CHUNK_BASED:
                body = erofs_chunks.relocate(body, len(item.xattrs), address)
            else:
                union = address
            blocks += item.blocks
            blocks += bytes(-len(blocks) % BLOCK)
        seconds, nanoseconds = divmod(node.mtime_ns, 1_000_000_000)
        position = item.position
        xattrs = item.xattrs
        count = (len(xattrs) - 12) // 4 + 1 if xattrs else 0
        pack_into(
            image, position, item.layout, count, _FORMATS[node.kind] | node.mode, 0, item.size_bytes, union, number,
            node.uid, node.gid, seconds, nanoseconds, item.nlink,
        )  # fmt: skip
        if xattrs or body:
            start = position + _INODE_SIZE
            image[start : start + len(xattrs) + len(body)] = xattrs + body
    return blocks
