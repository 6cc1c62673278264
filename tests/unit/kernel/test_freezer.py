"""Freezing control groups of both versions, on files that answer as the kernel does."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sampan.kernel import freezer
from sampan.kernel.cgroups import Hierarchy

NAME = "ab" * 32


@pytest.fixture(params=[1, 2])
def group(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Hierarchy, Path, Path]:
    """The hierarchy, the file that is written, and the one that tells."""
    version = request.param
    base = tmp_path if version == 2 else tmp_path / "freezer"
    own = base / "sampan" / NAME
    own.mkdir(parents=True)
    pids = own if version == 2 else tmp_path / "pids" / "sampan" / NAME
    pids.mkdir(parents=True, exist_ok=True)
    (pids / "cgroup.procs").write_text("42\n")
    asked = own / ("cgroup.freeze" if version == 2 else "freezer.state")
    told = own / ("cgroup.events" if version == 2 else "freezer.state")
    asked.write_text("0" if version == 2 else "THAWED")
    if version == 2:
        told.write_text("populated 1\nfrozen 0\n")
    return Hierarchy(version, tmp_path, (base,), "sampan"), asked, told


def test_it_returns_when_the_kernel_says_that_all_are_frozen(group: tuple[Hierarchy, Path, Path]) -> None:
    hierarchy, asked, told = group
    done = threading.Event()

    def freeze() -> None:
        freezer.freeze(hierarchy, NAME)
        done.set()

    if hierarchy.version == 2:
        worker = threading.Thread(target=freeze)
        worker.start()
        while asked.read_text() != "1":
            assert worker.is_alive()
        assert not done.is_set()
        told.write_text("populated 1\nfrozen 1\n")
        worker.join(10)
    else:
        freeze()
        assert asked.read_text() == "FROZEN"
    assert done.is_set()
    freezer.thaw(hierarchy, NAME)
    assert asked.read_text() == ("0" if hierarchy.version == 2 else "THAWED")


def test_what_does_not_freeze_in_time_goes_on(
    group: tuple[Hierarchy, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    hierarchy, asked, _ = group
    monkeypatch.setattr(freezer, "LIMIT_S", 0.0)
    monkeypatch.setattr(freezer, "_is_frozen", lambda *_: False)
    with pytest.raises(freezer.NotFrozen, match="try again"):
        freezer.freeze(hierarchy, NAME)
    assert asked.read_text() == ("0" if hierarchy.version == 2 else "THAWED")


def test_a_group_that_went_or_is_empty_is_told(group: tuple[Hierarchy, Path, Path]) -> None:
    hierarchy, asked, _ = group
    with pytest.raises(freezer.GroupGone):
        freezer.freeze(hierarchy, "gone")
    asked.unlink()
    with pytest.raises(freezer.GroupGone):
        freezer.thaw(hierarchy, NAME)
    assert not asked.exists()
