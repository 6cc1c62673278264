"""A container's root directory: mounted, checked before the runtime sees it, unmounted. Blocking; for worker threads.

An image may make `/dev` or `/proc` a link to a directory of the host, and old runtimes follow it (CVE-2026-41579 in
runc). So the places the runtime mounts on are looked at first, without following anything.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from sampan import errors
from sampan.containers.layout import Paths
from sampan.containers.users import LARGEST_BYTES
from sampan.kernel import libc, mounts, paths

# What is changed lies in the upper directory whole and under its own name, whatever the host's defaults are: diff and
# commit read it there. `nofollow`: no attribute of a layer leads elsewhere.
WHOLE_FILES = {"redirect_dir": "nofollow", "metacopy": "off", "index": "off"}
SYSTEM_DIRECTORIES = ("proc", "sys", "dev", "dev/pts", "dev/shm", "dev/mqueue", "etc")


class RootfsRefused(errors.Invalid):
    """The image's own directories would lead the runtime out of the container."""


def mount(place: Paths, lowers: Sequence[Path], *, label: str = "") -> None:
    """Mount the overlay (topmost layer first in `lowers`) with the container's writable layer. Idempotent.

    `label`: the SELinux label of everything in it.
    """
    for directory in (place.upper, place.work):
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    place.rootfs.mkdir(mode=0o755, parents=True, exist_ok=True)
    if os.path.ismount(place.rootfs):
        return
    options: dict[str, str | None] = {**WHOLE_FILES, **({"context": label} if label else {})}
    mounts.overlay(place.rootfs, lowers, upper=place.upper, work=place.work, options=options)


def unmount(place: Paths) -> None:
    """Unmount the overlay if it is mounted, whatever is mounted above it, and parts of volumes.

    Two may do it at once: a container's own removal, and the sweep of a daemon that comes up.
    """
    _unmount_all(place.rootfs, os.path.ismount)
    try:
        parts = list(place.parts.iterdir())
    except FileNotFoundError:
        return  # the usual case: no part of a volume is used
    for part in parts:
        _unmount_all(part, mounts.is_mount_point)  # a bind within one file system is none to `os.path.ismount`


def _unmount_all(path: Path, is_mounted: Callable[[Path], bool]) -> None:
    while is_mounted(path):
        try:
            mounts.unmount(path, detach=True)
        except libc.KernelError:
            if is_mounted(path):
                raise
            return  # somebody was quicker


def remove_tree(path: Path) -> None:
    """A directory with all in it; what somebody else removes meanwhile is no error."""
    while path.exists():
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            continue


def check(root: Path) -> None:
    """Raises `RootfsRefused` if a directory the runtime mounts on is anything but a directory or missing."""
    for name in SYSTEM_DIRECTORIES:
        status = _lstat(root / name)
        if status is None or stat.S_ISDIR(status.st_mode):
            continue
        what = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "not a directory"
        raise RootfsRefused(
            f"the image's /{name} is {what}",
            why="the runtime would follow it out of the container",
            remedy="build the image with a plain directory there",
        )


def make_working_directory(root: Path, directory: str, uid: int, gid: int) -> None:
    """`WORKDIR` exists, made for its user if it is missing; links are followed inside the root only."""
    descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(paths.make_directories_in(descriptor, os.fsencode(directory), uid=uid, gid=gid))
    except libc.KernelError as error:
        raise RootfsRefused(f"cannot make the working directory {directory}", why=str(error)) from error
    finally:
        os.close(descriptor)


def read_inside(root: Path, name: str) -> bytes:
    """At most `LARGEST_BYTES` of a file of the container, b"" if there is none; links end inside the root."""
    descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return read_at(descriptor, name)
    finally:
        os.close(descriptor)


def read_at(root: int, name: str) -> bytes:
    """`read_inside` of an open root."""
    try:
        file = paths.open_in(root, os.fsencode(name), os.O_RDONLY | os.O_NONBLOCK)
    except libc.KernelError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
            return b""
        raise
    with open(file, "rb") as content:  # noqa: PTH123 - a descriptor
        if not stat.S_ISREG(os.fstat(content.fileno()).st_mode):
            return b""
        return content.read(LARGEST_BYTES)


def fill_volume(root: Path, destination: str, volume: Path) -> None:
    """Copy what the image has at `destination` into an empty volume, owner and mode of the directory too."""
    if any(volume.iterdir()):
        return
    descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        source = paths.open_in(descriptor, os.fsencode(destination), os.O_RDONLY | os.O_DIRECTORY)
    except libc.KernelError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return
        raise
    finally:
        os.close(descriptor)
    try:
        status = os.fstat(source)
        # cp keeps links as links under -a, so nothing outside the root is read.
        command = ["cp", "-a", "--", f"/proc/self/fd/{source}/.", f"{volume}/"]
        done = subprocess.run(command, pass_fds=(source,), capture_output=True, check=False)
        if done.returncode:
            raise errors.Broken(f"cannot fill the volume from the image's {destination}", why=done.stderr.decode())
        os.chown(volume, status.st_uid, status.st_gid)
        volume.chmod(stat.S_IMODE(status.st_mode))
    finally:
        os.close(source)


def discard(place: Paths) -> None:
    """Remove all of a container's files. Its row is gone already."""
    unmount(place)
    for directory in (place.run, place.directory):
        remove_tree(directory)


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
