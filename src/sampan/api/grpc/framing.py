"""Messages in a stream of bytes: a flag, a length, the message. Source: the gRPC protocol over HTTP/2."""

from __future__ import annotations

import struct

from sampan.api.grpc.h2 import Exchange
from sampan.api.grpc.status import CallFailed, Code

LARGEST_MESSAGE_BYTES = 16 << 20  # what BuildKit's own clients and servers take


def frame(message: bytes) -> bytes:
    """A message, not compressed."""
    return struct.pack(">BI", 0, len(message)) + message


class Messages:
    """The messages that come through an exchange."""

    def __init__(self, exchange: Exchange, *, largest: int = LARGEST_MESSAGE_BYTES) -> None:
        self._exchange = exchange
        self._largest = largest
        self._buffer = bytearray()

    async def next(self) -> bytes | None:
        """None at the end. Raises: CallFailed, ExchangeReset, ConnectionEnded."""
        while (message := self._whole()) is None:
            data = await self._exchange.read()
            if not data:
                if self._buffer:
                    raise CallFailed(Code.INTERNAL, "a message ends early")
                return None
            self._buffer += data
        return message

    def ready(self) -> bytes | None:
        """A message that is here already, else None."""
        return self._whole()

    def _whole(self) -> bytes | None:
        buffer = self._buffer
        if len(buffer) < 5:
            return None
        flag, length = struct.unpack_from(">BI", buffer)
        if flag:
            raise CallFailed(Code.UNIMPLEMENTED, "compressed messages are not taken")
        if length > self._largest:
            raise CallFailed(Code.RESOURCE_EXHAUSTED, f"a message of {length} bytes is larger than {self._largest}")
        if len(buffer) < 5 + length:
            return None
        message = bytes(memoryview(buffer)[5 : 5 + length])
        del buffer[: 5 + length]
        return message
