"""A container's tree, opened for one operation: running or not, with its mounts or without."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from sampan import errors
from sampan.containers import mountpoints, rootfs
from sampan.containers.layout import Paths
from sampan.containers.model import Container, ContainerBusy, Phase
from sampan.containers.mountpoints import MountPoint
from sampan.containers.room import Live, Room
from sampan.kernel import jails, libc, mounts, paths

# Made by the kernel, not files: what dockerd's `cp` does not see either.
PSEUDO = frozenset(
    {"proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "debugfs", "tracefs", "securityfs", "bpf", "pstore"}
)
DEVICE_DIRECTORIES = frozenset({b"/dev", b"/dev/shm"})
NAME_FILES = ("hostname", "hosts", "resolv.conf")  # bound to /etc by every start


@dataclass(frozen=True, slots=True)
class View:
    """`root` is an open directory. Files on `hidden` devices (st_dev) are taken for missing."""

    container: Container
    root: int
    hidden: frozenset[int] = frozenset()


@contextlib.asynccontextmanager
async def opened(room: Room, reference: str, *, with_mounts: bool) -> AsyncIterator[View]:
    """The view until the block ends. It stays sound when the container stops or starts meanwhile.

    Without mounts it is the overlay alone, as export and commit want it. Raises `ContainerUnknown`, `ContainerBusy`.
    """
    container = room.get(reference)
    live = room.live_of(container.id)
    async with contextlib.AsyncExitStack() as stack:
        async with live.lock:
            container = room.get(container.id)
            if container.phase is Phase.REMOVING:
                raise ContainerBusy(f"container {container.short_id} is being removed")
            lowers = await room.images.lowers(container.image_id)
            live.readers += 1
            # Not waited for: to unmount an overlay is to flush what was written to it.
            stack.callback(lambda: room.spawn(_give_back(room, live, container.id)))
            descriptors: list[int] = []
            stack.callback(_close_all, descriptors)
            view = await asyncio.to_thread(_open, room, container, lowers, descriptors, with_mounts=with_mounts)
        yield view


async def _give_back(room: Room, live: Live, container_id: str) -> None:
    async with live.lock:
        live.readers -= 1
        if live.readers:
            return
        try:
            alive = room.get(container_id).alive
        except errors.NotFound:
            return  # its removal unmounted it
        if not alive:
            await asyncio.to_thread(rootfs.unmount, room.paths(container_id))


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _open(
    room: Room, container: Container, lowers: tuple[Path, ...], descriptors: list[int], *, with_mounts: bool
) -> View:
    place = room.paths(container.id)
    place.directory.mkdir(mode=0o710, parents=True, exist_ok=True)
    rootfs.mount(place, lowers)
    if with_mounts and container.alive:
        running = _running_root(container, place)
        if running is not None:
            root, hidden = running
            descriptors.append(root)
            return View(container, root, hidden)
    if not with_mounts:
        root = os.open(place.rootfs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        descriptors.append(root)
        return View(container, root)
    points = [point for point in mountpoints.of(container) if point.kind != "tmpfs"]
    named = any((place.directory / name).exists() for name in NAME_FILES)
    if not points and not named:  # nothing is mounted on it: spare the copy of all mounts
        root = os.open(place.rootfs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        descriptors.append(root)
        return View(container, root)
    sources = {point.destination: _source(room, place, point) for point in points}
    root, kept = jails.with_own_mounts(lambda: _furnished(place, points, sources))
    descriptors += [root, kept]
    return View(container, root)


def _running_root(container: Container, place: Paths) -> tuple[int, frozenset[int]] | None:
    """The root of the container's first process, and what is no files there. None if it is not what it should be.

    The process may have ended and its number be another's by now, or have changed its root: so it must be the
    container's own overlay. The process's directory is held open, so that both answers come from one process.
    """
    with contextlib.ExitStack() as stack:
        try:
            process = os.open(f"/proc/{container.state.pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, process)
            root = os.open("root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=process)
            mine, expected = os.fstat(root), place.rootfs.stat()
            if (mine.st_dev, mine.st_ino) != (expected.st_dev, expected.st_ino):
                os.close(root)
                return None
            with open(os.open("mountinfo", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process), "rb") as table:  # noqa: PTH123
                mounted = mounts.parse_mountinfo(table.read())
        except (FileNotFoundError, ProcessLookupError):
            return None  # it ends at this moment
    hidden = {
        each.device
        for each in mounted
        if each.file_system in PSEUDO or (each.file_system == "tmpfs" and each.point in DEVICE_DIRECTORIES)
    }
    return root, frozenset(hidden)


def _source(room: Room, place: Paths, point: MountPoint) -> Path:
    if point.kind == "bind":
        return Path(point.source)
    volume = room.volumes.ensure(point.source)
    if point.copy:
        rootfs.fill_volume(place.rootfs, point.destination, volume)
    return volume


def _furnished(place: Paths, points: list[MountPoint], sources: dict[str, Path]) -> int:
    """Bind volumes, host directories and the name files as a start would, in a namespace of its own; the open root."""
    root = os.open(place.rootfs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for point in points:
            source = sources[point.destination]
            if source.exists():
                _bind(root, source, os.fsencode(point.destination), read_only=point.read_only)
        for name in NAME_FILES:
            source = place.directory / name
            if source.exists():
                _bind(root, source, b"/etc/" + name.encode(), read_only=False)
        # What was mounted on it is seen through a descriptor that is opened after the mounts.
        return os.open(place.rootfs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(root)


def _bind(root: int, source: Path, destination: bytes, *, read_only: bool) -> None:
    target = _target(root, destination, directory=source.is_dir())
    try:
        mounts.bind(source, Path(f"/proc/self/fd/{target}"), recursive=True)
    finally:
        os.close(target)
    if read_only:
        target = paths.open_in(root, destination, os.O_PATH)
        try:
            mounts.make_read_only(Path(f"/proc/self/fd/{target}"))
        finally:
            os.close(target)


def _target(root: int, destination: bytes, *, directory: bool) -> int:
    """Where to mount, made if it is missing, as the runtime would at a start."""
    try:
        return paths.open_in(root, destination, os.O_PATH)
    except libc.KernelError:
        if directory:
            return paths.make_directories_in(root, destination)
    above, _, name = destination.rpartition(b"/")
    parent = paths.make_directories_in(root, above)
    try:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o755, dir_fd=parent))
    finally:
        os.close(parent)
    return paths.open_in(root, destination, os.O_PATH)


def runtime_leftovers(place: Paths) -> frozenset[bytes]:
    """Paths in the upper directory that only the runtime made, to mount on: they are no change of the container's."""
    found = set()
    for name in ("etc/hostname", "etc/hosts", "etc/resolv.conf"):
        path = place.upper / name
        if not path.is_symlink() and path.is_file() and path.stat().st_size == 0:
            found.add(name.encode())
    for name in ("dev", "proc", "sys"):
        path = place.upper / name
        if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
            found.add(name.encode())
    return frozenset(found)


def still_there(room: Room, container: Container) -> None:
    """Raises if the container was removed meanwhile: then what was read of its files is not all of them."""
    if room.get(container.id).phase is Phase.REMOVING:
        raise ContainerBusy(f"container {container.short_id} is being removed")


def is_still(room: Room, container: Container) -> bool:
    """Whether it neither started nor ended since the view was opened. Raises `ContainerUnknown`."""
    now = room.get(container.id)
    return (now.alive, now.state.pid) == (container.alive, container.state.pid)
