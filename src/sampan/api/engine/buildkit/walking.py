"""A directory tree as fsutil tells it: one stat after another, files numbered, contents by number. Blocking.

Nothing is followed: names are opened one by one from their open directory.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from sampan import errors
from sampan.api.engine.buildkit import places, tree
from sampan.api.engine.buildkit.session_messages import Stat
from sampan.host import packing

BATCH = 256
_SENT_XATTRS = ("user.", "security.capability")


class NotSent(errors.Invalid):
    """The client asks for a file that it was not told of."""


class Walk:
    """Siblings in byte order, a directory before what is in it. One lock: threads take turns."""

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, places.DIRECTORY)
        self._entries = self._below("")
        self._files: dict[int, str] = {}
        self._links: dict[tuple[int, int], str] = {}
        self._count = 0
        self._lock = threading.Lock()

    def next(self) -> list[Stat]:
        """The next entries; none at the end."""
        with self._lock:
            found = []
            for entry in self._entries:
                found.append(entry)
                if len(found) >= BATCH:
                    break
            return found

    def read(self, number: int, offset: int, size_bytes: int) -> bytes:
        """A piece of a file that was told. Raises: NotSent."""
        with self._lock:
            path = self._files.get(number)
            if path is None or self._root < 0:
                raise NotSent(f"no file has the number {number}")
            parent, _, name = path.rpartition("/")
            directory = places.descend(self._root, parent)
            try:
                file = os.open(os.fsencode(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            finally:
                os.close(directory)
        try:
            return os.pread(file, size_bytes, offset)
        finally:
            os.close(file)

    def close(self) -> None:
        """Let go of the tree."""
        with self._lock:
            self._entries = iter(())
            if self._root >= 0:
                os.close(self._root)
                self._root = -1

    def _below(self, path: str) -> Iterator[Stat]:
        directory = places.descend(self._root, path)
        try:
            for name in sorted(packing.names(directory)):
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                if stat.S_ISSOCK(status.st_mode):
                    continue
                text = name.decode("utf-8", "surrogateescape")
                if not _is_text(text):
                    raise NotSent(f"the name {name!r} is not UTF-8", remedy="use --output type=tar")
                whole = f"{path}/{text}" if path else text
                yield self._stat(directory, name, whole, status)
                if stat.S_ISDIR(status.st_mode):
                    yield from self._below(whole)
        finally:
            os.close(directory)

    def _stat(self, directory: int, name: bytes, path: str, status: os.stat_result) -> Stat:
        said = Stat(
            path=path,
            mode=tree.go_mode(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            mtime_ns=status.st_mtime_ns,
        )
        if stat.S_ISREG(status.st_mode):
            said.size = status.st_size
            self._files[self._count] = path
            first = self._links.setdefault((status.st_dev, status.st_ino), path) if status.st_nlink > 1 else path
            said.linkname = first if first != path else ""
            said.xattrs = _attributes(directory, name)
        elif stat.S_ISLNK(status.st_mode):
            said.linkname = os.readlink(name, dir_fd=directory).decode("utf-8", "replace")
            said.size = len(said.linkname)
        elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            said.device_major, said.device_minor = os.major(status.st_rdev), os.minor(status.st_rdev)
        self._count += 1
        return said


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _attributes(directory: int, name: bytes) -> dict[str, bytes]:
    """The attributes that mean something on another machine."""
    place = b"/proc/self/fd/%d/" % directory + name
    try:
        names = [key for key in os.listxattr(place, follow_symlinks=False) if key.startswith(_SENT_XATTRS)]
        return {key: os.getxattr(place, key, follow_symlinks=False) for key in names}
    except OSError:
        return {}  # a file system without attributes
