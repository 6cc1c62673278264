"""A context that arrives as an archive, of any compression, becomes a folder that a build may read.

The event loop takes the pieces, and one thread of this upload alone inflates them within limits, writes and hashes
(`staging`): so receiving and working overlap, and a slow client keeps no thread that others need.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sampan import errors
from sampan.build import staging
from sampan.build.model import Folders, Stamp
from sampan.formats import compression, dockerignore

PIECE_BYTES = 512 << 10  # handed over at once
AHEAD = 4  # times PIECE_BYTES received and not worked on yet
IGNORE_FILE = ".dockerignore"


class _Gone(errors.Invalid):
    """The rest of the archive will not come."""


@contextlib.asynccontextmanager
async def folder(
    at: Path, chunks: AsyncIterable[bytes], *, forget: Callable[[Path], None]
) -> AsyncIterator[tuple[Path, Folders]]:
    """The folder of an archive, made inside `at`, while the context is open; `forget` gets `at` then.

    Raises `InvalidTar`, `InvalidLayer`, `BuildFailed`, `DamagedStream`, `TooLarge`.
    """
    try:
        root = at / "context"
        contents = await _received(at, root, chunks)
        yield root, Folders(root, contents=contents)
    finally:
        forget(at)


async def _received(at: Path, root: Path, chunks: AsyncIterable[bytes]) -> dict[Stamp, bytes]:
    hopper = _Hopper()
    thread = ThreadPoolExecutor(1, "context")
    working = asyncio.get_running_loop().run_in_executor(thread, _work, hopper, at, root)
    try:
        await hopper.fill(chunks)
        return await asyncio.shield(working)
    except BaseException:  # the thread must be done before its folder goes
        hopper.abort()
        await asyncio.shield(asyncio.gather(working, return_exceptions=True))
        raise
    finally:
        thread.shutdown(wait=False)


def _work(hopper: _Hopper, at: Path, root: Path) -> dict[Stamp, bytes]:
    pieces = _inflated(hopper.pieces())
    try:
        contents = staging.unpacked(pieces, at / "parts", root)
        for _ in pieces:  # padding, and what a client sends behind the end; damage there is damage
            pass
        return contents
    finally:
        hopper.drain()


def _inflated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The archive without compression. Raises `DamagedStream`, `TooLarge`."""
    inflater = compression.Inflater()
    for piece in pieces:
        yield from inflater.feed(piece)
    yield from inflater.finish()


class _Hopper:
    """Pieces on their way from the event loop to one thread; few at a time. Made in the loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(AHEAD)
        self._queue: queue.SimpleQueue[list[bytes] | None] = queue.SimpleQueue()
        self._aborted = self._ended = False

    async def fill(self, chunks: AsyncIterable[bytes]) -> None:
        """Hand over all there is, many chunks at once, and the end."""
        waiting: list[bytes] = []
        size = 0
        async for chunk in chunks:
            waiting.append(chunk)
            size += len(chunk)
            if size >= PIECE_BYTES:
                await self._room.acquire()
                self._queue.put(waiting)
                waiting, size = [], 0
        self._queue.put(waiting)
        self._queue.put(None)

    def abort(self) -> None:
        """Nothing more comes; the thread gets an error."""
        self._aborted = True
        self._queue.put(None)

    def pieces(self) -> Iterator[bytes]:
        """In the thread: what comes, until the end."""
        while (batch := self._next()) is not None:
            yield from batch  # joining would copy
        if self._aborted:
            raise _Gone("the context was not sent to its end")

    def drain(self) -> None:
        """In the thread: take what still comes, so that a client whose archive is refused may finish sending."""
        while not self._ended:
            self._next()

    def _next(self) -> list[bytes] | None:
        batch = self._queue.get()
        self._ended = batch is None
        self._loop.call_soon_threadsafe(self._room.release)
        return batch


def unpacked(archive: Path, target: Path) -> None:
    """A file that is an archive, compressed or not, unpacked to a new folder. Blocks. Raises as `folder`."""
    with archive.open("rb") as file:
        pieces = iter(lambda: file.read(PIECE_BYTES), b"")
        staging.unpacked(_inflated(pieces), target.with_name("parts"), target)


def hide(root: Path, dockerfile_name: str) -> None:
    """Take away the Dockerfile and the ignore file if the ignore file says so: clients send them in any case. Blocks.

    `root` was made by `folder` and nobody else writes to it.
    """
    place = root / IGNORE_FILE
    if place.is_symlink() or not place.is_file() or place.stat().st_size > dockerignore.LARGEST_BYTES:
        return
    ignored = dockerignore.read(place.read_bytes())
    for name in (dockerfile_name, IGNORE_FILE):
        parts = [part for part in name.split("/") if part not in ("", ".")]
        inside = root.joinpath(*parts)
        above = [root.joinpath(*parts[:count]) for count in range(1, len(parts))]
        if ".." not in parts and not any(map(Path.is_symlink, above)) and ignored("/".join(parts)):
            inside.unlink(missing_ok=True)
