"""Servers and clients of the registry benchmarks: ours and the `docker-registry` program, on loopback.

The server is pinned to one processor and the client to another where there are two, so that a rate is one of a server's
core. The client is cheap on purpose: fixed requests on kept connections, bodies thrown away in the kernel.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import selectors
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PEER = "docker-registry"
DISCARD = 1 << 20


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], port: int) -> Iterator[int]:
    """Run a server until the block ends; gives its port once it answers."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        if (os.cpu_count() or 1) > 1:
            os.sched_setaffinity(process.pid, {0})
        _wait(process, port)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def ours(folder: Path) -> tuple[list[str], int]:
    """Command line and port of our registry."""
    port = free_port()
    return [sys.executable, __file__, str(folder), str(port)], port


def peer(folder: Path, program: str) -> tuple[list[str], int]:
    """Command line and port of the peer, logging nothing, with its descriptor cache in memory."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.yml"
    config.write_text(
        "version: 0.1\n"
        "log: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'data'}}}, cache: {{blobdescriptor: inmemory}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}', secret: bench}}\n"
    )
    return [program, "serve", str(config)], port


def peer_program(wanted: str) -> str | None:
    """The peer's program, if it is installed."""
    return shutil.which(wanted or PEER)


def ask(port: int, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def push_blob(port: int, name: str, content: bytes, digest: str) -> None:
    """Upload a blob."""
    status, headers, _ = ask(port, "POST", f"/v2/{name}/blobs/uploads/")
    assert status == 202, status
    location = headers["location"].removeprefix(f"http://127.0.0.1:{port}")
    status, _, body = ask(port, "PUT", f"{location}{'&' if '?' in location else '?'}digest={digest}", content)
    assert status == 201, body


class Hammer:
    """Sends one fixed request on several kept connections at once. The answers must all have the same length."""

    def __init__(self, port: int, request: bytes, *, connections: int, body_bytes: int) -> None:
        self._request = request
        self._selector = selectors.EpollSelector()
        self._sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
        self._answer_bytes = _answer_length(self._sockets[0], request, body_bytes)
        for each in self._sockets:
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(each, selectors.EVENT_READ)

    def run(self, seconds: float) -> float:
        """Answers a second."""
        left = dict.fromkeys(self._sockets, self._answer_bytes)
        buffer = bytearray(DISCARD)
        done, started = 0, time.perf_counter()
        for each in self._sockets:
            each.sendall(self._request)
        stop = started + seconds
        open_requests = len(self._sockets)
        while open_requests:
            for key, _ in self._selector.select():
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                left[ready] -= ready.recv_into(buffer, min(left[ready], DISCARD), socket.MSG_TRUNC)
                if left[ready] == 0:
                    done += 1
                    if time.perf_counter() < stop:
                        left[ready] = self._answer_bytes
                        ready.sendall(self._request)
                    else:
                        open_requests -= 1
        return done / (time.perf_counter() - started)

    def close(self) -> None:
        """Close the connections."""
        self._selector.close()
        for each in self._sockets:
            each.close()


def _answer_length(connection: socket.socket, request: bytes, body_bytes: int) -> int:
    connection.sendall(request)
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    assert received.startswith(b"HTTP/1.1 200 "), received[:200]
    head = received.index(b"\r\n\r\n") + 4
    buffer = bytearray(DISCARD)
    rest = head + body_bytes - len(received)
    while rest:
        rest -= connection.recv_into(buffer, min(rest, DISCARD), socket.MSG_TRUNC)
    return head + body_bytes


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended with {process.returncode}")
        try:
            if ask(port, "GET", "/v2/")[0] == 200:
                return
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"{process.args!r} does not answer on port {port}")


async def _serve(folder: Path, port: int) -> None:
    from sampan.api.registry.server import Site, make_runner
    from sampan.blobs.service import Blobs
    from sampan.registry.service import Registry
    from sampan.state.database import Database

    database = Database.open(folder / "state.db")
    blobs = Blobs(folder / "registry", database)
    blobs.files.prepare()
    registry = Registry(blobs, database)
    registry.start()
    runner = make_runner(registry)
    await runner.setup()
    await Site(runner, socket.create_server(("127.0.0.1", port))).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="serve our registry for a benchmark")
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.folder, arguments.port))
