"""The client role: calls over a connection whose far end serves them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from sampan.api.grpc import framing, h2, status
from sampan.api.grpc.status import CallFailed, Code
from sampan.formats import protobuf

A = TypeVar("A", bound=protobuf.Message)
Metadata = Sequence[tuple[str, str]]


class ClientCall:
    """A call with many messages both ways. Made by `calling`."""

    def __init__(self, exchange: h2.Exchange) -> None:
        self._exchange = exchange
        self._messages = framing.Messages(exchange)

    async def send(self, *messages: protobuf.Message) -> None:
        """Several leave together. Waits while the peer is slow. Raises: CallFailed, ConnectionEnded."""
        try:
            await self._exchange.write(b"".join(framing.frame(message.encode()) for message in messages))
        except h2.ExchangeReset:
            await self._failed()
            raise

    async def end(self) -> None:
        """Nothing more is sent."""
        await self._exchange.write(b"", end=True)

    async def receive(self, kind: type[A]) -> A | None:
        """None when the call ended well. Raises: CallFailed, ConnectionEnded."""
        content = await self._messages.next()
        if content is None:
            self._check()
            return None
        return kind.decode(content)

    def ready(self, kind: type[A]) -> A | None:
        """A message that is here already."""
        content = self._messages.ready()
        return None if content is None else kind.decode(content)

    async def _failed(self) -> None:
        """A peer that ended the call early has said why in its trailers."""
        if self._exchange.trailers or self._exchange.headers:
            self._check()

    def _check(self) -> None:
        exchange = self._exchange
        headers = dict(exchange.headers)
        if headers.get(":status", "200") != "200":
            raise CallFailed(Code.UNKNOWN, f"the client's session answered HTTP {headers[':status'][:10]}")
        failure = status.read(dict(exchange.trailers) or headers)
        if failure is not None:
            raise failure


class Client:
    """Calls over one connection."""

    def __init__(self, connection: h2.Connection) -> None:
        self._connection = connection

    @property
    def lost(self) -> asyncio.Event:
        """Set when the connection is gone."""
        return self._connection.lost

    @contextlib.asynccontextmanager
    async def calling(self, path: str, metadata: Metadata = ()) -> AsyncIterator[ClientCall]:
        """A call; leaving it early cancels it. Raises: ConnectionEnded."""
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            *metadata,
        ]
        exchange = await self._connection.open(headers)
        try:
            yield ClientCall(exchange)
        finally:
            with contextlib.suppress(h2.ConnectionEnded):
                await exchange.reset()
            self._connection.finished(exchange)

    async def unary(
        self, path: str, request: protobuf.Message, kind: type[A], *, metadata: Metadata = (), limit_s: float = 60.0
    ) -> A:
        """One request, one answer. Raises: CallFailed, ConnectionEnded."""
        try:
            async with asyncio.timeout(limit_s), self.calling(path, metadata) as call:
                await call.send(request)
                await call.end()
                answer = await call.receive(kind)
                if answer is None:
                    raise CallFailed(Code.INTERNAL, f"{path} gave no answer")
                await call.receive(kind)  # its status
                return answer
        except TimeoutError as error:
            raise CallFailed(Code.DEADLINE_EXCEEDED, f"the client does not answer {path}") from error
