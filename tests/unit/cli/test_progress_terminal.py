"""Progress on a terminal is drawn as docker draws it, to the byte: both programs on a terminal of the same width."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import socketserver
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

LINES: list[dict[str, Any]] = [
    {"status": "Pulling from library/bb", "id": "latest"},
    {"status": "Pulling fs layer", "progressDetail": {}, "id": "aaaaaaaaaaaa"},
    {"status": "Pulling fs layer", "progressDetail": {}, "id": "bbbbbbbbbbbb"},
    {"status": "Waiting", "progressDetail": {}, "id": "bbbbbbbbbbbb"},
    {"status": "Downloading", "progressDetail": {"current": 1000, "total": 3000000}, "id": "aaaaaaaaaaaa"},
    {"status": "Downloading", "progressDetail": {"current": 1500000, "total": 3000000}, "id": "aaaaaaaaaaaa"},
    {"status": "Downloading", "progressDetail": {"current": 1500000}, "id": "bbbbbbbbbbbb"},
    {"status": "Extracting", "progressDetail": {"current": 3, "units": "s"}, "id": "bbbbbbbbbbbb"},
    {"status": "Verifying Checksum", "progressDetail": {}, "id": "aaaaaaaaaaaa"},
    {"status": "Extracting", "progressDetail": {"current": 3000000, "total": 3000000}, "id": "aaaaaaaaaaaa"},
    {"status": "Extracting", "progressDetail": {"current": 4000000, "total": 3000000}, "id": "bbbbbbbbbbbb"},
    {"status": "Pull complete", "progressDetail": {}, "id": "aaaaaaaaaaaa"},
    {"status": "Pull complete", "progressDetail": {}, "id": "bbbbbbbbbbbb"},
    {"status": "Digest: sha256:00"},
    {"status": "Status: Downloaded newer image for bb:latest"},
]


class _Pull(socketserver.StreamRequestHandler):
    """Answers the ping, and every pull with `LINES`."""

    def handle(self) -> None:
        first = self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        body = b"" if b"_ping" in first else b"".join(json.dumps(line).encode() + b"\r\n" for line in LINES)
        head = "HTTP/1.1 200 OK\r\nApi-Version: 1.47\r\nOstype: linux\r\nConnection: close\r\n"
        self.wfile.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

    with Server(str(tmp_path / "s.sock"), _Pull) as server:
        serving = threading.Thread(target=lambda: server.serve_forever(0.05))
        serving.start()
        yield f"unix://{tmp_path}/s.sock"
        server.shutdown()
        serving.join()


def on_a_terminal(command: list[str], columns: int, home: Path) -> bytes:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm", "DOCKER_CONFIG": str(home)}
    environment.pop("COLUMNS", None)
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        found = b""
        while True:
            try:
                data = os.read(ours, 1 << 16)
            except OSError:  # the terminal's other end is gone
                break
            if not data:
                break
            found += data
        assert process.wait(60) == 0, found
    os.close(ours)
    return found


@pytest.mark.skipif(shutil.which("docker") is None, reason="the docker command line is not installed")
@pytest.mark.parametrize("columns", [60, 100, 111, 200])
def test_layers_are_drawn_in_place_as_docker_draws_them(address: str, columns: int, tmp_path: Path) -> None:
    words = ["-H", address, "pull", "bb"]
    program = [sys.executable, "-m", "sampan.cli.main"]
    assert on_a_terminal([*program, *words], columns, tmp_path) == on_a_terminal(["docker", *words], columns, tmp_path)
