"""What the registry's verbs share: the store, the database, threads for what blocks, and what was lately asked for."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import sqlalchemy

from sampan.blobs import service
from sampan.events.bus import Bus
from sampan.formats.digest import Digest
from sampan.registry.model import StorageFull
from sampan.registry.snapshot import Snapshot
from sampan.state.database import Database

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 16  # requests that write to disk at the same time
MOST_SEEN = 100_000  # remembered answers "this blob exists"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Workshop:
    """One registry's tools. The methods are called in the event loop."""

    def __init__(
        self, blobs: service.Blobs, database: Database, *, events: Bus | None, now_ns: Callable[[], int]
    ) -> None:
        self.blobs = blobs
        self.database = database
        self.snapshot = Snapshot(blobs.files.root, database)
        self.now_ns = now_ns
        self._events = events
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="registry")
        self._seen: dict[tuple[str, Digest], float] = {}

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call what blocks in a thread. Raises `StorageFull` where the disk has no room."""
        loop = asyncio.get_running_loop()
        with _full_disk_told():
            return await loop.run_in_executor(self._pool, lambda: function(*args, **kwargs))

    async def write(self, verb: Callable[[sqlalchemy.Connection], T]) -> T:
        """`Database.write`. Raises `StorageFull` where the disk has no room."""
        with _full_disk_told():
            return await self.database.write(verb)

    def changed(self, action: str, actor: str, **attributes: str) -> None:
        """Tell everybody, and let `index.json` follow."""
        self.snapshot.touch()
        if self._events is not None:
            self._events.publish("registry", action, actor, **attributes)

    def see(self, name: str, digest: Digest) -> None:
        """A client was told that the repository shows this blob: its manifest may be about to name it."""
        if len(self._seen) >= MOST_SEEN:
            oldest = list(self._seen)[: MOST_SEEN // 2]
            for key in oldest:
                del self._seen[key]
        self._seen[name, digest] = time.monotonic()

    def lately_seen(self, name: str, digest: Digest) -> bool:
        """Whether `see` was called within the grace period."""
        return time.monotonic() - self._seen.get((name, digest), float("-inf")) < service.GRACE_S

    def grace_began_ns(self) -> int:
        """What is older than this has had its time."""
        return self.now_ns() - int(service.GRACE_S * 1e9)

    async def close(self) -> None:
        """Write what waits to be written and end the threads."""
        await self.snapshot.close()
        self._pool.shutdown()


@contextmanager
def _full_disk_told() -> Iterator[None]:
    try:
        yield
    except (OSError, sqlalchemy.exc.OperationalError) as error:
        # SQLite says it in words only. Source: sqlite3ErrStr, SQLITE_FULL
        full = error.errno in NO_ROOM if isinstance(error, OSError) else "disk is full" in str(error.orig)
        if not full:
            raise
        raise StorageFull(
            "the registry has no room for the content",
            why=str(error),
            remedy="delete manifests nobody needs, or give the registry's folder a larger disk",
        ) from error
