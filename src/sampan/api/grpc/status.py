"""How a call ends: a code, a message and details, in headers.

Source: the gRPC protocol over HTTP/2; google.rpc.Status.
"""

from __future__ import annotations

import base64
import binascii
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from sampan import errors
from sampan.formats import protobuf

LONGEST_MESSAGE = 4096  # characters of `grpc-message`: the peer's header list is bounded


class Code(IntEnum):
    """Source: google.rpc.Code."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


CODES: Mapping[type[errors.SampanError], Code] = {
    errors.NotFound: Code.NOT_FOUND,
    errors.Invalid: Code.INVALID_ARGUMENT,
    errors.Conflict: Code.FAILED_PRECONDITION,
    errors.Unauthorized: Code.UNAUTHENTICATED,
    errors.Forbidden: Code.PERMISSION_DENIED,
    errors.Unavailable: Code.UNAVAILABLE,
    errors.Unchanged: Code.ALREADY_EXISTS,
    errors.Unsupported: Code.UNIMPLEMENTED,
    errors.Broken: Code.INTERNAL,
}


@dataclass
class Detail(protobuf.Message):
    """google.protobuf.Any."""

    type_url: str = protobuf.text(1)
    value: bytes = protobuf.data(2)


@dataclass
class StatusMessage(protobuf.Message):
    """google.rpc.Status."""

    code: int = protobuf.number(1)
    message: str = protobuf.text(2)
    details: list[Detail] = protobuf.messages(3, Detail)


class CallFailed(errors.Broken):
    """A call's answer other than OK: one that we give, or that a client's service gave us."""

    def __init__(self, code: Code, message: str, details: tuple[Detail, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.details = details


def of(error: errors.SampanError) -> CallFailed:
    """The answer for a room's error."""
    return error if isinstance(error, CallFailed) else CallFailed(CODES[errors.kind_of(error)], str(error))


def trailers(failure: CallFailed | None) -> list[tuple[str, str]]:
    """The headers that end a call."""
    if failure is None:
        return [("grpc-status", "0")]
    text = failure.what[:LONGEST_MESSAGE]
    found = [
        ("grpc-status", str(int(failure.code))),
        ("grpc-message", urllib.parse.quote(text, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")),
    ]
    if failure.details:
        whole = StatusMessage(int(failure.code), text, list(failure.details)).encode()
        found.append(("grpc-status-details-bin", base64.b64encode(whole).decode().rstrip("=")))
    return found


def read(headers: Mapping[str, str]) -> CallFailed | None:
    """What trailers say; None for OK."""
    number = headers.get("grpc-status", "")
    if number == "0":
        return None
    code = Code(int(number)) if number.isdecimal() and len(number) < 3 and int(number) in set(Code) else Code.UNKNOWN
    text = urllib.parse.unquote(headers.get("grpc-message", "")) or f"the call ended with {code.name}"
    return CallFailed(code, text, _details(headers.get("grpc-status-details-bin", "")))


def _details(text: str) -> tuple[Detail, ...]:
    """None where they cannot be read: they only add to the message."""
    try:
        return tuple(StatusMessage.decode(base64.b64decode(text + "=" * (-len(text) % 4))).details)
    except (binascii.Error, ValueError, protobuf.InvalidMessage):
        return ()
