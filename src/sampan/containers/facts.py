"""What the containers room must know of this host, read once when the daemon starts."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sampan import errors
from sampan.containers.spec import DeviceNode
from sampan.containers.wanted import Device
from sampan.kernel import cgroups
from sampan.security import capabilities

# Parts of the host's /dev that a container has of its own.
OWN_DEVICES = frozenset({"pts", "shm", "mqueue", "console", "fd", "stdin", "stdout", "stderr", "ptmx"})


class DeviceMissing(errors.Invalid):
    """A device that the host does not have."""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Constant while the daemon runs."""

    cpus: int
    machine: str  # as uname(2) names it
    bounding: frozenset[str]  # capabilities the daemon itself may hand on
    hierarchy: cgroups.Hierarchy
    hard_limits: Mapping[str, int]  # RLIMIT_* -> most this daemon can give, -1 for no limit


def read(*, cgroup_parent: str) -> HostFacts:
    """From /proc, uname, getrlimit and the mounted control groups."""
    status = Path("/proc/self/status").read_text()
    mask = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapBnd:"))
    limits = {name: getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
    return HostFacts(
        cpus=os.cpu_count() or 1,
        machine=os.uname().machine,
        bounding=capabilities.from_mask(mask),
        hierarchy=cgroups.detect(cgroup_parent),
        hard_limits={name: resource.getrlimit(number)[1] for name, number in limits.items()},
    )


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
