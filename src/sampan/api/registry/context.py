"""What every handler of the registry's face is given, and the one place where rights are asked for."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from aiohttp import web

from sampan import errors
from sampan.api.registry.routes import Target
from sampan.registry.service import Registry

Action = Literal["pull", "push", "delete", "list"]
Authorize = Callable[[web.BaseRequest, str, Action], bool]

ENGINE_HEADER = "Sampan-Engine"


class Denied(errors.Forbidden):
    """The client may not do that here."""


@dataclass(frozen=True, slots=True)
class Context:
    """One request: the registry, and what the path names."""

    registry: Registry
    request: web.BaseRequest
    target: Target
    secret: str
    authorize: Authorize

    def allow(self, action: Action, name: str | None = None) -> None:
        """Ask whether the client may do this to a repository. Raises `Denied`."""
        repository = self.target.name if name is None else name
        if not self.authorize(self.request, repository, action):
            raise Denied(f"{action} is denied for {repository or 'the catalogue'}")

    def may(self, action: Action, name: str) -> bool:
        """`allow`, as a question."""
        return self.authorize(self.request, name, action)

    @property
    def from_engine(self) -> bool:
        """Whether the client is this daemon's engine: it has the whole store already."""
        shown = self.request.headers.get(ENGINE_HEADER, "")
        return bool(self.secret) and hmac.compare_digest(shown.encode(), self.secret.encode())
