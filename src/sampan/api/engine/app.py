"""The web application of this face: finds the route, calls its handler, and answers failures in Docker's form."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from urllib.parse import unquote

from aiohttp import web
from multidict import CIMultiDict

from sampan import errors
from sampan.api.engine import dialect, routes, versions
from sampan.api.engine.buildkit import endpoints as buildkit
from sampan.api.engine.call import Call
from sampan.api.engine.context import Engine
from sampan.api.engine.query import Query
from sampan.api.http import bodies, hijack, origin

log = logging.getLogger(__name__)

_BRACES = re.compile(r"\{(\w+)(\*?)\}")
CORS_HEADERS = {
    "Access-Control-Allow-Headers": "Origin, X-Requested-With, Content-Type, Accept, X-Registry-Auth",
    "Access-Control-Allow-Methods": "HEAD, GET, POST, DELETE, PUT, OPTIONS",
}
CORS_READS = CORS_HEADERS | {"Access-Control-Allow-Methods": "HEAD, GET, OPTIONS"}  # pages of any origin


class Router:
    """The routes, compiled. `{name}` stands for one part of a path, `{name*}` for one or more."""

    def __init__(self, table: Sequence[routes.Route]) -> None:
        self._routes = [(route, re.compile(_pattern(route.path))) for route in table]

    def find(self, method: str, path: str) -> tuple[routes.Handler, dict[str, str]] | None:
        """The handler of a path without its version, and its names, decoded."""
        wanted = "GET" if method == "HEAD" else method
        for route, pattern in self._routes:
            if route.method == wanted and (match := pattern.fullmatch(path)):
                return route.handler, {key: unquote(value) for key, value in match.groupdict().items()}
        return None


def _pattern(path: str) -> str:
    return _BRACES.sub(lambda match: f"(?P<{match[1]}>.+)" if match[2] else f"(?P<{match[1]}>[^/]+)", path)


class Face:
    """Answers every request of the application."""

    def __init__(self, engine: Engine, cors_origins: Sequence[str]) -> None:
        self._engine = engine
        self._cors_origins = cors_origins
        self._router = Router((*routes.TABLE, *routes.ABSENT))
        self._headers = {
            "Api-Version": versions.text(versions.NEWEST),
            "Docker-Experimental": str(engine.facts.experimental).lower(),
            "Ostype": "linux",
            "Server": f"Sampan/{engine.facts.version} (linux)",
        }

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The one handler that aiohttp knows."""
        try:
            response = await self._answer(request)
        except errors.SampanError as error:
            if dialect.status_of(error) in (500, 503):
                log.error("%s %s: %s", request.method, request.path, error)
            response = dialect.failure(error)
        except ConnectionError:
            return hijack.Taken()  # nobody is left to answer
        except (web.HTTPException, asyncio.CancelledError):
            raise
        except Exception as error:
            log.exception("%s %s failed", request.method, request.path)
            response = dialect.message(500, f"internal error: {type(error).__name__}")
        if "Upgrade" in request.headers and not response.prepared:
            response.force_close()  # bytes meant for the stream may lie behind the request
        return response

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self._check_origin(request)
        if request.method == "OPTIONS":
            return web.Response()
        version, path = versions.split(request.rel_url.raw_path)
        found = self._router.find(request.method, path)
        if found is None:
            raise dialect.PageUnknown("page not found")
        handler, names = found
        if any("\0" in name or "\n" in name for name in names.values()):
            raise dialect.PageUnknown("page not found")
        values: dict[str, str] = {}
        for key, value in request.query.items():
            values.setdefault(key, value)
        return await handler(Call(self._engine, request, version, names, Query(values)))

    def _check_origin(self, request: web.Request) -> None:
        transport = request.transport
        if transport is None or isinstance(transport.get_extra_info("sockname"), str):
            return  # a Unix socket
        headers = request.headers
        reason = origin.refusal(
            request.method,
            headers.getall("Host", []),
            headers.getall("Origin", []),
            self._cors_origins,
            own_name=self._engine.facts.hostname,
        )
        if reason:
            remedy = "ask by the address; pages need an allowed origin"
            raise OriginRefused("request refused", why=reason, remedy=remedy)

    async def add_headers(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """A signal: every answer says which API this is."""
        headers: CIMultiDict[str] = response.headers
        headers.update(self._headers)
        wanted = request.headers.get("Origin")
        if wanted and wanted in self._cors_origins:
            headers.update({"Access-Control-Allow-Origin": wanted, "Vary": "Origin"} | CORS_HEADERS)
        elif wanted and "*" in self._cors_origins:
            headers.update({"Access-Control-Allow-Origin": "*"} | CORS_READS)


class OriginRefused(errors.Forbidden):
    """A page of another site, or a forged name, by way of somebody's browser."""


def application(engine: Engine, *, cors_origins: Sequence[str] = ()) -> web.Application:
    """The Docker Engine API over `engine`. Serve it with `api.http.listeners`, whose connections can be taken over."""
    face = Face(engine, cors_origins)
    app = web.Application(client_max_size=bodies.LARGEST_JSON_BYTES)
    app[buildkit.DOORS] = buildkit.Doors(engine)
    app.router.add_route("*", "/{path:.*}", face.answer)
    app.on_response_prepare.append(face.add_headers)
    return app
