"""Taking a connection over from the web server: after the answer's head it is a plain two-way stream.

The one file that touches aiohttp's private details (tried with 3.14). It adds what aiohttp lacks for Docker's attach
and exec: bytes that arrive right behind the request's body are kept for the stream instead of being parsed as a next
request; the client's end of stream does not close the connection; both directions have back-pressure; a client that
vanishes after its end of stream is noticed although nothing is read any more.

Relied upon: `RequestHandler.data_received` parses at once; `_request_in_progress` and `_messages` tell whether it is
between requests; `connection_lost` frees everything the server keeps of a connection.

A request with both `Transfer-Encoding: chunked` and `Content-Length` loses the length: docker-py sends both with an
open file, Go and RFC 9112 (6.3) go by the chunks, and aiohttp's parser would refuse it.
"""

from __future__ import annotations

import asyncio
import re
import select
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_protocol import RequestHandler

HIGH_BYTES = 256 << 10  # buffered from the client before reading pauses
LOW_BYTES = 64 << 10
LONGEST_HEAD_BYTES = 64 << 10
T = TypeVar("T")
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_UPGRADE = re.compile(rb"\r\nupgrade:[ \t]*tcp[ \t]*\r\n", re.IGNORECASE)
# BuildKit's two doors. Elsewhere `Upgrade: h2c` is an offer that is not taken: curl and Java make it with any request.
_UPGRADE_H2 = re.compile(
    rb"POST (?:/v[0-9.]{1,8})?/(?:grpc|session)[ ?][^\r\n]*\r\n(?:[^\r\n]+\r\n)*?upgrade:[ \t]*h2c[ \t]*\r\n",
    re.IGNORECASE,
)
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,15})[ \t]*\r\n", re.IGNORECASE)


class Connection(RequestHandler):
    """aiohttp's connection, which keeps what follows an upgrade (`tcp`, BuildKit's `h2c`) from the HTTP parser."""

    __slots__ = ("_body_left", "_head", "ended", "held", "leaving", "stream")

    def __init__(self, server: web.Server, **options: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self.leaving = asyncio.Event()  # the client is gone, or this server stops
        self.stream: Stream | None = None
        self._head: bytes | None = None  # the beginning of a request whose head is not whole yet
        self._body_left = 0
        self.held: bytearray | None = None  # what came behind an upgrade request
        self.ended = False  # the client sent its end of stream

    def data_received(self, data: bytes) -> None:
        """Called by the transport. See the class."""
        if self.held is not None:
            self._take(data)
            return
        if self._between_requests():
            data = by_chunks(data)
        count, is_upgrade = self._request_part(data)
        super().data_received(data[:count] if count < len(data) else data)
        if is_upgrade:
            self.held = bytearray()
            self._take(data[count:])

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Stay open when the request asked for a stream: the client may still read."""
        self.ended = True
        return self.held is not None

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called by the transport, or by the `Stream` that took it over."""
        self.leaving.set()
        super().connection_lost(exc)

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - aiohttp's signature
        """The server stops: streams and waits end now; other answers under way have `timeout` seconds."""
        self.leaving.set()
        if self.stream is not None:
            self.stream.close_soon()
        await super().shutdown(timeout)

    def _take(self, data: bytes) -> None:
        held = self.held = self.held or bytearray()
        held += data
        if len(held) >= HIGH_BYTES and self.transport is not None:
            self.transport.pause_reading()

    def _between_requests(self) -> bool:
        """Whether the next byte begins a request."""
        return not (self._body_left or self._head is not None or self._request_in_progress or self._messages)

    def _request_part(self, data: bytes) -> tuple[int, bool]:
        """How many bytes of `data` the parser may see, and whether an upgrade request is whole with them."""
        if self._body_left:
            taken = min(self._body_left, len(data))
            self._body_left -= taken
            return taken, not self._body_left
        if self._head is None:
            if not data or not self._between_requests():
                return len(data), False
            self._head = b""
        before = len(self._head)
        head = self._head + data
        end = head.find(b"\r\n\r\n", max(0, before - 3)) + 4
        if end < 4:
            self._head = head if len(head) < LONGEST_HEAD_BYTES else None
            return len(data), False
        self._head = None
        if not (_UPGRADE.search(head, 0, end) or _UPGRADE_H2.match(head, 0, end)):
            return len(data), False
        length = _LENGTH.search(head, 0, end)
        whole = end + (int(length[1]) if length else 0) - before
        if whole > len(data):
            self._body_left = whole - len(data)
            return len(data), False
        return whole, True


def by_chunks(data: bytes) -> bytes:
    """The beginning of a request; without `Content-Length` where its head is whole and says `chunked` too."""
    end = data.find(b"\r\n\r\n") + 4
    if end < 4 or not _CHUNKED.search(data, 0, end):
        return data
    return _LENGTH.sub(b"\r\n", data[:end]) + data[end:]


class Stream(asyncio.Protocol):
    """A taken connection. One reader and one writer at a time. Made by `take_over`."""

    def __init__(self, connection: RequestHandler, transport: asyncio.Transport) -> None:
        self._connection = connection
        self._transport = transport
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._ended = False
        self._lost: BaseException | None = None
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self.lost = asyncio.Event()  # the connection is gone in both directions
        self._hang_up: select.epoll | None = None

    async def read(self) -> bytes:
        """What the client sent; b"" after its end of stream. Raises: ConnectionResetError."""
        while not self._chunks:
            if self._lost is not None:
                raise ConnectionResetError("the client is gone") from self._lost
            if self._ended:
                return b""
            self._readable.clear()
            await self._readable.wait()
        chunk = self._chunks.popleft()
        self._buffered -= len(chunk)
        if self._buffered <= LOW_BYTES and not self._ended and not self._transport.is_closing():
            self._transport.resume_reading()
        return chunk

    async def write(self, data: bytes) -> None:
        """Send, and wait while the client is slow. Raises: ConnectionResetError."""
        if self._lost is not None or self._transport.is_closing():
            raise ConnectionResetError("the client is gone")
        if data:
            self._transport.write(data)
        await self._writable.wait()
        if self._lost is not None:
            raise ConnectionResetError("the client is gone") from self._lost

    def end(self) -> None:
        """Send our end of stream; the client may go on sending."""
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

    def close(self) -> None:
        """Close once everything written has left."""
        self._forget_hang_up()
        self._transport.close()

    def close_soon(self) -> None:
        """Close without waiting for a client that does not read."""
        if self._transport.get_write_buffer_size():
            self.abort()
        else:
            self.close()

    def abort(self) -> None:
        """Close at once; what was written may be lost."""
        self._forget_hang_up()
        self._transport.abort()

    # --- called by the transport ---------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Queue, and stop reading while the queue is long."""
        self._chunks.append(data)
        self._buffered += len(data)
        self._readable.set()
        if self._buffered >= HIGH_BYTES:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The client sends no more but may still read: keep the connection, and watch for its going."""
        self._ended = True
        self._readable.set()
        self._watch_hang_up()
        return True

    def pause_writing(self) -> None:
        """The send buffer is full."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The send buffer has drained."""
        self._writable.set()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Wake everybody, and let the server forget the connection."""
        self._lost = exc or ConnectionResetError("closed")
        self._forget_hang_up()
        self._readable.set()
        self._writable.set()
        self.lost.set()
        self._connection.connection_lost(exc)

    # --- a client that goes after its end of stream --------------------------------------------------------------

    def _watch_hang_up(self) -> None:
        """asyncio reads no more after the end of stream, so it would not see the client go while nothing is written.

        An epoll of our own with no events asked for reports EPOLLHUP and EPOLLERR only; the loop watches it.
        """
        if self._hang_up is not None or self._lost is not None:
            return
        descriptor = self._transport.get_extra_info("socket").fileno()
        if descriptor < 0:
            return
        self._hang_up = select.epoll(1)
        self._hang_up.register(descriptor, 0)
        asyncio.get_running_loop().add_reader(self._hang_up.fileno(), self.abort)

    def _forget_hang_up(self) -> None:
        if self._hang_up is not None:
            asyncio.get_running_loop().remove_reader(self._hang_up.fileno())
            self._hang_up.close()
            self._hang_up = None


class Taken(web.StreamResponse):
    """What a handler returns after `take_over`: tells aiohttp that nothing is left to send."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send nothing."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Send nothing."""

    @property
    def keep_alive(self) -> bool | None:
        """The connection ends with the stream."""
        return False

    @property
    def prepared(self) -> bool:
        """The head has been sent by `take_over`."""
        return True


def take_over(request: web.Request, head: bytes) -> Stream:
    """Send `head` and make the connection a stream. The request's body must have been read.

    The handler must `close` or `abort` the stream and return a `Taken`. Raises: ConnectionResetError.
    """
    connection = request.protocol
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client is gone")
    stream = Stream(connection, transport)
    early, ended = b"", False
    if isinstance(connection, Connection):
        early, ended = bytes(connection.held or b""), connection.ended
        connection.held = None
        connection.stream = stream
    transport.set_protocol(stream)
    if early:
        stream.data_received(early)
    if ended:
        stream.eof_received()
    elif not early or len(early) < HIGH_BYTES:
        transport.resume_reading()
    transport.write(head)
    return stream


def factory(server: web.Server) -> Callable[[], Connection]:
    """A protocol factory for `loop.create_server` that makes our connections for aiohttp's server."""
    options = server._kwargs

    def make() -> Connection:
        return Connection(server, **options)

    return make


async def until_gone(request: web.Request, work: Awaitable[T]) -> T:
    """Wait for `work`; when the client goes first, cancel it. Raises: ConnectionResetError."""
    task = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(gone(request))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ConnectionResetError("the client is gone")
        return task.result()
    finally:
        for one in (task, leaving):
            one.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)


async def gone(request: web.Request) -> None:
    """Returns when the client is lost or the server stops; never on a connection that is not ours."""
    connection = request.protocol
    if isinstance(connection, Connection):
        await connection.leaving.wait()
    else:
        await asyncio.get_running_loop().create_future()
