"""A container's files are removed by its own end and by a daemon's sweep, perhaps at once."""

import shutil
from pathlib import Path

import pytest

from sampan.containers import rootfs


def test_what_somebody_else_removes_meanwhile_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "tree"
    (tree / "a/b").mkdir(parents=True)
    genuine, calls = shutil.rmtree, []

    def interrupted(path: Path) -> None:
        calls.append(path)
        if len(calls) == 1:
            genuine(tree / "a")
            raise FileNotFoundError(path)
        genuine(path)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    rootfs.remove_tree(tree)
    assert not tree.exists()
    assert len(calls) == 2
    rootfs.remove_tree(tree)


def test_what_cannot_be_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(shutil, "rmtree", refused)
    with pytest.raises(PermissionError):
        rootfs.remove_tree(tmp_path)
