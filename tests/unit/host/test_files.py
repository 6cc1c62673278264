"""Durable writes: whole or not at all, and nothing left behind."""

import os
from pathlib import Path

import pytest

from sampan.host import files


@pytest.mark.parametrize("write", [files.write_durably, files.write_scratch])
def test_a_file_is_replaced_whole(tmp_path: Path, write: object) -> None:
    target = tmp_path / "f"
    target.write_bytes(b"old and long")
    write(target, b"new", mode=0o600)
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("write", [files.write_durably, files.write_scratch])
def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path, write: object) -> None:
    target = tmp_path / "d"
    target.mkdir()  # a directory cannot be replaced by a file
    with pytest.raises(OSError):
        write(target, b"new")
    assert os.listdir(tmp_path) == ["d"]


def test_missing_parents_are_made_with_their_mode(tmp_path: Path) -> None:
    files.make_directories(tmp_path / "a" / "b", mode=0o711)
    files.make_directories(tmp_path / "a" / "b", mode=0o711)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o711
