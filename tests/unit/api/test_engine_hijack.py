"""Connections taken over from the web server, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from sampan.api.http import hijack, listeners

HEAD = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
REQUEST = b"POST /x HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: %d\r\n\r\n%s"
FIVE_MB = 5 << 20
LIMIT_S = 20

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def serving(path: Path, handler: Handler, *, timeout_s: float = 1) -> AsyncIterator[str]:
    """A server with one handler, on a Unix socket."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=timeout_s)
    await runner.setup()
    address = path / "test.sock"
    await listeners.listen(runner, f"unix://{address}")
    try:
        yield str(address)
    finally:
        await runner.cleanup()


async def read_head(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LIMIT_S)


def run(scene: Awaitable[None]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(scene, LIMIT_S)

    asyncio.run(limited())


def test_five_megabytes_go_each_way_and_the_output_goes_on_after_the_clients_end(tmp_path: Path) -> None:
    sent = bytes(range(256)) * (FIVE_MB // 256)
    heard: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        await request.read()
        stream = hijack.take_over(request, HEAD)
        digest = hashlib.sha256()
        while data := await stream.read():
            digest.update(data)
        heard.append(digest.hexdigest())
        for start in range(0, FIVE_MB, 100_000):
            await stream.write(sent[start : start + 100_000])
        stream.close()
        return hijack.Taken()

    async def scene() -> None:
        async with serving(tmp_path, handler) as address:
            reader, writer = await asyncio.open_unix_connection(address)
            writer.write(REQUEST % (2, b"{}"))
            assert await read_head(reader) == HEAD
            writer.write(sent)
            await writer.drain()
            writer.write_eof()
            assert await reader.read() == sent
            assert heard == [hashlib.sha256(sent).hexdigest()]
            writer.close()

    run(scene())


@pytest.mark.parametrize("cut", [0, 10, 60, 108, 112, 116])
def test_bytes_and_the_end_right_behind_the_body_are_kept_for_the_stream(tmp_path: Path, cut: int) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        await asyncio.sleep(0)  # let what lies behind the body arrive first
        stream = hijack.take_over(request, HEAD)
        early = b""
        while data := await stream.read():
            early += data
        await stream.write(body + b"|" + early)
        stream.close()
        return hijack.Taken()

    async def scene() -> None:
        async with serving(tmp_path, handler) as address:
            reader, writer = await asyncio.open_unix_connection(address)
            whole = REQUEST % (7, b'{"a":1}') + b"GET /early HTTP/1.1\r\n\r\n"
            writer.write(whole[:cut])
            await writer.drain()
            await asyncio.sleep(0)
            writer.write(whole[cut:])
            writer.write_eof()
            assert await read_head(reader) == HEAD
            assert await reader.read() == b'{"a":1}|GET /early HTTP/1.1\r\n\r\n'
            writer.close()

    run(scene())


def test_a_declined_upgrade_with_bytes_behind_it_closes_the_connection(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.Response(status=404, text="no")
        response.force_close()
        return response

    async def scene() -> None:
        async with serving(tmp_path, handler) as address:
            reader, writer = await asyncio.open_unix_connection(address)
            writer.write(REQUEST % (2, b"{}") + b"typed ahead")
            writer.write_eof()
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 404")
            assert answer.endswith(b"no")
            writer.close()

    run(scene())


def test_a_client_that_does_not_read_holds_the_writer_back_and_then_gets_everything(tmp_path: Path) -> None:
    written = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal written
        stream = hijack.take_over(request, HEAD)
        while written < FIVE_MB:
            await stream.write(b"x" * 65536)
            written += 65536
        stream.close()
        return hijack.Taken()

    async def scene() -> None:
        async with serving(tmp_path, handler) as address:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(address)
                client.setblocking(False)
                client.sendall(REQUEST % (0, b""))
                before = -1
                while before != written or not written:
                    before = written
                    await asyncio.sleep(0.05)  # the limit: as long as the server still makes progress
                assert written < FIVE_MB
                got = 0
                loop = asyncio.get_running_loop()
                while data := await loop.sock_recv(client, 1 << 20):
                    got += len(data)
                assert got == len(HEAD) + written

    run(scene())


def test_a_server_that_does_not_read_holds_the_client_back(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    got = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal got
        stream = hijack.take_over(request, HEAD)
        await go_on.wait()
        while data := await stream.read():
            got += len(data)
        await stream.write(b"done")
        stream.close()
        return hijack.Taken()

    async def scene() -> None:
        async with serving(tmp_path, handler) as address:
            reader, writer = await asyncio.open_unix_connection(address)
            writer.write(REQUEST % (0, b""))
            await read_head(reader)
            writer.write(b"y" * FIVE_MB)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(writer.drain(), 0.3)
            go_on.set()
            await writer.drain()
            writer.write_eof()
            assert await reader.read() == b"done"
            assert got == FIVE_MB
            writer.close()

    run(scene())


def test_a_client_that_goes_after_its_end_of_stream_is_noticed_while_nothing_is_written(tmp_path: Path) -> None:
    noticed = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        stream = hijack.take_over(request, HEAD)
        assert await stream.read() == b""
        await stream.lost.wait()
        noticed.set()
        with pytest.raises(ConnectionResetError):
            await stream.write(b"late")
        return hijack.Taken()

    async def scene() -> None:
        async with serving(tmp_path, handler) as address:
            reader, writer = await asyncio.open_unix_connection(address)
            writer.write(REQUEST % (0, b""))
            await read_head(reader)
            writer.write_eof()
            await asyncio.sleep(0.05)
            assert not noticed.is_set()
            writer.close()
            await noticed.wait()

    run(scene())


def test_work_for_a_client_that_goes_is_cancelled(tmp_path: Path) -> None:
    cancelled = asyncio.Event()
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()

    async def handler(request: web.Request) -> web.StreamResponse:
        await hijack.until_gone(request, work())
        return web.Response()

    async def scene() -> None:
        async with serving(tmp_path, handler) as address:
            _, writer = await asyncio.open_unix_connection(address)
            writer.write(b"GET / HTTP/1.1\r\nHost: docker\r\n\r\n")
            await begun.wait()
            writer.close()
            await cancelled.wait()

    run(scene())


def test_a_server_that_stops_ends_streams_and_waits_at_once(tmp_path: Path) -> None:
    ended: list[str] = []
    begun = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/wait":
            begun.set()
            try:
                await hijack.until_gone(request, asyncio.get_running_loop().create_future())
            finally:
                ended.append("wait")
        stream = hijack.take_over(request, HEAD)
        await stream.lost.wait()
        ended.append("stream")
        return hijack.Taken()

    async def scene() -> None:
        async with serving(tmp_path, handler, timeout_s=60) as address:
            reader, writer = await asyncio.open_unix_connection(address)
            writer.write(REQUEST % (0, b""))
            await read_head(reader)
            _, waiting = await asyncio.open_unix_connection(address)
            waiting.write(b"GET /wait HTTP/1.1\r\nHost: d\r\n\r\n")
            await begun.wait()
        assert sorted(ended) == ["stream", "wait"]
        assert await reader.read() == b""
        writer.close()
        waiting.close()

    run(scene())


def test_a_plain_request_after_another_is_still_answered_on_the_same_connection(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(text=f"{request.path} {len(await request.read())}")

    async def scene() -> None:
        async with serving(tmp_path, handler) as address:
            reader, writer = await asyncio.open_unix_connection(address)
            for number in range(3):
                body = b"z" * 300_000
                writer.write(b"POST /%d HTTP/1.1\r\nHost: d\r\nContent-Length: %d\r\n\r\n" % (number, len(body)) + body)
                await read_head(reader)
                assert await reader.readexactly(9) == b"/%d 300000" % number
            writer.close()

    run(scene())


@pytest.mark.parametrize("order", ["length first", "chunks first"])
def test_a_length_beside_chunks_is_not_counted(tmp_path: Path, order: str) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=await request.read() + b"|" + request.headers.get("Content-Length", "none").encode())

    async def scene() -> None:
        async with serving(tmp_path, handler) as address:
            reader, writer = await asyncio.open_unix_connection(address)
            fields = [b"content-length: 999\r\n", b"Transfer-Encoding: chunked\r\n"]
            if order == "chunks first":
                fields.reverse()
            for _ in range(2):  # the connection goes on
                writer.write(b"POST /x HTTP/1.1\r\nHost: d\r\n" + b"".join(fields) + b"\r\n3\r\nabc\r\n0\r\n\r\n")
                assert (await read_head(reader)).startswith(b"HTTP/1.1 200 OK\r\n")
                assert await reader.readexactly(8) == b"abc|none"
            writer.close()

    run(scene())


@pytest.mark.parametrize(
    "data",
    [
        b"POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        b"POST /x HTTP/1.1\r\nContent-Length: 60\r\n\r\n\r\nTransfer-Encoding: chunked\r\n",  # that is its body
        b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Le",
    ],
)
def test_other_heads_stay_as_they_are(data: bytes) -> None:
    assert hijack.by_chunks(data) == data
