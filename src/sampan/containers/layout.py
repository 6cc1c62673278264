"""Where a container's files are. Pure.

What must outlive a reboot lies under the data root; what a running container needs lies under the run directory, which
is empty after a reboot, as are the namespaces and mounts it names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Paths:
    """One container's places."""

    directory: Path  # <data root>/containers/<id>: log, exit record, writable layer
    run: Path  # <run directory>/containers/<id>: the bundle

    @property
    def upper(self) -> Path:
        """The writable layer."""
        return self.directory / "upper"

    @property
    def work(self) -> Path:
        """Overlayfs keeps it for itself."""
        return self.directory / "work"

    @property
    def log(self) -> Path:
        """The framed log; its index lies beside it."""
        return self.directory / "container.log"

    @property
    def hostname(self) -> Path:
        """Bound to /etc/hostname."""
        return self.directory / "hostname"

    @property
    def hosts(self) -> Path:
        """Bound to /etc/hosts."""
        return self.directory / "hosts"

    @property
    def resolv_conf(self) -> Path:
        """Bound to /etc/resolv.conf."""
        return self.directory / "resolv.conf"

    @property
    def rootfs(self) -> Path:
        """Where the overlay is mounted."""
        return self.run / "rootfs"

    @property
    def parts(self) -> Path:
        """Below it, parts of volumes are bound."""
        return self.run / "parts"

    @property
    def configuration(self) -> Path:
        """The OCI runtime configuration."""
        return self.run / "config.json"

    @property
    def pid_file(self) -> Path:
        """Written by the runtime."""
        return self.run / "pid"

    @property
    def runtime_log(self) -> Path:
        """What the runtime said, as JSON lines."""
        return self.run / "runtime.log"


@dataclass(frozen=True, slots=True)
class Layout:
    """All containers' places."""

    data: Path  # <data root>/containers
    run: Path  # <run directory>/containers
    runtime: Path  # <run directory>/runtime: the OCI runtime's own state

    def of(self, container_id: str) -> Paths:
        """One container's."""
        return Paths(self.data / container_id, self.run / container_id)
