"""`GET /v1/_ping` and `GET /v1/search`: what `docker search` and `podman search` ask of a registry.

Repositories have no descriptions, stars or ranks here, so a result is a name. Only those that the client may pull are
told. Source: the first version of Docker's registry protocol, "Search".
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from sampan.api.registry.context import Context
from sampan.api.registry.errors import BadParameter

DEFAULT_COUNT, MOST = 25, 100
MOST_PAGES = 10_000
LONGEST_TEXT = 256


async def ping(_context: Context) -> web.StreamResponse:
    """This registry stands for itself: no index beside it keeps its accounts."""
    standalone = {"X-Docker-Registry-Standalone": "true", "X-Docker-Registry-Version": "2.0"}
    return web.json_response(True, headers=standalone)


async def search(context: Context) -> web.StreamResponse:
    """`q` is a part of a name, `n` how many results a page has, `page` counts from 1."""
    context.allow("list", "")
    text = context.request.query.get("q", "")
    if len(text) > LONGEST_TEXT or not text.isprintable():
        raise BadParameter(f"invalid q {text[:40]!r}", remedy=f"give at most {LONGEST_TEXT} characters")
    count = _number(context, "n", DEFAULT_COUNT, MOST)
    page = _number(context, "page", 1, MOST_PAGES)
    found = context.registry.search(text.lower(), limit=count, offset=(page - 1) * count)
    results = [_result(name) for name in found.names if context.may("pull", name)]
    body = {
        "query": text,
        "num_results": len(results),
        "num_pages": page + found.more,
        "page": page,
        "page_size": count,
        "results": results,
    }
    return web.json_response(body)


def _result(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "description": "",
        "star_count": 0,
        "is_official": False,
        "is_automated": False,
        "is_trusted": False,
    }


def _number(context: Context, name: str, default: int, most: int) -> int:
    """Raises: BadParameter."""
    text = context.request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        raise BadParameter(f"invalid {name} {text[:40]!r}", remedy=f"give a number from 1 to {most}")
    return int(text)
