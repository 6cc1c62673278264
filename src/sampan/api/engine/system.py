"""Handlers: ping, version, info, auth, events, disk usage."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from sampan import errors
from sampan.api.engine import render_system, views, words
from sampan.api.engine.call import Call
from sampan.api.http import bodies, hijack
from sampan.containers.model import ContainerFilter, Phase
from sampan.events.bus import Event
from sampan.images.model import Credentials


class InvalidFilter(errors.Invalid):
    """A filter this list does not know."""


EVENT_FILTERS = frozenset(
    {
        "config",
        "container",
        "daemon",
        "event",
        "image",
        "label",
        "network",
        "node",
        "plugin",
        "scope",
        "secret",
        "service",
        "type",
        "volume",
    }
)


async def ping(call: Call) -> web.StreamResponse:
    """GET or HEAD /_ping. The builder's version 1 keeps clients from asking for BuildKit's protocol."""
    headers = {
        "Cache-Control": "no-cache, no-store, must-revalidate",
        "Pragma": "no-cache",
        "Swarm": "inactive",
        "Builder-Version": "1",
    }
    return web.Response(text="OK", headers=headers)


async def version(call: Call) -> web.StreamResponse:
    """GET /version."""
    return bodies.answer(render_system.version(call.engine.facts))


async def info(call: Call) -> web.StreamResponse:
    """GET /info."""
    phases = [container.phase for container in call.engine.containers.list(ContainerFilter(all=True))]
    running = sum(phase == Phase.RUNNING for phase in phases)
    paused = sum(phase == Phase.PAUSED for phase in phases)
    counts = render_system.Counts(running, paused, len(phases) - running - paused, len(call.engine.images.list()))
    facts = call.engine.facts
    facts = dataclasses.replace(facts, warnings=(*facts.warnings, *await call.engine.networks.table.obstacles()))
    return bodies.answer(render_system.info(facts, counts, time.time_ns()))


async def events(call: Call) -> web.StreamResponse:
    """GET /events: remembered ones from `since`, then as they happen, until `until` or the client goes."""
    filters = call.query.filters()
    for key in filters:
        if key not in EVENT_FILTERS:
            raise InvalidFilter(f"invalid filter '{key}'")
    since_ns, until_ns = call.query.time_ns("since"), call.query.time_ns("until")

    if since_ns is not None and until_ns is not None and since_ns > until_ns:
        raise InvalidFilter("`since` time cannot be after `until` time")

    async def lines() -> AsyncIterator[dict[str, Any]]:
        async for happened in _happenings(call, since_ns, until_ns):
            if render_system.is_wanted(happened, filters):
                yield render_system.event(happened)

    return await hijack.until_gone(call.request, bodies.answer_lines(call.request, lines(), head_first=True))


async def _happenings(call: Call, since_ns: int | None, until_ns: int | None) -> AsyncIterator[Event]:
    """Events of a span of time. Those published between the two reads are told once."""
    with call.engine.bus.subscribe() as subscription:
        past = call.engine.bus.past(since_ns) if since_ns is not None else []
        for happened in past:
            if until_ns is None or happened.time_ns <= until_ns:
                yield happened
        timer: asyncio.TimerHandle | None = None
        if until_ns is not None:
            left_s = (until_ns - time.time_ns()) / words.NS
            timer = asyncio.get_running_loop().call_later(max(0.0, left_s), subscription.close)
        try:
            async for happened in subscription:
                if until_ns is None or happened.time_ns <= until_ns:
                    yield happened
        finally:
            if timer is not None:
                timer.cancel()


async def disk_usage(call: Call) -> web.StreamResponse:
    """GET /system/df."""
    return bodies.answer(await views.disk_usage(call.engine))


async def auth(call: Call) -> web.StreamResponse:
    """POST /auth: do these credentials open that registry?"""
    body = await call.body()
    texts = {key.lower(): value for key, value in body.items() if isinstance(value, str)}
    asked = Credentials(texts.get("username", ""), texts.get("password", ""), texts.get("identitytoken", ""))
    await call.engine.images.login(texts.get("serveraddress", ""), asked)
    return bodies.answer({"Status": "Login Succeeded", "IdentityToken": ""})
