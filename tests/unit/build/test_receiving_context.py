"""A context that arrives in pieces becomes a folder, with the digests of its files, and nothing outside of it."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import os
import shutil
import tarfile
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sampan.build import copying, receiving
from sampan.build.copying import Copies
from sampan.build.model import BuildFailed, Folders
from sampan.build.placing import Owner
from sampan.formats import tar_write
from sampan.formats.layer_rules import InvalidLayer
from sampan.formats.tar import EntryKind, InvalidTar, TarEntry

BIG = os.urandom(3 << 20)


def packed(*members: tuple[TarEntry, bytes]) -> bytes:
    made = bytearray()
    for entry, content in members:
        made += tar_write.entry_header(entry._replace(size_bytes=len(content)))
        made += tar_write.padded(content)
    return bytes(made) + tar_write.END


async def cut(content: bytes, size: int, taken: list[int] | None = None) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        if taken is not None:
            taken.append(start)
        yield content[start : start + size]


def contents_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def received(at: Path, archive: bytes, size: int = 100_000, taken: list[int] | None = None) -> dict[str, bytes]:
    async def receive() -> dict[str, bytes]:
        async with receiving.folder(at, cut(archive, size, taken), forget=forgotten.append) as (root, folders):
            check_digests(root, folders)
            return contents_of(root)

    at.mkdir()
    forgotten: list[Path] = []
    try:
        return asyncio.run(receive())
    finally:
        assert forgotten == [at]


def check_digests(root: Path, folders: Folders) -> None:
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            known = folders.content_digest(path.stat())
            assert known in (None, hashlib.sha256(path.read_bytes()).digest())


TREE = (
    (TarEntry(b"folder", EntryKind.DIRECTORY, mode=0o750), b""),
    (TarEntry(b"folder/big", mode=0o600, mtime_ns=5 * 10**9), BIG),
    (TarEntry(b"folder/empty"), b""),
    (TarEntry(b"twice"), b"first"),
    (TarEntry(b"name", EntryKind.HARD_LINK, link=b"folder/big"), b""),
    (TarEntry(b"twice"), b"second"),
    (TarEntry(b"link", EntryKind.SYMLINK, link=b"twice"), b""),
)
EXPECTED = {"folder/big": BIG, "folder/empty": b"", "twice": b"second", "name": BIG, "link": b"second"}


@pytest.mark.parametrize("size", [511, 40_000, 10 << 20])
def test_pieces_of_any_size_make_the_same_folder(tmp_path: Path, size: int) -> None:
    assert received(tmp_path / "at", packed(*TREE), size) == EXPECTED
    status = (tmp_path / "at/context/folder/big").stat()
    assert (status.st_mode & 0o7777, status.st_mtime_ns, status.st_nlink) == (0o600, 5 * 10**9, 2)


def test_a_compressed_archive_makes_the_same_folder(tmp_path: Path) -> None:
    assert received(tmp_path / "at", gzip.compress(packed(*TREE), 1)) == EXPECTED


def test_a_sparse_file_keeps_its_holes(tmp_path: Path) -> None:
    plain = tmp_path / "sparse"
    with plain.open("wb") as file:
        for place in (1 << 20, 5 << 20):
            file.seek(place)
            file.write(b"data" * 1024)
        file.truncate(8 << 20)
    archive = tmp_path / "sparse.tar"
    assert os.spawnlp(os.P_WAIT, "tar", "tar", "-S", "-C", str(tmp_path), "-cf", str(archive), "sparse") == 0
    assert received(tmp_path / "at", archive.read_bytes()) == {"sparse": plain.read_bytes()}
    assert (tmp_path / "at/context/sparse").stat().st_blocks * 512 < 1 << 20


def test_a_content_known_beforehand_makes_the_same_key_as_one_that_is_read(tmp_path: Path) -> None:
    async def digests() -> tuple[str, str, int]:
        chunks = cut(packed(*TREE), 100_000)
        async with receiving.folder(tmp_path / "at", chunks, forget=lambda _: None) as (root, folders):
            opened = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
            copies = Copies("COPY", copying.find(opened, ["folder", "twice"], "COPY"), (), "/to/", "/", Owner(0, 0))
            try:
                told = [folders.content_digest(path.stat()) for path in (root / "folder/empty", root / "twice")]
                known = copying.digest(copies, folders.content_digest)
                return known, copying.digest(copies), sum(each is not None for each in told)
            finally:
                copies.close()
                os.close(opened)

    (tmp_path / "at").mkdir()
    known, read, told = asyncio.run(digests())
    assert known == read
    assert told == 2


def test_a_digest_is_not_believed_once_the_file_was_written_to(tmp_path: Path) -> None:
    async def told() -> bytes | None:
        chunks = cut(packed((TarEntry(b"file"), b"old!")), 100)
        async with receiving.folder(tmp_path / "at", chunks, forget=lambda _: None) as (root, folders):
            assert folders.content_digest((root / "file").stat()) is not None
            (root / "file").write_bytes(b"longer")
            return folders.content_digest((root / "file").stat())

    (tmp_path / "at").mkdir()
    assert asyncio.run(told()) is None


@pytest.mark.parametrize("link", [b"/", b"../outside", b"../../outside"])
def test_nothing_is_written_through_a_link(tmp_path: Path, link: bytes) -> None:
    (tmp_path / "outside").mkdir()
    archive = packed((TarEntry(b"way", EntryKind.SYMLINK, link=link), b""), (TarEntry(b"way/file"), b"caught"))
    try:
        received(tmp_path / "at", archive)
    except InvalidLayer:
        pass
    assert list((tmp_path / "outside").iterdir()) == []
    assert not Path("/file").exists()


def test_a_refused_archive_is_taken_to_its_end_first(tmp_path: Path) -> None:
    archive = packed((TarEntry(b".wh.gone"), b""), (TarEntry(b"file"), BIG * 4))
    taken: list[int] = []
    with pytest.raises(BuildFailed, match="gone"):
        received(tmp_path / "at", archive, taken=taken)
    assert taken[-1] + 100_000 >= len(archive)


def test_an_archive_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidTar):
        received(tmp_path / "at", packed(*TREE)[: 2 << 20])


def test_nothing_sent_is_an_empty_folder(tmp_path: Path) -> None:
    assert received(tmp_path / "at", b"") == {}


def test_when_the_client_goes_the_thread_is_done_before_the_folder_goes(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield packed(*TREE)[: 2 << 20]
        raise ConnectionResetError

    def forget(place: Path) -> None:
        assert not [each.name for each in threading.enumerate() if each.name.startswith("context") and busy(place)]
        shutil.rmtree(place)

    def busy(place: Path) -> bool:
        return any(os.path.realpath(f"/proc/self/fd/{fd}").startswith(str(place)) for fd in os.listdir("/proc/self/fd"))

    async def receive() -> None:
        async with receiving.folder(tmp_path / "at", broken(), forget=forget):
            raise AssertionError("it is not complete")

    (tmp_path / "at").mkdir()
    with pytest.raises(ConnectionResetError):
        asyncio.run(receive())
    assert not (tmp_path / "at").exists()


def test_a_file_on_disk_is_unpacked_alike(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("inside/file")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"hello"))
    (tmp_path / "fetched").write_bytes(buffer.getvalue())
    receiving.unpacked(tmp_path / "fetched", tmp_path / "context")
    assert contents_of(tmp_path / "context") == {"inside/file": b"hello"}
