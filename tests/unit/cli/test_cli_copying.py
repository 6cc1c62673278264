"""Where `cp` lands, and what it refuses to write on this side."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from sampan.cli import archiving, copyrules, failures, unpacking
from sampan.cli.copyrules import Place
from sampan.formats import tar_write
from sampan.formats.tar import EntryKind, TarEntry


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("box:/etc", ("box", "/etc")),
        ("box:", ("box", "")),
        ("./a:b", ("", "./a:b")),
        ("/a:b", ("", "/a:b")),
        ("-", ("", "-")),
        ("file", ("", "file")),
    ],
)
def test_a_colon_parts_container_and_path_unless_the_path_is_plainly_local(
    text: str, expected: tuple[str, str]
) -> None:
    assert copyrules.parse(text) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/a/b", (b"/a", b"b")),
        (b"/a/b/", (b"/a", b"b")),
        (b"/a/b/.", (b"/a/b", b".")),
        (b"/", (b"/", b"/")),
        (b"a", (b".", b"a")),
    ],
)
def test_a_path_is_split_by_what_its_end_means(path: bytes, expected: tuple[bytes, bytes]) -> None:
    assert copyrules.split(path) == expected


FILE, FOLDER = Place(b"/src/f", exists=True), Place(b"/src/d", exists=True, is_directory=True)
ROOT = Place(b"/", exists=True, is_directory=True)
CONTENT = Place(b"/src/d/.", exists=True, is_directory=True)


@pytest.mark.parametrize(
    ("source", "target", "directory", "name", "becomes"),
    [
        (FILE, Place(b"/dst", exists=True, is_directory=True), b"/dst", b"f", b"f"),
        (FILE, Place(b"/dst/g", exists=True), b"/dst", b"f", b"g"),
        (FILE, Place(b"/dst/new", exists=False), b"/dst", b"f", b"new"),
        (FOLDER, Place(b"/dst", exists=True, is_directory=True), b"/dst", b"d/x", b"d/x"),
        (FOLDER, Place(b"/dst/new", exists=False), b"/dst", b"d/x", b"new/x"),
        (FOLDER, Place(b"/dst/new/", exists=False), b"/dst", b"d/x", b"new/x"),
        (CONTENT, Place(b"/dst", exists=True, is_directory=True), b"/dst", b"./x", b"./x"),
        (CONTENT, Place(b"/dst/new", exists=False), b"/dst", b"./x", b"new/x"),
        (ROOT, Place(b"/dst/new", exists=False), b"/dst", b"/bin/x", b"new/bin/x"),
        (
            Place(b"/real/t", exists=True, rebase=b"link"),
            Place(b"/dst", exists=True, is_directory=True),
            b"/dst", b"t", b"link",
        ),
    ],
)  # fmt: skip
def test_a_copy_lands(source: Place, target: Place, directory: bytes, name: bytes, becomes: bytes) -> None:
    landing = copyrules.landing(source, target)
    assert (landing.directory, landing.renamed(name)) == (directory, becomes)


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(failures.CliError, match="cannot copy directory"):
        copyrules.landing(FOLDER, Place(b"/dst/f", exists=True))
    with pytest.raises(failures.CliError, match="no such directory"):
        copyrules.landing(FILE, Place(b"/dst/new/", exists=False))


def test_a_followed_link_keeps_the_name_it_was_asked_by() -> None:
    assert copyrules.followed(b"/a/link", b"/b/real") == (b"/b/real", b"link")
    assert copyrules.followed(b"/a/same/.", b"/b/same") == (b"/b/same/.", b"")


@pytest.mark.parametrize(
    ("reference", "expected"),
    [("", ("", "")), ("app", ("app", "")), ("app:1", ("app", "1")), ("host:5000/app", ("host:5000/app", ""))],
)
def test_a_reference_is_split_at_its_tag(reference: str, expected: tuple[str, str]) -> None:
    assert archiving._split(reference) == expected


def archive(entries: Sequence[tuple[TarEntry, bytes]]) -> list[bytes]:
    packed = b""
    for entry, content in entries:
        packed += tar_write.entry_header(entry._replace(size_bytes=len(content))) + tar_write.padded(content)
    return [packed + tar_write.END]


def same(name: bytes) -> bytes:
    return name


def test_what_comes_out_is_written_as_it_was(tmp_path: Path) -> None:
    when = 1_500_000_000_000_000_000
    members = [
        (TarEntry(b"d", EntryKind.DIRECTORY, 0o750, mtime_ns=when), b""),
        (TarEntry(b"d/f", mode=0o640, mtime_ns=when), b"content"),
        (TarEntry(b"d/same", EntryKind.HARD_LINK, link=b"d/f"), b""),
        (TarEntry(b"d/link", EntryKind.SYMLINK, link=b"/nowhere"), b""),
        (TarEntry(b"d/pipe", EntryKind.FIFO, 0o600), b""),
    ]
    unpacking.unpack(archive(members), os.fsencode(tmp_path), same)
    made = tmp_path / "d"
    assert (stat.S_IMODE(made.stat().st_mode), made.stat().st_mtime_ns) == (0o750, when)
    assert ((made / "f").read_bytes(), (made / "f").stat().st_mtime_ns) == (b"content", when)
    assert (made / "same").stat().st_ino == (made / "f").stat().st_ino
    assert (made / "link").is_symlink()
    unpacking.unpack(archive(members), os.fsencode(tmp_path), same)  # again, over itself


@pytest.mark.parametrize(
    "members",
    [
        [(TarEntry(b"../x"), b"x")],
        [(TarEntry(b"way", EntryKind.SYMLINK, link=b".."), b""), (TarEntry(b"way/x"), b"x")],
        [(TarEntry(b"x/y"), b"x"), (TarEntry(b"x"), b"x")],
    ],
)
def test_a_hostile_archive_writes_nothing_outside(tmp_path: Path, members: list[tuple[TarEntry, bytes]]) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(failures.CliError):
        unpacking.unpack(archive(members), os.fsencode(inside), same)
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]
