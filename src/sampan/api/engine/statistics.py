"""Handler: what a container uses, once or every second."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from sampan.api.engine import render_stats
from sampan.api.engine.call import Call
from sampan.api.http import bodies, hijack
from sampan.containers.statistics import Sample


async def stats(call: Call) -> web.StreamResponse:
    """GET /containers/{name}/stats: a stream unless it is switched off."""
    stream = call.query.switch("stream", default=True)
    one_shot = call.query.switch("one-shot") and call.version >= (1, 41)
    call.engine.containers.get(call.name)
    if not stream:
        found = [document async for document in _documents(call, stream=False, one_shot=one_shot)]
        return bodies.answer(found[-1])  # which has what went before
    lines = _documents(call, stream=True, one_shot=False)
    return await hijack.until_gone(call.request, bodies.answer_lines(call.request, lines, head_first=True))


async def _documents(call: Call, *, stream: bool, one_shot: bool) -> AsyncIterator[dict[str, Any]]:
    before: Sample | None = None
    samples = call.engine.containers.statistics(call.name, stream=stream, one_shot=one_shot)
    async with contextlib.aclosing(samples):
        async for sample in samples:
            yield render_stats.stats(sample, before)
            before = sample
