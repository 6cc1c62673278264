"""Control groups, version 1, hybrid or version 2, seen through the files of /sys/fs/cgroup.

Source: Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst of the kernel.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sampan import errors

ROOT = Path("/sys/fs/cgroup")
FIRST_PAUSE_S = 0.0005  # the kernel is burying the last process
LONGEST_PAUSE_S = 0.02


class CgroupStuck(errors.Broken):
    """A control group does not go away."""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Where the groups are. `version` 2 only where there is no version 1 controller (hybrid counts as 1)."""

    version: int
    base: Path  # where they are mounted
    roots: tuple[Path, ...]  # every mounted hierarchy
    parent: str  # every container's group is /<parent>/<id>; a daemon takes all groups in it for its own

    def paths(self, name: str) -> Iterator[Path]:
        """The directories of one group, one a hierarchy."""
        for root in self.roots:
            yield root / self.group(name)

    def controller(self, controller: str, name: str) -> Path:
        """The directory with the files of one controller."""
        return (self.base if self.version == 2 else self.base / controller) / self.group(name)

    def group(self, name: str) -> str:
        """Where a group lies in each hierarchy: below the parent, or where its name says if that is absolute."""
        return name.lstrip("/") if name.startswith("/") else f"{self.parent}/{name}"


def detect(parent: str, root: Path = ROOT) -> Hierarchy:
    """What this host has mounted."""
    if (root / "cgroup.controllers").exists():
        return Hierarchy(2, root, (root,), parent)
    roots = {entry.resolve() for entry in root.iterdir() if entry.is_dir() and (entry / "cgroup.procs").exists()}
    return Hierarchy(1, root, tuple(sorted(roots)), parent)


def names(hierarchy: Hierarchy) -> set[str]:
    """Every container that has a group anywhere."""
    found: set[str] = set()
    for root in hierarchy.roots:
        parent = root / hierarchy.parent
        if parent.is_dir():
            found.update(entry.name for entry in os.scandir(parent) if entry.is_dir())
    return found


def processes(hierarchy: Hierarchy, name: str) -> list[int]:
    """Process ids in the group and its children."""
    controller = hierarchy.controller("pids", name)
    found: list[int] = []
    for directory, _, _ in os.walk(controller):
        try:
            found += map(int, (Path(directory) / "cgroup.procs").read_text().split())
        except FileNotFoundError:
            continue  # the child group went away while walking
    return found


def out_of_memory(hierarchy: Hierarchy, name: str) -> bool:
    """Whether the kernel killed a process of the group for want of memory."""
    directory = hierarchy.controller("memory", name)
    file = directory / ("memory.events" if hierarchy.version == 2 else "memory.oom_control")
    try:
        fields = dict(line.split() for line in file.read_text().splitlines())
    except FileNotFoundError:
        return False
    return int(fields.get("oom_kill", "0")) > 0


def frozen(hierarchy: Hierarchy, name: str) -> bool:
    """Whether the processes of the group are frozen, or about to be. Raises nothing if there is no such group."""
    directory = hierarchy.controller("freezer", name)
    try:
        if hierarchy.version == 2:
            return (directory / "cgroup.freeze").read_text().strip() == "1"
        return (directory / "freezer.state").read_text().strip() != "THAWED"
    except FileNotFoundError:
        return False


def _thaw(hierarchy: Hierarchy, name: str) -> None:
    """A frozen process of version 1 does not die of SIGKILL. In version 2 it does."""
    if hierarchy.version == 1:
        for directory, _, _ in os.walk(hierarchy.controller("freezer", name)):
            try:
                (Path(directory) / "freezer.state").write_text("THAWED")
            except FileNotFoundError:
                continue  # no freezer on this host, or the group went away while walking


def remove(hierarchy: Hierarchy, name: str, *, timeout_s: float = 2.0) -> None:
    """Remove the group everywhere, killing what still runs in it. Raises `CgroupStuck`. Blocks."""
    deadline = time.monotonic() + timeout_s
    pause_s = FIRST_PAUSE_S
    while True:
        left = [path for path in hierarchy.paths(name) if path.exists() and not _remove_tree(path)]
        if not left:
            return
        if time.monotonic() > deadline:
            raise CgroupStuck(f"control group {left[0]} cannot be removed", why="a process in it does not end")
        for pid in processes(hierarchy, name):
            if pid < 1:
                continue  # of a process namespace that is not ours to see into; 0 would mean our own group
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                continue
        _thaw(hierarchy, name)
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def remove_parent(hierarchy: Hierarchy) -> None:
    """Remove the directories above all containers' groups; one that is still in use stays."""
    for root in hierarchy.roots:
        _remove_tree(root / hierarchy.parent)


def _remove_tree(path: Path) -> bool:
    for directory, _, _ in os.walk(path, topdown=False):
        try:
            Path(directory).rmdir()
        except FileNotFoundError:
            continue
        except OSError:  # EBUSY: a process is still in it
            return False
    return True
