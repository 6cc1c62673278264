"""Binds and volumes of a container that starts: the sources, made and mounted as their options say. Blocking.

A part of a volume (`volume-subpath`) is resolved inside the volume and bound to a place of the daemon's own first: a
path handed to the runtime could be made a link out of it meanwhile, by another container that writes there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from sampan.containers import labels, mountpoints, rootfs, spec
from sampan.containers.layout import Paths
from sampan.containers.model import Container
from sampan.containers.mountpoints import MountPoint
from sampan.containers.room import Room
from sampan.kernel import libc, mounts, paths


def check_sources(points: Iterable[MountPoint]) -> None:
    """A bind whose source must be there has one. Again at the start: it may go meanwhile. Raises `MountInvalid`."""
    for point in points:
        if point.kind == "bind" and not point.make_source:
            _host_path(point)


def bound(room: Room, container: Container, place: Paths) -> list[spec.BoundPath]:
    """What the runtime is to bind. Raises `MountInvalid`, and what a volume's own mount raises."""
    points = [point for point in mountpoints.of(container) if point.kind != "tmpfs"]
    return [_bound(room, container, place, point, number) for number, point in enumerate(points)]


def populate(room: Room, container: Container, place: Paths) -> None:
    """Fill empty volumes from the image."""
    for point in mountpoints.of(container):
        if point.kind == "volume" and point.copy and not point.subpath:
            rootfs.fill_volume(place.rootfs, point.destination, room.volumes.ensure(point.source))


def let_go(room: Room, container: Container) -> None:
    """It has ended: volumes that are mounts may go."""
    for point in mountpoints.of(container):
        if point.kind == "volume":
            room.volumes.let_go(point.source, container.id)


def adopt(room: Room, container: Container) -> None:
    """It runs since before this daemon."""
    for point in mountpoints.of(container):
        if point.kind == "volume":
            room.volumes.adopt(point.source, container.id)


def _bound(room: Room, container: Container, place: Paths, point: MountPoint, number: int) -> spec.BoundPath:
    if point.kind == "volume":
        source = room.volumes.hold(point.source, container.id)
        if point.subpath:
            source = _part(source, point, place, number)
    else:
        source = _host_path(point)
    real = os.path.realpath(source)
    labels.mark(room, container, point, Path(real))
    _check_propagation(real, point.propagation)
    return spec.BoundPath(
        real,
        point.destination,
        point.read_only,
        point.propagation or "rprivate",
        recursive=point.recursive,
        flat_read_only=point.flat_read_only,
    )


def _host_path(point: MountPoint) -> Path:
    source = Path(point.source)
    if not source.exists():
        if not point.make_source:
            raise mountpoints.MountInvalid(
                f'invalid mount config for type "bind": bind source path does not exist: {source}'
            )
        source.mkdir(parents=True)
    return source


def _part(volume: Path, point: MountPoint, place: Paths, number: int) -> Path:
    """A directory or file of the volume, bound where nobody can move it. Raises `MountInvalid`."""
    top = os.open(volume, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        part = paths.open_in(top, os.fsencode(point.subpath), os.O_PATH)
    except libc.KernelError as error:
        raise mountpoints.MountInvalid(
            f"cannot access path {volume}/{point.subpath}", why=os.strerror(error.errno), remedy="make it first"
        ) from error
    finally:
        os.close(top)
    try:
        target = place.parts / str(number)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        if stat.S_ISDIR(os.fstat(part).st_mode):
            target.mkdir(exist_ok=True)
        else:
            target.touch()
        mounts.bind(Path(f"/proc/self/fd/{part}"), target, recursive=True)
        return target
    finally:
        os.close(part)


def _check_propagation(source: str, propagation: str) -> None:
    """What is mounted inside can reach the host only where the host's mount shares. Raises `MountInvalid`."""
    if "shared" not in propagation and "slave" not in propagation:
        return
    path = os.fsencode(source)
    above = [one for one in mounts.current() if path == one.point or path.startswith(one.point.rstrip(b"/") + b"/")]
    holder = max(above, key=lambda one: len(one.point))
    point = os.fsdecode(holder.point)
    if "shared" in propagation and not holder.shared:
        raise mountpoints.MountInvalid(f"path {source} is mounted on {point} but it is not a shared mount")
    if "slave" in propagation and not (holder.shared or holder.slave):
        raise mountpoints.MountInvalid(f"path {source} is mounted on {point} but it is not a shared or slave mount")
