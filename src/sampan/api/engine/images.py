"""Handlers: images."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from sampan import errors
from sampan.api.engine import query, registry_auth, render_image, versions
from sampan.api.engine.call import Call, done
from sampan.api.http import bodies, hijack
from sampan.containers.model import ContainerFilter
from sampan.images.catalogue import Filters
from sampan.images.model import Progress

LIST_FILTERS = frozenset({"before", "dangling", "label", "reference", "since", "until"})
PRUNE_FILTERS = frozenset({"dangling", "label", "until"})
IMPORT_CHUNK_BYTES = 1 << 18


class InvalidImageRequest(errors.Invalid):
    """A parameter of a request on images that cannot be meant."""


def _filters(call: Call, known: frozenset[str]) -> tuple[Filters, bool | None]:
    """The filters, and what `dangling` says. Raises: InvalidImageRequest."""
    keys = call.query.filters()
    for key in keys:
        if key not in known:
            raise InvalidImageRequest(f"invalid filter '{key}'")
    dangling = query.parse_switch("dangling", keys["dangling"][0]) if "dangling" in keys else None
    filters = Filters(
        references=keys.get("reference", ()),
        labels=keys.get("label", ()),
        dangling=dangling,
        before=keys.get("before", ("",))[0],
        since=keys.get("since", ("",))[0],
        until_ns=query.parse_until_ns(keys["until"][0], time.time_ns()) if "until" in keys else 0,
    )
    return filters, dangling


async def list_all(call: Call) -> web.StreamResponse:
    """GET /images/json."""
    filters, _ = _filters(call, LIST_FILTERS)
    images = call.engine.images.list(filters)
    if not call.query.switch("shared-size"):
        return bodies.answer([_listed(call, render_image.summary(image)) for image in images])
    users: dict[str, int] = {}
    for container in call.engine.containers.list(ContainerFilter(all=True)):
        users[container.image_id] = users.get(container.image_id, 0) + 1
    shared = call.engine.images.disk_usage().shared_bytes
    return bodies.answer(
        [
            _listed(call, render_image.summary(image, users.get(image.id, 0), shared.get(image.id, 0)))
            for image in images
        ]
    )


def _listed(call: Call, answer: dict[str, Any]) -> dict[str, Any]:
    return versions.adapted("image in a list", call.version, answer)


async def create(call: Call) -> web.StreamResponse:
    """POST /images/create: a pull with `fromImage`, an import with `fromSrc=-`."""
    source, image = call.query.text("fromSrc"), call.query.text("fromImage")
    if image:
        return await _pull(call, image, call.query.text("tag"))
    if source == "-":
        return await _import(call)
    if source:
        raise InvalidImageRequest(
            f"cannot import from {source[:200]!r}",
            why="the daemon fetches nothing for imports",
            remedy="send the archive",
        )
    raise InvalidImageRequest("neither fromImage nor fromSrc was given")


async def _pull(call: Call, image: str, tag: str) -> web.StreamResponse:
    auth = registry_auth.parse(call.request.headers.get("X-Registry-Auth", ""))
    lines = call.engine.images.pull(_join(image, tag), platform=call.query.text("platform"), credentials=auth)
    return await _tell(call, lines)


def _join(name: str, tag: str) -> str:
    """`tag` may be a digest. A tag in the name gives way to the one beside it, as in dockerd."""
    if not tag:
        return name
    return f"{name}@{tag}" if ":" in tag else f"{name}:{tag}"


async def push(call: Call) -> web.StreamResponse:
    """POST /images/{name}/push; without a tag, every tag of the repository."""
    tag = call.query.text("tag")
    auth = registry_auth.parse(call.request.headers.get("X-Registry-Auth", ""))
    lines = call.engine.images.push(_join(call.name, tag), credentials=auth, all_tags=not tag)
    return await _tell(call, lines)


async def _import(call: Call) -> web.StreamResponse:
    repo = call.query.text("repo")

    async def lines() -> AsyncIterator[Progress]:
        image = await call.engine.images.import_(
            call.request.content.iter_chunked(IMPORT_CHUNK_BYTES),
            name=_join(repo, call.query.text("tag")) if repo else "",
            changes=call.request.query.getall("changes", []),
            message=call.query.text("message") or "Imported from -",
            platform=call.query.text("platform"),
        )
        yield Progress(image.id)

    return await _tell(call, lines())


async def _tell(call: Call, lines: AsyncIterator[Progress]) -> web.StreamResponse:
    """Progress as it comes; a client that goes stops the work."""

    async def rendered() -> AsyncIterator[dict[str, Any]]:
        async for line in lines:
            yield render_image.progress(line)

    return await hijack.until_gone(call.request, bodies.answer_lines(call.request, rendered()))


async def inspect(call: Call) -> web.StreamResponse:
    """GET /images/{name}/json."""
    image = call.engine.images.get(call.name)
    answer = render_image.inspect(image, call.engine.facts.storage_driver)
    return bodies.answer(versions.adapted("image", call.version, answer))


async def distribution(call: Call) -> web.StreamResponse:
    """GET /distribution/{name}/json: what the registry has."""
    auth = registry_auth.parse(call.request.headers.get("X-Registry-Auth", ""))
    return bodies.answer(render_image.remote(await call.engine.images.distribution(call.name, credentials=auth)))


async def history(call: Call) -> web.StreamResponse:
    """GET /images/{name}/history."""
    images = call.engine.images
    return bodies.answer(render_image.history(images.history(images.get(call.name))))


async def tag(call: Call) -> web.StreamResponse:
    """POST /images/{name}/tag."""
    await call.engine.images.tag(call.name, _join(call.query.text("repo"), call.query.text("tag")))
    return done(201)


async def remove(call: Call) -> web.StreamResponse:
    """DELETE /images/{name}."""
    if not call.name.strip():
        raise InvalidImageRequest("image name cannot be blank")
    removed = await call.engine.images.remove(
        call.name, force=call.query.switch("force"), prune=not call.query.switch("noprune")
    )
    return bodies.answer(render_image.removals(removed))


async def prune(call: Call) -> web.StreamResponse:
    """POST /images/prune: dangling images, or with `dangling=false` all that no container uses."""
    filters, dangling = _filters(call, PRUNE_FILTERS)
    chosen = Filters(labels=filters.labels, until_ns=filters.until_ns, dangling=None if dangling is False else True)
    removed, freed_bytes = await call.engine.images.prune(chosen)
    call.engine.bus.publish("image", "prune", "", reclaimed=str(freed_bytes))
    return bodies.answer({"ImagesDeleted": render_image.removals(removed) or None, "SpaceReclaimed": freed_bytes})
