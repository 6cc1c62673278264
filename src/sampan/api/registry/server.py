"""The registry's connections: limits, and the dialect's errors for requests that cannot even be parsed.

Use: `runner = make_runner(registry, secret=…)`, `await runner.setup()`, `await Site(runner, socket).start()`; at last
`await runner.cleanup()`. It is the web library's low-level server: an application's routes and middlewares cost a fifth
of a manifest's time, and the registry uses neither.
"""

from __future__ import annotations

import asyncio
import socket
from http import HTTPStatus
from typing import Any

from aiohttp import http_exceptions, web

from sampan.api.registry import errors
from sampan.api.registry.application import VERSION, everybody, handler
from sampan.api.registry.context import Authorize
from sampan.registry.service import Registry

BACKLOG = 1024
FIRST_HEAD_S = 60.0  # a client that connects and sends no request for so long is cut off
LIMITS: dict[str, Any] = {
    "max_line_size": 8190,  # bytes of the request line and of one header
    "max_field_size": 8190,
    "max_headers": 128,
    "read_bufsize": 512 << 10,  # half of what a connection may hold unread
    "keepalive_timeout": 75.0,
    "access_log": None,  # a line a request costs a third of the time of a manifest
}


def make_runner(registry: Registry, *, secret: str = "", authorize: Authorize = everybody) -> web.ServerRunner:
    """The registry's server; see `application.handler` for the arguments."""
    answer = handler(registry, secret=secret, authorize=authorize)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        if isinstance(connection, Connection):
            connection.first_head_came()
        return await answer(request)

    return web.ServerRunner(web.Server(handle))


class Connection(web.RequestHandler):
    """One client's connection. The web library times the pauses between requests, not the wait for the first."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected: its first request is due."""
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        self._due = asyncio.get_running_loop().call_later(FIRST_HEAD_S, transport.abort)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The client is gone."""
        self._due.cancel()
        super().connection_lost(exc)

    def first_head_came(self) -> None:
        """A whole request head arrived."""
        self._due.cancel()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that cannot be parsed: 431 for a line or header over the limit, else 400."""
        if not isinstance(exc, http_exceptions.HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        if isinstance(exc, http_exceptions.LineTooLong) or "Too many headers" in str(exc.message):
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        response = errors.answer(status, errors.Code.UNSUPPORTED, "the request cannot be read")
        response.headers.update(VERSION)
        response.force_close()
        return response


class Site(web.BaseSite):
    """One listening socket of the registry. The socket is bound already; it is closed with the site."""

    def __init__(self, runner: web.BaseRunner, listening: socket.socket) -> None:
        super().__init__(runner, backlog=BACKLOG)
        self._socket = listening

    @property
    def name(self) -> str:
        """Its address."""
        host, port = self._socket.getsockname()[:2]
        return f"http://{host}:{port}"

    async def start(self) -> None:
        """Accept connections."""
        await super().start()
        server = self._runner.server
        assert server is not None, "set the runner up first"
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(server, loop=loop, **LIMITS), sock=self._socket, backlog=BACKLOG
        )
