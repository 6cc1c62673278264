"""Rows of the build cache. Callers pass their own transaction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy
from sqlalchemy.dialects.sqlite import insert

from sampan.blobs import store as blobs_store
from sampan.formats.digest import Digest
from sampan.state.schema import build_cache, image_layer, layer


@dataclass(frozen=True, slots=True)
class Record:
    """What a step made; `diff_id` is "" for no layer. `size_bytes` and `shared` are read, not written."""

    key: str
    parent: str
    description: str
    diff_id: str
    created_ns: int
    used_ns: int = 0
    uses: int = 0
    size_bytes: int = 0
    shared: bool = False


def holder(key: str) -> str:
    """The name under which a record holds its layer's tar."""
    return f"build:{key}"


def find(connection: sqlalchemy.Connection, key: str) -> Record | None:
    """The record of a key."""
    row = connection.execute(sqlalchemy.select(build_cache).where(build_cache.c.key == key)).first()
    return None if row is None else Record(*row)


def add(connection: sqlalchemy.Connection, record: Record) -> None:
    """Write a record; another one of the same key gives way, and with it what it held."""
    blobs_store.release(connection, holder(record.key))
    values = {
        "key": record.key,
        "parent": record.parent,
        "description": record.description,
        "diff_id": record.diff_id,
        "created_ns": record.created_ns,
        "used_ns": record.used_ns,
        "uses": record.uses,
    }
    row = insert(build_cache).values(**values)
    connection.execute(row.on_conflict_do_update(index_elements=["key"], set_=values))


def used(connection: sqlalchemy.Connection, keys: Iterable[str], now_ns: int) -> None:
    """Say that a build used these records."""
    change = {"used_ns": now_ns, "uses": build_cache.c.uses + 1}
    connection.execute(build_cache.update().where(build_cache.c.key.in_(list(keys))).values(**change))


def every(connection: sqlalchemy.Connection) -> list[Record]:
    """All records, newest first."""
    shared = sqlalchemy.exists().where(image_layer.c.diff_id == build_cache.c.diff_id)
    query = (
        sqlalchemy.select(
            build_cache,
            sqlalchemy.func.coalesce(layer.c.content_size_bytes, 0).label("layer_bytes"),
            shared.label("in_an_image"),
        )
        .outerjoin(layer, layer.c.diff_id == build_cache.c.diff_id)
        .order_by(build_cache.c.created_ns.desc(), build_cache.c.key)
    )
    return [
        Record(
            row.key, row.parent, row.description, row.diff_id, row.created_ns, row.used_ns, row.uses,
            size_bytes=row.layer_bytes, shared=bool(row.in_an_image),
        )
        for row in connection.execute(query)
    ]  # fmt: skip


def remove(connection: sqlalchemy.Connection, keys: Iterable[str]) -> list[Digest]:
    """Remove records and their holds. Returns the layers they named."""
    layers: list[Digest] = []
    for key in keys:
        row = connection.execute(sqlalchemy.select(build_cache.c.diff_id).where(build_cache.c.key == key)).first()
        if row is None:
            continue
        layers += [Digest(row[0])] if row[0] else []
        connection.execute(build_cache.delete().where(build_cache.c.key == key))
        blobs_store.release(connection, holder(key))
    return layers
