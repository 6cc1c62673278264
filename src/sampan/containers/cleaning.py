"""Give back what a start took. Teardown goes to its end and reports everything.

One part that fails must not keep the others from being freed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil

from sampan import errors
from sampan.containers import mounting, rootfs
from sampan.containers.model import Container
from sampan.containers.room import Room
from sampan.kernel import cgroups

log = logging.getLogger(__name__)
FORGET_LIMIT_S = 5.0  # an exec's end follows its container's; the keeper waits 0.2 s for pipes that others hold


async def release(room: Room, container: Container, *, keep_rows: bool = False) -> None:
    """Give back what a start took: runtime state, control groups, networks, mounts. Idempotent; reports everything.

    `keep_rows`: the rows of its networks go with its own (`Networks.forget_rows`).
    """
    gathered = await asyncio.gather(
        asyncio.to_thread(_forget_runtime, room, container),
        room.networks.detach(container.id, keep_rows=keep_rows),
        return_exceptions=True,
    )
    results: list[object] = [*gathered]
    try:
        await asyncio.to_thread(_unmount, room, container)
    except errors.SampanError as error:
        results.append(error)
    for result in results:
        if isinstance(result, BaseException):
            log.error("cleaning up container %s: %s", container.short_id, result)


async def forget(room: Room, container_id: str) -> None:
    """Let the keeper drop an exit that is recorded: it starts no container whose former exit it still holds.

    Execs in it may be ending at this moment, and the keeper keeps all until the last has. No keeper, nothing held.
    """
    try:
        async with asyncio.timeout(FORGET_LIMIT_S):
            while not await _forgotten(room, container_id):  # noqa: ASYNC110 - the keeper tells nobody of it
                await asyncio.sleep(0.02)
    except TimeoutError:
        log.error("the keeper does not let go of container %s: an exec in it does not end", container_id[:12])


async def _forgotten(room: Room, container_id: str) -> bool:
    with contextlib.suppress(errors.NotFound, errors.Unavailable):
        try:
            await room.keeper.forget(container_id)
        except errors.Conflict:
            return False
    return True


def _unmount(room: Room, container: Container) -> None:
    """The root, and then the volumes that were mounted for it. Blocking."""
    if not room.live_of(container.id).readers:  # the last of them unmounts
        rootfs.unmount(room.paths(container.id))
    mounting.let_go(room, container)


def _forget_runtime(room: Room, container: Container) -> None:
    """What `runc delete` does for a container whose first process has ended, without its 8 ms of starting up:
    remove the control groups (killing what is left in them) and the runtime's own record. Blocking.
    """
    cgroups.remove(room.host.hierarchy, container.cgroup)
    state = room.runtime(container).state / container.id
    if state.exists():
        shutil.rmtree(state)
