"""The EROFS encoder, read back by a reader written from the kernel's structures. Real mounts are in tests/kernel."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.formats import erofs, layer
from sampan.formats.tar import EntryKind, TarEntry
from sampan.formats.tar_fields import InvalidTar

BLOCK = 512
HOLE = 0xFFFF_FFFF


@dataclass
class Inode:
    nid: int
    layout: int
    mode: int
    size: int
    union: int
    ino: int
    uid: int
    gid: int
    mtime: tuple[int, int]
    nlink: int
    after: int  # where the attributes end


class Reader:
    """Enough of fs/erofs to walk an image; every bound the kernel checks is an assertion."""

    def __init__(self, image: bytes, tar: bytes) -> None:
        self.image, self.tar = image, tar
        magic, _, compat, bits, _, root, inos = struct.unpack_from("<IIIBBHQ", image, 1024)
        blocks, meta, _ = struct.unpack_from("<III", image, 1024 + 36)
        incompat, _, devices, slot = struct.unpack_from("<IHHH", image, 1024 + 80)
        assert (magic, compat, bits, meta, incompat, devices) == (0xE0F5E1E2, 2, 9, 0, 12, 1)
        assert len(image) == blocks * BLOCK
        (self.device_blocks,) = struct.unpack_from("<I", image, slot * 128 + 64)
        self.root, self.inos = root, inos

    def inode(self, nid: int) -> Inode:
        at = nid * 32
        fields = struct.unpack_from("<HHHHQIIIIqII", self.image, at)
        layout, count, mode, zero, size, union, ino, uid, gid, seconds, nanoseconds, nlink = fields
        assert layout & 1 and not zero
        xattrs = 12 + 4 * (count - 1) if count else 0
        return Inode(
            nid, layout >> 1, mode, size, union, ino, uid, gid, (seconds, nanoseconds), nlink, at + 64 + xattrs
        )

    def content(self, inode: Inode) -> bytes:
        if inode.layout == 0:
            return self.image[inode.union * BLOCK : inode.union * BLOCK + inode.size] if inode.size else b""
        if inode.layout == 2:
            assert inode.size <= BLOCK
            assert inode.nid * 32 // BLOCK == (inode.after + inode.size - 1) // BLOCK or not inode.size
            return self.image[inode.after : inode.after + inode.size]
        assert inode.layout == 4 and inode.union & 0x20
        chunk = BLOCK << (inode.union & 0x1F)
        at = inode.after + (-inode.after % 8)
        parts = []
        for start in range(0, inode.size, chunk):
            length = min(chunk, inode.size - start)
            _, device, address = struct.unpack_from("<HHI", self.image, at + start // chunk * 8)
            source = self.tar if device else self.image
            assert address == HOLE or address * BLOCK + length <= len(source)
            parts.append(bytes(length) if address == HOLE else source[address * BLOCK : address * BLOCK + length])
        return b"".join(parts)

    def directory(self, inode: Inode) -> dict[bytes, int]:
        content, entries = self.content(inode), {}
        order: list[bytes] = []
        for start in range(0, inode.size, BLOCK):
            block = content[start : start + BLOCK]
            count = struct.unpack_from("<QH", block)[1] // 12
            offsets = [struct.unpack_from("<QHB", block, 12 * n) for n in range(count)]
            ends = [offset[1] for offset in offsets[1:]] + [len(block)]
            for (nid, offset, _), end in zip(offsets, ends, strict=True):
                name = block[offset:end].rstrip(b"\0")
                assert 0 < len(name) <= 255
                order.append(name)
                entries[name] = nid
        assert order == sorted(order)
        return entries

    def xattrs(self, inode: Inode) -> dict[tuple[int, bytes], bytes]:
        at, found = inode.nid * 32 + 64 + 12, {}
        while at < inode.after:
            name_length, index, size = struct.unpack_from("<BBH", self.image, at)
            name = self.image[at + 4 : at + 4 + name_length]
            found[index, name] = self.image[at + 4 + name_length : at + 4 + name_length + size]
            at += 4 + name_length + size + (-(name_length + size) % 4)
        return found


def encoded(*entries: TarEntry, tar: bytes = b"") -> Reader:
    tree = layer.build(entries)
    image = erofs.encode(tree, tar_size_bytes=len(tar), read_tar=lambda offset, length: tar[offset : offset + length])
    return Reader(image, tar)


def lookup(reader: Reader, path: bytes) -> Inode:
    inode = reader.inode(reader.root)
    for part in path.split(b"/"):
        inode = reader.inode(reader.directory(inode)[part])
    return inode


def test_a_file_is_one_chunk_of_the_tar() -> None:
    tar = bytes(512) + b"first".ljust(512, b"\0") + bytes(512) + b"s" * 5000 + bytes(120)
    reader = encoded(
        TarEntry(b"a", size_bytes=5, data_offset=512, mode=0o4755, uid=70_000, gid=2**32 - 2, mtime_ns=-1),
        TarEntry(b"b", size_bytes=5000, data_offset=1536, xattrs={b"user.odd": b"12345"}),
        TarEntry(b"empty"),
        tar=tar,
    )
    first = lookup(reader, b"a")
    assert reader.content(first) == b"first"
    assert reader.content(lookup(reader, b"b")) == b"s" * 5000
    assert reader.content(lookup(reader, b"empty")) == b""
    assert (first.mode, first.uid, first.gid, first.mtime) == (0o104755, 70_000, 2**32 - 2, (-1, 999_999_999))
    assert reader.device_blocks == len(tar) // 512


@pytest.mark.parametrize("count", [0, 1, 12, 13, 14, 40, 2000])
def test_a_root_of_any_size_is_found(count: int) -> None:
    names = {b"name-%04d" % number for number in range(count)}
    reader = encoded(*(TarEntry(name) for name in sorted(names, reverse=True)))
    assert set(reader.directory(reader.inode(reader.root))) == names | {b".", b".."}
    assert reader.inos == count + 1


@pytest.mark.parametrize("length", [1, 383, 384, 385, 447, 448, 449, 512, 4095])
def test_a_link_target_of_any_length_is_kept(length: int) -> None:
    target = b"t" * length
    for xattrs in ({}, {b"trusted.x": b"y" * 50}):
        reader = encoded(TarEntry(b"pad"), TarEntry(b"l", EntryKind.SYMLINK, link=target, xattrs=xattrs))
        assert reader.content(lookup(reader, b"l")) == target


def test_hard_links_devices_and_whiteouts_are_what_the_kernel_expects() -> None:
    reader = encoded(
        TarEntry(b"d/a"),
        TarEntry(b"b", EntryKind.HARD_LINK, link=b"d/a"),
        TarEntry(b"dev", EntryKind.BLOCK_DEVICE, dev_major=259, dev_minor=70_000),
        TarEntry(b".wh.gone"),
        TarEntry(b"d/.wh..wh..opq"),
    )
    assert lookup(reader, b"d/a") == lookup(reader, b"b")
    assert lookup(reader, b"b").nlink == 2
    device = lookup(reader, b"dev").union
    assert ((device & 0xFFF00) >> 8, device & 0xFF | (device >> 12) & 0xFFF00) == (259, 70_000)
    assert (lookup(reader, b"gone").mode, lookup(reader, b"gone").union) == (0o020000, 0)
    assert reader.xattrs(lookup(reader, b"d")) == {(4, b"overlay.opaque"): b"y"}
    assert lookup(reader, b"d").nlink == 2
    assert reader.inode(reader.root).nlink == 3


def test_every_attribute_prefix_has_its_number() -> None:
    acl = b"\2\0\0\0" + bytes(8)
    reader = encoded(
        TarEntry(
            b"x", xattrs={b"user.a": b"1", b"trusted.b": b"", b"security.c": b"333", b"system.posix_acl_access": acl}
        )
    )
    found = reader.xattrs(lookup(reader, b"x"))
    assert found == {(1, b"a"): b"1", (2, b""): acl, (4, b"b"): b"", (6, b"c"): b"333"}


pieces = st.lists(st.tuples(st.integers(0, 9000), st.integers(1, 9000)), max_size=8)


@settings(max_examples=150, deadline=None)
@given(gaps=pieces, lead=st.integers(1, 3), tail=st.integers(0, 20_000), align=st.booleans())
def test_a_sparse_file_reads_as_its_pieces_between_zeros(
    gaps: list[tuple[int, int]], lead: int, tail: int, align: bool
) -> None:
    content, stored, segments = bytearray(), bytearray(), []
    for number, (gap, length) in enumerate(gaps, 1):
        gap, length = (gap // 4096 * 4096, length // 512 * 512 or 512) if align else (gap, length)
        segments.append((len(content) + gap, length))
        content += bytes(gap) + bytes([number]) * length
        stored += bytes([number]) * length
    content += bytes(tail)
    tar = bytes(512 * lead) + bytes(stored) + bytes(-len(stored) % 512)
    entry = TarEntry(b"s", size_bytes=len(content), data_offset=512 * lead, segments=tuple(segments))
    reader = encoded(entry, TarEntry(b"after", EntryKind.SYMLINK, link=b"x" * 2000), tar=tar)
    assert reader.content(lookup(reader, b"s")) == bytes(content)
    assert reader.content(lookup(reader, b"after")) == b"x" * 2000


def test_sparse_files_cannot_ask_for_endless_metadata() -> None:
    huge = [TarEntry(b"%d" % n, size_bytes=64 << 30, segments=((0, 0),)) for n in range(20)]
    with pytest.raises(InvalidTar, match="too large"):
        encoded(*huge)
    fragmented = TarEntry(b"s", size_bytes=64 << 30, segments=tuple((n << 20, 1) for n in range(60_000)))
    with pytest.raises(InvalidTar, match="too fragmented"):
        encoded(fragmented, tar=bytes(60_000))


def test_a_tar_beyond_two_tebibytes_is_refused_with_the_remedy() -> None:
    tree = layer.build([])
    with pytest.raises(erofs.LayerTooLarge, match="overlay2"):
        erofs.encode(tree, tar_size_bytes=2 << 40, read_tar=lambda _offset, _length: b"")


def test_equal_layers_give_equal_images() -> None:
    entries = [TarEntry(b"b/%d" % number, xattrs={b"user.x": b"y"}) for number in range(30)]
    assert encoded(*entries).image == encoded(*entries).image
