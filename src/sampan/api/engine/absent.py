"""What the specification has and this daemon does not: refused with what to use instead. Handlers of `routes.ABSENT`.

Clients ask some of these only to learn whether there is a swarm or a plugin. Such a question gets the answer of a
dockerd without either; an order gets 501. Source: moby/moby, daemon/cluster/errors.go for the two sentences on swarms.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from sampan import errors
from sampan.api.engine.call import Call
from sampan.api.http import bodies

SWARM = "use docker compose, or containers with a restart policy on a network of their own"
SECRETS = "mount a file read-only, or give secrets to builds"
PLUGINS = "use volumes of the driver local, networks of the driver bridge, and the log drivers that are built in"

Handler = Callable[[Call], Awaitable[web.StreamResponse]]


class NotServed(errors.Unsupported):
    """A part of the API that Sampan does not have."""


class NoSwarm(errors.Unavailable):
    """A question to a swarm, where there is none."""


class NoSuchPlugin(errors.NotFound):
    """There are no plugins."""


def order(what: str, instead: str) -> Handler:
    """A handler that refuses: `what` is not served, do `instead`."""

    async def refuse(call: Call) -> web.StreamResponse:
        raise NotServed(f"{what} are not supported by Sampan", remedy=instead)

    return refuse


async def swarm_question(call: Call) -> web.StreamResponse:
    """GET of anything that only a manager of a swarm knows."""
    raise NoSwarm(
        'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to '
        "swarm and try again.",
        remedy=f"Sampan has no swarms: {SWARM}",
    )


async def leave_swarm(call: Call) -> web.StreamResponse:
    """POST /swarm/leave."""
    raise NoSwarm("This node is not part of a swarm")


async def plugins(call: Call) -> web.StreamResponse:
    """GET /plugins: none."""
    call.query.filters()
    return bodies.answer([])


async def plugin(call: Call) -> web.StreamResponse:
    """GET /plugins/{name}/json."""
    raise NoSuchPlugin(f'plugin "{call.name}" not found')
