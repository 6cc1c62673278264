"""One database, one writer: verbs become transactions, and transactions that wait together commit together.

A commit with `synchronous=FULL` costs a disk flush. Verbs that arrive while one is being flushed are run in the next
transaction together, each under its own savepoint, so that fifty containers starting at once pay for a few flushes and
one that fails undoes only itself. Reads take their own connection per thread (WAL: readers never wait for the writer).
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from sqlalchemy import event

from sampan import errors
from sampan.state import migrate

T = TypeVar("T")
_Job = tuple[Callable[[sqlalchemy.Connection], Any], "Future[Any]"]

CACHE_KIB = 512  # of each connection, and there is one a thread: what is asked often is kept in memory anyhow
LARGEST_BATCH = 64  # verbs in one transaction: bounds how long the first of them waits


_TOUCHED = "sampan-touched"


def touch(connection: sqlalchemy.Connection, topic: str, key: str = "") -> None:
    """Called by a verb that changes what readers cache under `topic` (see `Database.version` and `take_changed`)."""
    connection.info.setdefault(_TOUCHED, set()).add((topic, key))


class DatabaseClosed(errors.Unavailable):
    """A verb came after the daemon began to stop."""


class Database:
    """The state database of one daemon. Open it once; share it between threads."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self._engine = engine
        self._local = threading.local()
        self._readers: list[sqlalchemy.Connection] = []
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._versions: dict[str, int] = {}
        self._changed: dict[str, set[str]] = {}
        self._changed_lock = threading.Lock()
        self._writer = threading.Thread(target=self._serve, name="database-writer", daemon=True)
        self._writer.start()

    @classmethod
    def open(cls, path: Path) -> Database:
        """Open or create the SQLite database at `path`, migrated to this version's schema."""
        path.parent.mkdir(parents=True, exist_ok=True)
        engine = sqlalchemy.create_engine(
            f"sqlite:///{path}",
            poolclass=sqlalchemy.pool.NullPool,
            connect_args={"check_same_thread": False, "timeout": 30},
        )
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
        path.touch(mode=0o600)
        migrate.to_head(engine)
        return cls(engine)

    @contextmanager
    def read(self) -> Iterator[sqlalchemy.Connection]:
        """A connection that sees the last committed state, for the calling thread. Do not write through it."""
        connection: sqlalchemy.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._engine.connect()
            self._local.connection = connection
            self._readers.append(connection)
        try:
            yield connection
        finally:
            connection.rollback()  # the next read must see later commits

    def submit(self, verb: Callable[[sqlalchemy.Connection], T]) -> Future[T]:
        """Queue a verb for the writer; the future resolves once it is durable, or raises what the verb raised."""
        if self._closed:
            raise DatabaseClosed("the state database is closed", remedy="the daemon is stopping; try again later")
        done: Future[T] = Future()
        done.set_running_or_notify_cancel()  # from here on it cannot be cancelled: the verb will be carried out
        self._jobs.put((verb, done))
        return done

    async def write(self, verb: Callable[[sqlalchemy.Connection], T]) -> T:
        """Run `verb(connection)` in a transaction of the writer thread; return when it is durable.

        Once queued the verb is carried out even if the caller is cancelled.
        """
        return await asyncio.wrap_future(self.submit(verb))

    def write_blocking(self, verb: Callable[[sqlalchemy.Connection], T]) -> T:
        """`write` for worker threads."""
        return self.submit(verb).result()

    def version(self, topic: str) -> int:
        """Grows whenever a verb that called `touch` for the topic was committed: what was cached before is stale."""
        return self._versions.get(topic, 0)

    def take_changed(self, topic: str) -> set[str]:
        """The keys that committed verbs touched under `topic` since the last call: for the one reader that caches them.

        A change is told before its verb's caller goes on, so nobody misses what they wrote themselves.
        """
        if not self._changed.get(topic):
            return set()
        with self._changed_lock:
            return self._changed.pop(topic, set())

    def close(self) -> None:
        """Finish what is queued, then close every connection."""
        if self._closed:
            return
        self._closed = True
        self._jobs.put(None)
        self._writer.join()
        for connection in self._readers:
            connection.close()
        self._engine.dispose()

    def _serve(self) -> None:
        with self._engine.connect() as connection:
            while True:
                job = self._jobs.get()
                if job is None:
                    return
                batch, last = self._gather(job)
                self._commit(connection, batch)
                if last:
                    return

    def _gather(self, first: _Job) -> tuple[list[_Job], bool]:
        batch = [first]
        while len(batch) < LARGEST_BATCH:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return batch, False
            if job is None:
                return batch, True
            batch.append(job)
        return batch, False

    def _commit(self, connection: sqlalchemy.Connection, batch: list[_Job]) -> None:
        results: list[tuple[Future[Any], Any]] = []
        try:
            with connection.begin():
                if len(batch) == 1:
                    results.append((batch[0][1], batch[0][0](connection)))
                else:
                    results += self._run_each(connection, batch)
        except Exception as error:  # noqa: BLE001 - nobody's verb happened: handed to every caller
            results.clear()
            for _, done in batch:
                if not done.done():
                    done.set_exception(error)
        with self._changed_lock:
            for topic, key in connection.info.pop(_TOUCHED, ()):
                self._versions[topic] = self._versions.get(topic, 0) + 1
                if key:
                    self._changed.setdefault(topic, set()).add(key)
        for done, result in results:
            done.set_result(result)

    def _run_each(self, connection: sqlalchemy.Connection, batch: list[_Job]) -> Iterator[tuple[Future[Any], Any]]:
        """Each verb under a savepoint of its own: one that fails undoes only itself."""
        for verb, done in batch:
            try:
                with connection.begin_nested():
                    result = verb(connection)
            except Exception as error:  # noqa: BLE001 - handed to the caller, whose verb it is
                done.set_exception(error)
            else:
                yield done, result


def _configure_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own BEGIN rules break savepoints; the engine's "begin" event issues BEGIN instead.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA busy_timeout=30000")
    cursor.execute(f"PRAGMA cache_size={-CACHE_KIB}")
    cursor.close()
