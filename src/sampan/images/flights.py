"""Operations that run in worker threads while any number of clients watch: one pull of an image serves all who ask.

An operation goes on while somebody watches it; when the last watcher leaves, its next report ends it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Hashable
from concurrent.futures import Executor

from sampan.images import model
from sampan.images.parallel import Abandoned, Report

QUEUED = 1000  # byte counts a slow watcher may be behind before further ones are dropped


class Flight:
    """One running operation. All methods but `report` belong to the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._latest: dict[str, model.Progress] = {}
        self._watchers: set[asyncio.Queue[model.Progress | None]] = set()
        self._abandoned = threading.Event()
        self._done = False
        self._error: BaseException | None = None

    @property
    def abandoned(self) -> bool:
        """Whether it is about to end because nobody watches."""
        return self._abandoned.is_set()

    def report(self, progress: model.Progress) -> None:
        """Called by the operation's threads. Raises `Abandoned` when nobody watches."""
        if self._abandoned.is_set():
            raise Abandoned("the operation was cancelled", why="no client waits for it any more")
        self._loop.call_soon_threadsafe(self._publish, progress)

    def abandon(self) -> None:
        """End the operation at its next report."""
        self._abandoned.set()

    def finish(self, error: BaseException | None) -> None:
        """The operation has ended."""
        self._done, self._error = True, error
        for watcher in self._watchers:
            watcher.put_nowait(None)

    async def watch(self) -> AsyncIterator[model.Progress]:
        """Where the operation stands, then every report. Raises what the operation raised."""
        watcher: asyncio.Queue[model.Progress | None] = asyncio.Queue()
        for progress in self._latest.values():
            watcher.put_nowait(progress)
        if self._done:
            watcher.put_nowait(None)
        self._watchers.add(watcher)
        try:
            while (item := await watcher.get()) is not None:
                yield item
        finally:
            self._watchers.discard(watcher)
            if not self._watchers and not self._done:
                self.abandon()
        if self._error is not None:
            raise self._error

    def _publish(self, progress: model.Progress) -> None:
        self._latest[progress.id or progress.status] = progress
        for watcher in self._watchers:
            if not progress.total_bytes or watcher.qsize() < QUEUED:
                watcher.put_nowait(progress)


class Flights:
    """The operations under way, by what they do."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._flights: dict[Hashable, Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def join(self, key: Hashable, operation: Callable[[Report], object]) -> Flight:
        """The flight of `key`, started if there is none: `operation(report)` runs in a worker thread."""
        flight = self._flights.get(key)
        if flight is None or flight.abandoned:
            flight = self._flights[key] = Flight()
            task = asyncio.create_task(self._run(key, flight, operation))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return flight

    async def close(self) -> None:
        """End every operation and wait for it."""
        for flight in self._flights.values():
            flight.abandon()
        await asyncio.gather(*self._tasks)

    async def _run(self, key: Hashable, flight: Flight, operation: Callable[[Report], object]) -> None:
        loop = asyncio.get_running_loop()
        error: BaseException | None = None
        try:
            await loop.run_in_executor(self._executor, operation, flight.report)
        except Exception as raised:  # noqa: BLE001 - raised again for each watcher
            error = raised
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]
            flight.finish(error)
