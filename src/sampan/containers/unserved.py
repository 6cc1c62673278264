"""Options that are read and cannot be done. Asking for one is refused: silence would be a promise. Pure.

The words are dockerd's where it refuses the same.
"""

from __future__ import annotations

from sampan import errors
from sampan.containers.wanted import HostConfig


class OptionUnserved(errors.Invalid):
    """The container asks for something that this host or this version does not do."""


def check(host: HostConfig, *, realtime: bool) -> None:
    """Raises `OptionUnserved` naming the first such option. `realtime`: the kernel shares out real-time processor."""
    if host.userns_mode not in ("", "host"):
        raise OptionUnserved(
            f"invalid userns mode: {host.userns_mode!r}",
            why="the daemon maps no users, so every container is in the host's user namespace",
            remedy="leave --userns out, or use --userns=host",
        )
    if host.isolation not in ("", "default"):
        raise OptionUnserved(f"invalid isolation ({host.isolation}): linux only supports 'default'")
    if host.storage_opt:
        raise OptionUnserved(
            "--storage-opt is not supported by the storage drivers of this host",
            why="limiting a container's layer needs project quota of XFS",
            remedy="give the container a volume of limited size (docker volume create -o type=tmpfs -o o=size=…)",
        )
    _check_realtime(host, realtime=realtime)
    _check_devices(host)


def check_volume_driver(name: str) -> None:
    """Of a container that has a volume; without one the option means nothing. Raises `OptionUnserved`."""
    if name not in ("", "local"):
        raise OptionUnserved(
            f'error looking up volume plugin {name}: plugin "{name}" not found',
            remedy="leave --volume-driver out: there is only `local`",
        )


def _check_realtime(host: HostConfig, *, realtime: bool) -> None:
    if (host.cpu_realtime_period or host.cpu_realtime_runtime) and not realtime:
        raise OptionUnserved(
            "kernel does not support CPU real-time scheduler",
            why="--cpu-rt-period and --cpu-rt-runtime need control groups of version 1 with CONFIG_RT_GROUP_SCHED",
        )
    if host.cpu_realtime_period and host.cpu_realtime_runtime > host.cpu_realtime_period:
        raise OptionUnserved("cpu real-time runtime cannot be higher than cpu real-time period")


def _check_devices(host: HostConfig) -> None:
    """`--gpus` and CDI need a driver; there is none. Source: dockerd's answer on a host without one."""
    for request in host.device_requests:
        shown = " ".join(f"[{' '.join(names)}]" for names in request.capabilities)
        raise OptionUnserved(
            f'could not select device driver "{request.driver}" with capabilities: [{shown}]',
            remedy="leave --gpus out, or pass device nodes by --device",
        )
