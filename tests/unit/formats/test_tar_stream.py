"""A tar that arrives piece by piece says what the whole one says."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator

import pytest

from sampan.formats import tar, tar_stream, tar_write
from sampan.formats.tar import EntryKind, InvalidTar, TarEntry


def archive() -> bytes:
    packed = bytearray()
    for entry, content in (
        (TarEntry(b"dir", EntryKind.DIRECTORY), b""),
        (TarEntry(b"dir/small"), b"hello"),
        (TarEntry(b"d" * 300 + b"/caf\xe9"), b"x" * 2000),
        (TarEntry(b"link", EntryKind.SYMLINK, link=b"l" * 200), b""),
        (TarEntry(b"whole"), b"y" * 1024),
        (TarEntry(b"empty"), b""),
    ):
        packed += tar_write.entry_header(entry._replace(size_bytes=len(content)))
        packed += tar_write.padded(content)
    return bytes(packed)


def cut(content: bytes, size: int) -> Iterator[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


@pytest.mark.parametrize("size", [1, 7, 511, 512, 1000, 1 << 20])
def test_pieces_of_any_size_give_the_same_entries_and_contents(size: int) -> None:
    whole = archive() + tar_write.END
    expected = [(entry, whole[entry.data_offset :][: entry.size_bytes]) for entry in tar.scan(whole)]
    assert [(entry, b"".join(parts)) for entry, parts in tar_stream.members(cut(whole, size))] == expected


@pytest.mark.parametrize("end", [b"", bytes(512), tar_write.END, bytes(10240), tar_write.END + b"anything"])
def test_every_way_to_end_is_an_end(end: bytes) -> None:
    assert [entry.path for entry, _ in tar_stream.members(cut(archive() + end, 700))][-1] == b"empty"


def test_contents_may_be_left_unread() -> None:
    assert len(list(tar_stream.members(cut(archive() + tar_write.END, 100)))) == 6


def test_nothing_is_an_archive_of_nothing() -> None:
    assert list(tar_stream.members([])) == []
    assert list(tar_stream.members([tar_write.END])) == []


@pytest.mark.parametrize("length", [100, 700, 1026, 3000, 5000])
@pytest.mark.parametrize("read", [True, False])
def test_a_truncated_archive_is_refused(length: int, *, read: bool) -> None:
    with pytest.raises(InvalidTar):
        for _, parts in tar_stream.members(cut(archive()[:length], 64)):
            if read:
                b"".join(parts)


@pytest.mark.parametrize("filler_bytes", [0, 1, 400, 507])
@pytest.mark.parametrize("piece_bytes", [64, 512, 1 << 20])
@pytest.mark.parametrize("read", [True, False])
def test_the_last_block_may_be_cut_behind_its_content(filler_bytes: int, piece_bytes: int, *, read: bool) -> None:
    """What `docker build -f -` sends."""
    whole = tar_write.entry_header(TarEntry(b"file", size_bytes=4)) + b"said" + bytes(filler_bytes)
    for entry, parts in tar_stream.members(cut(whole, piece_bytes)):
        assert (entry.path, b"".join(parts) if read else b"said") == (b"file", b"said")


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_other_writers_are_read(form: int) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=form) as writing:
        info = tarfile.TarInfo("n" * 200)
        info.size = 3
        writing.addfile(info, io.BytesIO(b"abc"))
    ((entry, parts),) = [(entry, b"".join(parts)) for entry, parts in tar_stream.members(cut(packed.getvalue(), 99))]
    assert (entry.path, parts) == (b"n" * 200, b"abc")


def test_a_size_beyond_the_stream_costs_nothing() -> None:
    lying = tar_write.entry_header(TarEntry(b"x", size_bytes=8 << 30)) + b"x"
    with pytest.raises(InvalidTar):
        for _, parts in tar_stream.members([lying]):
            for _ in parts:
                pass
