"""Handlers: `save` and `load`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from aiohttp import web

from sampan.api.engine import render_image
from sampan.api.engine.call import Call
from sampan.api.http import bodies, hijack
from sampan.images.archives.saving import FilePart, Saved

TAR = "application/x-tar"
SMALL_BYTES = 64 << 10  # below this one write is cheaper than sendfile


async def save(call: Call) -> web.StreamResponse:
    """GET /images/get."""
    return await _save(call, call.request.query.getall("names", []))


async def save_one(call: Call) -> web.StreamResponse:
    """GET /images/{name}/get."""
    return await _save(call, [call.name])


async def load(call: Call) -> web.StreamResponse:
    """POST /images/load."""
    lines = call.engine.images.archives.load(call.request.content.iter_any(), quiet=call.query.switch("quiet"))

    async def rendered() -> AsyncIterator[dict[str, Any]]:
        async for line in lines:
            yield render_image.progress(line)

    # As from dockerd the head says 200 in any case: clients look for failures in the stream.
    return await hijack.until_gone(call.request, bodies.answer_lines(call.request, rendered(), head_first=True))


async def _save(call: Call, names: Sequence[str]) -> web.StreamResponse:
    async with call.engine.images.archives.save(names) as saved:
        return await _send(call.request, saved)


async def _send(request: web.Request, saved: Saved) -> web.StreamResponse:
    """The archive, its files by sendfile. Its length is said, so that a client sees a connection that breaks."""
    response = web.StreamResponse()
    response.content_type = TAR
    response.content_length = saved.length_bytes
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    for part in saved.parts:
        if isinstance(part, FilePart):
            await _send_file(request, response, part)
        else:
            await response.write(part)
    await response.write_eof()
    return response


async def _send_file(request: web.Request, response: web.StreamResponse, part: FilePart) -> None:
    with part.path.open("rb", buffering=0) as file:
        if part.size_bytes <= SMALL_BYTES:
            await response.write(file.read(part.size_bytes))
            return
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client went away before the content")
        sent = await asyncio.get_running_loop().sendfile(transport, file, 0, part.size_bytes)
        if sent != part.size_bytes:
            transport.abort()  # the announced length cannot be kept any more
            raise ConnectionResetError("a layer is shorter than its record")
