"""Handlers: a container's files: changes, export, `cp`, commit."""

from __future__ import annotations

import base64
import contextlib

from aiohttp import web

from sampan import errors
from sampan.api.engine import render_files
from sampan.api.engine.call import Call, done
from sampan.api.http import bodies
from sampan.containers import wanted
from sampan.containers.files import streaming
from sampan.containers.files.committing import Wish
from sampan.containers.files.reading import PathStat
from sampan.formats import oci

TAR = "application/x-tar"


class InvalidArchiveRequest(errors.Invalid):
    """A parameter of a request on a container's files that cannot be meant."""


async def changes(call: Call) -> web.StreamResponse:
    """GET /containers/{name}/changes."""
    return bodies.answer(render_files.changes(await call.engine.containers.files.changes(call.name)))


async def export(call: Call) -> web.StreamResponse:
    """GET /containers/{name}/export."""
    return await send(call.request, call.engine.containers.files.export(call.name), "application/octet-stream")


async def read(call: Call) -> web.StreamResponse:
    """GET and HEAD /containers/{name}/archive."""
    path = _path(call)
    files = call.engine.containers.files
    if call.request.method == "HEAD":
        return web.Response(headers=_headers(await files.stat(call.name, path)))
    async with files.read(call.name, path) as (stat, pieces):
        return await send(call.request, pieces, TAR, headers=_headers(stat))


async def write(call: Call) -> web.StreamResponse:
    """PUT /containers/{name}/archive."""
    await call.engine.containers.files.write(
        call.name,
        _path(call),
        call.request.content.iter_any(),
        keep_kind=call.query.switch("noOverwriteDirNonDir"),
        as_user=call.query.switch("copyUIDGID"),
    )
    return done(200)


async def commit(call: Call) -> web.StreamResponse:
    """POST /commit."""
    query = call.query
    body = await call.body(optional=True)
    wish = Wish(
        repository=query.text("repo"),
        tag=query.text("tag"),
        comment=query.text("comment"),
        author=query.text("author"),
        pause=query.switch("pause", default=True),
        changes=call.request.query.getall("changes", []),
        config=wanted.decode_create(body).config if body else None,
    )
    image_id = await call.engine.containers.files.commit(query.text("container"), wish)
    return bodies.answer({"Id": image_id}, status=201)


async def send(
    request: web.Request,
    pieces: streaming.Pieces,
    content_type: str,
    *,
    headers: dict[str, str] | None = None,
) -> web.StreamResponse:
    """A stream of unknown length. A failure before its first piece gets its status; later, the connection breaks."""
    response = web.StreamResponse(headers=headers)
    response.content_type = content_type
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            if not response.prepared:
                await response.prepare(request)
            await response.write(piece)
    if not response.prepared:
        await response.prepare(request)
    await response.write_eof()
    return response


def _path(call: Call) -> str:
    path = call.query.text("path")
    if not path:
        raise InvalidArchiveRequest("bad parameter: path cannot be empty")
    if "\0" in path:
        raise InvalidArchiveRequest("bad parameter: path holds a NUL")
    return path


def _headers(stat: PathStat) -> dict[str, str]:
    packed = base64.b64encode(oci.encode(render_files.path_stat(stat))).decode()
    return {"X-Docker-Container-Path-Stat": packed}
