"""Handlers: the connections that stay open: attach, exec, logs, wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from typing import Any, Literal, Protocol, get_args

import msgspec
from aiohttp import WSMsgType, web

from sampan import errors
from sampan.api.engine import detach, execs, framing
from sampan.api.engine.call import Call, done
from sampan.api.http import bodies, hijack
from sampan.containers.logs import LogQuery
from sampan.formats import stdcopy

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"
Condition = Literal["not-running", "next-exit", "removed"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)
NO_DETACH = b""


class InvalidStream(errors.Invalid):
    """A stream that cannot be asked for."""


class AlreadyRun(errors.Conflict):
    """An exec is started once."""


class Streams(Protocol):
    """The container's end: an attachment, or an exec's streams."""

    terminal: bool

    def output(
        self, *, stdout: bool = True, stderr: bool = True, logs_too: bool = False, stream: bool = True
    ) -> AsyncIterator[bytes]:
        """Frames, or raw bytes from a terminal."""

    async def write(self, content: bytes) -> None:
        """Send input."""

    async def end_input(self) -> None:
        """End of file."""

    def detached(self) -> None:
        """The client typed the keys to be let go."""

    async def close(self) -> None:
        """The client is gone."""


class Client(Protocol):
    """The far end of an attached stream: a taken connection, or a web socket."""

    async def read(self) -> bytes:
        """b"" at the end."""

    async def write(self, data: bytes) -> None:
        """Waits while the client is slow."""


# --- attach ----------------------------------------------------------------------------------------------------------


async def attach(call: Call) -> web.StreamResponse:
    """POST /containers/{name}/attach."""
    wish = _wish(call)
    keys = detach.parse(call.query.text("detachKeys"))
    await bodies.read_limited(call.request)
    attachment = await call.engine.containers.attach(call.name)
    return await _hijacked(call, attachment, wish, keys)


class _Wish(msgspec.Struct, frozen=True):
    """Which directions of an attachment the client wants."""

    stdin: bool
    stdout: bool
    stderr: bool
    logs: bool
    stream: bool
    terminal: bool | None = None  # how the client reads the output, where that is its own choice

    def of(self, attachment: Streams) -> AsyncIterator[bytes]:
        """What the container writes."""
        output = attachment.output(stdout=self.stdout, stderr=self.stderr, logs_too=self.logs, stream=self.stream)
        if self.terminal is None or self.terminal == attachment.terminal:
            return output
        return framing.bare(output) if self.terminal else framing.framed(output)


def _wish(call: Call) -> _Wish:
    switch = call.query.switch
    stream = switch("stream")
    return _Wish(
        stdin=switch("stdin") and stream,
        stdout=switch("stdout"),
        stderr=switch("stderr"),
        logs=switch("logs"),
        stream=stream,
    )


async def _hijacked(call: Call, attachment: Streams, wish: _Wish, keys: bytes) -> web.StreamResponse:
    """Take the connection over and converse."""
    try:
        stream = hijack.take_over(call.request, _head(call, terminal=attachment.terminal))
    except ConnectionError:
        await attachment.close()
        raise
    return await _converse(stream, attachment, wish, keys)


async def _converse(
    stream: hijack.Stream, attachment: Streams, wish: _Wish, keys: bytes, until: asyncio.Event | None = None
) -> web.StreamResponse:
    """Copy both ways until the output ends and `until` is set, the keys are typed, or the client goes."""
    try:
        await _copy(attachment, wish, keys if attachment.terminal else NO_DETACH, stream, stream.lost.wait(), until)
        stream.close()
    except ConnectionError:
        stream.abort()
    except BaseException:
        stream.abort()
        raise
    finally:
        await attachment.close()
    return hijack.Taken()


def _head(call: Call, *, terminal: bool) -> bytes:
    """101 for clients that ask for an upgrade; the 200 of old clients, after which HTTP ends all the same."""
    if "upgrade" in call.request.headers.get("Connection", "").lower() and "Upgrade" in call.request.headers:
        # Source: the form of clients before API 1.42 is always raw-stream.
        kind = RAW if terminal or call.version < (1, 42) else MULTIPLEXED
        first = f"HTTP/1.1 101 UPGRADED\r\nContent-Type: {kind}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
    else:
        first = f"HTTP/1.1 200 OK\r\nContent-Type: {RAW}\r\n"
    return f"{first}\r\n".encode()


async def _copy(
    attachment: Streams,
    wish: _Wish,
    keys: bytes,
    client: Client,
    lost: Awaitable[object],
    until: asyncio.Event | None = None,
) -> None:
    """Until the output ends, the detach keys are typed, or the client is lost. The input's end alone ends nothing."""
    gone = asyncio.ensure_future(lost)
    tasks: set[asyncio.Future[Any]] = {gone}
    output = entry = None
    if wish.stdout or wish.stderr or until is not None:
        output = asyncio.create_task(_copy_output(attachment, wish, client, until))
        tasks.add(output)
    if wish.stdin:
        entry = asyncio.create_task(_copy_input(attachment, client, keys))
        tasks.add(entry)
    try:
        waiting = set(tasks)
        while waiting:
            finished, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if gone in finished or output in finished:
                break
            if entry in finished and (output is None or entry.exception() or entry.result()):
                if not entry.exception() and entry.result():
                    attachment.detached()
                break
        for task in tasks - waiting:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _copy_output(attachment: Streams, wish: _Wish, client: Client, until: asyncio.Event | None) -> None:
    """A failure behind the head is told in the stream."""
    try:
        if wish.stdout or wish.stderr:
            async for chunk in wish.of(attachment):
                await client.write(chunk)
        if until is not None:
            await until.wait()
    except errors.SampanError as error:
        text = f"{error}\n".encode()
        await client.write(text if attachment.terminal else stdcopy.frame(stdcopy.SYSTEM_ERROR, text))


async def _copy_input(attachment: Streams, client: Client, keys: bytes) -> bool:
    """Whether the client asked to be detached."""
    detector = detach.Detector(keys) if keys else None
    while data := await client.read():
        passed = detector.feed(data) if detector else data
        try:
            if passed:
                await attachment.write(passed)
        except (errors.SampanError, BrokenPipeError):
            return False  # the container no longer reads; what it still writes goes on
        if detector and detector.found:
            return True
    await attachment.end_input()
    return False


class _WebSocket:
    """A web socket as a client: what arrives is input, what leaves is output without frames."""

    def __init__(self, socket: web.WebSocketResponse, *, framed: bool) -> None:
        self._socket = socket
        self._decoder = stdcopy.Decoder() if framed else None

    async def read(self) -> bytes:
        """Text counts as UTF-8."""
        message = await self._socket.receive()
        if message.type == WSMsgType.TEXT:
            return str(message.data).encode()
        return bytes(message.data) if message.type == WSMsgType.BINARY else b""

    async def write(self, data: bytes) -> None:
        """One message."""
        if self._decoder is not None:
            data = b"".join(payload for _, payload in self._decoder.feed(data))
        if data:
            await self._socket.send_bytes(data)


async def attach_socket(call: Call) -> web.StreamResponse:
    """GET /containers/{name}/attach/ws."""
    wish = _wish(call)
    keys = detach.parse(call.query.text("detachKeys"))
    attachment = await call.engine.containers.attach(call.name)
    try:
        socket = web.WebSocketResponse()
        await socket.prepare(call.request)
        client = _WebSocket(socket, framed=not attachment.terminal)
        gone = hijack.gone(call.request)
        with contextlib.suppress(ConnectionError):
            await _copy(attachment, wish, keys if attachment.terminal else NO_DETACH, client, gone)
        await socket.close()
    finally:
        await attachment.close()
    return socket


# --- exec ------------------------------------------------------------------------------------------------------------


async def exec_start(call: Call) -> web.StreamResponse:
    """POST /exec/{name}/start.

    The head leaves before the process starts, as from dockerd: the SDK for Python loses output that comes together with
    it. So a start that fails is told in the stream, and by the exit code. The stream ends after the process, so that
    its exit code can be asked for then.
    """
    asked = execs.decode_start(await call.body(optional=True))
    rows, columns = asked.console_size or (0, 0)
    room = call.engine.containers.execs
    item = room.get(call.name)
    if item.started:
        raise AlreadyRun(f"Error: Exec command {item.id} has already run")
    keys = detach.parse(item.wish.detach_keys)
    if asked.detach:
        draining = asyncio.create_task(_drain(await room.start(call.name, rows=rows, columns=columns)))
        _DRAINING.add(draining)
        draining.add_done_callback(_DRAINING.discard)
        return done(200)
    terminal = asked.tty  # of the start, whatever the exec has: as in dockerd, this alone decides about frames
    wish = _Wish(
        stdin=item.wish.stdin,
        stdout=item.wish.stdout,
        stderr=item.wish.stderr,
        logs=False,
        stream=True,
        terminal=terminal,
    )
    stream = hijack.take_over(call.request, _head(call, terminal=terminal))
    try:
        running = await room.start(call.name, rows=rows, columns=columns)
    except errors.SampanError as error:
        text = f"{error}\r\n".encode()
        with contextlib.suppress(ConnectionError):
            await stream.write(text if terminal else stdcopy.frame(stdcopy.STDOUT, text))
        stream.close()
        return hijack.Taken()
    except BaseException:
        stream.abort()
        raise
    return await _converse(stream, running, wish, keys, until=item.ended)


_DRAINING: set[asyncio.Task[None]] = set()  # the loop itself holds tasks weakly


async def _drain(running: Streams) -> None:
    """Nobody listens to a detached exec, but a full pipe would stop it."""
    try:
        async for _ in running.output():
            pass
    finally:
        await running.close()


# --- logs and wait ---------------------------------------------------------------------------------------------------


async def logs(call: Call) -> web.StreamResponse:
    """GET /containers/{name}/logs."""
    query = call.query
    item = call.engine.containers.get(call.name)
    terminal = item.wanted.config.tty
    asked = LogQuery(
        stdout=query.switch("stdout"),
        stderr=query.switch("stderr"),
        since_ns=query.time_ns("since") or None,
        until_ns=query.time_ns("until") or None,
        tail=_tail(query.text("tail")),
        timestamps=query.switch("timestamps"),
        follow=query.switch("follow"),
        multiplexed=not terminal,
    )
    if not (asked.stdout or asked.stderr):
        raise InvalidStream("Bad parameters: you must choose at least one stream")
    response = web.StreamResponse()
    response.content_type = RAW if terminal else MULTIPLEXED
    await hijack.until_gone(call.request, _send_logs(call, response, asked))
    return response


async def _send_logs(call: Call, response: web.StreamResponse, asked: LogQuery) -> None:
    chunks = call.engine.containers.logs(call.name, asked, details=call.query.switch("details"))
    await response.prepare(call.request)
    lines = framing.Lines() if asked.multiplexed else None
    async for chunk in chunks:
        await response.write(lines.feed(chunk) if lines else chunk)
    await response.write_eof()


def _tail(text: str) -> int | None:
    """A number of lines; `all`, nothing and negative numbers mean all. Other words too, as in dockerd."""
    return int(text) if text.isdecimal() and len(text) < 12 else None


async def wait(call: Call) -> web.StreamResponse:
    """POST /containers/{name}/wait. The head leaves at once: clients start the container only after it."""
    text = call.query.text("condition") or "not-running"
    condition = next((one for one in CONDITIONS if one == text), None)
    if condition is None:
        raise InvalidStream(f"invalid condition: {text[:100]!r}", remedy=f"use one of {', '.join(CONDITIONS)}")
    ending = call.engine.containers.wait(call.name, condition)
    response = web.StreamResponse()
    response.content_type = bodies.JSON
    try:
        await response.prepare(call.request)
        result = await hijack.until_gone(call.request, ending)
    finally:
        ending.cancel()
    body = {"StatusCode": result.code, "Error": {"Message": result.error} if result.error else None}
    if not result.error:
        del body["Error"]
    await response.write(msgspec.json.encode(body) + b"\n")
    await response.write_eof()
    return response
