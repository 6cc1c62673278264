"""The server role: methods by path, each call a task that the client's cancellation, deadline or going ends.

methods = {"/package.Service/Method": unary(Request, handler)}
await h2.Connection(wire, client=False, serve=Server(methods).serve).run()
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from sampan import errors
from sampan.api.grpc import framing, h2, status
from sampan.api.grpc.status import CallFailed, Code
from sampan.formats import protobuf

log = logging.getLogger(__name__)
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_UNITS_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
Q = TypeVar("Q", bound=protobuf.Message)


class Call:
    """One call that is being answered. `metadata` has the last value of each header, names in lower case."""

    def __init__(self, exchange: h2.Exchange) -> None:
        self.exchange = exchange
        self.metadata = dict(exchange.headers)
        self.messages = framing.Messages(exchange)
        self._begun = False

    async def start(self, extra: Mapping[str, str] | None = None) -> None:
        """Send the headers; `send` does it if nobody has."""
        if not self._begun:
            self._begun = True
            headers = [(":status", "200"), ("content-type", "application/grpc"), *(extra or {}).items()]
            await self.exchange.send_headers(headers)

    async def send(self, message: protobuf.Message) -> None:
        """Send one answer. Waits while the client is slow."""
        await self.start()
        await self.exchange.write(framing.frame(message.encode()))

    async def end(self, failure: CallFailed | None) -> None:
        """Send the status."""
        await self.start()
        await self.exchange.send_headers(status.trailers(failure), end=True)


Method = Callable[[Call], Awaitable[None]]


def unary(kind: type[Q], handler: Callable[[Q, Call], Awaitable[protobuf.Message]]) -> Method:
    """A method with one request and one answer."""

    async def answer(call: Call) -> None:
        await call.send(await handler(await _request(call, kind), call))

    return answer


def streaming(kind: type[Q], handler: Callable[[Q, Call], Awaitable[None]]) -> Method:
    """A method with one request and many answers, which the handler sends itself."""

    async def answer(call: Call) -> None:
        await handler(await _request(call, kind), call)

    return answer


async def _request(call: Call, kind: type[Q]) -> Q:
    content = await call.messages.next()
    if content is None:
        raise CallFailed(Code.INVALID_ARGUMENT, "a request is missing")
    return kind.decode(content)


class Server:
    """Answers every call of a connection."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self._methods = methods

    async def serve(self, exchange: h2.Exchange) -> None:
        """For `h2.Connection`."""
        call = Call(exchange)
        try:
            failure = await self._answer(call)
            await call.end(failure)
            await exchange.reset(_NO_ERROR)  # a client that still sends may stop
        except (h2.ExchangeReset, h2.ConnectionEnded):
            pass  # nobody is left to tell

    async def _answer(self, call: Call) -> CallFailed | None:
        path = call.metadata.get(":path", "")
        try:
            if not call.metadata.get("content-type", "").startswith("application/grpc"):
                raise CallFailed(Code.INVALID_ARGUMENT, "only gRPC is spoken here")
            method = self._methods.get(path)
            if method is None:
                raise CallFailed(Code.UNIMPLEMENTED, f"unknown method {path[:200]}")
            async with asyncio.timeout(_timeout_s(call.metadata.get("grpc-timeout", ""))):
                await method(call)
        except (h2.ExchangeReset, h2.ConnectionEnded):
            raise
        except errors.SampanError as error:
            return status.of(error)
        except TimeoutError:
            return CallFailed(Code.DEADLINE_EXCEEDED, "the client's time for this call is over")
        except Exception as error:
            log.exception("%s failed", path)
            return CallFailed(Code.INTERNAL, f"internal error: {type(error).__name__}")
        return None


_NO_ERROR = 0


def _timeout_s(text: str) -> float | None:
    """Source: the header `grpc-timeout`."""
    match = _TIMEOUT.fullmatch(text)
    return int(match[1]) * _UNITS_S[match[2]] if match else None
