"""Calls in both roles over a wire in memory, and what hostile peers send."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buildclient import Wire, wires
from sampan import errors
from sampan.api.grpc import framing, status
from sampan.api.grpc import h2 as transport
from sampan.api.grpc.client import Client
from sampan.api.grpc.server import Call, Server, streaming, unary
from sampan.api.grpc.status import CallFailed, Code
from sampan.formats import protobuf

LIMIT_S = 20.0


@dataclass
class Text(protobuf.Message):
    text: str = protobuf.text(1)
    blob: bytes = protobuf.data(2)


async def echo(request: Text, call: Call) -> Text:
    return Text(request.text + call.metadata.get("suffix", ""), request.blob)


async def count(request: Text, call: Call) -> None:
    for number in range(int(request.text)):
        await call.send(Text(str(number), b"x" * 100_000))


async def refuse(request: Text, call: Call) -> Text:
    raise NotHere(f"no {request.text} ü 100%")


async def crash(request: Text, call: Call) -> Text:
    raise ZeroDivisionError


class NotHere(errors.NotFound):
    """For `refuse`."""


class Waiting:
    """A handler that waits and tells how it ended."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, request: Text, call: Call) -> Text:
        self.began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return Text()


@contextlib.asynccontextmanager
async def connected(**more: Any) -> AsyncIterator[tuple[Client, Wire]]:
    methods = {"/t/Echo": unary(Text, echo), "/t/Count": streaming(Text, count), "/t/Refuse": unary(Text, refuse)}
    methods |= {"/t/Crash": unary(Text, crash)} | more
    near, far = wires()
    server = asyncio.create_task(transport.Connection(far, client=False, serve=Server(methods).serve).run())
    connection = transport.Connection(near, client=True)
    client = asyncio.create_task(connection.run())
    try:
        yield Client(connection), near
    finally:
        await connection.close()
        await asyncio.wait_for(asyncio.gather(server, client), LIMIT_S)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


def test_a_request_is_answered_with_its_metadata() -> None:
    async def test() -> None:
        async with connected() as (client, _):
            answer = await client.unary("/t/Echo", Text("a"), Text, metadata=[("suffix", "!")])
            assert answer == Text("a!")

    run(test)


def test_many_messages_and_many_calls_share_a_connection_within_the_windows() -> None:
    async def numbers(client: Client) -> list[str]:
        async with client.calling("/t/Count") as call:
            await call.send(Text("60"))
            await call.end()
            found = []
            while (message := await call.receive(Text)) is not None:
                assert message.blob == b"x" * 100_000
                found.append(message.text)
            return found

    async def test() -> None:
        async with connected() as (client, _):
            for found in await asyncio.gather(*(numbers(client) for _ in range(5))):
                assert found == [str(number) for number in range(60)]

    run(test)


def test_a_large_message_passes_and_a_larger_one_than_allowed_is_refused() -> None:
    async def test() -> None:
        async with connected() as (client, _):
            blob = b"y" * (6 << 20)
            assert (await client.unary("/t/Echo", Text("", blob), Text)).blob == blob
            with pytest.raises(CallFailed) as caught:
                await client.unary("/t/Echo", Text("", b"z" * framing.LARGEST_MESSAGE_BYTES), Text)
            assert caught.value.code is Code.RESOURCE_EXHAUSTED
            assert (await client.unary("/t/Echo", Text("still"), Text)).text == "still"

    run(test)


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("/t/Refuse", Code.NOT_FOUND, "no thing ü 100%"),
        ("/t/Crash", Code.INTERNAL, "internal error: ZeroDivisionError"),
        ("/t/Nothing", Code.UNIMPLEMENTED, "unknown method /t/Nothing"),
    ],
)
def test_a_failure_comes_with_its_code_and_message(path: str, code: Code, message: str) -> None:
    async def test() -> None:
        async with connected() as (client, _):
            with pytest.raises(CallFailed) as caught:
                await client.unary(path, Text("thing"), Text)
            assert (caught.value.code, caught.value.what) == (code, message)

    run(test)


def test_a_reader_that_is_slow_holds_the_sender_up() -> None:
    async def test() -> None:
        async with connected() as (client, near), client.calling("/t/Count") as call:
            await call.send(Text("1000"))
            await call.end()
            assert near.peer is not None
            await call.receive(Text)
            before = -1
            while before != near.peer.written:  # until it is held up
                before = near.peer.written
                for _ in range(50):
                    await asyncio.sleep(0)
            assert near.peer.written < 3 * transport.STREAM_WINDOW_BYTES

    run(test)


def test_a_call_that_is_left_is_cancelled_at_the_far_end() -> None:
    async def test() -> None:
        waiting = Waiting()
        async with connected(**{"/t/Wait": unary(Text, waiting)}) as (client, _):
            async with client.calling("/t/Wait") as call:
                await call.send(Text())
                await call.end()
                await waiting.began.wait()
            await waiting.cancelled.wait()
            assert (await client.unary("/t/Echo", Text("still"), Text)).text == "still"

    run(test)


def test_a_connection_that_goes_ends_every_call_on_both_sides() -> None:
    async def test() -> None:
        waiting = Waiting()
        async with connected(**{"/t/Wait": unary(Text, waiting)}) as (client, near):
            call = asyncio.create_task(client.unary("/t/Wait", Text(), Text))
            await waiting.began.wait()
            near.close()
            with pytest.raises(transport.ConnectionEnded):
                await call
            await waiting.cancelled.wait()
            with pytest.raises(transport.ConnectionEnded):
                await client.unary("/t/Echo", Text(), Text)

    run(test)


def test_the_clients_deadline_ends_a_call() -> None:
    async def test() -> None:
        waiting = Waiting()
        async with connected(**{"/t/Wait": unary(Text, waiting)}) as (client, _):
            with pytest.raises(CallFailed) as caught:
                await client.unary("/t/Wait", Text(), Text, metadata=[("grpc-timeout", "50m")])
            assert caught.value.code is Code.DEADLINE_EXCEEDED
            assert waiting.cancelled.is_set()

    run(test)


def test_details_of_a_status_survive_the_headers() -> None:
    failure = CallFailed(Code.UNKNOWN, "what", (status.Detail("github.com/x", b"{\x00}"),))
    read = status.read(dict(status.trailers(failure)))
    assert read is not None
    assert (read.code, read.what, read.details) == (failure.code, failure.what, failure.details)


@pytest.mark.parametrize("number", ["", "x", "99", "17", "-1", "00000000000000000002"])
def test_a_status_that_is_no_code_counts_as_unknown(number: str) -> None:
    failure = status.read({"grpc-status": number, "grpc-status-details-bin": "!!!", "grpc-message": "%zz"})
    assert failure is not None
    assert failure.code is Code.UNKNOWN


# --- hostile peers


async def answered(*frames: bytes) -> bytes:
    """What a server says to a peer that sends these bytes and its end."""
    near, far = wires()
    methods = {"/t/Echo": unary(Text, echo), "/t/Wait": unary(Text, Waiting())}
    serving = asyncio.create_task(transport.Connection(far, client=False, serve=Server(methods).serve).run())
    for data in frames:
        near.peer.inbox.put_nowait(data)  # type: ignore[union-attr]
    near.peer.inbox.put_nowait(b"")  # type: ignore[union-attr]
    await asyncio.wait_for(serving, LIMIT_S)
    said = b""
    while not near.inbox.empty():
        said += near.inbox.get_nowait()
    return said


@given(st.lists(st.binary(max_size=200), max_size=5))
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_end_the_connection_and_nothing_else(frames: list[bytes]) -> None:
    async def test() -> None:
        await answered(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", *frames)
        await answered(*frames)

    run(test)


def conversation() -> tuple[h2.connection.H2Connection, bytes]:
    """A stock client and its first bytes."""
    peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, validate_outbound_headers=False))
    peer.initiate_connection()
    return peer, peer.data_to_send()


HEADERS = [(":method", "POST"), (":scheme", "http"), (":path", "/t/Echo"), (":authority", "x"), ("te", "trailers")]
GRPC = [*HEADERS, ("content-type", "application/grpc")]


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        (HEADERS, framing.frame(b""), Code.INVALID_ARGUMENT),  # no gRPC
        (GRPC, b"", Code.INVALID_ARGUMENT),  # no message
        (GRPC, b"\x00\x00\x00\x00\x09ab", Code.INTERNAL),  # ends early
        (GRPC, b"\x01\x00\x00\x00\x00", Code.UNIMPLEMENTED),  # compressed
        (GRPC, b"\x00\xff\xff\xff\xff", Code.RESOURCE_EXHAUSTED),  # 4 GiB
        (GRPC, framing.frame(b"\x0a\x05a"), Code.INVALID_ARGUMENT),  # no protobuf
        ([*GRPC, ("grpc-timeout", "later")], framing.frame(b""), Code.OK),
        ([*GRPC, ("grpc-timeout", "0n")], framing.frame(b""), None),
    ],
)
def test_a_malformed_call_gets_a_status(headers: list[tuple[str, str]], body: bytes, code: Code | None) -> None:
    async def test() -> None:
        peer, first = conversation()
        peer.send_headers(1, headers)
        peer.send_data(1, body, end_stream=True)
        near, far = wires()
        methods = {"/t/Echo": unary(Text, echo)}
        serving = asyncio.create_task(transport.Connection(far, client=False, serve=Server(methods).serve).run())
        await near.write(first + peer.data_to_send())
        trailers: dict[bytes, bytes] = {}
        while b"grpc-status" not in trailers:
            for event in peer.receive_data(await near.read()):
                if isinstance(event, h2.events.TrailersReceived | h2.events.ResponseReceived):
                    trailers |= dict(event.headers)
        near.close()
        await asyncio.wait_for(serving, LIMIT_S)
        if code is not None:
            assert trailers[b"grpc-status"] == str(int(code)).encode()

    run(test)


def test_more_calls_at_once_than_allowed_end_the_connection() -> None:
    async def test() -> None:
        peer, first = conversation()
        waiting = [*GRPC[:2], (":path", "/t/Wait"), *GRPC[3:]]
        for number in range(transport.MOST_EXCHANGES + 5):
            peer.send_headers(number * 2 + 1, waiting)
        assert b"grpc-status" not in await answered(first, peer.data_to_send())

    run(test)


def test_a_server_that_answers_nonsense_fails_the_call_only() -> None:
    async def test() -> None:
        near, far = wires()
        connection = transport.Connection(near, client=True)
        running = asyncio.create_task(connection.run())
        call = asyncio.create_task(Client(connection).unary("/t/Echo", Text(), Text))
        peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        peer.initiate_connection()
        begun = False
        while not begun:
            begun = any(isinstance(one, h2.events.RequestReceived) for one in peer.receive_data(await far.read()))
        peer.send_headers(1, [(":status", "503")], end_stream=True)
        await far.write(peer.data_to_send())
        with pytest.raises(CallFailed, match="503"):
            await call
        await far.write(b"\x00\x00\x01\x00\x00\x00\x00\x00\x09x")  # data of an exchange that nobody opened
        await asyncio.wait_for(running, LIMIT_S)

    run(test)
