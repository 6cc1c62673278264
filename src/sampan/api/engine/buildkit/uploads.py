"""A context that the client sends as one stream: `docker build - < context.tar`.

Source: moby/buildkit, session/upload.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from sampan import errors
from sampan.api.engine.buildkit import receiving, session_messages
from sampan.api.engine.buildkit.requests import UPLOAD_HOST
from sampan.api.engine.buildkit.session_messages import Piece
from sampan.api.engine.buildkit.sessions import Session
from sampan.formats import compression, tar
from sampan.images.drivers import reading, unpack

BATCH_BYTES = 1 << 20


class NoUpload(errors.NotFound):
    """The client sends no context."""


class InvalidUpload(errors.Invalid):
    """What the client sent is no archive."""


async def receive(session: Session, path: str, file: Path, *, progress: receiving.Counted) -> None:
    """The stream, inflated, as `file`. Raises: NoUpload, DamagedStream, TooLarge, CallFailed."""
    if not session.serves(session_messages.PULL_UPLOAD):
        raise NoUpload("the client sends no context", remedy="build from a directory")
    inflater = compression.Inflater()
    count = 0
    metadata = [("urlpath", path), ("urlhost", UPLOAD_HOST)]
    with file.open("xb") as target:
        async with session.client.calling(session_messages.PULL_UPLOAD, metadata) as call:
            while (piece := await call.receive(Piece)) is not None:
                content = bytearray(piece.data)
                while len(content) < BATCH_BYTES and (more := call.ready(Piece)) is not None:
                    content += more.data
                await asyncio.to_thread(_write, target, inflater.feed(bytes(content)))
                count += len(content)
                progress(count)
        await asyncio.to_thread(_write, target, inflater.finish())


def _write(target: BinaryIO, pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        target.write(piece)


def open_archive(file: Path, folder: Path) -> bool:
    """Unpack into `folder`, which is made; False if the file is no archive. Blocking. Raises: InvalidUpload."""
    with file.open("rb") as content:
        head = content.read(tar.BLOCK)
    if len(head) < tar.BLOCK or (head[257:262] != b"ustar" and any(head[500:])):
        return False
    try:
        with reading.mapped(file) as whole:
            tree = reading.read_tree(whole)
            unpack.unpack(tree.root, whole, folder)
    except (errors.Invalid, errors.Broken) as error:
        raise InvalidUpload("the context cannot be unpacked", why=str(error)) from error
    return True
