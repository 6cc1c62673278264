"""What follows an exit: the record, the clean-up, the next start by policy, the removal.

Teardown goes to its end and reports everything: one part that fails must not keep the others from being freed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging

from sqlalchemy import Connection

from sampan import errors
from sampan.containers import cleaning, keeping, restarts, rootfs, starting, store, telling
from sampan.containers.model import ALIVE, Container, ContainerUnknown, Phase
from sampan.containers.room import Live, Room
from sampan.kernel import cgroups

log = logging.getLogger(__name__)


async def ended(room: Room, exit_: keeping.Exit) -> None:
    """The keeper says that a container's process has ended."""
    transient = room.transients.get(exit_.container)
    if transient is not None:
        if not transient.done():
            transient.set_result(exit_)
        return
    await room.restored.wait()  # before that nobody knows which networks it has
    live = room.live_of(exit_.container)
    async with live.lock:
        try:
            container = room.get(exit_.container)
        except ContainerUnknown:
            log.warning("an unknown container %s ended", exit_.container[:12])
            await cleaning.forget(room, exit_.container)
            return
        if container.phase not in ALIVE:
            await cleaning.forget(room, exit_.container)  # its start was undone
            return
        if container.state.pid != exit_.pid:
            return  # handled already: recovery and the event may both bring it
        await finish(room, live, container, code=exit_.exit_code, finished_ns=exit_.finished_ns)


async def finish(
    room: Room,
    live: Live,
    container: Container,
    *,
    code: int,
    finished_ns: int,
    error: str = "",
    failed_itself: bool = True,
) -> None:
    """Record the exit, wake who waits, free what it had, and go on by policy. The caller holds the lock.

    `failed_itself`: the code is the program's own. A reboot is no failure that `on-failure` answers.
    """
    out_of_memory = cgroups.out_of_memory(room.host.hierarchy, container.cgroup)  # one small file: no thread
    state = dataclasses.replace(
        container.state, pid=0, exit_code=code, finished_ns=finished_ns, oom_killed=out_of_memory, error=error
    )
    policy = container.wanted.host.restart_policy
    delay_s = restarts.delay(policy, state, previous_delay_s=live.restart_delay_s)
    if room.going_down or (policy.name == "on-failure" and not failed_itself):
        delay_s = None
    goes = container.wanted.host.auto_remove and not room.stopping and not live.restarting
    phase = Phase.RESTARTING if delay_s is not None else Phase.EXITED
    if goes:  # its row goes in a moment: until then the keeper holds the exit, and a new daemon begins here again
        container = dataclasses.replace(container, state=state)
    else:
        container = await room.database.write(lambda c: store.move(c, container.id, phase, state))
    if out_of_memory:
        room.publish(container, "oom")
    telling.left(room, container)
    if live.stopping:
        live.stopping = False
        room.publish(container, "stop")
    seconds = max(0, finished_ns - state.started_ns) // 10**9
    room.publish(container, "die", exitCode=str(code), execDuration=str(seconds))
    for companion in room.companions:
        companion.end(container)
    live.has_exited(code)
    if goes:
        await cleaning.release(room, container, keep_rows=True)
        await _finish_removal(room, live, container, volumes=True)
        room.spawn(cleaning.forget(room, container.id))
        return
    await asyncio.gather(cleaning.release(room, container), cleaning.forget(room, container.id))
    if delay_s is not None:
        live.restart_delay_s = delay_s
        live.restart = room.spawn(start_later(room, live, container.id, delay_s))


async def start_later(room: Room, live: Live, container_id: str, delay_s: float) -> None:
    await asyncio.sleep(delay_s)
    await room.restored.wait()  # until then what has no living row is removed
    async with live.lock:
        container = room.get(container_id)
        if container.phase is not Phase.RESTARTING or room.stopping:
            return
        try:
            await starting.start(room, live, container, by_policy=True)
        except errors.SampanError as error:
            log.error("container %s cannot be started again: %s", container.name, error)
            await _try_again(room, live, container_id)
        else:
            live.restart = None


async def _try_again(room: Room, live: Live, container_id: str) -> None:
    """A start by policy failed: that counts as an exit."""
    container = room.get(container_id)
    delay_s = restarts.delay(
        container.wanted.host.restart_policy, container.state, previous_delay_s=live.restart_delay_s
    )
    if delay_s is None:
        return
    await room.database.write(lambda c: store.move(c, container_id, Phase.RESTARTING))
    live.restart_delay_s = delay_s
    live.restart = room.spawn(start_later(room, live, container_id, delay_s))


async def remove_now(room: Room, container: Container) -> None:
    """Remove one that does not run, taking the lock."""
    live = room.live_of(container.id)
    async with live.lock:
        await remove(room, live, container, volumes=True)


async def remove(room: Room, live: Live, container: Container, *, volumes: bool) -> None:
    """Remove a container that does not run. The caller holds the lock."""
    live.cancel_restart()
    await room.database.write(lambda c: store.move(c, container.id, Phase.REMOVING))
    await finish_removal(room, live, container, volumes=volumes)


async def finish_removal(room: Room, live: Live, container: Container, *, volumes: bool) -> None:
    """All of a removal behind the phase `removing`, again after a crash."""
    await cleaning.release(room, container, keep_rows=True)
    await _finish_removal(room, live, container, volumes=volumes)


async def _finish_removal(room: Room, live: Live, container: Container, *, volumes: bool) -> None:
    """The row goes first and the files after the answer: what a crash leaves of them has no row and is swept."""

    def verb(connection: Connection) -> tuple[str, ...]:
        gone = room.volumes.release(connection, container.id, with_anonymous=volumes)
        room.networks.forget_rows(connection, container.id)
        store.remove(connection, container.id)
        return gone

    for name in await room.database.write(verb):
        await room.volumes.discard(name)
    room.publish(container, "destroy")
    room.live.pop(container.id, None)
    for companion in room.companions:
        companion.forget(container.id)
    live.is_removed(container.state.exit_code)
    room.spawn(_discard(room, container))


async def _discard(room: Room, container: Container) -> None:
    try:
        await asyncio.to_thread(rootfs.discard, room.paths(container.id))
    except OSError as error:
        log.error("removing the files of container %s: %s", container.short_id, error)
