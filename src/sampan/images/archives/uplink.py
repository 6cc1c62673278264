"""An upload that the event loop receives and a thread reads: bounded between them, and ended by either side."""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import AsyncIterable, Iterator
from typing import Final

from sampan import errors

PIECE_BYTES: Final = 1 << 20
PIECES_AHEAD: Final = 8


class UploadBroke(errors.Invalid):
    """The client went away in the middle."""


class Uplink:
    """One upload. Made in the event loop; `pieces` belongs to the thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._room = asyncio.Semaphore(PIECES_AHEAD)
        self._broken = False
        self._unwanted = False

    async def feed(self, chunks: AsyncIterable[bytes]) -> None:
        """Hand over everything. Ends early when the reader wants no more; an error here is the reader's too."""
        waiting = bytearray()
        try:
            async for chunk in chunks:
                waiting += chunk
                if len(waiting) >= PIECE_BYTES:
                    await self._put(bytes(waiting))
                    waiting = bytearray()
                if self._unwanted:
                    return
            await self._put(bytes(waiting))
        except BaseException:
            self._broken = True
            raise
        finally:
            self._queue.put(None)

    async def _put(self, piece: bytes) -> None:
        await self._room.acquire()
        if piece:
            self._queue.put(piece)

    def pieces(self) -> Iterator[bytes]:
        """In the thread. Raises `UploadBroke`."""
        while (piece := self._queue.get()) is not None:
            self._make_room()
            yield piece
        if self._broken:
            raise UploadBroke("the upload broke off", remedy="send it again")

    def enough(self) -> None:
        """In the thread: nothing more is read."""
        self._unwanted = True
        for _ in range(2):  # one for what waits, one for the end
            self._make_room()

    def _make_room(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._room.release)
