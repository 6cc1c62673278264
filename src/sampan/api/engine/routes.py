"""Every route of this face, in two tables: what is served, and what is refused with a word of advice.

`{name*}` may hold slashes: image names do. `since` is the version that brought the route: like dockerd, the daemon
answers a client of an older version that asks all the same. Source: moby/moby, docs/api/version-history.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from sampan.api.engine import (
    absent,
    archives,
    build,
    containers,
    execs,
    image_archives,
    images,
    networks,
    searching,
    statistics,
    streams,
    system,
    volumes,
)
from sampan.api.engine.buildkit import endpoints as buildkit
from sampan.api.engine.call import Call
from sampan.api.engine.versions import OLDEST, Version

Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """A method, a path without its version, and who answers. HEAD is answered like GET.

    `instead` is what to use where the route is refused.
    """

    method: str
    path: str
    handler: Handler
    since: Version = OLDEST
    instead: str = ""


TABLE: tuple[Route, ...] = (
    # system
    Route("GET", "/_ping", system.ping),
    Route("GET", "/version", system.version),
    Route("GET", "/info", system.info),
    Route("GET", "/events", system.events),
    Route("GET", "/system/df", system.disk_usage, since=(1, 25)),
    Route("POST", "/auth", system.auth),
    # containers
    Route("GET", "/containers/json", containers.list_all),
    Route("POST", "/containers/create", containers.create),
    Route("POST", "/containers/prune", containers.prune, since=(1, 25)),
    Route("GET", "/containers/{name}/json", containers.inspect),
    Route("GET", "/containers/{name}/top", containers.top),
    Route("GET", "/containers/{name}/stats", statistics.stats),
    Route("GET", "/containers/{name}/logs", streams.logs),
    Route("GET", "/containers/{name}/attach/ws", streams.attach_socket),
    Route("GET", "/containers/{name}/changes", archives.changes),
    Route("GET", "/containers/{name}/export", archives.export),
    Route("GET", "/containers/{name}/archive", archives.read),
    Route("PUT", "/containers/{name}/archive", archives.write),
    Route("POST", "/commit", archives.commit),
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
    Route("DELETE", "/containers/{name*}", containers.remove),
    # exec
    Route("POST", "/containers/{name}/exec", execs.create),
    Route("POST", "/exec/{name}/start", streams.exec_start),
    Route("POST", "/exec/{name}/resize", execs.resize),
    Route("GET", "/exec/{name}/json", execs.inspect),
    # images
    Route("GET", "/images/json", images.list_all),
    Route("POST", "/images/create", images.create),
    Route("GET", "/images/search", searching.search),
    Route("POST", "/images/prune", images.prune, since=(1, 25)),
    Route("GET", "/images/get", image_archives.save),
    Route("GET", "/images/{name*}/get", image_archives.save_one),
    Route("POST", "/images/load", image_archives.load),
    Route("POST", "/build", build.build),
    Route("POST", "/build/cancel", buildkit.cancel, since=(1, 31)),
    Route("POST", "/build/prune", build.prune, since=(1, 31)),
    Route("POST", "/session", buildkit.session, since=(1, 31)),
    Route("POST", "/grpc", buildkit.grpc, since=(1, 31)),
    Route("GET", "/images/{name*}/json", images.inspect),
    Route("GET", "/images/{name*}/history", images.history),
    Route("GET", "/distribution/{name*}/json", images.distribution, since=(1, 30)),
    Route("POST", "/images/{name*}/push", images.push),
    Route("POST", "/images/{name*}/tag", images.tag),
    Route("DELETE", "/images/{name*}", images.remove),
    # networks
    Route("GET", "/networks", networks.list_all),
    Route("POST", "/networks/create", networks.create),
    Route("POST", "/networks/prune", networks.prune, since=(1, 25)),
    Route("GET", "/networks/{name}", networks.inspect),
    Route("DELETE", "/networks/{name}", networks.remove),
    Route("POST", "/networks/{name}/connect", networks.connect),
    Route("POST", "/networks/{name}/disconnect", networks.disconnect),
    # volumes
    Route("GET", "/volumes", volumes.list_all),
    Route("POST", "/volumes/create", volumes.create),
    Route("POST", "/volumes/prune", volumes.prune, since=(1, 25)),
    Route("GET", "/volumes/{name}", volumes.inspect),
    Route("DELETE", "/volumes/{name}", volumes.remove),
)


def _orders(what: str, instead: str, since: Version, *rows: tuple[str, str]) -> tuple[Route, ...]:
    handler = absent.order(what, instead)
    return tuple(Route(method, path, handler, since, instead) for method, path in rows)


def _questions(instead: str, since: Version, *paths: str) -> tuple[Route, ...]:
    return tuple(Route("GET", path, absent.swarm_question, since, instead) for path in paths)


ABSENT: tuple[Route, ...] = (
    # volumes of a cluster
    *_orders("cluster volumes", "use volumes of the driver local", (1, 42), ("PUT", "/volumes/{name}")),
    # plugins
    Route("GET", "/plugins", absent.plugins, (1, 25), absent.PLUGINS),
    Route("GET", "/plugins/{name*}/json", absent.plugin, (1, 25), absent.PLUGINS),
    *_orders(
        "plugins",
        absent.PLUGINS,
        (1, 25),
        ("GET", "/plugins/privileges"),
        ("POST", "/plugins/pull"),
        ("POST", "/plugins/create"),
        ("POST", "/plugins/{name*}/enable"),
        ("POST", "/plugins/{name*}/disable"),
        ("POST", "/plugins/{name*}/upgrade"),
        ("POST", "/plugins/{name*}/push"),
        ("POST", "/plugins/{name*}/set"),
        ("DELETE", "/plugins/{name*}"),
    ),
    # swarms
    *_questions(absent.SWARM, OLDEST, "/swarm", "/swarm/unlockkey", "/nodes", "/nodes/{name}", "/tasks"),
    *_questions(absent.SWARM, OLDEST, "/tasks/{name}", "/services", "/services/{name}"),
    *_questions(absent.SWARM, (1, 29), "/services/{name}/logs", "/tasks/{name}/logs"),
    *_questions(absent.SECRETS, (1, 25), "/secrets", "/secrets/{name}"),
    *_questions(absent.SECRETS, (1, 30), "/configs", "/configs/{name}"),
    Route("POST", "/swarm/leave", absent.leave_swarm, OLDEST, absent.SWARM),
    *_orders(
        "swarms",
        absent.SWARM,
        OLDEST,
        ("POST", "/swarm/init"),
        ("POST", "/swarm/join"),
        ("POST", "/swarm/update"),
        ("POST", "/swarm/unlock"),
        ("POST", "/nodes/{name}/update"),
        ("DELETE", "/nodes/{name}"),
    ),
    *_orders(
        "services",
        absent.SWARM,
        OLDEST,
        ("POST", "/services/create"),
        ("POST", "/services/{name}/update"),
        ("DELETE", "/services/{name}"),
    ),
    *_orders(
        "secrets",
        absent.SECRETS,
        (1, 25),
        ("POST", "/secrets/create"),
        ("POST", "/secrets/{name}/update"),
        ("DELETE", "/secrets/{name}"),
    ),
    *_orders(
        "configs",
        absent.SECRETS,
        (1, 30),
        ("POST", "/configs/create"),
        ("POST", "/configs/{name}/update"),
        ("DELETE", "/configs/{name}"),
    ),
)


def manual() -> str:
    """Both tables as a page for people, in the order of the code."""
    rows = ["| route | since | served |", "|---|---|---|"]
    for route in (*TABLE, *ABSENT):
        path = route.path.replace("*}", "}")
        version = f"{route.since[0]}.{route.since[1]}"
        rows.append(f"| `{route.method} {path}` | {version} | {f'no: {route.instead}' if route.instead else 'yes'} |")
    return "\n".join(rows) + "\n"
