"""Uploads: start, mount, chunk, status, finish, cancel (end-4, end-5, end-6, end-11, end-13, end-14)."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import hdrs, web

from sampan.api.registry import bodies, ranges
from sampan.api.registry.context import Context
from sampan.api.registry.manifests import DIGEST
from sampan.formats import reference
from sampan.formats.digest import Digest
from sampan.registry.model import SizeMismatch, UploadStatus


async def start(context: Context) -> web.StreamResponse:
    """POST: mount a blob, take a whole one, or begin an upload."""
    context.allow("push")
    query, name = context.request.query, context.target.name
    if "mount" in query:
        digest = Digest.parse(query["mount"])
        if await _mount(context, digest):
            return _created(name, digest)
        return _accepted(await context.registry.uploads.start(name, digest.algorithm), HTTPStatus.ACCEPTED)
    if "digest" in query:
        return await _whole(context, Digest.parse(query["digest"]))
    algorithm = query.get("digest-algorithm", "sha256")
    return _accepted(await context.registry.uploads.start(name, algorithm), HTTPStatus.ACCEPTED)


async def append(context: Context) -> web.StreamResponse:
    """PATCH: a chunk at a stated offset, or a stream without one."""
    context.allow("push")
    await _receive(context, algorithm=None)
    return _accepted(_status(context), HTTPStatus.ACCEPTED)


async def status(context: Context) -> web.StreamResponse:
    """GET: how far the upload is."""
    context.allow("push")
    return _accepted(_status(context), HTTPStatus.NO_CONTENT)


async def finish(context: Context) -> web.StreamResponse:
    """PUT: an optional last chunk, then the blob."""
    context.allow("push")
    digest = Digest.parse(context.request.query.get("digest", ""))
    if context.request.can_read_body:
        await _receive(context, algorithm=digest.algorithm)
    await context.registry.uploads.finish(context.target.name, context.target.reference, digest)
    return _created(context.target.name, digest)


async def cancel(context: Context) -> web.StreamResponse:
    """DELETE: drop the upload."""
    context.allow("push")
    await context.registry.uploads.cancel(context.target.name, context.target.reference)
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def _mount(context: Context, digest: Digest) -> bool:
    uploads, name = context.registry.uploads, context.target.name
    if context.from_engine:
        return await uploads.mount(name, digest, source=None)
    source = context.request.query.get("from", name)
    # A source the client may not read is answered like one that has no such blob: an upload begins.
    if not reference.is_repository(source) or not context.may("pull", source):
        source = name
    return await uploads.mount(name, digest, source=source)


async def _whole(context: Context, digest: Digest) -> web.StreamResponse:
    uploads, name = context.registry.uploads, context.target.name
    begun = await uploads.start(name, digest.algorithm)
    finished = False
    try:
        with uploads.receive(name, begun.id, start=0) as incoming:
            await bodies.receive(context.request, incoming)
        await uploads.finish(name, begun.id, digest)
        finished = True
    finally:
        if not finished:
            await uploads.drop(begun.id)  # nobody knows its address: it cannot be resumed
    return _created(name, digest)


async def _receive(context: Context, *, algorithm: str | None) -> None:
    request, target = context.request, context.target
    chunk = ranges.chunk(request.headers.get(hdrs.CONTENT_RANGE), bodies.length(request))
    offset, expected = chunk or (None, None)
    uploads = context.registry.uploads
    with uploads.receive(target.name, target.reference, start=offset, algorithm=algorithm) as incoming:
        length = await bodies.receive(request, incoming)
    if expected is not None and length != expected:
        raise SizeMismatch(f"the chunk has {length} bytes, its Content-Range says {expected}")


def _status(context: Context) -> UploadStatus:
    return context.registry.uploads.status(context.target.name, context.target.reference)


def _accepted(upload: UploadStatus, status: int) -> web.Response:
    headers = {
        hdrs.LOCATION: f"/v2/{upload.repository}/blobs/uploads/{upload.id}",
        hdrs.RANGE: f"0-{max(upload.size_bytes - 1, 0)}",
        "Docker-Upload-UUID": upload.id,
    }
    return web.Response(status=status, headers=headers)


def _created(name: str, digest: Digest) -> web.Response:
    headers = {hdrs.LOCATION: f"/v2/{name}/blobs/{digest}", DIGEST: str(digest)}
    return web.Response(status=HTTPStatus.CREATED, headers=headers)
