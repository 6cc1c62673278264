"""Writes `index.json` after changes: once for many of them, and the more seldom the longer it takes."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from sampan.blobs import index
from sampan.registry import store
from sampan.state.database import Database

DEBOUNCE_S = 1.0
SHARE = 20  # at most a twentieth of the time is spent writing

log = logging.getLogger(__name__)


class Snapshot:
    """The writer of one store's `index.json`. `touch` and `close` are called in the event loop."""

    def __init__(self, root: Path, database: Database) -> None:
        self._root = root
        self._database = database
        self._task: asyncio.Task[None] | None = None
        self._dirty = False
        self._pause_s = DEBOUNCE_S

    def touch(self) -> None:
        """Something changed."""
        self._dirty = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._follow(), name="registry-index")

    def write(self) -> None:
        """Write it now. Blocks."""
        started_s = time.monotonic()
        with self._database.read() as connection:
            entries = list(store.entries(connection))
        index.write(self._root, entries)
        self._pause_s = max(DEBOUNCE_S, SHARE * (time.monotonic() - started_s))

    async def close(self) -> None:
        """Write what was not yet written."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._dirty:
            self._dirty = False
            await asyncio.to_thread(self.write)

    async def _follow(self) -> None:
        while self._dirty:
            await asyncio.sleep(self._pause_s)
            self._dirty = False
            try:
                await asyncio.shield(asyncio.to_thread(self.write))
            except OSError as error:
                # Nothing relies on the file while the database is there: say so, and try at the next change.
                log.warning("index.json of %s was not written: %s", self._root, error)
