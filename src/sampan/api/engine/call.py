"""One request, as handlers get it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from sampan.api.engine.context import Engine
from sampan.api.engine.query import Query
from sampan.api.engine.versions import Version
from sampan.api.http import bodies


@dataclass(frozen=True, slots=True)
class Call:
    """`names` are the parts of the path that the route's braces stand for."""

    engine: Engine
    request: web.Request
    version: Version
    names: Mapping[str, str]
    query: Query

    @property
    def name(self) -> str:
        """The one name in the path."""
        return self.names["name"]

    async def body(self, *, optional: bool = False) -> dict[str, Any]:
        """The JSON object in the body. Raises: InvalidBody."""
        return await bodies.read_object(self.request, optional=optional)


def done(status: int = 204) -> web.Response:
    """An answer without a body."""
    return web.Response(status=status)
