"""The face itself: from a request to its handler, from a failure to its answer.

A table instead of the web framework's router: repository names have slashes, which patterns handle slowly and wrongly.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import hdrs, web

from sampan import errors as kinds
from sampan.api.registry import blobs, errors, listing, manifests, outlines, routes, searching, uploads
from sampan.api.registry.context import Action, Authorize, Context
from sampan.api.registry.routes import Endpoint
from sampan.registry.service import Registry

log = logging.getLogger(__name__)

Handler = Callable[[Context], Awaitable[web.StreamResponse]]
WebHandler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}


async def base(context: Context) -> web.StreamResponse:
    """GET /v2/: this is a registry (end-1)."""
    context.allow("list", "")
    return web.json_response({})


HANDLERS: Mapping[Endpoint, Mapping[str, Handler]] = {
    Endpoint.BASE: {"GET": base, "HEAD": base},
    Endpoint.CATALOGUE: {"GET": listing.catalogue, "HEAD": listing.catalogue},
    Endpoint.OLD_PING: {"GET": searching.ping, "HEAD": searching.ping},
    Endpoint.SEARCH: {"GET": searching.search, "HEAD": searching.search},
    Endpoint.TAGS: {"GET": listing.tags, "HEAD": listing.tags},
    Endpoint.REFERRERS: {"GET": listing.referrers, "HEAD": listing.referrers},
    Endpoint.MANIFEST: {
        "GET": manifests.get,
        "HEAD": manifests.get,
        "PUT": manifests.put,
        "DELETE": manifests.delete,
    },
    Endpoint.BLOB: {"GET": blobs.get, "HEAD": blobs.get, "DELETE": blobs.delete},
    Endpoint.OUTLINE: {"GET": outlines.get, "HEAD": outlines.get},
    Endpoint.UPLOADS: {"POST": uploads.start},
    Endpoint.UPLOAD: {
        "GET": uploads.status,
        "PATCH": uploads.append,
        "PUT": uploads.finish,
        "DELETE": uploads.cancel,
    },
}


def everybody(_request: web.BaseRequest, _repository: str, _action: Action) -> bool:
    """The rights of a registry without accounts."""
    return True


def handler(registry: Registry, *, secret: str = "", authorize: Authorize = everybody) -> WebHandler:
    """The registry's face, as one function.

    `secret` is what this daemon's engine shows in `Sampan-Engine` to mount from the whole store; if it is empty nobody
    can. `authorize` is asked before every action.
    """

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            if hdrs.EXPECT in request.headers:
                _go_on(request)
            return await _dispatch(registry, request, secret, authorize)
        except ConnectionError:
            raise  # the client is gone: there is nobody to answer
        except kinds.SampanError as error:
            if isinstance(error, kinds.Broken):
                log.error("%s %s: %s", request.method, request.path, error)
            return _finished(errors.response(error), error)
        except Exception as error:
            log.exception("%s %s failed", request.method, request.path)
            return _finished(errors.response(error), error)

    return handle


async def _dispatch(
    registry: Registry, request: web.BaseRequest, secret: str, authorize: Authorize
) -> web.StreamResponse:
    target = routes.parse(request.raw_path.partition("?")[0])
    if target is None:
        raise errors.EndpointUnknown(f"no such endpoint: {request.path[:200]}", remedy="registry paths begin with /v2/")
    handlers = HANDLERS[target.endpoint]
    handler = handlers.get(request.method)
    if handler is None:
        raise errors.MethodUnsupported(request.method, handlers)
    response = await handler(Context(registry, request, target, secret, authorize))
    if not response.prepared:
        response.headers.update(VERSION)
    return response


def _go_on(request: web.BaseRequest) -> None:
    """Tell a client that waits for it to send its body. Source: RFC 9110, section 10.1.1."""
    if request.headers[hdrs.EXPECT].lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _finished(response: web.Response, error: Exception) -> web.Response:
    response.headers.update(VERSION)
    if isinstance(error, errors.MethodUnsupported):
        response.headers[hdrs.ALLOW] = error.allowed
    return response
