"""The two variable parts of an EROFS inode: directory entries and extended attributes. Pure.

Source: Linux, fs/erofs/erofs_fs.h (`erofs_dirent`, `erofs_xattr_ibody_header`, `erofs_xattr_entry`) and fs/erofs/dir.c.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from sampan.formats.layer import Node
from sampan.formats.tar import EntryKind

BLOCK_BITS: Final = 9
BLOCK: Final = 1 << BLOCK_BITS

_DIRENT: Final = struct.Struct("<QHBx")
_XATTR_ENTRY: Final = struct.Struct("<BBH")
_XATTR_HEADER: Final = bytes(12)  # no name filter, no shared attributes
_OPAQUE: Final = (b"trusted.overlay.opaque", b"y")
_PREFIXES: Final = (
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
)
_FILE_TYPES: Final = {  # as FT_* in include/linux/fs_types.h
    EntryKind.FILE: 1,
    EntryKind.DIRECTORY: 2,
    EntryKind.CHAR: 3,
    EntryKind.BLOCK_DEVICE: 4,
    EntryKind.FIFO: 5,
    EntryKind.SYMLINK: 7,
}

Block = list[tuple[bytes, Node]]


def split_directory(entries: list[tuple[bytes, Node]]) -> tuple[list[Block], int]:
    """Sorted entries cut into what fits a block each, and the directory's size: the last block counts as used."""
    blocks: list[Block] = []
    block: Block = []
    used = 0
    for entry in entries:
        length = _DIRENT.size + len(entry[0])
        if used + length > BLOCK:
            blocks.append(block)
            block, used = [], 0
        block.append(entry)
        used += length
    blocks.append(block)
    return blocks, (len(blocks) - 1) * BLOCK + used


def directory_content(blocks: list[Block], nids: Mapping[int, int]) -> bytes:
    """The bytes of a directory: in each block the entries, then their names. All blocks but the last are filled up."""
    content: list[bytes] = []
    for index, block in enumerate(blocks):
        name_offset = _DIRENT.size * len(block)
        for name, node in block:
            content.append(_DIRENT.pack(nids[id(node)], name_offset, _FILE_TYPES[node.kind]))
            name_offset += len(name)
        content += [name for name, _ in block]
        if index < len(blocks) - 1:
            content.append(bytes(BLOCK - name_offset))
    return b"".join(content)


def xattr_body(xattrs: Mapping[bytes, bytes], *, opaque: bool = False) -> bytes:
    """The inline attributes of an inode, header and all. Names must have one of the prefixes EROFS has a number for."""
    items = sorted(xattrs.items())
    if opaque:
        items.append(_OPAQUE)
    parts = [_XATTR_HEADER]
    for name, value in items:
        prefix, number = next(pair for pair in _PREFIXES if name.startswith(pair[0]))
        suffix = name[len(prefix) :]
        parts += [_XATTR_ENTRY.pack(len(suffix), number, len(value)), suffix, value, bytes(-len(suffix + value) % 4)]
    return b"".join(parts)
