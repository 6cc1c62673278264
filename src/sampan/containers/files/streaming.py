"""A thread that writes, an event loop that reads: bounded between them, and ended by either side."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future

PIECES_AHEAD = 8  # written but not yet read; about 1 MiB each
Write = Callable[[bytes], object]
Pieces = AsyncGenerator[bytes, None]


class _Left(Exception):
    """The reader has gone: ends the writer."""


class _Pipe:
    """Pieces on their way. The thread waits when it is too far ahead."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pieces: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(PIECES_AHEAD)
        self._arrived = asyncio.Event()
        self._left = False

    def write(self, piece: bytes) -> None:
        self._room.acquire()
        if self._left:
            raise _Left
        self._hand_over(piece)

    def end(self) -> None:
        self._hand_over(None)

    def leave(self) -> None:
        self._left = True
        self._room.release()

    async def read(self) -> bytes | None:
        while self._pieces.empty():
            self._arrived.clear()
            if self._pieces.empty():
                await self._arrived.wait()
        self._room.release()
        return self._pieces.get()

    def _hand_over(self, piece: bytes | None) -> None:
        self._pieces.put(piece)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody reads
            self._loop.call_soon_threadsafe(self._arrived.set)


async def pieces(produce: Callable[[Write], object]) -> Pieces:
    """What `produce` writes in a thread of its own. Raises what it raises; closing the iterator ends it."""
    pipe = _Pipe(asyncio.get_running_loop())
    done: Future[None] = Future()

    def body() -> None:
        try:
            produce(pipe.write)
        except BaseException as error:  # noqa: BLE001 - raised again in the reader
            done.set_exception(error)
        else:
            done.set_result(None)
        pipe.end()

    thread = threading.Thread(target=body, name="archive", daemon=True)
    thread.start()
    try:
        while (piece := await pipe.read()) is not None:
            yield piece
        done.result()
    finally:
        pipe.leave()
        with contextlib.suppress(BaseException):  # raised above, or the reader has left and nobody wants it
            await asyncio.shield(asyncio.wrap_future(done))
