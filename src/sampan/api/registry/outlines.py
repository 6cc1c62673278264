"""Outlines: what a Sampan host needs to start containers of an image before its layers have arrived.

An extension of ours. Answers that carry a manifest tell of it by the header `Sampan-Outlines`, so nobody asks another
registry for it, and clients that do not know it are not affected.
"""

from __future__ import annotations

from aiohttp import hdrs, web

from sampan.api.registry import bodies
from sampan.api.registry.context import Context
from sampan.formats import outline
from sampan.formats.digest import Digest

HEADER = "Sampan-Outlines"


async def get(context: Context) -> web.StreamResponse:
    """GET and HEAD `/v2/<name>/_sampan/outlines/<digest of a layer's blob>`."""
    context.allow("pull")
    path = await context.registry.outlines.get(context.target.name, Digest.parse(context.target.reference))
    size_bytes = path.stat().st_size
    headers: dict[str, str] = {hdrs.CONTENT_TYPE: outline.MEDIA_TYPE}
    if context.request.method == hdrs.METH_HEAD:
        return web.Response(headers={**headers, hdrs.CONTENT_LENGTH: str(size_bytes)})
    return bodies.file(path, first=0, length=size_bytes, headers=headers)
