"""What the daemon hands to this face: its rooms, and the facts about this host and installation."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sampan import __version__
from sampan.events.bus import Bus

if TYPE_CHECKING:
    from sampan.build.service import Builder
    from sampan.containers.service import Containers
    from sampan.images.service import Images
    from sampan.networks.service import Networks
    from sampan.volumes.service import Volumes


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What `info` and `version` tell. Gathered when the daemon starts."""

    version: str = __version__
    git_commit: str = ""
    built: str = ""  # RFC 3339
    id: str = ""  # of this installation
    hostname: str = ""
    operating_system: str = "Linux"  # PRETTY_NAME of os-release
    os_version: str = ""
    kernel: str = field(default_factory=platform.release)
    architecture: str = field(default_factory=platform.machine)
    cpu_count: int = field(default_factory=lambda: os.cpu_count() or 1)
    memory_bytes: int = 0
    cgroup_version: str = "1"
    cgroup_driver: str = "cgroupfs"
    storage_driver: str = "overlay2"
    storage_status: tuple[tuple[str, str], ...] = ()
    data_root: str = "/var/lib/sampan"
    runtimes: Mapping[str, str] = field(default_factory=lambda: {"runc": "runc"})  # name -> path
    default_runtime: str = "runc"
    runtime_version: str = ""
    init_binary: str = ""
    logging_driver: str = "json-file"
    security_options: tuple[str, ...] = ("name=seccomp,profile=builtin",)
    insecure_registries: tuple[str, ...] = ()
    registry_mirrors: tuple[str, ...] = ()
    address_pools: tuple[tuple[str, int], ...] = ()  # (base, prefix length of each piece)
    labels: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    debug: bool = False
    experimental: bool = False
    ipv4_forwarding: bool = True
    live_restore: bool = True


# Docker's GOARCH names for what uname says.
ARCHITECTURES: Mapping[str, str] = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "i686": "386",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
}


@dataclass(slots=True, kw_only=True)
class Engine:
    """The rooms the handlers call. The facts change when the daemon reads its settings again."""

    containers: Containers
    images: Images
    networks: Networks
    volumes: Volumes
    builder: Builder
    bus: Bus
    facts: Facts
