"""What a container changed in its image's files: `docker diff`, from the overlay's upper directory. Blocking.

Docker compares the container's files with the image's. Here only the upper directory is walked, and each of its names
is looked up in the layers below as overlayfs would: that costs as much as there are changes, not as the image is big.
A directory is listed where something in it changed; a removed one is listed without its content; a file that was
opened for writing and stayed the same is not listed.
"""

from __future__ import annotations

import contextlib
import enum
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from sampan.formats.tar_fields import NANOSECONDS
from sampan.host import packing
from sampan.images.upper import MARKS

_CAPABILITY: Final = "security.capability"
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Kind(enum.IntEnum):
    """Docker's numbers."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2


class Change(NamedTuple):
    """`path` is absolute."""

    kind: Kind
    path: bytes


class _Level:
    """A directory of the upper and what it covers: the lower directories that merge with it, topmost first."""

    def __init__(self, path: bytes, upper: int, lowers: list[int], *, opaque: bool, listed: bool, at: int) -> None:
        self.path = path
        self.upper = upper
        self.lowers = lowers
        self.listed = listed  # the directory itself is in the list of changes
        self.at = at  # where it belongs in that list
        self.names = self._names(opaque=opaque)

    def _names(self, *, opaque: bool) -> list[bytes]:
        """What may have changed in it, the last first. Behind an opaque directory all that is missing is removed."""
        found = packing.names(self.upper)
        if opaque:
            found += [name for lower in self.lowers for name in packing.names(lower)]
        return sorted(set(found), reverse=True)

    def close(self) -> None:
        for descriptor in (self.upper, *self.lowers):
            os.close(descriptor)


def changes(upper: Path, lowers: Sequence[Path], *, omit: Collection[bytes] = ()) -> list[Change]:
    """Parents before what is in them, siblings in byte order. `lowers`: topmost first. `omit`: paths left out."""
    found: list[Change] = []
    left_out = frozenset(omit)
    with contextlib.ExitStack() as opened:
        levels = [_open_roots(upper, lowers)]
        opened.callback(_close_levels, levels)
        while levels:
            level = levels[-1]
            if not level.names:
                levels.pop().close()
                if len(found) > level.at and not level.listed and level.path:
                    found.insert(level.at, Change(Kind.MODIFIED, level.path))
                continue
            name = level.names.pop()
            path = level.path + b"/" + name
            if path[1:] in left_out:
                continue
            below = _look(level, name, path, found)
            if below is not None:
                levels.append(below)
                if len(levels) > packing.DEEPEST:
                    raise packing.TooDeep("directories lie too deep to be compared", why=f"more than {packing.DEEPEST}")
    return found


def _close_levels(levels: Sequence[_Level]) -> None:
    for level in levels:
        level.close()


def _open_roots(upper: Path, lowers: Sequence[Path]) -> _Level:
    with _opening() as opened:
        for place in (upper, *lowers):
            opened.append(os.open(place, _DIRECTORY))
        return _Level(b"", opened[0], opened[1:], opaque=False, listed=True, at=0)


@contextlib.contextmanager
def _opening() -> Iterator[list[int]]:
    """Descriptors that are closed if the block fails."""
    opened: list[int] = []
    try:
        yield opened
    except BaseException:
        for descriptor in opened:
            os.close(descriptor)
        raise


def _look(level: _Level, name: bytes, path: bytes, found: list[Change]) -> _Level | None:
    """Note what happened to one name; the level below if it is a directory of the upper."""
    with _opening() as opened:
        old = _merged(level.lowers, name, opened)
        try:
            new: os.stat_result | None = os.stat(name, dir_fd=level.upper, follow_symlinks=False)
        except FileNotFoundError:
            new = None  # behind an opaque directory
        if new is None or _hides(level.upper, name, new):
            if old is not None:
                found.append(Change(Kind.DELETED, path))
            _close(opened)
            return None
        at, kind = len(found), _kind(level, name, old, new)
        if kind is not None:
            found.append(Change(kind, path))
        if not stat.S_ISDIR(new.st_mode):
            _close(opened)
            return None
        here = os.open(name, _DIRECTORY, dir_fd=level.upper)
        opened.insert(0, here)
        return _Level(path, here, opened[1:], opaque=_is_opaque(here), listed=kind is not None, at=at)


def _close(opened: list[int]) -> None:
    while opened:
        os.close(opened.pop())


def _merged(lowers: Sequence[int], name: bytes, opened: list[int]) -> os.stat_result | None:
    """What the layers have under a name; if it is a directory, `opened` gets all that merge into it."""
    found: os.stat_result | None = None
    for lower in lowers:
        try:
            status = os.stat(name, dir_fd=lower, follow_symlinks=False)
        except FileNotFoundError:
            continue
        directory = stat.S_ISDIR(status.st_mode)
        if _hides(lower, name, status) or (found is not None and not directory):
            break
        found = found or status
        if not directory:
            break
        opened.append(os.open(name, _DIRECTORY, dir_fd=lower))
        if _is_opaque(opened[-1]):
            break
    return found


def _kind(level: _Level, name: bytes, old: os.stat_result | None, new: os.stat_result) -> Kind | None:
    if old is None:
        return Kind.ADDED
    if _differs(old, new) or (stat.S_ISREG(new.st_mode) and _capabilities_differ(level, name)):
        return Kind.MODIFIED
    return None


def _differs(old: os.stat_result, new: os.stat_result) -> bool:
    """Owner, type, mode, device; of all but directories also size and time."""
    if (old.st_mode, old.st_uid, old.st_gid, old.st_rdev) != (new.st_mode, new.st_uid, new.st_gid, new.st_rdev):
        return True
    return not stat.S_ISDIR(new.st_mode) and (
        old.st_size != new.st_size or not _same_time(old.st_mtime_ns, new.st_mtime_ns)
    )


def _same_time(one_ns: int, other_ns: int) -> bool:
    """Equal, or equal in whole seconds if one side knows no more than those (as layers made by docker)."""
    whole = one_ns % NANOSECONDS == 0 or other_ns % NANOSECONDS == 0
    return one_ns == other_ns or (whole and one_ns // NANOSECONDS == other_ns // NANOSECONDS)


def _capabilities_differ(level: _Level, name: bytes) -> bool:
    new = _attribute(_through(level.upper, name), _CAPABILITY)
    for lower in level.lowers:
        try:
            os.stat(name, dir_fd=lower, follow_symlinks=False)
        except FileNotFoundError:
            continue
        return _attribute(_through(lower, name), _CAPABILITY) != new
    return False


def _hides(directory: int, name: bytes, status: os.stat_result) -> bool:
    """Whether an entry is a whiteout."""
    if stat.S_ISCHR(status.st_mode):
        return status.st_rdev == 0
    if not stat.S_ISREG(status.st_mode) or status.st_size:
        return False
    place = _through(directory, name)
    return any(_attribute(place, os.fsdecode(mark) + "whiteout") is not None for mark in MARKS)


def _is_opaque(directory: int) -> bool:
    return any(_attribute(directory, os.fsdecode(mark) + "opaque") == b"y" for mark in MARKS)


def _through(directory: int, name: bytes) -> bytes:
    return b"/proc/self/fd/%d/" % directory + name


def _attribute(place: int | bytes, name: str) -> bytes | None:
    try:
        return os.getxattr(place, name, follow_symlinks=isinstance(place, int))
    except OSError:
        return None  # not set, or a file system without attributes
