"""Handlers: the classic builder, and the build cache."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from sampan import errors
from sampan.api.engine import registry_auth, render_build
from sampan.api.engine.call import Call
from sampan.api.http import bodies, hijack
from sampan.build import archives, downloads, receiving
from sampan.build.model import Context, Event, Folders, Limits, Request, StepFailed
from sampan.build.service import read_dockerfile
from sampan.images.model import Credentials

log = logging.getLogger(__name__)
DEFAULT_DOCKERFILE = "Dockerfile"
LARGEST_AUTH = 1 << 20


class InvalidBuild(errors.Invalid):
    """A parameter of a build that cannot be meant."""


class NotServed(errors.Unsupported):
    """A kind of build that this endpoint does not do."""


class _Ulimit(msgspec.Struct):
    name: str = msgspec.field(name="Name")
    soft: int = msgspec.field(name="Soft")
    hard: int = msgspec.field(name="Hard")


async def build(call: Call) -> web.StreamResponse:
    """POST /build."""
    request = _request(call)
    logins = _Logins(call.request.headers.get("X-Registry-Config", ""))
    return await hijack.until_gone(call.request, bodies.answer_lines(call.request, _lines(call, request, logins)))


async def prune(call: Call) -> web.StreamResponse:
    """POST /build/prune."""
    keep = call.query.number("keep-storage") or call.query.number("reserved-space") or 0
    keys, freed_bytes = await call.engine.builder.prune(
        call.query.filters(), everything=call.query.switch("all"), keep_bytes=max(0, keep)
    )
    call.engine.bus.publish("builder", "prune", "", reclaimed=str(freed_bytes))
    return bodies.answer({"CachesDeleted": keys, "SpaceReclaimed": freed_bytes})


async def _lines(call: Call, request: Request, logins: _Logins) -> AsyncIterator[dict[str, Any]]:
    """Receive the context, build, and tell. A failure before the first line is raised and has its own status."""
    stream = render_build.Stream(quiet=call.query.switch("q"))
    async with _context(call, request) as (request, context):
        told: asyncio.Queue[Event | None] = asyncio.Queue()
        building = asyncio.create_task(
            call.engine.builder.build(request, context, logins=logins, report=told.put_nowait)
        )
        building.add_done_callback(lambda _: told.put_nowait(None))
        began = False
        exit_code: int | None = None
        try:
            while (event := await told.get()) is not None:
                if isinstance(event, StepFailed):
                    exit_code = event.exit_code if "returned a non-zero code" in event.error.what else None
                for line in stream.feed(event):
                    began = True
                    yield line
            try:
                building.result()
            except errors.SampanError as error:
                if not began:
                    raise
                yield render_build.failure(error, exit_code)
            except Exception as error:
                if not began:
                    raise
                log.exception("a build failed")  # its head has left: the client can be told in a line only
                what = errors.Broken(f"internal error: {type(error).__name__}")
                yield render_build.failure(what, None)
        finally:
            building.cancel()
            await asyncio.gather(building, return_exceptions=True)


@contextlib.asynccontextmanager
async def _context(call: Call, request: Request) -> AsyncIterator[tuple[Request, Context]]:
    """The context from the body or from `remote`, and the request with the Dockerfile's text."""
    at = await asyncio.to_thread(call.engine.builder.receive)
    remote = call.query.text("remote")
    if remote:
        with contextlib.ExitStack() as held:
            held.callback(call.engine.builder.forget, at)
            dockerfile, root = await asyncio.to_thread(_fetch, remote, at)
            if dockerfile is not None:
                yield dataclasses.replace(request, dockerfile=dockerfile), Folders(None)
                return
            yield await _settled(request, root), Folders(root)
        return
    chunks = call.request.content.iter_any()
    async with receiving.folder(at, chunks, forget=call.engine.builder.forget) as (root, folders):
        yield await _settled(request, root), folders


async def _settled(request: Request, root: Path) -> Request:
    text = await read_dockerfile(Folders(root), request.dockerfile_name)
    await asyncio.to_thread(receiving.hide, root, request.dockerfile_name)
    return dataclasses.replace(request, dockerfile=text)


def _fetch(url: str, at: Path) -> tuple[bytes | None, Path]:
    """A Dockerfile's text, or the folder of an archive. Blocks."""
    if not downloads.is_url(url) or url.endswith(".git") or url.startswith("git"):
        raise NotServed(
            f"contexts from git repositories are not served: {url[:200]}",
            remedy="clone it and send the folder, or give the URL of an archive",
        )
    file = at / "fetched"
    downloads.fetch(url, file)
    with file.open("rb") as content:
        head = content.read(archives.PIECE_BYTES)
    if not archives.begins_as_tar(head):
        return file.read_bytes(), at
    receiving.unpacked(file, at / "context")
    return None, at / "context"


def _request(call: Call) -> Request:
    """The request that the parameters ask for. Raises kinds of `Invalid`."""
    query, values = call.query, call.request.query
    if query.text("version") == "2":
        raise NotServed(
            "POST /build has the classic builder only",
            why="version=2 asks for BuildKit",
            remedy="use docker buildx (it speaks /grpc), or set DOCKER_BUILDKIT=0",
        )
    if query.switch("squash"):
        raise InvalidBuild("squash is only supported with experimental mode", remedy="use several stages instead")
    if query.text("outputs"):
        raise InvalidBuild("the classic builder has no outputs", remedy="build with a tag, then save or export it")
    return Request(
        dockerfile_name=query.text("dockerfile") or DEFAULT_DOCKERFILE,
        target=query.text("target"),
        build_args=_mapping(query.text("buildargs"), "buildargs", dict[str, str | None]),
        labels=_mapping(query.text("labels"), "labels", dict[str, str]),
        tags=tuple(text for text in values.getall("t", []) if text),
        no_cache=query.switch("nocache") or _misses_cache(call),
        pull=query.switch("pull"),
        platform=query.text("platform"),
        limits=_limits(call),
        network_mode=query.text("networkmode"),
        extra_hosts=tuple(text for text in values.getall("extrahosts", []) for text in text.split(",") if text),
    )


def _misses_cache(call: Call) -> bool:
    """Whether `cachefrom` names images and none of them is here: the classic builder then uses no other cache."""
    names = _mapping(call.query.text("cachefrom"), "cachefrom", list[str])
    return bool(names) and not any(_is_here(call, name) for name in names)


def _is_here(call: Call, name: str) -> bool:
    try:
        call.engine.images.get(name)
    except errors.SampanError:
        return False
    return True


def _limits(call: Call) -> Limits:
    query = call.query
    asked = _mapping(query.text("ulimits"), "ulimits", list[_Ulimit])
    return Limits(
        memory_bytes=query.number("memory") or 0,
        memory_swap_bytes=query.number("memswap") or 0,
        shm_size_bytes=query.number("shmsize") or 0,
        cpu_shares=query.number("cpushares") or 0,
        cpu_period=query.number("cpuperiod") or 0,
        cpu_quota=query.number("cpuquota") or 0,
        cpuset_cpus=query.text("cpusetcpus"),
        cpuset_mems=query.text("cpusetmems"),
        cgroup_parent=query.text("cgroupparent"),
        ulimits=tuple((each.name, each.soft, each.hard) for each in asked),
    )


def _mapping(text: str, name: str, kind: Any) -> Any:
    """A parameter that is JSON. Raises `InvalidBuild`."""
    empty = kind.__origin__()
    if not text:
        return empty
    try:
        return msgspec.json.decode(text.encode(), type=kind | None) or empty
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise InvalidBuild(f"error reading {name}", why=str(error)) from error


class _Logins:
    """`X-Registry-Config`: credentials by registry, as base64url of JSON."""

    def __init__(self, header: str) -> None:
        self._known: Mapping[str, registry_auth.AuthConfig] = {}
        if len(header) > LARGEST_AUTH:
            raise InvalidBuild("invalid X-Registry-Config header", why="it is too long")
        if header:
            padded = header.replace("+", "-").replace("/", "_").rstrip("=")
            try:
                content = base64.urlsafe_b64decode(padded + "=" * (-len(padded) % 4))
                self._known = msgspec.json.decode(content, type=dict[str, registry_auth.AuthConfig] | None) or {}
            except (binascii.Error, msgspec.DecodeError, ValueError, RecursionError) as error:
                raise InvalidBuild("invalid X-Registry-Config header", why=str(error)) from error

    async def get(self, host: str) -> Credentials | None:
        """The login for a registry."""
        for name in (host, f"https://{host}", f"http://{host}", *(_HUB if host == "docker.io" else ())):
            found = self._known.get(name)
            if found is not None:
                return Credentials(found.username, found.password, found.identitytoken) or None
        return None


_HUB = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io")
