"""Handlers: `POST /grpc`, `POST /session`, `POST /build/cancel`. The rest is imported when the first client comes."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from aiohttp import web

from sampan import errors
from sampan.api.engine.call import Call, done
from sampan.api.engine.context import ARCHITECTURES, Engine
from sampan.api.http import bodies, hijack

if TYPE_CHECKING:
    from sampan.api.engine.buildkit.services import Services
    from sampan.api.engine.buildkit.sessions import Sessions

_HEAD = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"


class UpgradeNeeded(errors.Invalid):
    """A request for a stream that does not ask for one."""


class BuildUnknown(errors.NotFound):
    """No build by this identifier."""


class Doors:
    """What all connections share; made of little until one comes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._opened: tuple[Services, Sessions] | None = None

    @property
    def opened(self) -> bool:
        """Whether a client has come."""
        return self._opened is not None

    @property
    def services(self) -> Services:
        """Of `/grpc`."""
        return self._open()[0]

    @property
    def sessions(self) -> Sessions:
        """Of `/session`."""
        return self._open()[1]

    def _open(self) -> tuple[Services, Sessions]:
        if self._opened is None:
            from sampan.api.engine.buildkit import messages, running, services, sessions

            engine, held = self._engine, sessions.Sessions()
            architecture = ARCHITECTURES.get(platform.machine(), platform.machine())
            worker = messages.Platform(architecture=architecture, os="linux")
            runner = running.Runner(engine.builder, engine.images)
            self._opened = services.Services(runner, held, engine.facts.id or "sampan", worker), held
        return self._opened


DOORS = web.AppKey("doors", Doors)


async def grpc(call: Call) -> web.StreamResponse:
    """POST /grpc: the client calls, over HTTP/2."""
    _check(call)
    await bodies.read_limited(call.request)
    from sampan.api.grpc import h2
    from sampan.api.grpc.server import Server

    serve = Server(call.request.app[DOORS].services.methods()).serve
    stream = hijack.take_over(call.request, _HEAD)
    try:
        await h2.Connection(stream, client=False, serve=serve).run()
    finally:
        stream.close_soon()
    return hijack.Taken()


async def session(call: Call) -> web.StreamResponse:
    """POST /session: the client serves, the daemon calls."""
    _check(call)
    await bodies.read_limited(call.request)
    headers = call.request.headers
    sessions = call.request.app[DOORS].sessions
    session_id = sessions.check(headers)
    stream = hijack.take_over(call.request, _HEAD)
    try:
        await sessions.serve(
            stream,
            session_id,
            headers.get("X-Docker-Expose-Session-Name", ""),
            headers.get("X-Docker-Expose-Session-Sharedkey", ""),
            headers.getall("X-Docker-Expose-Session-Grpc-Method", []),
        )
    finally:
        stream.close_soon()
    return hijack.Taken()


async def cancel(call: Call) -> web.StreamResponse:
    """POST /build/cancel."""
    wanted = call.query.text("id")
    if not wanted:
        raise UpgradeNeeded("build ID not provided", remedy="name it: ?id=")
    doors = call.request.app[DOORS]
    if not doors.opened or not doors.services.solves.cancel(wanted):
        raise BuildUnknown(f"no such build: {wanted[:200]}")
    return done(200)


def _check(call: Call) -> None:
    """Source: moby/moby, daemon/server/router/grpc."""
    wanted = call.request.headers.get("Upgrade", "")
    if wanted.lower() != "h2c":
        what = f"protocol {wanted[:50]} not supported" if wanted else "no upgrade proto in request"
        raise UpgradeNeeded(what, remedy="send Connection: Upgrade and Upgrade: h2c")
