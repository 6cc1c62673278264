"""What the verbs of this room share: the other rooms, the host, and what is going on with each container right now."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from sampan import errors
from sampan.containers import defaulting, keeping
from sampan.containers.facts import HostFacts
from sampan.containers.layout import Layout, Paths
from sampan.containers.model import Container, Exit
from sampan.containers.roster import Roster
from sampan.containers.runtime import Runtime
from sampan.events.bus import Bus
from sampan.images.service import Images
from sampan.kernel import inotify
from sampan.networks.service import Networks
from sampan.security import selinux
from sampan.state.database import Database
from sampan.volumes.service import Volumes


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the daemon's options say about containers."""

    log_max_size_bytes: int = 0  # 0: no rotation
    log_max_files: int = 1
    no_new_privileges: bool = False
    init: bool = False  # an init process for every container
    init_path: str = ""  # "": whichever of the known ones is installed
    wish: defaulting.Wish = defaulting.NOTHING  # what a container's own wish leaves open
    selinux: selinux.Policy | None = None  # None: containers get no labels
    seccomp_profile: str = ""  # the profile's text, or unconfined; "" for the built-in one
    host_gateway: str = ""  # what `host-gateway` means in --add-host; "" for the bridge's address


class Live:
    """One container while the daemon knows it: its lock, and who waits for what. Not stored."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.exited = asyncio.Event()  # the next exit; replaced by a new one at each
        self.started = asyncio.Event()  # the next start; replaced at each exit
        self.end: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self.removal: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self.restart: asyncio.Task[None] | None = None
        self.restart_delay_s = 0.0
        self.readers = 0  # operations on its files: they keep its root mounted while it is stopped
        self.stopping = False  # the exit that comes is of a stop: dockerd tells that before the exit
        self.restarting = 0  # restarts under way that a client asked for

    def has_exited(self, code: int) -> None:
        """Wake those who wait for the exit; later ones wait for the next."""
        self.exited.set()
        self.exited = asyncio.Event()
        self.started = asyncio.Event()
        end, self.end = self.end, asyncio.get_running_loop().create_future()
        end.set_result(Exit(code))

    def is_removed(self, code: int) -> None:
        """Wake everybody: nothing more will happen."""
        self.exited.set()
        for future in (self.end, self.removal):
            if not future.done():
                future.set_result(Exit(code))

    def cancel_restart(self) -> None:
        """Nobody starts it by policy any more."""
        if self.restart is not None and self.restart is not asyncio.current_task():
            self.restart.cancel()
        self.restart = None


class Companion(Protocol):
    """What goes along with a running container (its probes, its log's forwarding). None of it may wait."""

    def begin(self, container: Container, *, fresh: bool) -> None:
        """It runs: `fresh` since now, else since a former daemon's time."""

    def end(self, container: Container) -> None:
        """It ended."""

    def forget(self, container_id: str) -> None:
        """It is removed."""

    async def close(self) -> None:
        """The daemon stops; containers go on."""


@dataclass(slots=True)
class Room:
    """Dependencies, passed in by the daemon, and the live table."""

    database: Database
    images: Images
    networks: Networks
    volumes: Volumes
    bus: Bus
    runtimes: dict[str, Runtime]  # by the name `--runtime` gives; "" is the default
    layout: Layout
    host: HostFacts
    defaults: Defaults
    watches: inotify.Watches
    now_ns: Callable[[], int]
    new_id: Callable[[], str]
    choose: Callable[[list[str]], str]
    keeper_or_none: keeping.Keeper | None = None
    live: dict[str, Live] = field(default_factory=dict)
    transients: dict[str, asyncio.Future[keeping.Exit]] = field(default_factory=dict)  # `oneshot`: by container id
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    companions: list[Companion] = field(default_factory=list)
    restored: asyncio.Event = field(default_factory=asyncio.Event)  # rows and host agree; exits wait for it
    roster: Roster = field(init=False)
    stopping: bool = False  # the daemon ends, containers go on
    going_down: bool = False  # the containers end too, by nobody's wish: policies start none

    def __post_init__(self) -> None:
        self.roster = Roster(self.database)

    @property
    def keeper(self) -> keeping.Keeper:
        """Raises `Unavailable` while there is none (it died and is being replaced)."""
        if self.keeper_or_none is None:
            raise errors.Unavailable("the keeper of this host's containers is not there", remedy="try again")
        return self.keeper_or_none

    def get(self, reference: str) -> Container:
        """By id, name or start of an id. Raises `ContainerUnknown`."""
        return self.roster.get(reference)

    def live_of(self, container_id: str) -> Live:
        """What is going on with a container."""
        found = self.live.get(container_id)
        if found is None:
            found = self.live[container_id] = Live()
        return found

    def paths(self, container_id: str) -> Paths:
        """Where its files are."""
        return self.layout.of(container_id)

    def runtime(self, container: Container) -> Runtime:
        """The OCI runtime it was created for. Raises `Invalid`."""
        name = container.wanted.host.runtime
        found = self.runtimes.get(name)
        if found is None:
            raise errors.Invalid(
                f"unknown or invalid runtime name: {name}", remedy=f"use one of {sorted(self.runtimes)}"
            )
        return found

    def publish(self, container: Container, action: str, **attributes: str) -> None:
        """Tell the bus, with Docker's attributes: image, name, labels."""
        config = container.wanted.config
        self.bus.publish(
            "container",
            action,
            container.id,
            **{**config.labels, "image": config.image, "name": container.name, **attributes},
        )

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run beside everything else; `settle` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def settle(self) -> None:
        """Wait for spawned work that is not a waiting restart."""
        for live in self.live.values():
            live.cancel_restart()
        while self.tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*self.tasks, return_exceptions=True)
