"""Handler: search in registries."""

from __future__ import annotations

from aiohttp import web

from sampan.api.engine import query, registry_auth
from sampan.api.engine.call import Call
from sampan.api.http import bodies
from sampan.images import searching

FILTERS = frozenset({"is-automated", "is-official", "stars"})


async def search(call: Call) -> web.StreamResponse:
    """GET /images/search."""
    auth = registry_auth.parse(call.request.headers.get("X-Registry-Auth", ""))
    found = await call.engine.images.search(_wanted(call), auth)
    results = [
        {
            "star_count": result.stars,
            "is_official": result.official,
            "name": result.name,
            "is_automated": result.automated,
            "description": result.description,
        }
        for result in found
    ]
    return bodies.answer(results)


def _wanted(call: Call) -> searching.Search:
    """Raises: InvalidSearch, NoRegistry."""
    host, text, prefix = searching.where(call.query.text("term"), call.engine.images.own_registries)
    limit = call.query.number("limit")
    if limit is not None and not 0 <= limit <= searching.MOST:
        raise searching.InvalidSearch(f"limit {limit} is outside the range of [1, {searching.MOST}]")
    filters = call.query.filters()
    for key in filters:
        if key not in FILTERS:
            raise searching.InvalidSearch(f"invalid filter '{key}'")
    return searching.Search(
        host,
        text,
        prefix,
        limit=limit or searching.DEFAULT_COUNT,
        stars=max((_stars(value) for value in filters.get("stars", ())), default=0),
        official=_switch(filters, "is-official"),
        automated=_switch(filters, "is-automated"),
    )


def _stars(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise searching.InvalidSearch(f"invalid filter 'stars={text[:40]}'")
    return int(text)


def _switch(filters: dict[str, tuple[str, ...]], key: str) -> bool | None:
    return query.parse_switch(key, filters[key][0]) if key in filters else None
