"""SELinux labels of a container, where the daemon gives any (`--selinux-enabled`), and what `:z` and `:Z` ask for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sampan.containers.model import Container
from sampan.containers.mountpoints import MountPoint
from sampan.containers.room import Room
from sampan.containers.spec import NO_LABELS
from sampan.host import selinux as files
from sampan.security import selinux


def of(room: Room, container: Container) -> selinux.Labels:
    """Its labels; empty ones where there are none. Raises `SecurityOptionInvalid`."""
    policy, host = room.defaults.selinux, container.wanted.host
    if policy is None:
        return NO_LABELS
    return selinux.labels(policy, host.security_opt, container.id, privileged=host.privileged)


def mark(room: Room, container: Container, point: MountPoint, source: Path) -> None:
    """`-v …:Z` makes a source this container's alone, `:z` all containers'. Blocking. Raises `LabelRefused`."""
    wanted = set(point.mode.split(",")) & {"z", "Z"}
    labels = of(room, container)
    if wanted and labels.mount:
        label = labels.mount if "Z" in wanted else selinux.shared(labels.mount)
        files.relabel(source, label, protected=selinux.PROTECTED)


def share(room: Room, container: Container, sources: Iterable[Path]) -> None:
    """Files of the daemon's own that are bound into containers (hosts, resolv.conf, …). Blocking."""
    labels = of(room, container)
    if labels.mount:
        for source in sources:
            files.relabel(source, selinux.shared(labels.mount), protected=selinux.PROTECTED)
