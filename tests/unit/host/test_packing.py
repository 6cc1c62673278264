"""Directory trees become archives: exact, in one order, whatever happens to the tree meanwhile."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import tarfile
from pathlib import Path

import pytest

from sampan.formats import tar
from sampan.formats.tar import EntryKind, TarEntry
from sampan.host import packing


def packed(folder: Path, **options: object) -> bytes:
    pieces: list[bytes] = []
    packer = packing.Packer(pieces.append, **options)  # type: ignore[arg-type]
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        packer.add_children(descriptor)
    finally:
        os.close(descriptor)
    packer.finish()
    return b"".join(pieces)


def entries(archive: bytes) -> dict[bytes, TarEntry]:
    return {entry.path.rstrip(b"/"): entry for entry in tar.scan(archive)}


def content(archive: bytes, entry: TarEntry) -> bytes:
    return archive[entry.data_offset : entry.data_offset + entry.size_bytes]


def test_every_kind_of_file_comes_out_as_it_went_in(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir(mode=0o751)
    (tmp_path / "dir/file").write_bytes(b"hello")
    (tmp_path / "dir/file").chmod(0o640)
    os.utime(tmp_path / "dir/file", ns=(1, 1_234_567_890_123_456_789))
    os.link(tmp_path / "dir/file", tmp_path / "dir/same")
    (tmp_path / "link").symlink_to("dir/file")
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "empty").touch()
    archive = packed(tmp_path)
    found = entries(archive)
    assert list(found) == [b"dir", b"dir/file", b"dir/same", b"empty", b"link", b"pipe"]
    assert (found[b"dir"].kind, found[b"dir"].mode) == (EntryKind.DIRECTORY, 0o751)
    assert (found[b"dir/file"].mode, found[b"dir/file"].mtime_ns) == (0o640, 1_234_567_890_123_456_789)
    assert content(archive, found[b"dir/file"]) == b"hello"
    assert (found[b"dir/same"].kind, found[b"dir/same"].link) == (EntryKind.HARD_LINK, b"dir/file")
    assert (found[b"link"].kind, found[b"link"].link) == (EntryKind.SYMLINK, b"dir/file")
    assert found[b"pipe"].kind is EntryKind.FIFO
    assert found[b"empty"].uid == os.getuid()


def test_equal_trees_give_equal_bytes_and_a_socket_has_no_place(tmp_path: Path) -> None:
    for name, order in (("one", ("b", "a", "c")), ("two", ("c", "b", "a"))):
        folder = tmp_path / name
        folder.mkdir()
        for child in order:
            (folder / child).write_text(child)
            os.utime(folder / child, ns=(0, 5_000_000_001))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "two/socket"))
        assert packed(tmp_path / "one") == packed(tmp_path / "two")


def test_names_are_bytes_and_long_ones_are_kept(tmp_path: Path) -> None:
    odd = b"caf\xe9\n"
    (tmp_path / os.fsdecode(odd)).write_text("x")
    deep = tmp_path.joinpath(*["d" * 200] * 3)
    deep.mkdir(parents=True)
    found = entries(packed(tmp_path))
    assert odd in found
    assert b"/".join([b"d" * 200] * 3) in found


def test_gnu_tar_and_python_read_the_archive(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "a/b").mkdir(parents=True)
    (source / "a/b/big").write_bytes(os.urandom(3 << 20))
    (source / "a/ü").write_text("x")
    archive = packed(source)
    with tarfile.open(fileobj=io.BytesIO(archive)) as reading:
        assert reading.getnames() == ["a", "a/b", "a/b/big", "a/ü"]
    target = tmp_path / "target"
    target.mkdir()
    subprocess.run(["tar", "-x", "-C", target], input=archive, check=True)
    subprocess.run(["diff", "-r", source, target], check=True)


def test_a_sparse_file_is_written_whole_and_its_holes_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.seek(3 << 20)
        file.write(b"middle")
        file.truncate((5 << 20) + 3)
    archive = packed(tmp_path)
    entry = entries(archive)[b"sparse"]
    expected = bytes(3 << 20) + b"middle" + bytes((2 << 20) + 3 - 6)
    assert content(archive, entry) == expected


def test_a_file_that_shrinks_is_filled_and_one_that_grows_is_cut(tmp_path: Path) -> None:
    shrinking, growing = tmp_path / "a", tmp_path / "b"
    shrinking.write_bytes(b"s" * (4 << 20))
    growing.write_bytes(b"g" * (2 << 20))
    pieces: list[bytes] = []

    def write(piece: bytes) -> None:
        if not pieces:
            os.truncate(shrinking, 1 << 20)
        if sum(map(len, pieces)) > 5 << 20:
            os.truncate(growing, 9 << 20)
        pieces.append(piece)

    packer = packing.Packer(write)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    packer.add_children(descriptor)
    os.close(descriptor)
    packer.finish()
    archive = b"".join(pieces)
    found = entries(archive)
    assert content(archive, found[b"a"]).rstrip(b"\0").strip(b"s") == b""
    assert content(archive, found[b"b"]) == b"g" * (2 << 20)


def test_a_name_that_is_gone_when_it_is_reached_is_passed_over(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(bytes(2 << 20))
    pieces: list[bytes] = []

    def write(piece: bytes) -> None:
        (tmp_path / "b").unlink(missing_ok=True)
        pieces.append(piece)

    packer = packing.Packer(write)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    packer.add_children(descriptor)
    os.close(descriptor)
    packer.finish()
    assert list(entries(b"".join(pieces))) == [b"a", b"c"]


def test_one_thing_is_packed_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hosts").write_text("x")
    pieces: list[bytes] = []
    packer = packing.Packer(pieces.append)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    packer.add(descriptor, b"etc", b"other")
    os.close(descriptor)
    packer.finish()
    assert list(entries(b"".join(pieces))) == [b"other", b"other/hosts"]


def test_an_entry_may_be_left_out_or_followed_by_more(tmp_path: Path) -> None:
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep/inside").write_text("x")
    (tmp_path / "drop").mkdir()
    (tmp_path / "drop/inside").write_text("x")

    def adapt(entry: TarEntry) -> list[TarEntry]:
        return [] if entry.path == b"drop" else [entry, TarEntry(entry.path + b".more")]

    assert list(entries(packed(tmp_path, adapt=adapt))) == [b"keep", b"keep.more", b"keep/inside", b"keep/inside.more"]


def test_what_lies_on_a_skipped_file_system_is_an_empty_directory(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/inside").touch()
    assert list(entries(packed(tmp_path, skip_devices=[tmp_path.stat().st_dev]))) == [b"dir"]


def test_directories_that_lie_too_deep_are_refused_and_nothing_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "DEEPEST", 20)
    opened = len(os.listdir("/proc/self/fd"))
    tmp_path.joinpath(*"d" * 21).mkdir(parents=True)
    with pytest.raises(packing.TooDeep):
        packed(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == opened


def test_attributes_of_the_host_are_left_out() -> None:
    attributes = {b"user.a": b"1", b"trusted.overlay.opaque": b"y", b"user.overlay.x": b"", b"security.selinux": b"t"}
    (entry,) = packing.portable(TarEntry(b"x", xattrs=attributes))
    assert entry.xattrs == {b"user.a": b"1"}
