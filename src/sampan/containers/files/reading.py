"""Out of a container: what a path is, and its content as an archive. Blocking.

Docker's rules for names: a path that ends in `/` or `/.` means the directory behind a link, and the archive's entries
begin with the last part of the path as it was asked for: `etc/…`, `./…`, and `/…` for the root.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from sampan import errors
from sampan.containers.files.view import View
from sampan.host import packing
from sampan.kernel import libc, paths

MOST_HOPS = 40  # links that lead to one name; the kernel's limit


class FileUnknown(errors.NotFound):
    """The container has no such file."""


class NotThere(errors.Invalid):
    """A path that cannot be what it says: a file with something below it."""


@dataclass(frozen=True, slots=True)
class PathStat:
    """`link_target` is where a link leads, inside the container, as far as it can be followed."""

    name: str
    size_bytes: int
    st_mode: int
    mtime_ns: int
    link_target: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """One thing that was asked for, held open by `descriptor` (O_PATH)."""

    descriptor: int
    path: bytes
    stat: PathStat


@contextlib.contextmanager
def found(view: View, path: str) -> Iterator[Resource]:
    """What is at `path`. Raises `FileUnknown`, `NotThere`."""
    wanted = absolute(os.fsencode(path))
    try:
        descriptor = paths.open_in(view.root, wanted, os.O_PATH | os.O_NOFOLLOW)
    except libc.KernelError as error:
        raise explained(error, path, view) from error
    try:
        status = os.fstat(descriptor)
        if status.st_dev in view.hidden:
            raise _missing(path, view)
        target = _follow(view.root, wanted) if stat.S_ISLNK(status.st_mode) else b""
        yield Resource(
            descriptor,
            wanted,
            PathStat(_shown(_base(wanted)), status.st_size, status.st_mode, status.st_mtime_ns, _shown(target)),
        )
    finally:
        os.close(descriptor)


def pack(view: View, resource: Resource, write: packing.Write) -> None:
    """The archive of a resource: a directory with all below it, or one entry."""
    packer = packing.Packer(write, skip_devices=view.hidden)
    base = _base(resource.path)
    if stat.S_ISDIR(resource.stat.st_mode):
        directory = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=resource.descriptor)
        try:
            packer.add(directory, b".", base)
        finally:
            os.close(directory)
    else:
        packer.add_open(resource.descriptor, base)
    packer.finish()


def absolute(path: bytes) -> bytes:
    """From the root, with dots resolved by name; a trailing `/` or `/.` stays, since it has a meaning."""
    clean = posixpath.normpath(b"/" + path)
    clean = b"/" + clean.lstrip(b"/")
    if path.endswith(b"/.") or path == b".":
        return clean.rstrip(b"/") + b"/."
    return clean + b"/" if path.endswith(b"/") and clean != b"/" else clean


def explained(error: libc.KernelError, path: str, view: View) -> errors.SampanError:
    """What a failed look-up means to who asked."""
    if error.errno in (errno.ENOENT, errno.ELOOP, errno.EACCES, errno.EXDEV):
        return _missing(path, view)
    if error.errno == errno.ENOTDIR:
        return NotThere(f"lstat {path}: not a directory")
    if error.errno in (errno.ENAMETOOLONG, errno.EINVAL):
        return NotThere(f"lstat {path[:300]}: {os.strerror(error.errno)}")
    return error


def _missing(path: str, view: View) -> FileUnknown:
    return FileUnknown(f"Could not find the file {path} in container {view.container.name}")


def _base(path: bytes) -> bytes:
    """The last part, as entries are called."""
    return b"/" if path == b"/" else posixpath.basename(path.rstrip(b"/"))


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _follow(root: int, path: bytes) -> bytes:
    """Where a link ends. One that leads nowhere is followed as far as there is something."""
    for _ in range(MOST_HOPS):
        try:
            return paths.resolve_in(root, path)
        except libc.KernelError:
            above, name = posixpath.split(path.rstrip(b"/"))
        try:
            parent = paths.open_in(root, above or b"/", os.O_PATH)
        except libc.KernelError:
            return path
        try:
            link = os.readlink(name, dir_fd=parent)
        except OSError:
            return path
        finally:
            os.close(parent)
        here = paths.resolve_in(root, above or b"/")
        path = absolute(link if link.startswith(b"/") else here + b"/" + link)
    return path
