"""Control groups of both versions, as trees of files."""

from pathlib import Path

import pytest

from sampan.kernel import cgroups
from sampan.kernel.cgroups import Hierarchy

NAME = "ab" * 32


@pytest.fixture(params=[1, 2])
def hierarchy(request: pytest.FixtureRequest, tmp_path: Path) -> Hierarchy:
    """A mounted hierarchy with one container's groups."""
    if request.param == 2:
        (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
        groups = [tmp_path]
    else:
        groups = [tmp_path / name for name in ("memory", "pids", "freezer", "unified")]
        (tmp_path / "cpu").mkdir()  # not mounted: it has no cgroup.procs
    for group in groups:
        own = group / "sampan" / NAME
        own.mkdir(parents=True)
        (group / "cgroup.procs").write_text("1\n")
        (own / "cgroup.procs").write_text("42\n43\n")
        (own / "child").mkdir()
        (own / "child" / "cgroup.procs").write_text("44\n")
    return cgroups.detect("sampan", tmp_path)


def test_the_version_and_what_is_mounted_are_found(hierarchy: Hierarchy) -> None:
    assert hierarchy.version == (2 if (hierarchy.base / "cgroup.controllers").exists() else 1)
    assert len(hierarchy.roots) == (1 if hierarchy.version == 2 else 4)


def test_containers_are_named_and_their_processes_counted(hierarchy: Hierarchy) -> None:
    assert cgroups.names(hierarchy) == {NAME}
    assert cgroups.processes(hierarchy, NAME) == [42, 43, 44]
    assert cgroups.processes(hierarchy, "gone") == []


def test_a_kill_for_want_of_memory_is_seen(hierarchy: Hierarchy) -> None:
    file = "memory.events" if hierarchy.version == 2 else "memory.oom_control"
    path = hierarchy.controller("memory", NAME) / file
    path.write_text("under_oom 0\noom_kill 0\n")
    assert not cgroups.out_of_memory(hierarchy, NAME)
    path.write_text("under_oom 0\noom_kill 2\n")
    assert cgroups.out_of_memory(hierarchy, NAME)
    assert not cgroups.out_of_memory(hierarchy, "gone")


def test_a_frozen_group_is_seen(hierarchy: Hierarchy) -> None:
    path = hierarchy.controller("freezer", NAME)
    file, thawed, frozen = (
        ("cgroup.freeze", "0", "1") if hierarchy.version == 2 else ("freezer.state", "THAWED", "FROZEN")
    )
    (path / file).write_text(thawed)
    assert not cgroups.frozen(hierarchy, NAME)
    (path / file).write_text(frozen)
    assert cgroups.frozen(hierarchy, NAME)


def test_groups_of_another_daemon_are_not_ours(hierarchy: Hierarchy) -> None:
    for root in hierarchy.roots:
        (root / "sampan-0123abcd" / "other").mkdir(parents=True)
    assert cgroups.names(hierarchy) == {NAME}


def test_the_parent_goes_when_its_groups_have_gone(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").touch()
    (tmp_path / "sampan").mkdir()
    cgroups.remove_parent(cgroups.detect("sampan", tmp_path))
    assert not (tmp_path / "sampan").exists()
