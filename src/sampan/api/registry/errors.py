"""The dialect's errors: a kind of failure becomes a status and one of the specification's codes.

Source: distribution-spec 1.1, "Error Codes"; a test compares the table with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import Enum
from http import HTTPStatus

from aiohttp import web

from sampan import errors
from sampan.blobs.files import DigestMismatch
from sampan.blobs.service import BlobUnknown
from sampan.formats.digest import InvalidDigest
from sampan.registry import model


class Code(Enum):
    """Every code of the specification, with its description."""

    BLOB_UNKNOWN = "blob unknown to registry"
    BLOB_UPLOAD_INVALID = "blob upload invalid"
    BLOB_UPLOAD_UNKNOWN = "blob upload unknown to registry"
    DIGEST_INVALID = "provided digest did not match uploaded content"
    MANIFEST_BLOB_UNKNOWN = "manifest references a manifest or blob unknown to registry"
    MANIFEST_INVALID = "manifest invalid"
    MANIFEST_UNKNOWN = "manifest unknown to registry"
    NAME_INVALID = "invalid repository name"
    NAME_UNKNOWN = "repository name not known to registry"
    SIZE_INVALID = "provided length did not match content length"
    UNAUTHORIZED = "authentication required"
    DENIED = "requested access to the resource is denied"
    UNSUPPORTED = "the operation is unsupported"
    TOOMANYREQUESTS = "too many requests"


class EndpointUnknown(errors.NotFound):
    """No endpoint has this path."""


class MethodUnsupported(errors.Unsupported):
    """The endpoint does not answer this method."""

    def __init__(self, method: str, allowed: Iterable[str]) -> None:
        self.allowed = ", ".join(allowed)
        super().__init__(f"{method[:20]} is not supported here", remedy=f"use {self.allowed}")


class BadParameter(errors.Invalid):
    """A query parameter or header that cannot be meant."""


class RangeUnsatisfiable(errors.Invalid):
    """The content has no such part."""


class BodyTooSlow(errors.Invalid):
    """The client stopped sending."""


# The first class in an error's ancestry that is listed decides. The specification binds codes of 4xx answers only.
TABLE: dict[type[BaseException], tuple[HTTPStatus, Code]] = {
    model.NameInvalid: (HTTPStatus.BAD_REQUEST, Code.NAME_INVALID),
    model.TagInvalid: (HTTPStatus.BAD_REQUEST, Code.MANIFEST_INVALID),
    model.RepositoryUnknown: (HTTPStatus.NOT_FOUND, Code.NAME_UNKNOWN),
    model.ManifestUnknown: (HTTPStatus.NOT_FOUND, Code.MANIFEST_UNKNOWN),
    model.RepositoryBlobUnknown: (HTTPStatus.NOT_FOUND, Code.BLOB_UNKNOWN),
    model.ManifestInvalid: (HTTPStatus.BAD_REQUEST, Code.MANIFEST_INVALID),
    model.ManifestTooLarge: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, Code.MANIFEST_INVALID),
    model.ManifestBlobUnknown: (HTTPStatus.BAD_REQUEST, Code.MANIFEST_BLOB_UNKNOWN),
    model.SizeMismatch: (HTTPStatus.BAD_REQUEST, Code.SIZE_INVALID),
    model.UploadUnknown: (HTTPStatus.NOT_FOUND, Code.BLOB_UPLOAD_UNKNOWN),
    model.UploadBusy: (HTTPStatus.CONFLICT, Code.BLOB_UPLOAD_INVALID),
    model.OutOfOrder: (HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, Code.BLOB_UPLOAD_INVALID),
    model.StorageFull: (HTTPStatus.INSUFFICIENT_STORAGE, Code.DENIED),
    DigestMismatch: (HTTPStatus.BAD_REQUEST, Code.DIGEST_INVALID),
    InvalidDigest: (HTTPStatus.BAD_REQUEST, Code.DIGEST_INVALID),
    BlobUnknown: (HTTPStatus.NOT_FOUND, Code.BLOB_UNKNOWN),
    EndpointUnknown: (HTTPStatus.NOT_FOUND, Code.UNSUPPORTED),
    RangeUnsatisfiable: (HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, Code.UNSUPPORTED),
    BodyTooSlow: (HTTPStatus.REQUEST_TIMEOUT, Code.BLOB_UPLOAD_INVALID),
    errors.NotFound: (HTTPStatus.NOT_FOUND, Code.NAME_UNKNOWN),
    errors.Invalid: (HTTPStatus.BAD_REQUEST, Code.UNSUPPORTED),
    errors.Conflict: (HTTPStatus.CONFLICT, Code.DENIED),
    errors.Unauthorized: (HTTPStatus.UNAUTHORIZED, Code.UNAUTHORIZED),
    errors.Forbidden: (HTTPStatus.FORBIDDEN, Code.DENIED),
    errors.Unavailable: (HTTPStatus.SERVICE_UNAVAILABLE, Code.TOOMANYREQUESTS),
    errors.Unchanged: (HTTPStatus.NOT_MODIFIED, Code.UNSUPPORTED),
    errors.Unsupported: (HTTPStatus.METHOD_NOT_ALLOWED, Code.UNSUPPORTED),
    errors.Broken: (HTTPStatus.INTERNAL_SERVER_ERROR, Code.UNSUPPORTED),
    Exception: (HTTPStatus.INTERNAL_SERVER_ERROR, Code.UNSUPPORTED),
}


def classify(error: BaseException) -> tuple[HTTPStatus, Code]:
    """Status and code of a failure."""
    return next(TABLE[step] for step in type(error).__mro__ if step in TABLE)


def response(error: BaseException) -> web.Response:
    """The answer to a request that failed."""
    status, code = classify(error)
    # What went wrong inside is for the log; a stranger learns nothing from it.
    text = str(error) if isinstance(error, errors.SampanError) else "internal error"
    return answer(status, code, text)


def answer(status: int, code: Code, message: str) -> web.Response:
    """An error body of the specification's form."""
    body = {"errors": [{"code": code.name, "message": message, "detail": code.value}]}
    return web.Response(status=status, body=json.dumps(body).encode(), content_type="application/json")
