"""Rows of volumes and of who uses them. Callers pass their own transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy
from sqlalchemy.dialects.sqlite import insert

from sampan.state.schema import volume, volume_use


@dataclass(frozen=True, slots=True)
class Volume:
    """One row."""

    name: str
    driver: str = "local"
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    anonymous: bool = False
    created_ns: int = 0


def add(connection: sqlalchemy.Connection, item: Volume) -> bool:
    """Insert unless there is one of that name. True if it is new."""
    values = {
        "name": item.name,
        "driver": item.driver,
        "labels": json.dumps(dict(item.labels)),
        "options": json.dumps(dict(item.options)),
        "anonymous": item.anonymous,
        "created_ns": item.created_ns,
    }
    return connection.execute(insert(volume).values(**values).on_conflict_do_nothing()).rowcount > 0


def find(connection: sqlalchemy.Connection, name: str) -> Volume | None:
    """By name."""
    row = connection.execute(volume.select().where(volume.c.name == name)).first()
    return _volume(row) if row else None


def every(connection: sqlalchemy.Connection) -> list[Volume]:
    """All, by name."""
    return [_volume(row) for row in connection.execute(volume.select().order_by(volume.c.name))]


def use(connection: sqlalchemy.Connection, name: str, container_id: str) -> None:
    """The container keeps the volume from being removed."""
    connection.execute(insert(volume_use).values(volume=name, container_id=container_id).on_conflict_do_nothing())


def release(connection: sqlalchemy.Connection, container_id: str) -> list[Volume]:
    """The container is gone. Returns the volumes it used that nobody uses now."""
    query = sqlalchemy.select(volume_use.c.volume).where(volume_use.c.container_id == container_id)
    names = connection.execute(query).scalars().all()
    connection.execute(volume_use.delete().where(volume_use.c.container_id == container_id))
    found = [find(connection, name) for name in names if not users(connection, name)]
    return [item for item in found if item is not None]


def users(connection: sqlalchemy.Connection, name: str) -> list[str]:
    """Ids of the containers that use the volume."""
    query = sqlalchemy.select(volume_use.c.container_id).where(volume_use.c.volume == name)
    return list(connection.execute(query).scalars())


def remove(connection: sqlalchemy.Connection, name: str) -> None:
    """Delete the row; a volume in use raises the database's own error, callers ask `users` first."""
    connection.execute(volume.delete().where(volume.c.name == name))


def _volume(row: sqlalchemy.Row[tuple[object, ...]]) -> Volume:
    return Volume(
        name=row.name,
        driver=row.driver,
        labels=json.loads(row.labels),
        options=json.loads(row.options),
        anonymous=bool(row.anonymous),
        created_ns=row.created_ns,
    )
