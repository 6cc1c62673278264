"""Content on its way in and out.

In: the loop gathers what has arrived into pieces of a mebibyte while a thread hashes and writes the ones before, so
that an upload needs two of them and no more. Out: sendfile, which only the plain event loop has.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from pathlib import Path

import aiohttp
from aiohttp import hdrs, web

from sampan.api.registry.errors import BadParameter, BodyTooSlow
from sampan.blobs.files import COPY_BYTES
from sampan.registry.uploads import Incoming

SILENCE_S = 120.0  # a client that sends nothing for so long is gone; its upload can be resumed
SMALL_BYTES = 64 << 10  # below this one write with the head is cheaper than sendfile


async def piece(request: web.BaseRequest) -> bytes:
    """What has arrived of the body; empty at its end. Raises `ConnectionResetError`, `BadParameter`, `BodyTooSlow`."""
    try:
        async with asyncio.timeout(SILENCE_S):
            return await request.content.readany()
    except TimeoutError:
        raise BodyTooSlow(f"nothing arrived for {SILENCE_S:.0f} s") from None
    except (aiohttp.ClientPayloadError, web.RequestPayloadError, aiohttp.http.HttpProcessingError) as error:
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError("the client went away in the middle of a body") from error
        raise BadParameter("the body cannot be read", why=str(error)) from error


async def receive(request: web.BaseRequest, incoming: Incoming) -> int:
    """Append the body to an upload; returns its length. What arrived before a failure is kept."""
    pieces: list[bytes] = []
    gathered = total = 0
    writing: asyncio.Task[None] | None = None
    try:
        while part := await piece(request):
            pieces.append(part)
            gathered += len(part)
            total += len(part)
            if gathered >= COPY_BYTES:
                if writing is not None:
                    await asyncio.shield(writing)
                writing = asyncio.create_task(incoming.write(pieces))
                pieces, gathered = [], 0
    finally:
        if writing is not None:
            await asyncio.shield(writing)
        if pieces:
            await asyncio.shield(incoming.write(pieces))
    return total


class FileResponse(web.StreamResponse):
    """Part of a file, by sendfile. The file is opened when the answer begins: a blob that is then gone is a 404."""

    def __init__(self, path: Path, *, first: int, length: int, status: int, headers: dict[str, str]) -> None:
        super().__init__(status=status, headers=headers)
        self._file = path.open("rb", buffering=0)
        self._first = first
        self._length = length
        self.content_length = length

    async def prepare(self, request: web.BaseRequest) -> aiohttp.abc.AbstractStreamWriter | None:
        """Send head and content."""
        with self._file:
            writer = await super().prepare(request)
            transport = request.transport
            if transport is None or transport.is_closing():
                raise ConnectionResetError("the client went away before the content")
            loop = asyncio.get_running_loop()
            sent = await loop.sendfile(transport, self._file, self._first, self._length)
            if sent != self._length:
                transport.abort()  # the announced length cannot be kept any more
                raise ConnectionResetError("the file is shorter than its record")
            await self.write_eof()
        return writer


def file(
    path: Path, *, first: int, length: int, status: int = HTTPStatus.OK, headers: dict[str, str]
) -> web.StreamResponse:
    """An answer with part of a file. Raises `FileNotFoundError`."""
    if length > SMALL_BYTES:
        return FileResponse(path, first=first, length=length, status=status, headers=headers)
    with path.open("rb", buffering=0) as opened:
        opened.seek(first)
        return web.Response(body=opened.read(length), status=status, headers=headers)


def length(request: web.BaseRequest) -> int | None:
    """The Content-Length, None for a chunked body."""
    return None if hdrs.TRANSFER_ENCODING in request.headers else (request.content_length or 0)
