"""Mounts: erofs with a tar behind it, overlay of any number of layers, bind mounts, propagation, and what is mounted.

Overlay mounts use the mount API of Linux 5.2 with `lowerdir+` (6.5), where each layer is a parameter of its own: names
may hold commas and colons and their sum has no limit. Kernels without it get mount(2), whose options fit one page.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sampan.kernel import libc

# include/uapi/linux/mount.h
MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REMOUNT: Final = 32
MS_NOATIME: Final = 1024
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
MS_SLAVE: Final = 1 << 19
MS_SHARED: Final = 1 << 20
MNT_DETACH: Final = 2
UMOUNT_NOFOLLOW: Final = 8

_FSOPEN_CLOEXEC: Final = 1
_FSMOUNT_CLOEXEC: Final = 1
_FSCONFIG_SET_FLAG: Final = 0
_FSCONFIG_SET_STRING: Final = 1
_FSCONFIG_CMD_CREATE: Final = 6
_MOVE_MOUNT_F_EMPTY_PATH: Final = 4
_AT_FDCWD: Final = -100
_AT_EMPTY_PATH: Final = 0x1000
_AT_RECURSIVE: Final = 0x8000
_MOUNT_ATTR_RDONLY: Final = 1

_MAX_PARAMETER: Final = 255  # bytes in one fsconfig string (fs/fsopen.c takes 256 with the NUL)
_PAGE: Final = 4096  # bytes of options mount(2) takes, with the NUL

_PROPAGATION: Final[Mapping[str, int]] = {"private": MS_PRIVATE, "slave": MS_SLAVE, "shared": MS_SHARED}


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo. Source: proc_pid_mountinfo(5)."""

    mount_id: int
    parent_id: int
    root: bytes
    point: bytes
    options: bytes
    shared: bool
    slave: bool
    file_system: str
    source: bytes
    device: int = 0  # st_dev of the files on it


def parse_mountinfo(text: bytes) -> list[Mount]:
    """The mounts in the text of /proc/<pid>/mountinfo, oldest first."""
    mounts = []
    for line in text.splitlines():
        left, _, right = line.partition(b" - ")
        mount_id, parent_id, device, root, point, options, *optional = left.split(b" ")
        major, _, minor = device.partition(b":")
        file_system, source, *_ = right.split(b" ")
        shared = any(field.startswith(b"shared:") for field in optional)
        slave = any(field.startswith(b"master:") for field in optional)
        mounts.append(
            Mount(
                int(mount_id), int(parent_id), _unescape(root), _unescape(point), options, shared, slave,
                file_system.decode(), _unescape(source), os.makedev(int(major), int(minor)),
            )
        )  # fmt: skip
    return mounts


def _unescape(field: bytes) -> bytes:
    """Undo the octal escapes for space, tab, newline and backslash."""
    if b"\\" not in field:
        return field
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), field)


def current() -> list[Mount]:
    """The mounts of this process's mount namespace."""
    return parse_mountinfo(Path("/proc/self/mountinfo").read_bytes())


def is_mount_point(path: Path) -> bool:
    """Whether something is mounted at `path` itself."""
    point = os.fsencode(os.path.realpath(path))
    return any(mount.point == point for mount in current())


def mount(source: str | Path, target: Path, file_system: str = "", *, flags: int = 0, data: bytes = b"") -> None:
    """mount(2)."""
    libc.check(
        libc.libc.mount(
            os.fsencode(source), os.fsencode(target), file_system.encode() or None, ctypes.c_ulong(flags), data or None
        ),
        "mount", str(source), str(target), file_system, flags, data,
    )  # fmt: skip


def unmount(target: Path, *, detach: bool = False) -> None:
    """umount2(2), never through a symbolic link. `detach` takes it out of sight now and frees it with its last user."""
    flags = UMOUNT_NOFOLLOW | (MNT_DETACH if detach else 0)
    libc.check(libc.libc.umount2(os.fsencode(target), flags), "umount2", str(target), flags)


def bind(source: Path, target: Path, *, recursive: bool = False, read_only: bool = False) -> None:
    """Bind `source` to `target`. `read_only` holds for the mount itself, and with `recursive` for those below it."""
    mount(source, target, flags=MS_BIND | (MS_REC if recursive else 0))
    if not read_only:
        return
    try:
        make_read_only(target, recursive=recursive)
    except libc.KernelError:
        unmount(target, detach=True)
        raise


def make_read_only(target: Path, *, recursive: bool = False) -> None:
    """mount_setattr(2), which changes no other flag of the mount. Linux 5.12."""
    attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY, 0, 0, 0)
    size = ctypes.sizeof(attributes)
    flags = _AT_RECURSIVE if recursive else 0
    result = libc.syscall(libc.SYS_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(target), flags, attributes, size)
    libc.check(result, "mount_setattr", str(target), flags, "read-only")


def propagate(target: Path, kind: str, *, recursive: bool = False) -> None:
    """Make the mount at `target` private, slave or shared."""
    flags = _PROPAGATION[kind] | (MS_REC if recursive else 0)
    mount("none", target, flags=flags)


def erofs(metadata: Path, target: Path, *, device: Path) -> None:
    """Mount the EROFS image `metadata`, whose file contents lie in `device`. Both are plain files (Linux 6.12).

    The mount itself honours no setuid bits and no devices; an overlay over it decides for itself.
    """
    with _plain_name(device) as name:
        mount(metadata, target, "erofs", flags=MS_RDONLY | MS_NOSUID | MS_NODEV, data=b"device=" + name)


@contextlib.contextmanager
def _plain_name(path: Path) -> Iterator[bytes]:
    """A name of the file that can stand among comma-separated options: its own, or one through an open descriptor."""
    name = os.fsencode(path)
    if not re.search(rb"[,\\\s\"]", name) and len(name) < 2048:
        yield name
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield b"/proc/self/fd/%d" % descriptor
    finally:
        os.close(descriptor)


def overlay(
    target: Path,
    lowers: Sequence[Path],
    *,
    upper: Path | None = None,
    work: Path | None = None,
    options: Mapping[str, str | None] | None = None,
) -> None:
    """Mount an overlay at `target`. `lowers` has the topmost layer first; without `upper` it is read-only.

    `options` are further parameters of overlayfs, such as `{"index": "off", "userxattr": None}`. One layer alone
    without `upper` is bound instead: overlayfs refuses to merge one directory with nothing.
    """
    if upper is None and len(lowers) == 1:
        bind(lowers[0], target, read_only=True)
        return
    parameters: list[tuple[str, bytes | None]] = []
    if upper is not None and work is not None:
        parameters += [("upperdir", os.fsencode(upper)), ("workdir", os.fsencode(work))]
    parameters += [(key, None if value is None else value.encode()) for key, value in (options or {}).items()]
    try:
        _overlay_by_parameters(target, [os.fsencode(lower) for lower in lowers], parameters, read_only=upper is None)
    except libc.KernelError as error:
        if error.call not in ("fsopen", "fsconfig") or error.errno not in (errno.ENOSYS, errno.EINVAL):
            raise
        try:
            _overlay_by_options(target, lowers, parameters, read_only=upper is None)
        except libc.KernelError as second:
            raise second from error


def _overlay_by_parameters(
    target: Path, lowers: Sequence[bytes], parameters: Sequence[tuple[str, bytes | None]], *, read_only: bool
) -> None:
    with contextlib.ExitStack() as descriptors:
        context = libc.check(libc.syscall(libc.SYS_FSOPEN, b"overlay", _FSOPEN_CLOEXEC), "fsopen", "overlay")
        descriptors.callback(os.close, context)
        _configure(context, "source", b"overlay")
        for key, value in [*(("lowerdir+", lower) for lower in lowers), *parameters]:
            if value is not None and len(value) > _MAX_PARAMETER:
                value = _short_name(descriptors, value)
            _configure(context, key, value)
        result = libc.syscall(libc.SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        libc.check(result, "fsconfig", "create", lowers, parameters)
        attributes = _MOUNT_ATTR_RDONLY if read_only else 0
        mounted = libc.check(libc.syscall(libc.SYS_FSMOUNT, context, _FSMOUNT_CLOEXEC, attributes), "fsmount")
        descriptors.callback(os.close, mounted)
        result = libc.syscall(
            libc.SYS_MOVE_MOUNT, mounted, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH
        )
        libc.check(result, "move_mount", str(target))


def _configure(context: int, key: str, value: bytes | None) -> None:
    command = _FSCONFIG_SET_FLAG if value is None else _FSCONFIG_SET_STRING
    result = libc.syscall(libc.SYS_FSCONFIG, context, command, key.encode(), value, 0)
    libc.check(result, "fsconfig", key, value)


def _short_name(descriptors: contextlib.ExitStack, path: bytes) -> bytes:
    """A name short enough for fsconfig: the directory through a descriptor that stays open until the mount is made."""
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    descriptors.callback(os.close, descriptor)
    return b"/proc/self/fd/%d" % descriptor


def _overlay_by_options(
    target: Path, lowers: Sequence[Path], parameters: Sequence[tuple[str, bytes | None]], *, read_only: bool
) -> None:
    """mount(2) with one options string, for kernels before `lowerdir+`."""
    joined = b":".join(_escape(os.fsencode(lower)).replace(b":", b"\\:") for lower in lowers)
    parts = [b"lowerdir=" + joined]
    parts += [key.encode() if value is None else key.encode() + b"=" + _escape(value) for key, value in parameters]
    data = b",".join(parts)
    if len(data) >= _PAGE:
        raise libc.KernelError(
            "mount", ("overlay", str(target), "overlay", 0, data), errno.E2BIG,
            remedy="use Linux 6.5 or later, or a data root with a shorter name",
        )  # fmt: skip
    mount("overlay", target, "overlay", flags=MS_RDONLY if read_only else 0, data=data)


def _escape(name: bytes) -> bytes:
    return name.replace(b"\\", b"\\\\").replace(b",", b"\\,")
