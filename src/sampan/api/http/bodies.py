"""Reading request bodies, and answering in JSON: whole, or a line at a time.

Bodies are bounded in size and depth before they are believed, so that no input makes an internal error.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from aiohttp import web

from sampan import errors
from sampan.formats import oci

LARGEST_JSON_BYTES = 4 << 20
JSON = "application/json"
_LONG_NUMBER = re.compile(rb"[0-9]{19}")


class InvalidBody(errors.Invalid):
    """A body that is no JSON object, or too large."""


async def read_limited(request: web.Request, limit_bytes: int = LARGEST_JSON_BYTES) -> bytes:
    """The whole body. Raises: InvalidBody when it is longer than the limit."""
    if (request.content_length or 0) > limit_bytes:
        raise InvalidBody("request body too large", why=f"more than {limit_bytes} bytes")
    body = bytearray()
    try:
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > limit_bytes:
                raise InvalidBody("request body too large", why=f"more than {limit_bytes} bytes")
    except web.RequestPayloadError as error:
        raise InvalidBody("the request body cannot be read", why=str(error)) from error
    return bytes(body)


async def read_object(request: web.Request, *, optional: bool = False) -> dict[str, Any]:
    """The body as a JSON object; {} for an empty one when `optional`.

    Raises: InvalidBody, also for another content type, text behind the object, NUL in a text, and deep nesting.
    """
    body = await read_limited(request)
    if not body.strip():
        if optional:
            return {}
        raise InvalidBody("invalid JSON: got EOF while reading request body")
    if request.content_type != JSON:
        raise InvalidBody(f"unsupported Content-Type header ({request.content_type}): must be 'application/json'")
    return decode_object(body)


def decode_object(body: bytes) -> dict[str, Any]:
    """A JSON object of any shape. Raises: InvalidBody."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise InvalidBody("invalid JSON", why=str(error)) from error
    if not isinstance(value, dict):
        raise InvalidBody("invalid JSON", why="an object is expected")
    # As an escape only: a raw NUL is no JSON, and was refused above.
    if b"\\u0000" in body and _any(value, lambda item: isinstance(item, str) and "\0" in item):
        raise InvalidBody("invalid JSON", why="a text holds a NUL character")
    if _LONG_NUMBER.search(body) and _any(value, _is_beyond_64_bits):
        raise InvalidBody("invalid JSON", why="a number does not fit in 64 bits")
    return value


def without_nulls(value: Any) -> Any:
    """The same without members that are null: they mean the default, as in dockerd."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def _any(value: Any, is_bad: Callable[[Any], bool]) -> bool:
    """Whether anything inside `value`, keys included, is bad."""
    if isinstance(value, dict):
        return any(is_bad(key) or _any(item, is_bad) for key, item in value.items())
    if isinstance(value, list):
        return any(_any(item, is_bad) for item in value)
    return is_bad(value)


def _is_beyond_64_bits(value: Any) -> bool:
    return isinstance(value, int) and not -(1 << 63) <= value < 1 << 63


def answer(value: Any, *, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=oci.encode(value) + b"\n", status=status, content_type=JSON)


async def answer_lines(
    request: web.Request, values: AsyncIterator[Any], *, head_first: bool = False
) -> web.StreamResponse:
    """One JSON document a line, each sent at once.

    With `head_first` the head leaves before there is a value; otherwise a failure before the first value is raised
    and gets its own status. A failure later is the last line: `{"errorDetail": {"message"}, "error"}`.
    """
    response = web.StreamResponse()
    response.content_type = JSON
    if head_first:
        await response.prepare(request)
    try:
        async for value in values:
            if not response.prepared:
                await response.prepare(request)
            await response.write(oci.encode(value) + b"\r\n")
    except errors.SampanError as error:
        if not response.prepared:
            raise
        text = str(error)
        await response.write(oci.encode({"errorDetail": {"message": text}, "error": text}) + b"\r\n")
    if not response.prepared:
        await response.prepare(request)
    await response.write_eof()
    return response
