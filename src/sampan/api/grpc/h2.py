"""One HTTP/2 connection in either role: exchanges with headers, data both ways, flow control, cancellation.

The protocol is the library h2's; this file moves its bytes and wakes whoever waits. Memory is bounded by the windows:
an exchange holds at most `STREAM_WINDOW_BYTES` that nobody has read, a connection `CONNECTION_WINDOW_BYTES`. Pings are
answered, and a peer that breaks the rules gets GOAWAY and loses the connection. Source: RFC 9113.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import hyperframe.frame

from sampan import errors

STREAM_WINDOW_BYTES = 4 << 20
CONNECTION_WINDOW_BYTES = 8 << 20
LARGEST_FRAME_BYTES = 64 << 10  # a file's packet of 32 KiB comes in one
MOST_EXCHANGES = 128  # at once, opened by the peer
LARGEST_HEADERS_BYTES = 64 << 10
Headers = Sequence[tuple[str, str]]


def _size(self: hyperframe.frame.Frame) -> str:
    return f"{self.body_len} bytes"


# h2 describes every frame to a log that nobody keeps, and hyperframe writes all of its data in hex for that: an eighth
# of the processor time that a build's files cost.
hyperframe.frame.DataFrame._body_repr = _size  # type: ignore[method-assign]


class Wire(Protocol):
    """The taken connection (`api.http.hijack.Stream`)."""

    async def read(self) -> bytes:
        """b"" at the end. Raises: ConnectionResetError."""

    async def write(self, data: bytes) -> None:
        """Waits while the peer is slow. Raises: ConnectionResetError."""

    def abort(self) -> None:
        """Close at once."""

    def close(self) -> None:
        """Close once everything has left."""


class ConnectionEnded(errors.Unavailable):
    """The peer went, or broke the protocol."""


class ExchangeReset(errors.Unavailable):
    """The peer gave this exchange up."""


class Exchange:
    """One stream. One reader and one writer at a time. `headers` are what the peer sent first."""

    def __init__(self, connection: Connection, number: int) -> None:
        self.number = number
        self.headers: list[tuple[str, str]] = []
        self.trailers: list[tuple[str, str]] = []
        self.failure: errors.SampanError | None = None
        self._connection = connection
        self._chunks: deque[tuple[bytes, int]] = deque()  # content, and what it took of the windows
        self._ended = False
        self._sent_end = False
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self.lost = asyncio.Event()

    async def read(self) -> bytes:
        """What the peer sent next; b"" at its end. Raises: ExchangeReset, ConnectionEnded."""
        while not self._chunks:
            if self._ended:
                return b""
            if self.failure is not None:
                raise self.failure
            self._readable.clear()
            await self._readable.wait()
        content = b"".join(chunk for chunk, _ in self._chunks)  # all at once: each frame alone costs a wake-up
        await self._connection.consumed(self, self.unread())
        return content

    async def write(self, content: bytes, *, end: bool = False) -> None:
        """Send, as far and as fast as the peer's windows let us. Raises: ExchangeReset, ConnectionEnded."""
        view = memoryview(content)
        while view:
            room = await self._room()
            await self._connection.send_data(self, bytes(view[:room]), end=end and room >= len(view))
            view = view[room:]
        if end and not content:
            await self._connection.send_data(self, b"", end=True)
        self._sent_end = self._sent_end or end

    async def send_headers(self, headers: Headers, *, end: bool = False) -> None:
        """The answer's headers or the trailers. Raises: ExchangeReset, ConnectionEnded."""
        if self.failure is not None:
            raise self.failure
        await self._connection.send_headers(self, headers, end=end)
        self._sent_end = self._sent_end or end

    async def reset(self, code: int = h2.errors.ErrorCodes.CANCEL) -> None:
        """Give the exchange up, if the peer does not know yet that it is over."""
        if self.failure is None and not (self._ended and self._sent_end):
            self.fail(ExchangeReset("the exchange was given up"))
            await self._connection.send_reset(self, code)

    async def _room(self) -> int:
        """How much may be sent now, at least 1; waits for it."""
        while True:
            if self.failure is not None:
                raise self.failure
            room = self._connection.window(self)
            if room > 0:
                return room
            self._writable.clear()
            await self._writable.wait()

    # --- called by the connection

    def received_headers(self, headers: list[tuple[str, str]]) -> None:
        """The first are headers, later ones trailers."""
        if self.headers:
            self.trailers = headers
        else:
            self.headers = headers

    def received(self, content: bytes, window: int) -> None:
        """Keep data until it is read."""
        self._chunks.append((content, window))
        self._readable.set()

    def ended(self) -> None:
        """The peer sends no more."""
        self._ended = True
        self._readable.set()

    def room_changed(self) -> None:
        """A window has grown."""
        self._writable.set()

    def unread(self) -> int:
        """Bytes of the windows that nobody will read any more."""
        count = sum(window for _, window in self._chunks)
        self._chunks.clear()
        return count

    def fail(self, failure: errors.SampanError) -> None:
        """Wake everybody with this."""
        if self.failure is None:
            self.failure = failure
        for event in (self._readable, self._writable, self.lost):
            event.set()


Serve = Callable[[Exchange], Awaitable[None]]


class Connection:
    """`run` moves the bytes until the connection ends. `serve` answers exchanges that the peer opens."""

    def __init__(self, wire: Wire, *, client: bool, serve: Serve | None = None) -> None:
        config = h2.config.H2Configuration(client_side=client, header_encoding=None)
        self._wire = wire
        self._h2 = h2.connection.H2Connection(config)
        self._serve = serve
        self._exchanges: dict[int, Exchange] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._leaving = False  # the peer has said goodbye
        self.lost = asyncio.Event()
        codes = h2.settings.SettingCodes
        values: dict[h2.settings.SettingCodes, int] = {
            codes.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
            codes.MAX_FRAME_SIZE: LARGEST_FRAME_BYTES,
            codes.MAX_CONCURRENT_STREAMS: MOST_EXCHANGES,
            codes.MAX_HEADER_LIST_SIZE: LARGEST_HEADERS_BYTES,
        }
        if client:
            values[codes.ENABLE_PUSH] = 0
        self._h2.local_settings = h2.settings.Settings(client=client, initial_values=values)
        self._h2.max_inbound_frame_size = LARGEST_FRAME_BYTES
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(CONNECTION_WINDOW_BYTES - 65535)

    async def run(self) -> None:
        """Until either side ends the connection. Never raises for what the peer does."""
        try:
            await self._flush()
            while data := await self._wire.read():
                try:
                    events = self._h2.receive_data(data)
                except (h2.exceptions.ProtocolError, ValueError):  # ValueError: hpack's integers and names
                    await self._flush()  # the GOAWAY that says why
                    break
                for event in events:
                    self._happened(event)
                await self._flush()
                if self._leaving:
                    break
        except (ConnectionError, ConnectionEnded):
            pass  # everybody who waits is told below
        finally:
            await self._end()

    async def open(self, headers: Headers) -> Exchange:
        """Client role: begin an exchange. Raises: ConnectionEnded."""
        self._alive()
        try:
            exchange = Exchange(self, self._h2.get_next_available_stream_id())
            self._h2.send_headers(exchange.number, headers)
        except h2.exceptions.ProtocolError as error:
            raise ConnectionEnded("the client's session takes no more requests", why=str(error)) from error
        self._exchanges[exchange.number] = exchange
        await self._flush()
        return exchange

    def abort(self) -> None:
        """Close at once."""
        self._wire.abort()

    async def close(self) -> None:
        """Say goodbye and close."""
        if not self.lost.is_set():
            try:
                self._h2.close_connection()
                await self._flush()
            except (ConnectionError, ConnectionEnded, h2.exceptions.ProtocolError):
                pass  # nobody is there to hear it
            self._wire.close()

    def finished(self, exchange: Exchange) -> None:
        """Forget an exchange; what it did not read counts as read, so that it blocks nobody else."""
        self._exchanges.pop(exchange.number, None)
        left = exchange.unread()
        if left and not self.lost.is_set():
            self._acknowledge(exchange.number, left)

    # --- for exchanges

    async def consumed(self, exchange: Exchange, window: int) -> None:
        """Data was read: the peer may send as much again."""
        if window and not self.lost.is_set():
            self._acknowledge(exchange.number, window)
            await self._flush()

    def window(self, exchange: Exchange) -> int:
        """Bytes that one frame may carry now."""
        try:
            return min(self._h2.local_flow_control_window(exchange.number), self._h2.max_outbound_frame_size)
        except h2.exceptions.ProtocolError as error:
            raise ExchangeReset("the peer has ended the exchange") from error

    async def send_data(self, exchange: Exchange, content: bytes, *, end: bool) -> None:
        """One frame within the window."""
        self._alive()
        try:
            self._h2.send_data(exchange.number, content, end_stream=end)
        except h2.exceptions.ProtocolError as error:
            raise ExchangeReset("the peer has ended the exchange") from error
        await self._flush()

    async def send_headers(self, exchange: Exchange, headers: Headers, *, end: bool) -> None:
        """Headers or trailers."""
        self._alive()
        try:
            self._h2.send_headers(exchange.number, headers, end_stream=end)
        except h2.exceptions.ProtocolError as error:
            raise ExchangeReset("the peer has ended the exchange") from error
        await self._flush()

    async def send_reset(self, exchange: Exchange, code: int) -> None:
        """RST_STREAM."""
        if self.lost.is_set():
            return
        try:
            self._h2.reset_stream(exchange.number, code)
            await self._flush()
        except (h2.exceptions.ProtocolError, ConnectionEnded):
            pass  # it is over already

    # --- the machine

    def _alive(self) -> None:
        if self.lost.is_set():
            raise ConnectionEnded("the connection is gone")

    def _acknowledge(self, number: int, window: int) -> None:
        try:
            self._h2.acknowledge_received_data(window, number)
        except h2.exceptions.StreamClosedError:
            pass  # the connection's own window was given back all the same
        except h2.exceptions.ProtocolError:
            self.abort()

    async def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data:
            try:
                await self._wire.write(data)
            except ConnectionError as error:
                raise ConnectionEnded("the connection is gone") from error

    def _happened(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived(stream_id=int(number), headers=headers):
                self._begin(number, _decoded(headers or []))
            case (
                h2.events.ResponseReceived(stream_id=int(number), headers=headers)
                | h2.events.TrailersReceived(stream_id=int(number), headers=headers)
            ):
                if exchange := self._exchanges.get(number):
                    exchange.received_headers(_decoded(headers or []))
            case h2.events.DataReceived(stream_id=int(number), data=content, flow_controlled_length=int(window)):
                self._data(number, content or b"", window)
            case h2.events.StreamEnded(stream_id=int(number)):
                if exchange := self._exchanges.get(number):
                    exchange.ended()
            case h2.events.StreamReset(stream_id=int(number), error_code=code):
                self._reset(number, code)
            case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                for exchange in self._exchanges.values():
                    exchange.room_changed()
            case h2.events.ConnectionTerminated():
                self._leaving = True  # it closes right after; h2 takes nothing more

    def _begin(self, number: int, headers: list[tuple[str, str]]) -> None:
        if self._serve is None:
            self._h2.reset_stream(number, h2.errors.ErrorCodes.REFUSED_STREAM)
            return
        exchange = self._exchanges[number] = Exchange(self, number)
        exchange.received_headers(headers)
        self._tasks[number] = asyncio.create_task(self._answer(exchange, self._serve))

    async def _answer(self, exchange: Exchange, serve: Serve) -> None:
        try:
            await serve(exchange)
        finally:
            self._tasks.pop(exchange.number, None)
            self.finished(exchange)

    def _data(self, number: int, content: bytes, window: int) -> None:
        exchange = self._exchanges.get(number)
        if exchange is not None and exchange.failure is None and content:
            exchange.received(content, window)
        elif window:
            self._acknowledge(number, window)  # nobody reads it, or it is nothing but padding

    def _reset(self, number: int, code: object) -> None:
        if exchange := self._exchanges.get(number):
            exchange.fail(ExchangeReset("the client cancelled the request", why=f"HTTP/2 error code {code}"))
        if task := self._tasks.get(number):
            task.cancel()

    async def _end(self) -> None:
        """Tell all exchanges, and wait until what they did has been undone."""
        self.lost.set()
        failure = ConnectionEnded("the connection is gone")
        for exchange in list(self._exchanges.values()):
            exchange.fail(failure)
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        self._wire.close()
        await asyncio.gather(*tasks, return_exceptions=True)


def _decoded(headers: Sequence[tuple[bytes | str, bytes | str]]) -> list[tuple[str, str]]:
    """Names and values as text; bytes outside ASCII stay what they are."""
    return [(_text(name), _text(value)) for name, value in headers]


def _text(value: bytes | str) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
