"""COPY and ADD as tars: what is found, where it goes, and what decides its digest. Without any image below."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from sampan import errors
from sampan.build import copying
from sampan.build.copying import Copies, File
from sampan.build.model import BuildFailed
from sampan.build.placing import Owner


@pytest.fixture
def context(tmp_path: Path) -> Path:
    root = tmp_path / "context"
    (root / "folder" / "deep").mkdir(parents=True)
    (root / "a.txt").write_text("a")
    (root / "b.txt").write_text("b")
    (root / "folder" / "in").write_text("in")
    (root / "folder" / "deep" / "er").write_text("er")
    (root / "folder" / "link").symlink_to("/etc/passwd")
    (root / "out").symlink_to("../outside")
    (tmp_path / "outside").write_text("secret")
    return root


@contextmanager
def copies(root: Path, *patterns: str, to: str = "/to/", **options: Any) -> Iterator[Copies]:
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    made = None
    try:
        found = copying.find(descriptor, patterns, "COPY")
        made = Copies("COPY", found, options.pop("files", ()), to, "/", Owner(0, 0), scratch=root.parent, **options)
        yield made
    finally:
        os.close(descriptor)
        if made is not None:
            made.close()


def names(made: Copies) -> list[str]:
    content = BytesIO()
    copying.write(made, None, content.write)  # type: ignore[arg-type]
    content.seek(0)
    with tarfile.open(fileobj=content) as tar:
        return tar.getnames()


@pytest.mark.parametrize(
    ("patterns", "to", "expected"),
    [
        (("a.txt",), "/to", ["to"]),
        (("a.txt",), "/to/", ["to", "to/a.txt"]),
        (("*.txt",), "/to/", ["to", "to/a.txt", "to/b.txt"]),
        (("folder",), "/to", ["to", "to/deep", "to/deep/er", "to/in", "to/link"]),
        (("folder/.",), "/", ["deep", "deep/er", "in", "link"]),
        (("f*/d*",), "/x/y/", ["x", "x/y", "x/y/er"]),
        (("/a.txt",), "../../up/", ["up", "up/a.txt"]),
        (("../../a.txt",), "/to/", ["to", "to/a.txt"]),
        (("[ab].txt",), "/to/", ["to", "to/a.txt", "to/b.txt"]),
    ],
)
def test_where_copies_go(context: Path, patterns: tuple[str, ...], to: str, expected: list[str]) -> None:
    with copies(context, *patterns, to=to) as made:
        assert names(made) == expected


@pytest.mark.parametrize("pattern", ["missing", "*.none", "out", "folder/link", "../outside", "a.txt/x", "[", "a\\"])
def test_what_is_not_in_the_context_is_not_found(context: Path, pattern: str) -> None:
    with pytest.raises(errors.Invalid), copies(context, pattern):
        pass


def test_several_sources_need_a_folder(context: Path) -> None:
    with copies(context, "a.txt", "b.txt", to="/to") as made, pytest.raises(BuildFailed) as caught:
        names(made)
    assert "the destination must be a directory and end with a /" in caught.value.what


def test_owner_mode_and_exclusions_hold_for_everything_copied(context: Path) -> None:
    with copies(context, "folder", to="/to/", mode=0o600, exclude=("deep", "*k")) as made:
        content = BytesIO()
        copying.write(made, None, content.write)  # type: ignore[arg-type]
    content.seek(0)
    with tarfile.open(fileobj=content) as tar:
        seen = {entry.name: (entry.mode, entry.uid) for entry in tar}
    assert seen == {"to": (0o755, 0), "to/in": (0o600, 0)}


def test_the_digest_knows_names_modes_and_contents_and_no_times(context: Path) -> None:
    def digest() -> str:
        with copies(context, "folder") as made:
            return copying.digest(made)

    first = digest()
    os.utime(context / "folder" / "in", (1, 1))
    assert digest() == first
    (context / "folder" / "in").chmod(0o755)
    second = digest()
    (context / "folder" / "in").write_text("IN")
    third = digest()
    (context / "folder" / "in").rename(context / "folder" / "on")
    assert len({first, second, third, digest()}) == 4


def test_a_file_made_for_the_build_is_copied_like_others(context: Path) -> None:
    files = (File(b"made", b"content"),)
    with copies(context, to="/to/", files=files) as made:
        assert names(made) == ["to", "to/made"]


def test_archives_are_taken_apart_below_the_destination(context: Path) -> None:
    with tarfile.open(context / "x.tar.xz", "w:xz") as tar:
        for name, kind in (("d", tarfile.DIRTYPE), ("d/f", tarfile.REGTYPE), ("/abs", tarfile.REGTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type = kind
            tar.addfile(entry)
    (context / "not.tar").write_text("not a tar")
    with copies(context, "x.tar.xz", to="/to/", unpack=True) as made:
        assert names(made) == ["to", "to/abs", "to/d", "to/d/f"]
    with copies(context, "not.tar", to="/to/", unpack=True) as made:
        assert names(made) == ["to", "to/not.tar"]
