"""Rows of containers. Callers pass their own transaction."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable

import sqlalchemy
from sqlalchemy import Connection

from sampan import errors
from sampan.containers import wanted
from sampan.containers.model import NEXT, Container, ContainerUnknown, Phase, State
from sampan.containers.wanted import Wanted
from sampan.state.database import touch
from sampan.state.schema import container as table

TOPIC = "containers"  # every verb that changes a row touches it, with the container's id


class NameTaken(errors.Conflict):
    """Another container has the name."""


class PhaseConflict(errors.Conflict):
    """The life cycle does not lead there from here."""


def add(connection: Connection, item: Container) -> None:
    """Insert. Raises `NameTaken`."""
    holder = find_by_name(connection, item.name)
    if holder is not None:
        raise NameTaken(
            f'Conflict. The container name "/{item.name}" is already in use by container "{holder.id}".',
            remedy="You have to remove (or rename) that container to be able to reuse that name.",
        )
    connection.execute(table.insert().values(**_values(item)))
    touch(connection, TOPIC, item.id)


def move(connection: Connection, container_id: str, phase: Phase, state: State | None = None) -> Container:
    """Take a container to `phase`, with a new state if one is given. Raises `ContainerUnknown`, `PhaseConflict`."""
    present = get(connection, container_id)
    if phase != present.phase and phase not in NEXT[present.phase]:
        raise PhaseConflict(
            f"container {present.short_id} is {present.phase}", why=f"it cannot become {phase} from there"
        )
    item = dataclasses.replace(present, phase=phase, state=state or present.state)
    values = {"phase": phase.value, "state": json.dumps(dataclasses.asdict(item.state))}
    connection.execute(table.update().where(table.c.id == container_id).values(**values))
    touch(connection, TOPIC, container_id)
    return item


def change(connection: Connection, item: Container) -> None:
    """Store a new name or new wishes. Raises `NameTaken`."""
    holder = find_by_name(connection, item.name)
    if holder is not None and holder.id != item.id:
        raise NameTaken(f'Conflict. The container name "/{item.name}" is already in use by container "{holder.id}".')
    connection.execute(table.update().where(table.c.id == item.id).values(**_values(item)))
    touch(connection, TOPIC, item.id)


def remove(connection: Connection, container_id: str) -> None:
    """Delete the row."""
    connection.execute(table.delete().where(table.c.id == container_id))
    touch(connection, TOPIC, container_id)


def get(connection: Connection, container_id: str) -> Container:
    """By full id. Raises `ContainerUnknown`."""
    row = connection.execute(table.select().where(table.c.id == container_id)).first()
    if row is None:
        raise ContainerUnknown(f"No such container: {container_id}")
    return _container(row)


def find_by_name(connection: Connection, name: str) -> Container | None:
    """By exact name, without the slash."""
    row = connection.execute(table.select().where(table.c.name == name)).first()
    return _container(row) if row else None


def some(connection: Connection, container_ids: Iterable[str]) -> list[Container]:
    """Those of the ids that exist."""
    return [_container(row) for row in connection.execute(table.select().where(table.c.id.in_(container_ids)))]


def every(connection: Connection) -> list[Container]:
    """All, newest first."""
    return [_container(row) for row in connection.execute(table.select().order_by(table.c.created_ns.desc()))]


@functools.lru_cache(512)
def _wanted(text: str) -> Wanted:
    """The same text is read many times in a container's life, and nobody changes what came out."""
    return wanted.decode(text)


def _values(item: Container) -> dict[str, object]:
    return {
        "id": item.id,
        "name": item.name,
        "image_id": item.image_id,
        "phase": item.phase.value,
        "wanted": wanted.encode(item.wanted),
        "state": json.dumps(dataclasses.asdict(item.state)),
        "created_ns": item.created_ns,
    }


def _container(row: sqlalchemy.Row[tuple[object, ...]]) -> Container:
    return Container(
        id=row.id,
        name=row.name,
        image_id=row.image_id,
        phase=Phase(row.phase),
        wanted=_wanted(row.wanted),
        state=State(**json.loads(row.state)),
        created_ns=row.created_ns,
    )
