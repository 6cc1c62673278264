"""Send containers' output on to log daemons: one task a container that has such a driver, fed by its log.

The log on disk is the buffer, so a container never waits for a log daemon, whatever that one does. The position up to
which lines are sent is a file beside the log: a daemon that comes up again goes on there. A crash repeats at most what
was sent since the position was last written.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from sampan.containers import logs
from sampan.containers.logdrivers import lines, options, sinks
from sampan.containers.model import Container
from sampan.containers.room import Room
from sampan.formats import stdcopy
from sampan.host import files

log = logging.getLogger(__name__)
POSITION = "forwarded"
SAVE_EVERY_S = 1.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0
LAST_WORDS_S = 5.0  # for lines of a container that is removed


class Forwarders:
    """The forwarding tasks of one daemon. A companion of running containers."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closing = False

    def begin(self, container: Container, *, fresh: bool) -> None:
        if container.wanted.host.log_config.type in options.FORWARDED:
            self._start(container, self._room.live_of(container.id).exited)

    def end(self, container: Container) -> None:
        """The task goes to the log's end by itself. There is none for what ended while no daemon was there."""
        if container.wanted.host.log_config.type in options.FORWARDED and container.id not in self._tasks:
            over = asyncio.Event()
            over.set()
            self._start(container, over)

    def forget(self, container_id: str) -> None:
        """Its files are going: what the task has open it reads to the end, for a while."""
        task = self._tasks.get(container_id)
        if task is not None:
            asyncio.get_running_loop().call_later(LAST_WORDS_S, task.cancel)

    async def close(self) -> None:
        self._closing = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, container: Container, over: asyncio.Event) -> None:
        if self._closing:
            return
        former = self._tasks.get(container.id)
        task = asyncio.get_running_loop().create_task(self._run(container, over, former))
        self._tasks[container.id] = task
        task.add_done_callback(lambda done: self._done(container, done))

    def _done(self, container: Container, task: asyncio.Task[None]) -> None:
        if self._tasks.get(container.id) is task:
            del self._tasks[container.id]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("forwarding the log of container %s ends: %r", container.name, error)

    async def _run(self, container: Container, over: asyncio.Event, former: asyncio.Task[None] | None) -> None:
        if former is not None:  # of an earlier run, with the receiver away: this one goes on where it stopped
            former.cancel()
            await asyncio.wait([former])
        await _Forwarder(self._room, container, over).run()


class _Forwarder:
    def __init__(self, room: Room, container: Container, over: asyncio.Event) -> None:
        self._room = room
        self._container = container
        self._over = over
        self._sink = sinks.sink_of(container)
        self._directory = room.paths(container.id).directory
        self._file = self._directory / POSITION
        self._saved_at_s = 0.0
        self._pause_s = FIRST_PAUSE_S

    async def run(self) -> None:
        assembler = lines.Assembler()
        position_ns = self._remembered()
        query = logs.LogQuery(follow=True, after=position_ns, timed=True)
        reading = logs.read(self._directory, query, finished=self._over, watches=self._room.watches)
        try:
            async with contextlib.aclosing(reading) as chunks:
                async for chunk in chunks:
                    for time_ns, stream, payload in lines.frames(chunk):
                        if stream != stdcopy.SYSTEM_ERROR:
                            for line in assembler.feed(time_ns, stream, payload):
                                await self._send(line)
                    position_ns = assembler.position_ns
                    self._save(position_ns)
            last = list(assembler.flush())
            for line in last:
                await self._send(line)
            position_ns = max(position_ns, assembler.position_ns)
        finally:
            self._save(position_ns, now=True)
            self._sink.close()

    async def _send(self, line: lines.Line) -> None:
        while True:
            try:
                await self._sink.send(line)
            except OSError:
                await self._reopen()
            else:
                return

    async def _reopen(self) -> None:
        while True:
            try:
                await self._sink.open()
            except OSError as error:
                if self._pause_s == FIRST_PAUSE_S:
                    driver = self._container.wanted.host.log_config.type
                    log.warning("%s takes no lines of container %s now: %s", driver, self._container.name, error)
                await asyncio.sleep(self._pause_s)
                self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            else:
                self._pause_s = FIRST_PAUSE_S
                return

    def _remembered(self) -> int:
        try:
            return int(self._file.read_text())
        except FileNotFoundError:
            return 0
        except ValueError:
            log.warning("%s holds no position; the log is sent from its beginning", self._file)
            return 0

    def _save(self, position_ns: int, *, now: bool = False) -> None:
        """At most once a second: a position that is behind repeats lines, it loses none."""
        if not position_ns or (not now and time.monotonic() - self._saved_at_s < SAVE_EVERY_S):
            return
        self._saved_at_s = time.monotonic()
        with contextlib.suppress(FileNotFoundError):  # the container is removed
            files.write_scratch(self._file, str(position_ns).encode(), mode=0o600)
