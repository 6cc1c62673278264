"""Carry an edit out: limits and ports live, the rest into the row; all of it, or none.

A daemon that is killed in between finds a mark beside the container's files on the run root and makes the kernel's
limits equal to the row (`settle`). Ports and the row change in one transaction; a start writes the table from its rows.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection

from sampan import errors
from sampan.containers import facts, resources, store
from sampan.containers.edits import plan
from sampan.containers.edits.wish import NOTHING, Edit
from sampan.containers.model import Container
from sampan.containers.mountpoints import MountPoint
from sampan.containers.room import Room
from sampan.containers.wanted import HostConfig

log = logging.getLogger(__name__)
MARK = "updating"
NONE = -1  # the runtime's word for no limit
DEFAULT_SHARES = 1024  # source: Documentation/scheduler/sched-design-CFS.rst


async def update(room: Room, reference: str, host: HostConfig, edit: Edit = NOTHING) -> plan.Plan:
    """New limits, policy and edits; what the wish leaves at its default stays as it is. Returns what was decided."""
    container = room.get(reference)
    async with room.live_of(container.id).lock:
        container = room.get(container.id)
        attachment = room.networks.attachment(container.id) if container.alive else None
        decided = plan.plan(
            container,
            host,
            edit,
            published=attachment.published if attachment else (),
            cpus=room.host.cpus,
            new_name=room.new_id,
        )
        changed = dataclasses.replace(container, wanted=decided.wanted)
        if container.alive:
            await _live(room, container, changed, decided)
        else:
            await room.database.write(_rows(room, changed, decided))
    room.publish(changed, "update")
    return decided


async def settle(room: Room, container: Container) -> None:
    """At a daemon's start: an edit of the limits that a kill cut short. The caller holds the lock."""
    mark = _mark(room, container)
    if mark.exists():
        log.info("container %s: an update was cut short; setting its limits again", container.name)
        await _set_limits(room, container, whole=True)
        mark.unlink()


async def _live(room: Room, former: Container, changed: Container, decided: plan.Plan) -> None:
    rows = _rows(room, changed, decided)
    mark = _mark(room, former)
    if decided.limits:
        mark.touch()
    try:
        if decided.limits:
            await _set_limits(room, changed)
        if decided.ports:
            removed = [(one.protocol, one.host_address, one.host_port) for one in decided.ports_remove]
            await room.networks.edit_ports(changed.id, remove=removed, add=decided.ports_add, row=rows)
        else:
            await room.database.write(rows)
    except BaseException:
        if decided.limits:
            await _restore_limits(room, former)
        raise
    mark.unlink(missing_ok=True)


async def _restore_limits(room: Room, former: Container) -> None:
    try:
        await _set_limits(room, former, whole=True)
    except errors.SampanError as error:  # the mark stays: the next start tries again
        log.error("container %s: its former limits cannot be set: %s", former.name, error)
    else:
        _mark(room, former).unlink(missing_ok=True)


async def _set_limits(room: Room, container: Container, *, whole: bool = False) -> None:
    """What the wish names; with `whole` what it leaves open as well, as the kernel may have a former edit's."""
    block = facts.block_devices(container.wanted.host)
    limits = resources.limits(container.wanted.host, (), all_devices=True, block=block)
    limits.pop("devices")
    if container.wanted.host.pids_limit is not None and container.wanted.host.pids_limit <= 0:
        limits["pids"] = {"limit": NONE}
    if whole:
        limits["memory"] = {"limit": NONE, **limits.get("memory", {})}
        limits["cpu"] = {"quota": NONE, "shares": DEFAULT_SHARES, **limits.get("cpu", {})}
        limits.setdefault("pids", {"limit": NONE})
    await room.runtime(container).update(container.id, limits)


def _rows(room: Room, changed: Container, decided: plan.Plan) -> _Verb:
    return _Verb(room, changed, decided.volumes)


@dataclasses.dataclass(frozen=True, slots=True)
class _Verb:
    """The row and the volumes it names, in the caller's transaction."""

    room: Room
    changed: Container
    volumes: Sequence[MountPoint]

    def __call__(self, connection: Connection) -> None:
        present = store.get(connection, self.changed.id)
        store.change(connection, dataclasses.replace(self.changed, phase=present.phase, state=present.state))
        for point in self.volumes:
            self.room.volumes.declare(connection, point.source, self.changed.id, anonymous=point.anonymous)


def _mark(room: Room, container: Container) -> Path:
    return room.paths(container.id).run / MARK
