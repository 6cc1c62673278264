"""What is mounted into a container: `-v`, `--mount`, `--tmpfs` and the image's VOLUMEs become one list. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from sampan import errors
from sampan.containers.model import Container
from sampan.containers.wanted import BindOptions, DriverConfig, HostConfig, Mount, TmpfsOptions, VolumeOptions
from sampan.volumes.options import check as check_driver_options

Kind = Literal["bind", "volume", "tmpfs"]
VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z")
PROPAGATIONS = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
LABELS = frozenset({"z", "Z"})  # SELinux relabelling; nothing to do where it is off
CONSISTENCY = frozenset({"consistent", "cached", "delegated", "default"})


class MountInvalid(errors.Invalid):
    """A mount that cannot be made as it is written."""


@dataclass(frozen=True, slots=True)
class MountPoint:
    """One mount. `source` is a host path for binds, a volume's name for volumes, empty for tmpfs."""

    kind: Kind
    source: str
    destination: str
    read_only: bool = False
    propagation: str = ""
    copy: bool = True  # fill an empty volume from the image
    anonymous: bool = False
    make_source: bool = False  # `-v` makes a missing host directory, `--mount` does not
    options: str = ""  # of a tmpfs
    mode: str = ""  # as it was written, for inspect
    recursive: bool = True  # what is mounted below the source comes along
    flat_read_only: bool = False  # read-only itself, and what is mounted below it as it is
    subpath: str = ""  # of a volume: a directory in it
    labels: tuple[tuple[str, str], ...] = ()  # of a volume that is made for this
    driver_options: tuple[tuple[str, str], ...] = ()


def collect(host: HostConfig, image_volumes: Iterable[str], new_name: Callable[[], str]) -> tuple[MountPoint, ...]:
    """All mounts, parents before children. Raises `MountInvalid` (relative paths, one destination twice).

    `new_name` names anonymous volumes. An image's VOLUME gives way to an option with the same destination.
    """
    points: dict[str, MountPoint] = {}
    for text in host.binds:
        _add(points, parse_bind(text, new_name))
    for mount in host.mounts:
        _add(points, _read_long_form(mount, new_name))
    for path, options in host.tmpfs.items():
        _add(points, MountPoint("tmpfs", "", _destination(path), options=options))
    for path in image_volumes:
        destination = _destination(path)
        if destination not in points:
            points[destination] = MountPoint("volume", new_name(), destination, anonymous=True)
    return tuple(sorted(points.values(), key=lambda point: point.destination.count("/")))


def parse_bind(text: str, new_name: Callable[[], str]) -> MountPoint:
    """`[source:]destination[:options]`, as `-v` writes it."""
    parts = text.split(":")
    if len(parts) == 1:
        return MountPoint("volume", new_name(), _destination(parts[0]), anonymous=True)
    if len(parts) > 3 or not parts[0] or not parts[1]:
        raise MountInvalid(f"invalid volume specification: '{text}'", remedy="write SOURCE:DESTINATION[:OPTIONS]")
    mode = parts[2] if len(parts) == 3 else ""
    words = set(mode.split(",")) - {""}
    unknown = words - PROPAGATIONS - LABELS - CONSISTENCY - {"ro", "rw", "nocopy"}
    if unknown or {"ro", "rw"} <= words:
        raise MountInvalid(f"invalid mode: {mode}", why=f"in '{text}'", remedy="use ro, rw, nocopy or a propagation")
    propagation = next(iter(words & PROPAGATIONS), "")
    source = parts[0]
    destination = _destination(parts[1])
    if source.startswith("/"):
        if "nocopy" in words:
            raise MountInvalid(f"invalid mode: {mode}", why="nothing is ever copied into a directory of the host")
        return MountPoint(
            "bind",
            posixpath.normpath(source),
            destination,
            read_only="ro" in words,
            propagation=propagation or "rprivate",
            make_source=True,
            mode=mode,
        )
    return MountPoint(
        "volume", _volume_name(source), destination, read_only="ro" in words, copy="nocopy" not in words, mode=mode
    )


def of(container: Container) -> tuple[MountPoint, ...]:
    """A stored container's mounts. The names of its anonymous volumes were settled when it was created."""

    def no_new_name() -> str:
        raise errors.Broken(f"container {container.short_id} has a volume without a name")

    return collect(container.wanted.host, (), no_new_name)


def long_form(point: MountPoint) -> Mount:
    """A bind or a volume as `--mount` writes it."""
    if point.kind == "bind":
        bind_options = BindOptions(
            propagation=point.propagation,
            create_mountpoint=point.make_source,
            non_recursive=not point.recursive,
            read_only_non_recursive=point.flat_read_only,
        )
        return Mount("bind", point.source, point.destination, point.read_only, bind_options=bind_options)
    driver = DriverConfig("local", dict(point.driver_options)) if point.driver_options else None
    volume_options = VolumeOptions(
        no_copy=not point.copy, labels=dict(point.labels), driver_config=driver, subpath=point.subpath
    )
    return Mount("volume", point.source, point.destination, point.read_only, volume_options=volume_options)


def _read_long_form(mount: Mount, new_name: Callable[[], str]) -> MountPoint:
    destination = _destination(mount.target)
    match mount.type:
        case "bind":
            return _long_bind(mount, destination)
        case "volume":
            return _long_volume(mount, destination, new_name)
        case "tmpfs":
            return _long_tmpfs(mount, destination)
        case other:
            raise MountInvalid(f"mount type unknown: {other!r}", remedy="use bind, volume or tmpfs")


def _long_bind(mount: Mount, destination: str) -> MountPoint:
    options = mount.bind_options or BindOptions()
    if not mount.source.startswith("/"):
        raise MountInvalid(f"invalid mount config for type \"bind\": invalid mount path: '{mount.source}'")
    if mount.volume_options or mount.tmpfs_options:
        raise MountInvalid('invalid mount config for type "bind": options of another type must not be specified')
    propagation = options.propagation or "rprivate"
    if propagation not in PROPAGATIONS:
        raise MountInvalid(f'invalid mount config for type "bind": invalid propagation mode: {propagation}')
    flat, forced = options.read_only_non_recursive, options.read_only_force_recursive
    if (flat or forced) and not mount.read_only:
        raise MountInvalid("mount options conflict: a read-only mode for a mount that is not read-only")
    if flat and forced:
        raise MountInvalid("mount options conflict: ReadOnlyNonRecursive && ReadOnlyForceRecursive")
    return MountPoint(
        "bind",
        posixpath.normpath(mount.source),
        destination,
        read_only=mount.read_only,
        propagation=propagation,
        make_source=options.create_mountpoint,
        recursive=not options.non_recursive,
        flat_read_only=flat,
    )


def _long_volume(mount: Mount, destination: str, new_name: Callable[[], str]) -> MountPoint:
    options = mount.volume_options or VolumeOptions()
    if mount.bind_options or mount.tmpfs_options:
        raise MountInvalid('invalid mount config for type "volume": options of another type must not be specified')
    driver = options.driver_config or DriverConfig()
    if driver.name not in ("", "local"):
        raise MountInvalid(
            f'error looking up volume plugin {driver.name}: plugin "{driver.name}" not found', remedy="use local"
        )
    check_driver_options(driver.options)
    return MountPoint(
        "volume",
        _volume_name(mount.source) if mount.source else new_name(),
        destination,
        mount.read_only,
        copy=not options.no_copy,
        anonymous=not mount.source,
        subpath=_subpath(options.subpath),
        labels=tuple(options.labels.items()),
        driver_options=tuple(driver.options.items()),
    )


def _long_tmpfs(mount: Mount, destination: str) -> MountPoint:
    if mount.source:
        raise MountInvalid('invalid mount config for type "tmpfs": field Source must not be specified')
    options = mount.tmpfs_options or TmpfsOptions()
    if options.size_bytes < 0 or not 0 <= options.mode <= 0o7777:
        raise MountInvalid('invalid mount config for type "tmpfs": a size or mode out of range')
    words = [f"size={options.size_bytes}"] if options.size_bytes else []
    words += [f"mode={options.mode:o}"] if options.mode else []
    for pair in options.options:
        if not 1 <= len(pair) <= 2 or any("," in part or "\0" in part for part in pair):
            raise MountInvalid('invalid mount config for type "tmpfs": an option is a name and at most one value')
        words.append("=".join(pair))
    return MountPoint("tmpfs", "", destination, read_only=mount.read_only, options=",".join(words))


def _subpath(path: str) -> str:
    """Relative, and never upwards: the volume is where it ends."""
    if path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise MountInvalid("subpath must be a relative path within the volume", why=f"it is {path!r:.200}")
    return path


def _add(points: dict[str, MountPoint], point: MountPoint) -> None:
    if point.destination in points:
        raise MountInvalid(f"Duplicate mount point: {point.destination}")
    points[point.destination] = point


def _destination(path: str) -> str:
    if not path.startswith("/"):
        raise MountInvalid(f"invalid mount path: '{path}' mount path must be absolute")
    normal = posixpath.normpath(path.replace("//", "/"))
    if normal == "/":
        raise MountInvalid("invalid specification: destination can't be '/'")
    if "\0" in normal:
        raise MountInvalid("invalid mount path", why="it holds a NUL")
    return normal


def _volume_name(name: str) -> str:
    if not VOLUME_NAME.match(name) or len(name) > 255:
        raise MountInvalid(
            f"{name[:300]!r} includes invalid characters for a local volume name",
            remedy='only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed; to mount a host directory, write an absolute path',
        )
    return name
