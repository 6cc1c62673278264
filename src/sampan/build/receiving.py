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
    inflater = compression.Inflater()
    waiting = bytearray()

    def feed(piece: bytes, *, last: bool = False) -> None:
        for content in inflater.feed(piece):
            spool.write(content)
        for content in inflater.finish() if last else ():
            spool.write(content)

    async for chunk in chunks:
        waiting += chunk
        if len(waiting) >= PIECE_BYTES:
            piece, waiting = bytes(waiting), bytearray()
            await asyncio.to_thread(feed, piece)
    await asyncio.to_thread(feed, bytes(waiting), last=True)
    spool.flush()


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
