"""Manifests: pull, push, delete (end-3, end-7, end-9)."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from aiohttp import hdrs, web

from sampan.api.registry import bodies, outlines
from sampan.api.registry.context import Context
from sampan.formats import oci
from sampan.formats.digest import Digest
from sampan.registry.model import ManifestTooLarge, ManifestUnknown, Stored, check_reference

DIGEST = "Docker-Content-Digest"
ANYTHING = ("*/*", "application/*", "application/json")  # what clients send that take whatever there is


async def get(context: Context) -> web.StreamResponse:
    """GET and HEAD: the bytes that were pushed."""
    context.allow("pull")
    request = context.request
    stored = context.registry.manifest(context.target.name, context.target.reference)
    _check_accept(context, stored)
    etag = f'"{stored.digest}"'
    headers = {DIGEST: stored.digest, hdrs.ETAG: etag, hdrs.CONTENT_TYPE: stored.media_type, outlines.HEADER: "1"}
    if etag in request.headers.get(hdrs.IF_NONE_MATCH, ""):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    if request.method == hdrs.METH_HEAD:
        headers[hdrs.CONTENT_LENGTH] = str(stored.size_bytes)
        return web.Response(headers=headers)
    return web.Response(body=context.registry.content(stored), headers=headers)


async def put(context: Context) -> web.StreamResponse:
    """PUT: keep a manifest under a tag or digest, and under the tags of `?tag=`."""
    context.allow("push")
    request, target = context.request, context.target
    check_reference(target.reference)
    content = await _read(request)
    pushed = await context.registry.put_manifest(
        target.name,
        target.reference,
        content,
        request.headers.get(hdrs.CONTENT_TYPE, ""),
        tags=request.query.getall("tag", []),
    )
    response = web.Response(status=HTTPStatus.CREATED)
    response.headers[hdrs.LOCATION] = f"/v2/{target.name}/manifests/{pushed.digest}"
    response.headers[DIGEST] = pushed.digest
    if pushed.subject is not None:
        response.headers["OCI-Subject"] = pushed.subject
    if "tag" in request.query:
        response.headers["OCI-Tag"] = ", ".join(pushed.tags)
    return response


async def delete(context: Context) -> web.StreamResponse:
    """DELETE: a tag, or a manifest with all its tags."""
    context.allow("delete")
    reference = check_reference(context.target.reference)
    if isinstance(reference, Digest):
        await context.registry.delete_manifest(context.target.name, reference)
    else:
        await context.registry.delete_tag(context.target.name, reference)
    return web.Response(status=HTTPStatus.ACCEPTED)


def _check_accept(context: Context, stored: Stored) -> None:
    """A tag whose manifest the client cannot read is as good as missing; who names a digest gets what it names."""
    header = ",".join(context.request.headers.getall(hdrs.ACCEPT, ()))
    if not header or stored.media_type in header or ":" in context.target.reference:
        return
    if any(anything in header for anything in ANYTHING):
        return
    raise ManifestUnknown(
        f"{context.target.name}:{context.target.reference} is a {stored.media_type}",
        why="the client accepts other types only",
        remedy="add the type to the Accept header",
    )


async def _read(request: web.BaseRequest) -> bytes:
    limit = oci.LARGEST_MANIFEST_BYTES
    too_large = ManifestTooLarge("the manifest is too large", why=f"the limit is {limit} bytes")
    if (request.content_length or 0) > limit:
        raise too_large
    pieces: list[bytes] = []
    size = 0
    async with asyncio.timeout(bodies.SILENCE_S):
        while piece := await bodies.piece(request):
            size += len(piece)
            if size > limit:
                raise too_large
            pieces.append(piece)
    return b"".join(pieces)
