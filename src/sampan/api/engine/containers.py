"""Handlers: the verbs on containers that answer at once."""

from __future__ import annotations

import time
from typing import Any

from aiohttp import web

from sampan import errors
from sampan.api.engine import render_container, views
from sampan.api.engine.call import Call, done
from sampan.api.engine.query import NS, parse_until_ns
from sampan.api.engine.versions import Version
from sampan.api.http import bodies
from sampan.containers import wanted
from sampan.containers.edits import wish
from sampan.containers.model import ContainerFilter


class InvalidRequest(errors.Invalid):
    """A parameter of a request on containers that cannot be meant."""


async def list_all(call: Call) -> web.StreamResponse:
    """GET /containers/json."""
    query = call.query
    keys = query.filters()
    limit = query.number("limit") or 0
    chosen = ContainerFilter(
        all=query.switch("all") or limit > 0, limit=max(limit, 0), size=query.switch("size"), keys=keys
    )
    names, linked_as = views.network_names(call.engine), call.engine.containers.linked_as()
    now_ns = time.time_ns()
    answer = []
    for item in call.engine.containers.list(chosen):
        try:
            view = await views.line(call.engine, item, names=names, with_size=chosen.size, linked_as=linked_as)
        except errors.NotFound:
            continue  # removed while the sizes of others were counted
        answer.append(render_container.summary(view, now_ns))
    return bodies.answer(answer)


async def create(call: Call) -> web.StreamResponse:
    """POST /containers/create."""
    asked = _as_of(call.version, wanted.decode_create(await call.body()))
    item, warnings = await call.engine.containers.create(
        call.query.text("name"), asked, platform=call.query.text("platform")
    )
    return bodies.answer({"Id": item.id, "Warnings": list(warnings)}, status=201)


def _as_of(version: Version, asked: wanted.Wanted) -> wanted.Wanted:
    """What an older API did not have is left out. Source: moby/moby, the router of containers."""
    if version >= (1, 44):
        return asked
    if asked.config.healthcheck is not None:
        asked.config.healthcheck.start_interval = 0
    for mount in asked.host.mounts:
        if mount.type == "bind" and mount.read_only:
            mount.bind_options = mount.bind_options or wanted.BindOptions()
            mount.bind_options.read_only_non_recursive = True
    return asked


async def inspect(call: Call) -> web.StreamResponse:
    """GET /containers/{name}/json."""
    item = call.engine.containers.get(call.name)
    view = await views.container(call.engine, item, with_size=call.query.switch("size"))
    return bodies.answer(render_container.inspect(view))


async def start(call: Call) -> web.StreamResponse:
    """POST /containers/{name}/start. A body (of API 1.23 and older) is refused, as dockerd does."""
    if await bodies.read_object(call.request, optional=True):
        raise InvalidRequest(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24"
        )
    await call.engine.containers.start(call.name)
    return done()


async def stop(call: Call) -> web.StreamResponse:
    """POST /containers/{name}/stop."""
    await call.engine.containers.stop(call.name, timeout_s=call.query.number("t"), signal=call.query.text("signal"))
    return done()


async def restart(call: Call) -> web.StreamResponse:
    """POST /containers/{name}/restart."""
    await call.engine.containers.restart(call.name, timeout_s=call.query.number("t"), signal=call.query.text("signal"))
    return done()


async def kill(call: Call) -> web.StreamResponse:
    """POST /containers/{name}/kill."""
    await call.engine.containers.kill(call.name, call.query.text("signal") or "KILL")
    return done()


async def pause(call: Call) -> web.StreamResponse:
    """POST /containers/{name}/pause."""
    await call.engine.containers.pause(call.name)
    return done()


async def unpause(call: Call) -> web.StreamResponse:
    """POST /containers/{name}/unpause."""
    await call.engine.containers.unpause(call.name)
    return done()


async def rename(call: Call) -> web.StreamResponse:
    """POST /containers/{name}/rename."""
    name = call.query.text("name")
    if not name:
        raise InvalidRequest("Neither old nor new names may be empty")
    await call.engine.containers.rename(call.name, name)
    return done()


async def update(call: Call) -> web.StreamResponse:
    """POST /containers/{name}/update. The member `Sampan` of body and answer is ours: see `containers.edits`."""
    body = await call.body()
    edit = wish.decode(body)
    host = wanted.decode_host({key: value for key, value in body.items() if key != wish.MEMBER})
    done = await call.engine.containers.update(call.name, host, edit)
    answer: dict[str, Any] = {"Warnings": list(done.warnings)}
    if edit != wish.NOTHING:
        later = [f"{part}: holds from the container's next start on" for part in done.next_start]
        answer = {"Warnings": [*done.warnings, *later], wish.MEMBER: {"NextStart": list(done.next_start)}}
    return bodies.answer(answer)


async def remove(call: Call) -> web.StreamResponse:
    """DELETE /containers/{name}."""
    if call.query.switch("link"):
        await call.engine.containers.unlink(call.name)
        return done()
    await call.engine.containers.remove(call.name, force=call.query.switch("force"), volumes=call.query.switch("v"))
    return done()


async def top(call: Call) -> web.StreamResponse:
    """GET /containers/{name}/top."""
    titles, processes = await call.engine.containers.top(call.name, call.query.text("ps_args") or "-ef")
    return bodies.answer({"Titles": titles, "Processes": processes})


async def resize(call: Call) -> web.StreamResponse:
    """POST /containers/{name}/resize."""
    await call.engine.containers.resize(call.name, *window(call))
    return done(200)


async def prune(call: Call) -> web.StreamResponse:
    """POST /containers/prune."""
    keys = call.query.filters()
    for key in keys:
        if key not in ("label", "label!", "until"):
            raise InvalidRequest(f"invalid filter '{key}'")
    if "until" in keys:
        now_ns = time.time_ns()
        keys["until"] = tuple(str(parse_until_ns(text, now_ns) / NS) for text in keys["until"])
    deleted, freed_bytes = await call.engine.containers.prune(keys)
    return bodies.answer({"ContainersDeleted": list(deleted) or None, "SpaceReclaimed": freed_bytes})


def window(call: Call) -> tuple[int, int]:
    """Rows and columns of a terminal. Raises: InvalidRequest."""
    rows, columns = call.query.number("h"), call.query.number("w")
    if rows is None or columns is None or not (0 <= rows < 65536 and 0 <= columns < 65536):
        raise InvalidRequest("invalid resize height or width", remedy="give h and w from 0 to 65535")
    return rows, columns
