"""How Docker says that something failed: a status, and `{"message": …}`.

Source: moby/moby, api/server/httpstatus.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from sampan import errors
from sampan.api.http import bodies

STATUS: Mapping[type[errors.SampanError], int] = {
    errors.Invalid: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Unchanged: 304,
    errors.Unsupported: 501,
    errors.Unavailable: 503,
    errors.Broken: 500,
}


class PageUnknown(errors.NotFound):
    """No route has this method and path."""


def status_of(error: errors.SampanError) -> int:
    """The status of an error's kind."""
    return STATUS[errors.kind_of(error)]


def failure(error: errors.SampanError) -> web.Response:
    """The whole answer; 304 has no body."""
    status = status_of(error)
    return web.Response(status=304) if status == 304 else message(status, str(error))


def message(status: int, text: str) -> web.Response:
    """An answer in Docker's form for failures."""
    return bodies.answer({"message": text}, status=status)
