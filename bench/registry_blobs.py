"""Blob download and upload, gigabytes a second: ours against docker-registry. Under a minute.

Uploads include hashing and the flush to disk; the folder is in memory unless --folder says otherwise, so that the
program is measured and not the disk. Run: python bench/registry_blobs.py [--peer PROGRAM] [--folder DIR]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import socket
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import harness
import registry_servers as servers

BLOB_BYTES = 100_000_000
SECONDS = 1.2
CHUNK_BYTES = 32 << 10  # what a daemon that streams a layer sends in one HTTP chunk


def location(port: int) -> str:
    """Begin an upload; the path to send to."""
    status, headers, _ = servers.ask(port, "POST", "/v2/bench/app/blobs/uploads/")
    assert status == 202, status
    return headers["location"].removeprefix(f"http://127.0.0.1:{port}")


def upload_whole(port: int, file: Path, digest: str) -> float:
    """POST, then one PUT by sendfile. Returns gigabytes."""
    path = location(port)
    head = f"PUT {path}{'&' if '?' in path else '?'}digest={digest} HTTP/1.1\r\nHost: localhost\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection, file.open("rb") as content:
        connection.sendall(f"{head}Content-Length: {BLOB_BYTES}\r\n\r\n".encode())
        connection.sendfile(content)
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 201 "), answer
    return BLOB_BYTES / 1e9


def upload_streamed(port: int, framed: bytes, digest: str) -> float:
    """POST, a PATCH of chunked transfer encoding, an empty PUT: what dockerd does. Returns gigabytes."""
    path = location(port)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        connection.sendall(framed)
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 202 "), answer
    headers = dict(line.split(": ", 1) for line in answer.decode().split("\r\n\r\n")[0].split("\r\n")[1:])
    path = headers["Location"].removeprefix(f"http://127.0.0.1:{port}")
    status, _, body = servers.ask(port, "PUT", f"{path}{'&' if '?' in path else '?'}digest={digest}")
    assert status == 201, body
    return BLOB_BYTES / 1e9


def together(action: Callable[[], float], count: int) -> Callable[[], float]:
    """The same action in several threads; the sum of what they did."""

    def run() -> float:
        amounts: list[float] = []
        threads = [threading.Thread(target=lambda: amounts.append(action())) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(amounts) == count
        return sum(amounts)

    return run


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", default="", help="the docker-registry program")
    parser.add_argument("--folder", default="/dev/shm", help="where the registries keep their content")
    arguments = parser.parse_args()
    program = servers.peer_program(arguments.peer)
    content = os.urandom(BLOB_BYTES)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    parts = (content[first : first + CHUNK_BYTES] for first in range(0, BLOB_BYTES, CHUNK_BYTES))
    framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-registry-", dir=arguments.folder)))
        file = folder / "blob"
        file.write_bytes(content)
        ports = {"ours": stack.enter_context(servers.running(*servers.ours(folder / "ours")))}
        if program:
            ports["peer"] = stack.enter_context(servers.running(*servers.peer(folder / "peer", program)))
        if (os.cpu_count() or 1) > 1:
            os.sched_setaffinity(0, {1})
        for port in ports.values():
            servers.push_blob(port, "bench/app", content, digest)
        rows = [downloads(ports, digest, connections) for connections in (1, 8)]
        for what, action in (
            ("upload, one PUT", lambda port: upload_whole(port, file, digest)),
            ("upload, chunked PATCH", lambda port: upload_streamed(port, framed, digest)),
            ("upload, 4 PUTs at once", lambda port: together(lambda: upload_whole(port, file, digest), 4)()),
        ):
            measures = {
                name: (lambda action=action, port=port: harness.rate_of(lambda: action(port), seconds=SECONDS))
                for name, port in ports.items()
            }
            rows.append(harness.in_turn(what, "GB/s", measures))
    notes = {
        "blob": f"{BLOB_BYTES} bytes",
        "folder": arguments.folder,
        "peer": Path(program).name if program else "not installed",
    }
    print(harness.report("registry_blobs", rows, ours="ours", peer="peer", notes=notes))


def downloads(ports: dict[str, int], digest: str, connections: int) -> harness.Row:
    """Download by several connections at once."""
    request = f"GET /v2/bench/app/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    hammers = {
        name: servers.Hammer(port, request, connections=connections, body_bytes=BLOB_BYTES)
        for name, port in ports.items()
    }
    measures = {
        name: (lambda hammer=hammer: hammer.run(SECONDS) * BLOB_BYTES / 1e9) for name, hammer in hammers.items()
    }
    row = harness.in_turn(f"download, {connections} at once", "GB/s", measures)
    for hammer in hammers.values():
        hammer.close()
    return row


if __name__ == "__main__":
    main()
