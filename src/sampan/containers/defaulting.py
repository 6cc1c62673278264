"""What a container's wish leaves open comes from the daemon's settings, at its creation. Pure.

It is written into the stored wish, as dockerd does it: a daemon that is started with other settings changes no
container that exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from sampan.containers.wanted import HostConfig, LogConfig, Ulimit


@dataclass(frozen=True, slots=True)
class Wish:
    """The daemon's word on what containers want. Empty values leave a wish as it is."""

    log_driver: str = ""
    log_options: Mapping[str, str] = field(default_factory=dict)
    without_bridge: bool = False  # -b none: no network where none is named
    shm_bytes: int = 0
    ipc_mode: str = ""
    cgroupns_mode: str = ""
    ulimits: tuple[tuple[str, int, int], ...] = ()  # name, soft, hard


NOTHING: Final = Wish()


def fill(host: HostConfig, wish: Wish) -> HostConfig:
    """The same with every gap filled."""
    asked = {limit.name for limit in host.ulimits}
    more = [Ulimit(name, hard=hard, soft=soft) for name, soft, hard in wish.ulimits if name not in asked]
    return msgspec.structs.replace(
        host,
        network_mode="none" if wish.without_bridge and host.network_mode in ("", "default") else host.network_mode,
        log_config=_log(host.log_config, wish),
        shm_size=host.shm_size or wish.shm_bytes,
        ipc_mode=host.ipc_mode or wish.ipc_mode,
        cgroupns_mode=host.cgroupns_mode or wish.cgroupns_mode,
        ulimits=[*host.ulimits, *more],
    )


def _log(asked: LogConfig, wish: Wish) -> LogConfig:
    """The daemon's log options go with the daemon's driver: another driver would not know them."""
    if asked.type and asked.type != wish.log_driver:
        return asked
    return LogConfig(asked.type or wish.log_driver, {**wish.log_options, **asked.config})
