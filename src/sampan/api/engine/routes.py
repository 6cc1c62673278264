"""Every route of this face, in one table. `{name*}` may hold slashes: image names do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from sampan.api.engine import containers, execs, images, networks, streams, system, volumes
from sampan.api.engine.call import Call

Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """A method, a path without its version, and who answers. HEAD is answered like GET."""

    method: str
    path: str
    handler: Handler


TABLE: tuple[Route, ...] = (
    # system
    Route("GET", "/_ping", system.ping),
    Route("GET", "/version", system.version),
    Route("GET", "/info", system.info),
    Route("GET", "/events", system.events),
    Route("GET", "/system/df", system.disk_usage),
    Route("POST", "/auth", system.auth),
    # containers
    Route("GET", "/containers/json", containers.list_all),
    Route("POST", "/containers/create", containers.create),
    Route("POST", "/containers/prune", containers.prune),
    Route("GET", "/containers/{name}/json", containers.inspect),
    Route("GET", "/containers/{name}/top", containers.top),
    Route("GET", "/containers/{name}/logs", streams.logs),
    Route("GET", "/containers/{name}/attach/ws", streams.attach_socket),
    Route("POST", "/containers/{name}/attach", streams.attach),
    Route("POST", "/containers/{name}/wait", streams.wait),
    Route("POST", "/containers/{name}/start", containers.start),
    Route("POST", "/containers/{name}/stop", containers.stop),
    Route("POST", "/containers/{name}/restart", containers.restart),
    Route("POST", "/containers/{name}/kill", containers.kill),
    Route("POST", "/containers/{name}/pause", containers.pause),
    Route("POST", "/containers/{name}/unpause", containers.unpause),
    Route("POST", "/containers/{name}/rename", containers.rename),
    Route("POST", "/containers/{name}/update", containers.update),
    Route("POST", "/containers/{name}/resize", containers.resize),
    Route("DELETE", "/containers/{name}", containers.remove),
    # exec
    Route("POST", "/containers/{name}/exec", execs.create),
    Route("POST", "/exec/{name}/start", streams.exec_start),
    Route("POST", "/exec/{name}/resize", execs.resize),
    Route("GET", "/exec/{name}/json", execs.inspect),
    # images
    Route("GET", "/images/json", images.list_all),
    Route("POST", "/images/create", images.create),
    Route("POST", "/images/prune", images.prune),
    Route("POST", "/build/prune", images.prune_builds),
    Route("GET", "/images/{name*}/json", images.inspect),
    Route("GET", "/images/{name*}/history", images.history),
    Route("POST", "/images/{name*}/push", images.push),
    Route("POST", "/images/{name*}/tag", images.tag),
    Route("DELETE", "/images/{name*}", images.remove),
    # networks
    Route("GET", "/networks", networks.list_all),
    Route("POST", "/networks/create", networks.create),
    Route("POST", "/networks/prune", networks.prune),
    Route("GET", "/networks/{name}", networks.inspect),
    Route("DELETE", "/networks/{name}", networks.remove),
    Route("POST", "/networks/{name}/connect", networks.connect),
    Route("POST", "/networks/{name}/disconnect", networks.disconnect),
    # volumes
    Route("GET", "/volumes", volumes.list_all),
    Route("POST", "/volumes/create", volumes.create),
    Route("POST", "/volumes/prune", volumes.prune),
    Route("GET", "/volumes/{name}", volumes.inspect),
    Route("DELETE", "/volumes/{name}", volumes.remove),
)
