"""What the containers room must know of this host, read once when the daemon starts."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sampan import errors
from sampan.containers import resources
from sampan.containers.spec import DeviceNode
from sampan.containers.wanted import Device, HostConfig
from sampan.kernel import cgroups
from sampan.security import capabilities

# Parts of the host's /dev that a container has of its own.
OWN_DEVICES = frozenset({"pts", "shm", "mqueue", "console", "fd", "stdin", "stdout", "stderr", "ptmx"})


# Programs that serve as an init, all linked statically: they must run in any image. Source: Debian's packages.
INIT_PROGRAMS = ("/usr/bin/docker-init", "/usr/bin/tini-static", "/usr/bin/catatonit")


class InitMissing(errors.Unavailable):
    """`--init` on a host without a program for it."""


class DeviceMissing(errors.Invalid):
    """A device that the host does not have."""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Constant while the daemon runs."""

    cpus: int
    machine: str  # as uname(2) names it
    bounding: frozenset[str]  # capabilities the daemon itself may hand on
    hierarchy: cgroups.Hierarchy
    realtime: bool  # the kernel shares out real-time processor among control groups
    hard_limits: Mapping[str, int]  # RLIMIT_* -> most this daemon can give, -1 for no limit


def read(*, cgroup_parent: str) -> HostFacts:
    """From /proc, uname, getrlimit and the mounted control groups."""
    status = Path("/proc/self/status").read_text()
    mask = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapBnd:"))
    limits = {name: getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
    hierarchy = cgroups.detect(cgroup_parent)
    return HostFacts(
        cpus=os.cpu_count() or 1,
        machine=os.uname().machine,
        bounding=capabilities.from_mask(mask),
        hierarchy=hierarchy,
        realtime=(hierarchy.base / "cpu/cpu.rt_runtime_us").exists(),
        hard_limits={name: resource.getrlimit(number)[1] for name, number in limits.items()},
    )


def init_program(given: str = "") -> str:
    """The program behind `--init`. Raises `InitMissing`."""
    for path in (given,) if given else INIT_PROGRAMS:
        if os.access(path, os.X_OK):
            return path
    raise InitMissing(
        "--init needs an init program, and this host has none",
        why=f"looked for {given or ', '.join(INIT_PROGRAMS)}",
        remedy="apt-get install catatonit (or tini)",
    )


def block_devices(host: HostConfig) -> Mapping[str, tuple[int, int]]:
    """Major and minor number of every device that a block limit names. Raises `DeviceMissing`."""
    found = {}
    for path in sorted(resources.block_paths(host)):
        try:
            status = Path(path).stat()
        except (OSError, ValueError) as error:
            raise DeviceMissing(f"no such device: {path[:200]!r}", why=str(error)) from error
        if not stat.S_ISBLK(status.st_mode):
            raise DeviceMissing(f"{path} is no block device", remedy="name a disk, such as /dev/sda")
        found[path] = (os.major(status.st_rdev), os.minor(status.st_rdev))
    return found


def devices(wanted: list[Device], *, all_devices: bool) -> tuple[DeviceNode, ...]:
    """The nodes `--device` names (directories stand for all in them), or every node of the host."""
    if all_devices:
        return tuple(_walk(Path("/dev"), "/dev", "rwm"))
    nodes: list[DeviceNode] = []
    for device in wanted:
        source = Path(device.path_on_host)
        inside = device.path_in_container or device.path_on_host
        access = device.cgroup_permissions or "rwm"
        if not set(access) <= set("rwm"):
            raise DeviceMissing(f"invalid device mode: {access}", remedy="use a combination of r, w and m")
        if not source.exists():
            raise DeviceMissing(
                f'error gathering device information while adding custom device "{source}": no such file or directory'
            )
        found = list(_walk(source, inside, access)) if source.is_dir() else list(_node(source, inside, access))
        if not found:
            raise DeviceMissing(
                f'error gathering device information while adding custom device "{source}": not a device node'
            )
        nodes += found
    return tuple(nodes)


def _walk(directory: Path, inside: str, access: str) -> Iterator[DeviceNode]:
    for entry in sorted(directory.iterdir()):
        if entry.name in OWN_DEVICES or entry.is_symlink():
            continue
        if entry.is_dir():
            yield from _walk(entry, f"{inside}/{entry.name}", access)
        else:
            yield from _node(entry, f"{inside}/{entry.name}", access)


def _node(path: Path, inside: str, access: str) -> Iterator[DeviceNode]:
    status = path.stat()
    if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        return
    yield DeviceNode(
        path=inside,
        kind="c" if stat.S_ISCHR(status.st_mode) else "b",
        major=os.major(status.st_rdev),
        minor=os.minor(status.st_rdev),
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        access=access,
    )
