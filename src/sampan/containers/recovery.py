"""After the daemon comes up: make what the rows say and what the host has agree again.

The daemon may have been killed anywhere. The keeper knows what still runs and what ended meanwhile; the rows know what
was wanted. Deciding is `plan`, pure; carrying out is below it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import shutil
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from sampan import errors
from sampan.containers import cleaning, ending, keeping, mounting, restarts, rootfs, starting, store
from sampan.containers.edits import apply as edits
from sampan.containers.links import apply as links
from sampan.containers.model import ALIVE, Container, ContainerUnknown, Phase
from sampan.containers.room import Live, Room
from sampan.kernel import cgroups
from sampan.networks.model import Resolver

log = logging.getLogger(__name__)
STARTING_LIMIT_S = 60.0  # a runtime that the keeper still waits for when a new daemon comes


class Fate(Enum):
    """What becomes of one row."""

    KEEP = "it runs: watch it again"
    ADOPT = "it was started just before the daemon died: record the start"
    RECORD = "it ended while no daemon was there: record the exit"
    LOST = "nobody holds it any more: kill what is left and record that"
    UNDO = "its start was never finished: undo it"
    WAIT = "its restart was pending: start it"
    REMOVE = "its removal was never finished: finish it"
    REST = "nothing to do"


HOLDING = frozenset({Fate.KEEP, Fate.ADOPT, Fate.RECORD})  # what the keeper holds of these is what the row means


@dataclass(frozen=True, slots=True)
class Decision:
    """One row and its fate. `ended` is how its process ended, when that is known."""

    container: Container
    fate: Fate
    ended: keeping.Held | None = None


def plan(rows: Iterable[Container], held: Mapping[str, keeping.Held]) -> list[Decision]:
    """What to do with each row, given what the keeper holds (by container id). Pure."""
    return [_decide(row, held.get(row.id)) for row in rows]


def _decide(row: Container, held: keeping.Held | None) -> Decision:
    running = held is not None and held.state == "running"
    match row.phase:
        case Phase.STARTING if running:
            return Decision(row, Fate.ADOPT, held)
        case Phase.STARTING if held is not None:
            return Decision(row, Fate.RECORD, held)
        case Phase.STARTING:
            return Decision(row, Fate.UNDO)
        case Phase.RUNNING | Phase.PAUSED if running:
            return Decision(row, Fate.KEEP)
        case Phase.RUNNING | Phase.PAUSED if held is not None:
            return Decision(row, Fate.RECORD, held)
        case Phase.RUNNING | Phase.PAUSED:
            return Decision(row, Fate.LOST)
        case Phase.RESTARTING:
            return Decision(row, Fate.WAIT)
        case Phase.REMOVING:
            return Decision(row, Fate.REMOVE)
        case _:
            return Decision(row, Fate.REST)


async def restore(room: Room) -> None:
    """Carry the plan out, remove strays, then start what the policies want. Before the API listens."""
    again = room.restored.is_set()  # a new keeper, not a new daemon: policies were heeded at each exit
    room.restored.clear()
    try:
        decisions = await _restore(room)
        if not again:
            await _start_by_policy(room, decisions)
    finally:
        room.restored.set()


async def _restore(room: Room) -> list[Decision]:
    held = await _settled_processes(room)
    with room.database.read() as connection:
        rows = store.every(connection)
    decisions = plan(rows, held)
    live = {d.container.id for d in decisions if d.fate in (Fate.KEEP, Fate.ADOPT)} | room.transients.keys()
    _end_transients(room, held)
    resolvers = {row.id: _resolver(row) for row in rows if row.id in live}
    await room.networks.restore(live, resolvers)
    for row in rows:
        if row.id in live:
            mounting.adopt(room, row)  # before anything is cleaned up: it may share a volume with what goes
    meant = {d.container.id for d in decisions if d.fate in HOLDING} | room.transients.keys()
    await _let_go(room, [item for item in held.values() if item.container not in meant])
    for decision in decisions:
        if decision.fate is not Fate.REST:
            log.info("container %s: %s", decision.container.name, decision.fate.value)
        try:
            await _carry_out(room, decision)
        except (errors.SampanError, OSError) as error:
            log.error("container %s cannot be restored: %s", decision.container.name, error)
    await _remove_strays(room)
    await links.recall(room)
    return decisions


def _end_transients(room: Room, held: Mapping[str, keeping.Held]) -> None:
    """A build's RUN whose keeper died has lost its process."""
    for container_id, end in room.transients.items():
        if container_id not in held and not end.done():
            end.set_exception(errors.Unavailable("the process was lost", why="the keeper that held it ended"))


def _resolver(row: Container) -> Resolver:
    host = row.wanted.host
    return Resolver(tuple(host.dns), tuple(host.dns_search), tuple(host.dns_options))


async def _settled_processes(room: Room) -> dict[str, keeping.Held]:
    """What the keeper holds, once it waits for no runtime any more."""
    deadline = asyncio.get_running_loop().time() + STARTING_LIMIT_S
    while True:
        processes = [item for item in await room.keeper.processes() if not item.exec_id]
        waiting = [item for item in processes if item.state == "starting"]
        if not waiting or asyncio.get_running_loop().time() > deadline:
            return {item.container: item for item in processes if item.state != "starting"}
        await asyncio.sleep(0.02)


async def _carry_out(room: Room, decision: Decision) -> None:
    container, live = decision.container, room.live_of(decision.container.id)
    async with live.lock:
        if not _is_still(room, container):
            return  # a verb was quicker: the keeper was replaced while the API was served
        match decision.fate:
            case Fate.KEEP:
                await _recognize(room, container)
                await edits.settle(room, container)
                _accompany(room, live, container)
            case Fate.ADOPT:
                container = await _adopt(room, container, decision.ended)
                _accompany(room, live, container)
            case Fate.RECORD if decision.ended is not None:
                if container.phase is Phase.STARTING:
                    container = await _adopt(room, container, decision.ended)
                ended = decision.ended
                code = ended.exit_code if ended.exit_code is not None else 255
                await ending.finish(room, live, container, code=code, finished_ns=ended.finished_ns)
            case Fate.LOST:
                await _lose(room, container)
            case Fate.UNDO:
                await cleaning.release(room, container)
                back = Phase.EXITED if container.state.started_ns else Phase.CREATED
                state = dataclasses.replace(container.state, pid=0, error="the daemon was killed while it started")
                await room.database.write(lambda c: store.move(c, container.id, back, state))
            case Fate.WAIT:
                live.restart = room.spawn(ending.start_later(room, live, container.id, restarts.FIRST_DELAY_S))
            case Fate.REMOVE:
                await ending.finish_removal(room, live, container, volumes=container.wanted.host.auto_remove)
            case _:
                return


def _accompany(room: Room, live: Live, container: Container) -> None:
    live.started.set()
    for companion in room.companions:
        companion.begin(container, fresh=False)


def _is_still(room: Room, container: Container) -> bool:
    """Whether the row is as it was when the plan was made."""
    try:
        current = room.get(container.id)
    except ContainerUnknown:
        return False
    return (current.phase, current.state.pid) == (container.phase, container.state.pid)


async def _adopt(room: Room, container: Container, held: keeping.Held | None) -> Container:
    if held is None:
        raise errors.Broken(f"container {container.short_id} runs, but the keeper does not tell its process")
    state = dataclasses.replace(container.state, pid=held.pid, started_ns=held.started_ns, exit_code=0, finished_ns=0)
    return await room.database.write(lambda c: store.move(c, container.id, Phase.RUNNING, state))


async def _recognize(room: Room, container: Container) -> None:
    """It runs. Whether it is frozen the kernel knows: the daemon may have died between the runtime and the row."""
    is_frozen = await asyncio.to_thread(cgroups.frozen, room.host.hierarchy, container.cgroup)
    phase = Phase.PAUSED if is_frozen else Phase.RUNNING
    if phase is not container.phase:
        await room.database.write(lambda c: store.move(c, container.id, phase))


async def _lose(room: Room, container: Container) -> None:
    """The keeper is a new one. The exit record says how it ended if it did; what still runs has lost its streams."""
    live = room.live_of(container.id)
    record = await asyncio.to_thread(_exit_record, room, container)
    if record is not None:
        code, finished_ns = record
        await ending.finish(room, live, container, code=code, finished_ns=finished_ns)
        return
    await asyncio.to_thread(cgroups.remove, room.host.hierarchy, container.cgroup)
    reason = "the process that held its streams ended (a reboot, or it was killed)"
    await ending.finish(room, live, container, code=255, finished_ns=room.now_ns(), error=reason, failed_itself=False)


def _exit_record(room: Room, container: Container) -> tuple[int, int] | None:
    """From `exit.json`, if it is about this very run."""
    try:
        record = json.loads((room.paths(container.id).directory / "exit.json").read_text())
        if record["pid"] == container.state.pid and record["started_ns"] == container.state.started_ns:
            return int(record["exit_code"]), int(record["finished_ns"])
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return None


async def _let_go(room: Room, strays: Iterable[keeping.Held]) -> None:
    """What the keeper holds and no row means: an exit that was recorded already, a start that was being undone."""
    for process in strays:
        if process.state == "running":
            log.warning("ending a process that no container has: %s", process.container[:12])
            await asyncio.to_thread(cgroups.remove, room.host.hierarchy, process.container)
            await _until_gone(room, process.container)
        await cleaning.forget(room, process.container)


async def _remove_strays(room: Room) -> None:
    """What has no row: control groups, mounts, directories, runtime records."""
    with room.database.read() as connection:
        rows = store.every(connection)
    known = {row.id for row in rows} | room.transients.keys()
    live = {row.id for row in rows if row.alive or row.phase is Phase.STARTING} | room.transients.keys()
    for name in cgroups.names(room.host.hierarchy) - live:
        await asyncio.to_thread(cgroups.remove, room.host.hierarchy, name)
    for program in {program.state: program for program in room.runtimes.values()}.values():
        for name in program.known() - live:
            await asyncio.to_thread(shutil.rmtree, program.state / name)
    await asyncio.to_thread(_sweep_files, room, known, live)


async def _until_gone(room: Room, container_id: str) -> None:
    async with asyncio.timeout(10):
        while any(  # noqa: ASYNC110 - the keeper's processes are not ours to be told of
            p.container == container_id and p.state != "exited" for p in await room.keeper.processes()
        ):
            await asyncio.sleep(0.02)


def _sweep_files(room: Room, known: Set[str], live: Set[str]) -> None:
    for parent in (room.layout.run, room.layout.data):
        parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    for entry in list(os.scandir(room.layout.run)):
        if entry.name not in live:
            rootfs.unmount(room.paths(entry.name))
            rootfs.remove_tree(Path(entry.path))
    for entry in list(os.scandir(room.layout.data)):
        if entry.name not in known:
            rootfs.remove_tree(Path(entry.path))


async def _start_by_policy(room: Room, decisions: Iterable[Decision]) -> None:
    """A reboot, or a daemon that was away: `always` and `unless-stopped` come up again."""
    for decision in decisions:
        try:
            container = room.get(decision.container.id)
        except ContainerUnknown:
            continue
        if container.phase in ALIVE or container.phase in (Phase.RESTARTING, Phase.STARTING):
            continue
        policy = container.wanted.host.restart_policy
        if container.state.started_ns and restarts.after_daemon_start(policy, container.state):
            live = room.live_of(container.id)
            async with live.lock:
                try:
                    await starting.start(room, live, container)
                except errors.SampanError as error:
                    log.error("container %s cannot be started: %s", container.name, error)
        elif container.phase is Phase.EXITED and container.wanted.host.auto_remove:
            await ending.remove_now(room, container)
