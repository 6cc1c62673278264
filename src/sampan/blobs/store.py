"""Rows of the content store: which blobs are durable, and who holds them. Callers pass their own transaction."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy
from sqlalchemy.dialects.sqlite import insert

from sampan.formats.digest import Digest
from sampan.state.schema import blob, blob_hold


def record(connection: sqlalchemy.Connection, digest: Digest, size_bytes: int, now_ns: int) -> None:
    """Say that the file is durable. Recording it again changes nothing."""
    connection.execute(
        insert(blob).values(digest=digest, size_bytes=size_bytes, created_ns=now_ns).on_conflict_do_nothing()
    )


def size(connection: sqlalchemy.Connection, digest: Digest) -> int | None:
    """Size in bytes, or None if there is no such blob."""
    return connection.execute(sqlalchemy.select(blob.c.size_bytes).where(blob.c.digest == digest)).scalar()


def hold(connection: sqlalchemy.Connection, holder: str, digests: Iterable[Digest]) -> None:
    """Let `holder` keep these blobs, beside those it has."""
    for digest in digests:
        connection.execute(insert(blob_hold).values(holder=holder, digest=digest).on_conflict_do_nothing())


def release(connection: sqlalchemy.Connection, holder: str) -> list[Digest]:
    """End all of `holder`'s holds. Returns the digests that nobody holds any more."""
    mine = connection.execute(sqlalchemy.select(blob_hold.c.digest).where(blob_hold.c.holder == holder)).scalars().all()
    connection.execute(blob_hold.delete().where(blob_hold.c.holder == holder))
    return [Digest(digest) for digest in mine if not held(connection, Digest(digest))]


def held(connection: sqlalchemy.Connection, digest: Digest) -> bool:
    """Whether anybody holds the blob."""
    query = sqlalchemy.select(blob_hold.c.holder).where(blob_hold.c.digest == digest).limit(1)
    return connection.execute(query).first() is not None


def forget_if_unheld(connection: sqlalchemy.Connection, digest: Digest) -> bool:
    """Remove the row unless somebody holds the blob. True if it was removed: the file may go."""
    query = blob.delete().where(
        blob.c.digest == digest,
        ~sqlalchemy.exists().where(blob_hold.c.digest == digest),
    )
    return connection.execute(query).rowcount > 0


def unheld(connection: sqlalchemy.Connection, older_than_ns: int) -> list[Digest]:
    """Blobs that nobody holds and that were recorded before `older_than_ns`."""
    query = sqlalchemy.select(blob.c.digest).where(
        blob.c.created_ns < older_than_ns,
        ~sqlalchemy.exists().where(blob_hold.c.digest == blob.c.digest),
    )
    return [Digest(digest) for digest in connection.execute(query).scalars()]


def every(connection: sqlalchemy.Connection) -> set[Digest]:
    """All recorded digests."""
    return {Digest(digest) for digest in connection.execute(sqlalchemy.select(blob.c.digest)).scalars()}
