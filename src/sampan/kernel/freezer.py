"""Freezing all processes of a control group, as `docker pause` does. Blocks, mostly for less than a millisecond.

Writing two files does what a runtime's `pause` starts a program for; runtimes read the state from the same files.
Source: cgroup-v1/freezer-subsystem.rst and cgroup-v2.rst (cgroup.freeze) of the kernel.
"""

from __future__ import annotations

import time
from pathlib import Path

from sampan import errors
from sampan.kernel import cgroups
from sampan.kernel.cgroups import Hierarchy

LIMIT_S = 10.0  # a process in an uninterruptible call freezes only when that returns
ASK_AGAIN_EVERY = 50  # version 1: a group whose processes fork meanwhile stays FREEZING until it is asked again


class GroupGone(errors.NotFound):
    """There is no such group, or no process in it: the container has ended."""


class NotFrozen(errors.Unavailable):
    """A process of the group does not freeze."""


def freeze(hierarchy: Hierarchy, name: str) -> None:
    """Returns when every process is frozen; what does not freeze in time is thawed. Raises `GroupGone`, `NotFrozen`."""
    if not cgroups.processes(hierarchy, name):
        raise GroupGone(f"no process is in the control group {name}")
    deadline = time.monotonic() + LIMIT_S
    pause_s = cgroups.FIRST_PAUSE_S
    turn = 0
    while not _is_frozen(hierarchy, name):
        if turn % ASK_AGAIN_EVERY == 0:
            _ask(hierarchy, name, frozen=True)
        else:
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, cgroups.LONGEST_PAUSE_S)
        turn += 1
        if time.monotonic() > deadline:
            _ask(hierarchy, name, frozen=False)
            raise NotFrozen(
                f"control group {name} cannot be frozen",
                why=f"a process in it did not stop within {LIMIT_S:g} s",
                remedy="try again",
            )


def thaw(hierarchy: Hierarchy, name: str) -> None:
    """Let them go on. Raises `GroupGone`."""
    _ask(hierarchy, name, frozen=False)


def _ask(hierarchy: Hierarchy, name: str, *, frozen: bool) -> None:
    directory = hierarchy.controller("freezer", name)
    if hierarchy.version == 2:
        _write(directory / "cgroup.freeze", "1" if frozen else "0")
    else:
        _write(directory / "freezer.state", "FROZEN" if frozen else "THAWED")


def _is_frozen(hierarchy: Hierarchy, name: str) -> bool:
    directory = hierarchy.controller("freezer", name)
    if hierarchy.version == 2:
        return "frozen 1" in _read(directory / "cgroup.events").splitlines()
    return _read(directory / "freezer.state").strip() == "FROZEN"


def _write(path: Path, text: str) -> None:
    try:
        with path.open("r+") as file:  # never made: its directory may be no control group any more
            file.write(text)
    except OSError as error:
        raise _gone(path) from error


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:  # ENOENT, or ENODEV from a group that goes in this moment
        raise _gone(path) from error


def _gone(path: Path) -> GroupGone:
    return GroupGone(f"no control group can be frozen by {path}", why="the container has ended")
