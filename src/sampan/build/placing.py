"""Where copies go: a destination inside an image, and the layer that puts files there. Blocking.

The layer is written straight from the sources. The image below is looked at for one thing only: which of the folders
above the destination exist, through which links, with which owner and mode, because a layer that names a folder
replaces what those below say about it.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable
from dataclasses import dataclass

from sampan.build.model import BuildFailed
from sampan.containers import users
from sampan.formats.tar import EntryKind, TarEntry
from sampan.host import packing
from sampan.kernel import libc, paths

Put = Callable[[TarEntry], None]


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom copies belong to."""

    uid: int
    gid: int


class Place:
    """One image's tree, open at `view` (None: nothing is below), as copies are put into it."""

    def __init__(self, view: int | None, put: Put, *, owner: Owner, mtime_ns: int) -> None:
        self._view = view
        self._put = put
        self._owner = owner
        self._mtime_ns = mtime_ns
        self._written: set[bytes] = set()
        self._resolved: dict[bytes, bytes] = {}
        self._fresh: set[bytes] = set()  # real paths of folders that the image has not

    def directory(self, path: bytes) -> bytes:
        """The real path of a folder, made with its parents where it is missing; entries for all of it are written.

        Raises `BuildFailed` if a file is in the way.
        """
        known = self._resolved.get(path)
        if known is not None:
            return known
        here, missing = self._locate(path)
        self._existing(here)
        for part in missing:
            here = here + b"/" + part if here else part
            self._fresh.add(here)
            self._once(self._new(here))
        self._resolved[path] = here
        return here

    def file(self, path: bytes) -> bytes:
        """The real path for a file, the folders above it written. Raises `BuildFailed` if a folder has that name."""
        here, missing = self._locate(path)
        if not missing and self._is_directory(here):
            raise BuildFailed(f"cannot overwrite directory /{os.fsdecode(path)} with a file")
        above, _, name = b"/".join([*filter(None, [here]), *missing]).rpartition(b"/")
        above = self.directory(above)
        return above + b"/" + name if above else name

    def is_directory(self, path: bytes) -> bool:
        """Whether a folder is there already."""
        here, missing = self._locate(path)
        return not missing and self._is_directory(here)

    def merged(self, path: bytes) -> bytes:
        """The real path of a folder that a copy brings along: that of the image's if it has one."""
        above, _, name = path.rpartition(b"/")
        here = self._resolved.get(above, above)
        whole = here + b"/" + name if here else name
        real, missing = (whole, (name,)) if here in self._fresh else self._locate(whole)
        if missing:
            self._fresh.add(whole)
            self._resolved[path] = whole
            return whole
        if not self._is_directory(real):
            raise BuildFailed(f"cannot copy to non-directory: /{os.fsdecode(whole)}")
        if real != whole:
            self._existing(real)
        self._resolved[path] = real
        return real

    def under(self, path: bytes) -> bytes:
        """The real path of something in a folder that was brought along."""
        above, _, name = path.rpartition(b"/")
        here = self._resolved.get(above, above)
        return here + b"/" + name if here else name

    def covers_directory(self, path: bytes) -> bool:
        """Whether the image has a folder at exactly this real path, links not followed."""
        if self._view is None or path.rpartition(b"/")[0] in self._fresh:
            return False
        try:
            descriptor = paths.open_in(self._view, path, os.O_PATH | os.O_NOFOLLOW)
        except libc.KernelError:
            return False
        try:
            return stat.S_ISDIR(os.fstat(descriptor).st_mode)
        finally:
            os.close(descriptor)

    def _locate(self, path: bytes) -> tuple[bytes, tuple[bytes, ...]]:
        if self._view is None:
            return b"", tuple(part for part in path.split(b"/") if part)
        try:
            return paths.locate_in(self._view, path)
        except libc.KernelError as error:
            raise BuildFailed(
                f"cannot use the destination /{os.fsdecode(path)}", why=os.strerror(error.errno)
            ) from error

    def _is_directory(self, path: bytes) -> bool:
        if self._view is None:
            return not path
        descriptor = paths.open_in(self._view, path or b".", os.O_PATH)
        try:
            return paths.is_directory(descriptor)
        finally:
            os.close(descriptor)

    def _existing(self, path: bytes) -> None:
        """Entries for folders that are there, as they are there."""
        parts = [part for part in path.split(b"/") if part]
        for count in range(1, len(parts) + 1):
            name = b"/".join(parts[:count])
            if name in self._written or self._view is None:
                continue
            if not self._is_directory(name):
                raise BuildFailed(f"cannot copy to non-directory: /{os.fsdecode(name)}")
            descriptor = paths.open_in(self._view, name, os.O_RDONLY | os.O_DIRECTORY)
            try:
                self._once(packing.directory_entry(descriptor, name))
            finally:
                os.close(descriptor)

    def _new(self, path: bytes) -> TarEntry:
        return TarEntry(path, EntryKind.DIRECTORY, 0o755, self._owner.uid, self._owner.gid, mtime_ns=self._mtime_ns)

    def _once(self, entry: TarEntry) -> None:
        if entry.path not in self._written:
            self._written.add(entry.path)
            self._put(entry)


def exists(view: int | None, path: bytes) -> bool:
    """Whether an image has a folder there. Raises `BuildFailed` if it is something else."""
    return Place(view, lambda _: None, owner=Owner(0, 0), mtime_ns=0).is_directory(path)


def write_folder(view: int | None, write: Callable[[bytes], None], path: bytes, *, owner: Owner, mtime_ns: int) -> None:
    """A layer that makes a folder with its parents."""
    packer = packing.Packer(write)
    Place(view, packer.put, owner=owner, mtime_ns=mtime_ns).directory(path)
    packer.finish()


def identity(text: str, view: int | None) -> Owner:
    """Numbers for `user[:group]` by the image's own files. A user alone brings the group of the same number.

    Raises `UserUnknown`.
    """
    found = users.resolve(text, _read(view, b"etc/passwd"), _read(view, b"etc/group"))
    return Owner(found.uid, found.gid)


def _read(view: int | None, name: bytes) -> bytes:
    """At most `users.LARGEST_BYTES` of a file of the image, b"" if there is none."""
    if view is None:
        return b""
    try:
        file = paths.open_in(view, name, os.O_RDONLY | os.O_NONBLOCK)
    except libc.KernelError:
        return b""
    with os.fdopen(file, "rb") as content:
        if not stat.S_ISREG(os.fstat(content.fileno()).st_mode):
            return b""
        return content.read(users.LARGEST_BYTES)


def normal(directory: str, path: str) -> tuple[bytes, bool]:
    """A destination as a path below the root, and whether it is written as a folder."""
    joined = posixpath.join(directory, path)
    is_folder = joined.endswith(("/", "/.", "/.."))
    return os.fsencode(posixpath.normpath("/" + joined).lstrip("/")), is_folder
