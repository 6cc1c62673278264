"""Paths inside a root that a stranger filled: openat2(2) with RESOLVE_IN_ROOT, and no path string ever joined.

Every name is resolved by the kernel as if `root` were `/`: links, absolute or climbing, end inside it, and the magic
links of /proc are not followed. For `cp`, working directories, bind targets and unpacking.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from pathlib import Path
from typing import Final

from sampan.kernel import libc

RESOLVE_NO_XDEV: Final = 0x01
RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_NO_SYMLINKS: Final = 0x04
RESOLVE_BENEATH: Final = 0x08
RESOLVE_IN_ROOT: Final = 0x10

_MAX_LINKS: Final = 40  # as the kernel's path walk
_MAX_RETRIES: Final = 32  # EAGAIN: a rename or mount went on during the walk and the kernel cannot vouch for it


def open_in(root: int, path: bytes, flags: int, *, mode: int = 0, resolve: int = 0) -> int:
    """A descriptor for `path` resolved inside the directory `root`. `resolve` adds RESOLVE_* flags. Close it."""
    return _open(root, path, flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve)


def open_at(directory: int, path: bytes, flags: int, *, mode: int = 0) -> int:
    """A descriptor for `path` from `directory` on. Absolute links begin at the thread's root: see `kernel.jails`."""
    return _open(directory, path, flags, mode, RESOLVE_NO_MAGICLINKS)


def _open(directory: int, path: bytes, flags: int, mode: int, resolve: int) -> int:
    how = (ctypes.c_uint64 * 3)(flags | os.O_CLOEXEC, mode, resolve)
    for _ in range(_MAX_RETRIES):
        result = libc.syscall(libc.SYS_OPENAT2, directory, path, how, ctypes.sizeof(how))
        if result != -1 or ctypes.get_errno() != errno.EAGAIN:
            break
    return libc.check(result, "openat2", directory, path, flags, mode)


def resolve_in(root: int, path: bytes) -> bytes:
    """The path below `root` that `path` leads to once every link is followed, with a leading `/`. It must exist."""
    descriptor = open_in(root, path, os.O_PATH)
    try:
        full = _name_of(descriptor)
    finally:
        os.close(descriptor)
    top = _name_of(root).rstrip(b"/")
    return full[len(top) :] or b"/"


def locate_in(root: int, path: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    """How far `path` exists below `root`: the resolved part (no leading slash, b"" for the root) and what is missing.

    A link that leads nowhere is followed to where its target would be. Raises `KernelError` for a file on the way
    (ENOTDIR), a loop (ELOOP), and a `..` behind something missing (ENOENT).
    """
    here, rest, hops = b"", _parts(path), 0
    while rest:
        part = rest.pop(0)
        try:
            here = resolve_in(root, (here + b"/" + part) or b".").strip(b"/")
            continue
        except libc.KernelError as error:
            if error.errno != errno.ENOENT:
                raise
        link = _link_in(root, here, part)
        if link is None:
            if b".." in (part, *rest):
                raise libc.KernelError("openat2", (root, path), errno.ENOENT)
            return here, (part, *rest)
        hops += 1
        if hops > _MAX_LINKS:
            raise libc.KernelError("openat2", (root, path), errno.ELOOP)
        here = b"" if link.startswith(b"/") else here
        rest = [*_parts(link), *rest]
    return here, ()


def _parts(path: bytes) -> list[bytes]:
    return [part for part in path.split(b"/") if part not in (b"", b".")]


def _link_in(root: int, directory: bytes, name: bytes) -> bytes | None:
    """The target of a link, None if there is no link by that name."""
    parent = open_in(root, directory or b".", os.O_PATH | os.O_DIRECTORY)
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL):
            return None
        raise libc.failed(error, "readlinkat", directory, name) from error
    finally:
        os.close(parent)


def _name_of(descriptor: int) -> bytes:
    return os.fsencode(Path(f"/proc/self/fd/{descriptor}").readlink())


def make_directories_in(root: int, path: bytes, *, mode: int = 0o755, uid: int = 0, gid: int = 0) -> int:
    """A descriptor for the directory `path` inside `root`, made with its parents where missing. Close it.

    Links on the way are followed inside the root; one that leads nowhere is an error, as is a file on the way.
    """
    done = b""
    for part in [part for part in path.split(b"/") if part not in (b"", b".")]:
        parent = open_in(root, done or b".", os.O_PATH | os.O_DIRECTORY)
        try:
            if part != b".." and not _exists(parent, part):
                os.mkdir(part, mode, dir_fd=parent)
                os.chown(part, uid, gid, dir_fd=parent, follow_symlinks=False)
        except FileExistsError:
            pass  # made by someone else in between; the next step opens it and finds out what it is
        except OSError as error:
            raise libc.failed(error, "mkdirat", done, part) from error
        finally:
            os.close(parent)
        done += b"/" + part
    return open_in(root, done or b".", os.O_RDONLY | os.O_DIRECTORY)


def _exists(parent: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def is_directory(descriptor: int) -> bool:
    """Whether an open descriptor, O_PATH ones too, is a directory."""
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)
