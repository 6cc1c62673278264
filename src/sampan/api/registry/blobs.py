"""Blobs: pull, delete (end-2, end-10)."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import hdrs, web

from sampan.api.registry import bodies, errors, ranges
from sampan.api.registry.context import Context
from sampan.api.registry.manifests import DIGEST
from sampan.formats.digest import Digest
from sampan.registry.model import RepositoryBlobUnknown


async def get(context: Context) -> web.StreamResponse:
    """GET and HEAD, with a range."""
    context.allow("pull")
    request = context.request
    digest = Digest.parse(context.target.reference)
    path, size_bytes = context.registry.blob(context.target.name, digest)
    etag = f'"{digest}"'
    headers = {
        DIGEST: str(digest),
        hdrs.ETAG: etag,
        hdrs.ACCEPT_RANGES: "bytes",
        hdrs.CONTENT_TYPE: "application/octet-stream",
        hdrs.CACHE_CONTROL: "max-age=31536000, immutable",
    }
    if etag in request.headers.get(hdrs.IF_NONE_MATCH, ""):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    if request.method == hdrs.METH_HEAD:
        headers[hdrs.CONTENT_LENGTH] = str(size_bytes)
        return web.Response(headers=headers)
    same = request.headers.get(hdrs.IF_RANGE, etag) == etag
    try:
        part = ranges.wanted(request.headers.get(hdrs.RANGE) if same else None, size_bytes)
    except errors.RangeUnsatisfiable as error:
        response = errors.response(error)
        response.headers[hdrs.CONTENT_RANGE] = f"bytes */{size_bytes}"
        return response
    try:
        if part is None:
            return bodies.file(path, first=0, length=size_bytes, headers=headers)
        first, last = part
        headers[hdrs.CONTENT_RANGE] = f"bytes {first}-{last}/{size_bytes}"
        status = HTTPStatus.PARTIAL_CONTENT
        return bodies.file(path, first=first, length=last - first + 1, status=status, headers=headers)
    except FileNotFoundError:
        raise RepositoryBlobUnknown(f"{context.target.name} has no blob {digest}", why="it was deleted") from None


async def delete(context: Context) -> web.StreamResponse:
    """DELETE: the repository stops showing the blob."""
    context.allow("delete")
    await context.registry.delete_blob(context.target.name, Digest.parse(context.target.reference))
    return web.Response(status=HTTPStatus.ACCEPTED)
