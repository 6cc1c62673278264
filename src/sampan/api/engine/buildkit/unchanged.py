"""Files that a client need not send again: an earlier tree of the same directory has them. Blocking.

The earlier tree is its own record, for every file in it was given what the client said of it. A file is the same if
bytes, mode, owner, time to the nanosecond and attributes are what the client says now.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sampan.api.engine.buildkit import places, tree


class Former:
    """An earlier tree. It may be removed meanwhile: then nothing more is found in it. Nothing in it is changed."""

    def __init__(self, place: Path | None) -> None:
        self._root = -1
        if place is not None:
            try:
                self._root = os.open(place, places.DIRECTORY)
            except FileNotFoundError:
                pass  # removed since it was looked up
        self._above = ""
        self._parent = self._root

    def link(self, entry: tree.Entry, directory: int, name: bytes) -> bool:
        """Whether the file is here unchanged, and then `name` in `directory` is it."""
        parent = self._enter(entry.path.rpartition("/")[0])
        if parent < 0:
            return False
        try:
            if not _same(os.stat(name, dir_fd=parent, follow_symlinks=False), entry):
                return False
            if _attributes(parent, name) != entry.xattrs:
                return False
            os.link(name, name, src_dir_fd=parent, dst_dir_fd=directory, follow_symlinks=False)
        except OSError:
            return False  # not there, removed meanwhile, or too many links: the client sends it
        return True

    def close(self) -> None:
        """Close every descriptor."""
        self._leave()
        if self._root >= 0:
            os.close(self._root)
        self._root = self._parent = -1

    def _enter(self, above: str) -> int:
        if above != self._above:
            self._leave()
            self._above, self._parent = above, self._open(above)
        return self._parent

    def _leave(self) -> None:
        if self._parent not in (-1, self._root):
            os.close(self._parent)
        self._above, self._parent = "", self._root

    def _open(self, path: str) -> int:
        if self._root < 0:
            return -1
        try:
            return places.descend(self._root, path)
        except OSError:
            return -1  # no such directory in it


def _same(status: os.stat_result, entry: tree.Entry) -> bool:
    return (
        stat.S_ISREG(status.st_mode)
        and status.st_size == entry.size_bytes
        and status.st_mtime_ns == entry.mtime_ns
        and stat.S_IMODE(status.st_mode) == entry.mode
        and (status.st_uid, status.st_gid) == (entry.uid, entry.gid)
    )


def _attributes(parent: int, name: bytes) -> dict[str, bytes]:
    place = b"/proc/self/fd/%d/" % parent + name
    names = [key for key in os.listxattr(place, follow_symlinks=False) if key.startswith(tree.TAKEN_XATTRS)]
    return {key: os.getxattr(place, key, follow_symlinks=False) for key in names}
