"""Containers as values: identity, life cycle, and what is asked of the verbs. Pure.

The life cycle is the table `NEXT`. `starting` and `removing` are the phases in which a crash leaves work to undo or to
finish: a daemon that starts again takes them to `exited` and to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sampan import errors
from sampan.containers.wanted import Wanted


class ContainerUnknown(errors.NotFound):
    """No such container."""


class ContainerBusy(errors.Conflict):
    """The container's present phase forbids the verb."""


class Phase(StrEnum):
    """Docker's words for the state of a container, plus `starting`."""

    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"  # exited; the restart policy waits to start it
    EXITED = "exited"
    REMOVING = "removing"


NEXT: Mapping[Phase, frozenset[Phase]] = {
    Phase.CREATED: frozenset({Phase.STARTING, Phase.RESTARTING, Phase.REMOVING}),
    Phase.STARTING: frozenset({Phase.RUNNING, Phase.CREATED, Phase.EXITED, Phase.RESTARTING}),
    Phase.RUNNING: frozenset({Phase.PAUSED, Phase.RESTARTING, Phase.EXITED}),
    Phase.PAUSED: frozenset({Phase.RUNNING, Phase.EXITED, Phase.RESTARTING}),
    Phase.RESTARTING: frozenset({Phase.STARTING, Phase.EXITED}),
    Phase.EXITED: frozenset({Phase.STARTING, Phase.RESTARTING, Phase.REMOVING}),
    Phase.REMOVING: frozenset(),
}
ALIVE = frozenset({Phase.RUNNING, Phase.PAUSED})


@dataclass(frozen=True, slots=True)
class State:
    """What happened to a container so far. Times in nanoseconds since the epoch, 0 for never."""

    pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_ns: int = 0
    finished_ns: int = 0
    restart_count: int = 0
    stopped_by_user: bool = False  # `unless-stopped` and `always` leave it alone until it is started again


@dataclass(frozen=True, slots=True)
class Container:
    """One row. `wanted.config` is already merged with the image's configuration."""

    id: str  # 64 hexadecimal digits
    name: str  # without Docker's leading slash
    image_id: str
    phase: Phase
    wanted: Wanted
    state: State
    created_ns: int

    @property
    def short_id(self) -> str:
        """Twelve digits, as people read them."""
        return self.id[:12]

    @property
    def cgroup(self) -> str:
        """The name of its control group: the id, or an absolute path below `--cgroup-parent`."""
        parent = self.wanted.host.cgroup_parent.strip("/")
        return f"/{parent}/{self.id}" if parent else self.id

    @property
    def alive(self) -> bool:
        """Whether it has a process."""
        return self.phase in ALIVE

    @property
    def entrypoint_and_command(self) -> list[str]:
        """The argument vector of the first process."""
        return [*self.wanted.config.entrypoint, *self.wanted.config.cmd]


@dataclass(frozen=True, slots=True)
class Exit:
    """What `wait` answers."""

    code: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class ContainerFilter:
    """Of `ps`: values of one key are alternatives, keys add up. An empty filter lets all pass."""

    all: bool = False
    limit: int = 0
    size: bool = False
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
