"""A tree of files that a stranger describes: what a description may say, and Go's file modes. Pure.

Source: tonistiigi/fsutil, validator.go; Go, io/fs.FileMode.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from enum import Enum

from sampan import errors
from sampan.api.engine.buildkit.session_messages import Stat

MOST_ENTRIES = 2_000_000
LONGEST_NAME_BYTES = 255
LONGEST_PATH_BYTES = 4096
GO_DIRECTORY, GO_SYMLINK, GO_DEVICE, GO_PIPE, GO_SOCKET = 1 << 31, 1 << 27, 1 << 26, 1 << 25, 1 << 24
GO_SETUID, GO_SETGID, GO_CHARACTER, GO_STICKY, GO_IRREGULAR = 1 << 23, 1 << 22, 1 << 21, 1 << 20, 1 << 19
_GO_TYPES = GO_DIRECTORY | GO_SYMLINK | GO_DEVICE | GO_PIPE | GO_SOCKET | GO_CHARACTER | GO_IRREGULAR
TAKEN_XATTRS = ("user.", "security.capability")


class InvalidTree(errors.Invalid):
    """A description that cannot be of files below one directory."""


class Kind(Enum):
    """What an entry is to a build."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARD_LINK = "hard link"
    SPECIAL = "special"  # a device, pipe or socket: no context needs one, and reading one may never end


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as it shall be. `number` is its place in the description, by which its content is asked for."""

    number: int
    path: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    size_bytes: int
    mtime_ns: int
    target: str = ""  # of links
    xattrs: dict[str, bytes] = field(default_factory=dict)


class Checker:
    """Takes the entries of one tree in order; every parent is a directory that came before."""

    def __init__(self) -> None:
        self._kinds: dict[str, Kind] = {"": Kind.DIRECTORY}
        self.count = 0

    def take(self, said: Stat) -> Entry:
        """The entry. Raises: InvalidTree."""
        if self.count >= MOST_ENTRIES:
            raise InvalidTree(f"a build context has more than {MOST_ENTRIES} files", remedy="use a .dockerignore file")
        path = said.path
        _check_path(path)
        parent = path.rpartition("/")[0]
        if self._kinds.get(parent) is not Kind.DIRECTORY:
            raise InvalidTree(f"invalid path {path!r}", why="its directory was not sent before it")
        if path in self._kinds:
            raise InvalidTree(f"invalid path {path!r}", why="it was sent twice")
        kind = kind_of(said)
        if kind is Kind.HARD_LINK and self._kinds.get(said.linkname) not in (Kind.FILE, Kind.HARD_LINK):
            raise InvalidTree(f"invalid link {path!r}", why=f"{said.linkname!r} is no file that was sent before")
        if kind is Kind.SYMLINK and (
            not said.linkname or "\0" in said.linkname or len(said.linkname) > LONGEST_PATH_BYTES
        ):
            raise InvalidTree(f"invalid link {path!r}", why="its target cannot be")
        self._kinds[path] = kind
        number, self.count = self.count, self.count + 1
        return Entry(
            number=number,
            path=path,
            kind=kind,
            mode=unix_mode(said.mode),
            uid=said.uid & 0xFFFFFFFF,
            gid=said.gid & 0xFFFFFFFF,
            size_bytes=max(0, said.size),
            mtime_ns=said.mtime_ns,
            target=said.linkname if kind in (Kind.SYMLINK, Kind.HARD_LINK) else "",
            xattrs={key: value for key, value in said.xattrs.items() if key.startswith(TAKEN_XATTRS)},
        )


def _check_path(path: str) -> None:
    parts = path.split("/")
    if not path or "\0" in path or len(path.encode("utf-8", "replace")) > LONGEST_PATH_BYTES:
        raise InvalidTree(f"invalid path {path[:100]!r}")
    for part in parts:
        if part in ("", ".", "..") or len(part.encode("utf-8", "replace")) > LONGEST_NAME_BYTES:
            raise InvalidTree(f"invalid path {path[:100]!r}", why="it does not stay below its directory")


def kind_of(said: Stat) -> Kind:
    """By Go's type bits."""
    kind = said.mode & _GO_TYPES
    if kind == GO_DIRECTORY:
        return Kind.DIRECTORY
    if kind == GO_SYMLINK:
        return Kind.SYMLINK
    if kind == 0:
        return Kind.HARD_LINK if said.linkname else Kind.FILE
    return Kind.SPECIAL


def unix_mode(mode: int) -> int:
    """Permission bits with set-id and sticky bits, from Go's."""
    return (
        mode & 0o777
        | (stat.S_ISUID if mode & GO_SETUID else 0)
        | (stat.S_ISGID if mode & GO_SETGID else 0)
        | (stat.S_ISVTX if mode & GO_STICKY else 0)
    )


_GO_OF = {
    stat.S_IFDIR: GO_DIRECTORY,
    stat.S_IFLNK: GO_SYMLINK,
    stat.S_IFIFO: GO_PIPE,
    stat.S_IFSOCK: GO_SOCKET,
    stat.S_IFBLK: GO_DEVICE,
    stat.S_IFCHR: GO_DEVICE | GO_CHARACTER,
}


def go_mode(mode: int) -> int:
    """Go's file mode of a Unix one."""
    return (
        mode & 0o777
        | _GO_OF.get(stat.S_IFMT(mode), 0)
        | (GO_SETUID if mode & stat.S_ISUID else 0)
        | (GO_SETGID if mode & stat.S_ISGID else 0)
        | (GO_STICKY if mode & stat.S_ISVTX else 0)
    )
