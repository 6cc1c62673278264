"""A context that arrives as an archive, of any compression, becomes a folder that a build may read.

The archive is inflated in this process within limits, its tree is built in memory (`formats.layer` decides what names
may be), and only then is anything made from it, below a new folder of ours. So no order of entries and no link writes
elsewhere. Nothing here waits for the disk: a context lives as long as its build.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from pathlib import Path
from typing import IO

from sampan.build.model import BuildFailed
from sampan.formats import compression, dockerignore, layer, tar
from sampan.formats.layer_rules import WHITEOUT
from sampan.formats.tar import TarEntry
from sampan.images.drivers import reading, unpack

PIECE_BYTES = 1 << 20
_VECTORS = 1024  # pieces in one writev(2), IOV_MAX
IGNORE_FILE = ".dockerignore"


@contextlib.asynccontextmanager
async def folder(at: Path, chunks: AsyncIterable[bytes]) -> AsyncIterator[Path]:
    """The folder of an archive while the context is open. Raises `InvalidTar`, `InvalidLayer`, `DamagedStream`."""
    try:
        with tempfile.NamedTemporaryFile(dir=at) as spool:
            await _receive(chunks, spool)
            await asyncio.to_thread(_unpack, Path(spool.name), at / "context")
        yield at / "context"
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, at))


async def _receive(chunks: AsyncIterable[bytes], spool: IO[bytes]) -> None:
    """Write the plain archive. What comes plain goes to the file as it came, without being copied on the way."""
    feed: _Plain | _Inflated | None = None
    waiting: list[bytes] = []
    size = 0
    async for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= PIECE_BYTES:
            feed = feed or _feeder(waiting, spool)
            await asyncio.to_thread(feed.take, waiting)
            waiting, size = [], 0
    feed = feed or _feeder(waiting, spool)
    await asyncio.to_thread(feed.take, waiting)
    await asyncio.to_thread(feed.finish)


def _feeder(waiting: list[bytes], spool: IO[bytes]) -> _Plain | _Inflated:
    plain = compression.detect(b"".join(waiting)[: compression.LONGEST_MAGIC]) == "plain"
    return _Plain(spool) if plain else _Inflated(spool)


class _Plain:
    """Writes what it gets."""

    def __init__(self, spool: IO[bytes]) -> None:
        self._file = spool.fileno()
        self._size_bytes = 0

    def take(self, pieces: list[bytes]) -> None:
        """Blocks."""
        self._size_bytes += sum(map(len, pieces))
        if self._size_bytes > compression.Limits().largest_bytes:
            raise compression.TooLarge(f"the context has more than {compression.Limits().largest_bytes} bytes")
        for start in range(0, len(pieces), _VECTORS):
            part = pieces[start : start + _VECTORS]
            written = os.writev(self._file, part)
            if written < sum(map(len, part)):  # a full disk is an error of the next call
                _write_all(self._file, b"".join(part)[written:])

    def finish(self) -> None:
        """Nothing is held back."""


class _Inflated:
    """Inflates what it gets, within limits."""

    def __init__(self, spool: IO[bytes]) -> None:
        self._file = spool.fileno()
        self._inflater = compression.Inflater()

    def take(self, pieces: list[bytes]) -> None:
        """Blocks."""
        for content in self._inflater.feed(b"".join(pieces)):
            _write_all(self._file, content)

    def finish(self) -> None:
        """Raises `DamagedStream` if the archive was cut short."""
        for content in self._inflater.finish():
            _write_all(self._file, content)


def _write_all(file: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]


def unpacked(archive: Path, target: Path) -> None:
    """A file that is an archive, compressed or not, unpacked to a new folder. Raises as `folder`."""
    with tempfile.NamedTemporaryFile(dir=target.parent) as spool, archive.open("rb") as file:
        inflater = compression.Inflater()
        while piece := file.read(PIECE_BYTES):
            for content in inflater.feed(piece):
                spool.write(content)
        for content in inflater.finish():
            spool.write(content)
        spool.flush()
        _unpack(Path(spool.name), target)


def _unpack(archive: Path, target: Path) -> None:
    with reading.mapped(archive) as content:
        tree = layer.build(_checked(tar.scan(content)))
        unpack.unpack(tree.root, content, target, durable=False)


def _checked(entries: Iterator[TarEntry]) -> Iterator[TarEntry]:
    for entry in entries:
        if WHITEOUT in entry.path and any(part.startswith(WHITEOUT) for part in entry.path.split(b"/")):
            raise BuildFailed(
                f"the context has a file {os.fsdecode(entry.path[:200])!r}",
                why="in layers, names that begin with .wh. mark removed files",
                remedy="give it another name, or leave it out by .dockerignore",
            )
        yield entry


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
