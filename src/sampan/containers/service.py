"""The verbs on containers, for the API and for stacks.

One container's verbs wait for each other (`Live.lock`); different containers go beside each other. A verb returns when
its change is durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Literal

from sqlalchemy import Connection

from sampan import errors
from sampan.containers import (
    changing,
    creating,
    ending,
    execs,
    filters,
    keeping,
    logs,
    looking,
    merging,
    mountpoints,
    names,
    recovery,
    starting,
    statistics,
    store,
)
from sampan.containers.attaching import Attachment
from sampan.containers.edits import apply as edits
from sampan.containers.edits.plan import Plan
from sampan.containers.edits.wish import NOTHING as NO_EDIT
from sampan.containers.edits.wish import Edit
from sampan.containers.files.service import Files
from sampan.containers.health import probing
from sampan.containers.layout import Paths
from sampan.containers.links import apply as links
from sampan.containers.logdrivers import forwarding, tags
from sampan.containers.logdrivers import options as logoptions
from sampan.containers.logs import LogQuery
from sampan.containers.model import Container, ContainerBusy, ContainerFilter, Exit, Phase
from sampan.containers.mountpoints import MountPoint
from sampan.containers.room import Room
from sampan.containers.wanted import EndpointSettings, HostConfig, Wanted
from sampan.images.model import User
from sampan.kernel import freezer
from sampan.networks.model import Attachment as NetworkAttachment
from sampan.volumes.service import directory_size

log = logging.getLogger(__name__)
Condition = Literal["not-running", "next-exit", "removed"]
KILL_LIMIT_S = 30.0  # after SIGKILL: a process that does not end then hangs in the kernel


class NotRunning(ContainerBusy):
    """The verb needs a running container."""


class Containers:
    """All containers of one daemon."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.execs = execs.Execs(room)
        self.files = Files(room, pause=self.pause, unpause=self.unpause)
        self.health = probing.Probes(room, self.execs)
        room.companions += [self.health, forwarding.Forwarders(room)]

    # --- looking

    def get(self, reference: str) -> Container:
        """By id, name or start of an id. Raises `ContainerUnknown`."""
        return self._room.get(reference)

    def list(self, wanted: ContainerFilter) -> Sequence[Container]:
        """Those that pass, newest first. Raises `FilterInvalid`."""
        everything = self._room.roster.every()
        image_ids = {}
        for reference in wanted.keys.get("ancestor", ()):
            try:
                image_ids[reference] = str(self._room.images.get(reference).id)
            except errors.NotFound:
                image_ids[reference] = ""
        return filters.choose(
            everything,
            wanted,
            image_ids=image_ids,
            networks_of=lambda item: looking.networks_of(self._room, item),
            published_of=lambda item: looking.published_of(self._room, item),
            health_of=lambda item: found.status if (found := self.health.of(item)) else "none",
            volumes_of=lambda item: [part for p in mountpoints.of(item) for part in (p.source, p.destination)],
        )

    def count(self) -> Mapping[Phase, int]:
        """How many are in each phase."""
        phases = [item.phase for item in self._room.roster.every()]
        return {phase: phases.count(phase) for phase in Phase}

    def using_image(self, image_id: str) -> Sequence[User]:
        """For `rmi`: who keeps an image."""
        return [User(item.id, item.alive) for item in self._room.roster.of_image(image_id)]

    def paths(self, reference: str) -> Paths:
        """Where its files are."""
        return self._room.paths(self.get(reference).id)

    def network(self, reference: str) -> NetworkAttachment | None:
        """Endpoints and published ports; None while it has none."""
        return self._room.networks.attachment(self.get(reference).id)

    def mounts(self, reference: str) -> tuple[MountPoint, ...]:
        """Binds, volumes and tmpfs, for inspect."""
        return mountpoints.of(self.get(reference))

    async def size(self, reference: str) -> tuple[int, int]:
        """Bytes of the writable layer, and with the image's."""
        container = self.get(reference)
        upper = self._room.paths(container.id).upper
        written = await asyncio.to_thread(directory_size, upper) if upper.exists() else 0
        return written, written + self._room.images.get(container.image_id).size_bytes

    # --- life

    async def create(self, name: str, wanted: Wanted, *, platform: str = "") -> tuple[Container, Sequence[str]]:
        """Raises `NoSuchImage`, `NameTaken` and kinds of `Invalid`. Returns warnings too."""
        return await creating.create(self._room, name, wanted, platform=platform)

    async def start(self, reference: str) -> Container:
        """Raises `Unchanged` if it runs, `StartFailed`, and what networks and mounts raise."""
        await self._room.restored.wait()  # a new keeper: what nobody holds is being removed
        container = self.get(reference)
        live = self._room.live_of(container.id)
        async with live.lock:
            container = self.get(container.id)
            if container.phase is Phase.PAUSED:
                raise ContainerBusy("cannot start a paused container, try unpause instead")
            if container.alive:
                raise errors.Unchanged(f"container {container.name} is running")
            live.cancel_restart()
            live.restart_delay_s = 0.0
            try:
                return await starting.start(self._room, live, container)
            except errors.SampanError:
                if container.wanted.host.auto_remove:
                    await ending.remove(self._room, live, self.get(container.id), volumes=True)
                raise

    async def stop(
        self, reference: str, *, timeout_s: int | None = None, signal: str = "", by_user: bool = True
    ) -> None:
        """Stop signal, then SIGKILL after the timeout (-1: never). Raises `Unchanged` if it does not run.

        What a user stopped stays down (`unless-stopped`); what goes down with the host comes up with it.
        """
        container = self.get(reference)
        live = self._room.live_of(container.id)
        if container.phase in (Phase.RESTARTING, Phase.STARTING):
            async with live.lock:
                container = self.get(container.id)
                if container.phase is Phase.RESTARTING:
                    live.cancel_restart()
                    state = dataclasses.replace(container.state, stopped_by_user=by_user)
                    await self._room.database.write(lambda c: store.move(c, container.id, Phase.EXITED, state))
                    return
        if not container.alive:
            raise errors.Unchanged(f"container {container.name} does not run")
        ended = asyncio.shield(live.end)
        if by_user:
            await self._mark_stopped(container)
        config = container.wanted.config
        number = merging.parse_signal(signal or config.stop_signal or "TERM")
        if timeout_s is None:
            timeout_s = merging.DEFAULT_STOP_TIMEOUT_S if config.stop_timeout is None else config.stop_timeout
        self._room.live_of(container.id).stopping = True
        await self._signal(container, number)
        try:
            await asyncio.wait_for(asyncio.shield(ended), None if timeout_s < 0 else timeout_s)
        except TimeoutError:
            await self._signal(container, 9)
            await self._wait_killed(container, ended)
        async with live.lock:
            return  # the clean-up behind the exit held it

    async def kill(self, reference: str, signal: str = "KILL") -> None:
        """Send a signal. Raises `NotRunning`."""
        container = self.get(reference)
        number = merging.parse_signal(signal or "KILL")
        if container.phase is Phase.STARTING:
            async with self._room.live_of(container.id).lock:  # what starts runs, or is down, when the lock is free
                container = self.get(container.id)
        if container.phase is Phase.RESTARTING:
            await self.stop(container.id)  # nothing runs that could be signalled, and nothing shall run again
            return
        if not container.alive:
            raise NotRunning(f"Cannot kill container: {reference}: container {container.id} is not running")
        ended = asyncio.shield(self._room.live_of(container.id).end)
        stop_signal = merging.parse_signal(container.wanted.config.stop_signal or "TERM")
        if number in (9, stop_signal):
            await self._mark_stopped(container)
        await self._signal(container, number)
        if number == 9:
            await self._wait_killed(container, ended)

    async def restart(self, reference: str, *, timeout_s: int | None = None, signal: str = "") -> None:
        """Stop if it runs, then start. `--rm` waits for another end."""
        container = self.get(reference)
        live = self._room.live_of(container.id)
        live.restarting += 1
        try:
            await self.stop(container.id, timeout_s=timeout_s, signal=signal)
        except errors.Unchanged:
            pass  # it does not run: a restart is then a start
        finally:
            live.restarting -= 1
        await self.start(container.id)
        self._room.publish(container, "restart")

    async def pause(self, reference: str) -> None:
        """Freeze. Raises `NotRunning`, `Conflict` if it is frozen."""
        await self._freeze(reference, Phase.RUNNING, Phase.PAUSED, "pause")

    async def unpause(self, reference: str) -> None:
        """Thaw. Raises `Conflict` if it is not frozen."""
        await self._freeze(reference, Phase.PAUSED, Phase.RUNNING, "unpause")

    async def remove(self, reference: str, *, force: bool = False, volumes: bool = False) -> None:
        """Raises `ContainerBusy` for a running one without `force`."""
        container = self.get(reference)
        live = self._room.live_of(container.id)
        while True:
            if container.alive:
                await self._end_for_removal(container, force=force)
            async with live.lock:
                try:
                    container = self.get(container.id)
                except errors.NotFound:
                    return  # its own --rm was quicker
                if container.alive:
                    continue  # a start was under way
                if container.phase is Phase.RESTARTING:
                    if not force:
                        raise ContainerBusy(
                            f'cannot remove container "/{container.name}"',
                            why="container is restarting: stop the container before removing or force remove",
                        )
                    live.cancel_restart()
                    await self._room.database.write(functools.partial(_set_exited, container.id))
                await ending.remove(self._room, live, container, volumes=volumes)
                return

    def wait(self, reference: str, condition: Condition = "not-running") -> asyncio.Future[Exit]:
        """The exit, as a future that is already registered when this returns. Raises `ContainerUnknown`."""
        container = self.get(reference)
        live = self._room.live_of(container.id)
        if condition == "removed":
            return asyncio.shield(live.removal)
        running = container.alive or container.phase in (Phase.STARTING, Phase.RESTARTING)
        if condition == "not-running" and not running:
            done: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
            done.set_result(Exit(container.state.exit_code))
            return done
        return asyncio.shield(live.end)

    # --- streams

    async def attach(self, reference: str) -> Attachment:
        """A client at the streams. Before the start: it sees the output from the first byte on."""
        container = self.get(reference)
        if container.phase is Phase.PAUSED:
            raise ContainerBusy(f"container {container.name} is paused, unpause the container before attach.")
        self._room.publish(container, "attach")
        return Attachment(self._room, self._room.live_of(container.id), container)

    async def resize(self, reference: str, rows: int, columns: int) -> None:
        """Set the terminal's size. Raises `NotRunning`."""
        container = self.get(reference)
        if not container.alive:
            raise NotRunning(f"container {container.id} is not running")
        await self._room.keeper.resize(container.id, rows, columns)
        self._room.publish(container, "resize", height=str(rows), width=str(columns))

    def logs(self, reference: str, query: LogQuery, *, details: bool = False) -> AsyncIterator[bytes]:
        """The log as the query wants it; `details` in front of each line. Raises `Unsupported` where none is kept."""
        container = self.get(reference)
        wanted = container.wanted.host.log_config
        if not logoptions.readable(wanted):
            raise errors.Unsupported("configured logging driver does not support reading")
        running = container.alive or container.phase in (Phase.STARTING, Phase.RESTARTING)
        query = dataclasses.replace(query, multiplexed=not container.wanted.config.tty, follow=query.follow and running)
        if details:
            attributes = logoptions.attributes(wanted, container.wanted.config)
            if tag := wanted.config.get("tag"):
                attributes["tag"] = tags.render(tag, container)
            query = dataclasses.replace(query, prefix=logoptions.details(attributes))
        finished = self._room.live_of(container.id).exited
        directory = self._room.paths(container.id).directory
        return logs.read(directory, query, finished=finished, watches=self._room.watches)

    def statistics(self, reference: str, *, stream: bool, one_shot: bool) -> AsyncGenerator[statistics.Sample, None]:
        """What it uses: see `statistics.follow`. Raises `ContainerUnknown`."""
        return statistics.follow(self._room, self.get(reference), stream=stream, one_shot=one_shot)

    async def top(self, reference: str, arguments: str = "-ef") -> looking.Table:
        """Titles and rows of ps(1) for the container's processes. Raises `NotRunning`, `Invalid`."""
        container = self.get(reference)
        if not container.alive:
            raise NotRunning(f"container {container.id} is not running")
        table = await looking.top(self._room, container, arguments)
        self._room.publish(container, "top")
        return table

    # --- changing

    async def update(self, reference: str, host: HostConfig, edit: Edit = NO_EDIT) -> Plan:
        """New limits, restart policy and edits; a field left at its default stays as it is. Returns what was done."""
        return await edits.update(self._room, reference, host, edit)

    async def unlink(self, reference: str) -> None:
        """Take the link `/container/alias` away. Raises `NotFound`, `LinkInvalid`."""
        await links.remove(self._room, reference)

    def links(self, container: Container) -> Sequence[str] | None:
        """Its links as inspect shows them."""
        return links.shown(self._room, container)

    def linked_as(self) -> Mapping[str, Sequence[str]]:
        """What containers are called by the links of others, by id."""
        return links.names(self._room)

    async def connect(self, network: str, reference: str, settings: EndpointSettings) -> None:
        """Join one more network, now if it runs, else at its start."""
        await changing.connect(self._room, network, reference, settings)

    async def disconnect(self, network: str, reference: str, *, force: bool = False) -> None:
        """Leave a network, now if it runs. `force` is Docker's, for endpoints of lost containers; there are none."""
        await changing.disconnect(self._room, network, reference)

    async def rename(self, reference: str, name: str) -> None:
        """Raises `NameTaken`, `NameInvalid`."""
        container = self.get(reference)
        new_name = names.check(name)
        if new_name == container.name:
            raise errors.Invalid("Renaming a container with the same name as its current name")
        async with self._room.live_of(container.id).lock:
            changed = dataclasses.replace(self.get(container.id), name=new_name)
            await self._room.database.write(lambda c: store.change(c, changed))
            await self._room.networks.rename(container.id, new_name)
        self._room.publish(changed, "rename", oldName=f"/{container.name}")

    async def prune(self, keys: Mapping[str, tuple[str, ...]]) -> tuple[Sequence[str], int]:
        """Remove what does not run and passes `label`, `label!` and `until` (a Unix time in seconds)."""
        removed = []
        freed_bytes = 0
        for container in self.list(ContainerFilter(all=True)):
            if container.phase not in (Phase.CREATED, Phase.EXITED) or not _prunable(container, keys):
                continue
            size_bytes, _ = await self.size(container.id)
            try:
                await self.remove(container.id)
            except (errors.Conflict, errors.NotFound):
                continue  # started or removed meanwhile
            removed.append(container.id)
            freed_bytes += size_bytes
        self._room.bus.publish("container", "prune", "", reclaimed=str(freed_bytes))
        return removed, freed_bytes

    # --- the daemon's own start and end

    async def restore(self) -> None:
        """After the daemon came up, before the API listens."""
        await recovery.restore(self._room)

    def hear_exit(self, exit_: keeping.Exit) -> None:
        """From the keeper's connection."""
        if exit_.exec_id:
            self._room.spawn(self.execs.ended(exit_))
        else:
            self._room.spawn(ending.ended(self._room, exit_))

    async def drain(self) -> None:
        """The daemon stops: containers go on; work under way is finished."""
        self._room.stopping = True
        for companion in self._room.companions:
            await companion.close()
        await self._room.settle()

    async def stop_all(self, *, timeout_s: int | None = None) -> None:
        """End every container, as a host that goes down would; none is started again. Reports what does not end."""
        self._room.going_down = True
        up = [item for item in self.list(ContainerFilter(all=True)) if item.alive or item.phase is Phase.RESTARTING]
        stops = (self.stop(item.id, timeout_s=timeout_s, by_user=False) for item in up)
        for item, result in zip(up, await asyncio.gather(*stops, return_exceptions=True), strict=True):
            if isinstance(result, BaseException) and not isinstance(result, errors.Unchanged):
                log.error("stopping container %s: %s", item.name, result)

    # --- steps

    async def _end_for_removal(self, container: Container, *, force: bool) -> None:
        if not force:
            raise ContainerBusy(
                f'cannot remove container "/{container.name}"',
                why=f"container is {container.phase}: stop the container before removing or force remove",
            )
        ended = asyncio.shield(self._room.live_of(container.id).end)
        await self._mark_stopped(container)
        await self._signal(container, 9)
        await self._wait_killed(container, ended)

    async def _mark_stopped(self, container: Container) -> None:
        """Say that a person wants it down, before the signal: the policy must not bring it back."""
        live = self._room.live_of(container.id)
        async with live.lock:
            container = self.get(container.id)
            if container.alive and not container.state.stopped_by_user:
                state = dataclasses.replace(container.state, stopped_by_user=True)
                await self._room.database.write(lambda c: store.move(c, container.id, container.phase, state))

    async def _signal(self, container: Container, number: int) -> None:
        try:
            await self._room.keeper.signal(container.id, number)
        except (errors.Conflict, errors.NotFound):
            return  # it has ended by itself meanwhile
        self._room.publish(container, "kill", signal=str(number))
        if number == 9 and self.get(container.id).phase is Phase.PAUSED:
            with contextlib.suppress(freezer.GroupGone):  # it has ended by itself meanwhile
                await asyncio.to_thread(freezer.thaw, self._room.host.hierarchy, container.cgroup)

    async def _wait_killed(self, container: Container, ended: asyncio.Future[Exit]) -> None:
        try:
            await asyncio.wait_for(asyncio.shield(ended), KILL_LIMIT_S)
        except TimeoutError as error:
            raise errors.Broken(
                f"container {container.name} does not end", why="SIGKILL has no effect: its process hangs in the kernel"
            ) from error

    async def _freeze(self, reference: str, present: Phase, future: Phase, verb: str) -> None:
        container = self.get(reference)
        async with self._room.live_of(container.id).lock:
            container = self.get(container.id)
            if not container.alive:
                raise NotRunning(f"Container {container.id} is not running")
            if container.phase is not present:
                state = "already paused" if future is Phase.PAUSED else "not paused"
                raise ContainerBusy(f"Container {container.id} is {state}")
            change = freezer.freeze if future is Phase.PAUSED else freezer.thaw
            try:
                await asyncio.to_thread(change, self._room.host.hierarchy, container.cgroup)
            except freezer.GroupGone as error:
                raise NotRunning(f"Container {container.id} is not running") from error  # it ended in this moment
            await self._room.database.write(lambda c: store.move(c, container.id, future))
        self._room.publish(container, verb)


def _set_exited(container_id: str, connection: Connection) -> None:
    store.move(connection, container_id, Phase.EXITED)


def _prunable(container: Container, keys: Mapping[str, tuple[str, ...]]) -> bool:
    labels = container.wanted.config.labels
    if not filters.has_labels(labels, keys.get("label", ())):
        return False
    if any(filters.has_labels(labels, [item]) for item in keys.get("label!", ())):
        return False
    return all(container.created_ns < float(limit) * 1e9 for limit in keys.get("until", ()))
