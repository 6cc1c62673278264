"""A client at a container's streams: output is what follows in the log, input goes straight into the pipe.

Reading the log instead of sharing the pipe means that a slow client never holds the container up and never loses a
byte. Input is written by the daemon into a descriptor that the keeper hands over, so it costs the keeper nothing; what
a client sends before the container is started waits, and so does its end of file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator

from sampan import errors
from sampan.containers import logs
from sampan.containers.model import Container
from sampan.containers.room import Live, Room
from sampan.kernel import readiness


class StdinClosed(errors.Conflict):
    """The container was created without an open standard input, or it is closed already."""


class Attachment:
    """One client. Make it before the start whose output it shall see."""

    def __init__(self, room: Room, live: Live, container: Container) -> None:
        self.terminal = container.wanted.config.tty
        self._room = room
        self._container = container
        self._position = logs.end(room.paths(container.id).directory)
        self._exited = live.exited
        self._started = live.started
        if container.alive:
            self._started = asyncio.Event()
            self._started.set()
        self._descriptor: int | None = None
        self._ended = False

    async def output(
        self, *, stdout: bool = True, stderr: bool = True, logs_too: bool = False, stream: bool = True
    ) -> AsyncIterator[bytes]:
        """Frames, or raw bytes from a terminal, until the container exits. `logs_too` begins with the past."""
        query = logs.LogQuery(
            stdout=stdout,
            stderr=stderr,
            multiplexed=not self.terminal,
            after=0 if logs_too else self._position,
            follow=stream,
        )
        place = self._room.paths(self._container.id)
        if stream:
            await asyncio.to_thread(place.directory.mkdir, mode=0o710, parents=True, exist_ok=True)
        reading: AsyncGenerator[bytes, None] = logs.read(
            place.directory, query, finished=self._exited, watches=self._room.watches
        )
        async with contextlib.aclosing(reading) as pieces:
            async for piece in pieces:
                yield piece

    async def write(self, content: bytes) -> None:
        """Send input; returns when the pipe has taken all of it. Raises `StdinClosed`, BrokenPipeError at its end."""
        await readiness.write_all(await self._open(), content)

    async def end_input(self) -> None:
        """End of file. A terminal has none; a container that lets several clients write keeps its input open."""
        if self._ended or self.terminal or not self._container.wanted.config.open_stdin:
            return
        with contextlib.suppress(StdinClosed):
            await self._open()
        self._ended = True
        self._close()

    def detached(self) -> None:
        """The client typed its keys: the container goes on."""
        self._room.publish(self._container, "detach")

    async def close(self) -> None:
        """The client is gone."""
        self._ended = True
        self._close()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    async def _open(self) -> int:
        if self._ended:
            raise StdinClosed("the input of this client is closed")
        if self._descriptor is None:
            await self._started.wait()
            try:
                self._descriptor = await self._room.keeper.stdin(self._container.id)
            except (errors.Conflict, errors.NotFound) as error:
                raise StdinClosed(f"container {self._container.short_id} takes no input", why=str(error)) from error
            os.set_blocking(self._descriptor, False)
        return self._descriptor
