"""Options that are read but not served yet. Asking for one is refused: silence would be a promise. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sampan import errors
from sampan.containers.wanted import HostConfig


class OptionUnserved(errors.Invalid):
    """The container asks for something this version does not do."""


# option as users write it -> whether the wish asks for it
OPTIONS: Mapping[str, Callable[[HostConfig], object]] = {
    "--init": lambda host: host.init,
    "--link": lambda host: host.links,
    "--userns": lambda host: host.userns_mode not in ("", "host"),
    "--storage-opt": lambda host: host.storage_opt,
    "--volume-driver": lambda host: host.volume_driver not in ("", "local"),
    "--cgroup-parent": lambda host: host.cgroup_parent,
    "--blkio-weight-device": lambda host: host.blkio_weight_device,
    "--device-read-bps": lambda host: host.blkio_device_read_bps,
    "--device-write-bps": lambda host: host.blkio_device_write_bps,
    "--device-read-iops": lambda host: host.blkio_device_read_iops,
    "--device-write-iops": lambda host: host.blkio_device_write_iops,
    "--cpu-rt-period": lambda host: host.cpu_realtime_period,
    "--cpu-rt-runtime": lambda host: host.cpu_realtime_runtime,
    "--isolation": lambda host: host.isolation not in ("", "default"),
}
REMEDIES = {
    "--link": "use a network of your own: containers on it find each other by name",
    "--init": "use an image with an init (tini, dumb-init) as its entrypoint",
}


def check(host: HostConfig) -> None:
    """Raises `OptionUnserved` naming the first such option."""
    for option, asks in OPTIONS.items():
        if asks(host):
            raise OptionUnserved(
                f"{option} is not supported by this version of Sampan",
                remedy=REMEDIES.get(option, "leave it out"),
            )
