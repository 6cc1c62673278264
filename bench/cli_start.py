"""How long the command line takes to start: `sampan` against bare Python and against the docker command line.

Run: python bench/cli_start.py [--rounds 3] [--runs 20]

Bare Python is this environment's `python -c pass`: what any program in it costs. `version` and `ps` ask a socket that
answers at once with little, so what is left is the program's own start. Under a minute; nothing else should be running.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import socketserver
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import harness
import peers

BARE = "bare python"
OURS = "sampan"
DOCKER = "docker"
VERSION = {"Version": "1", "ApiVersion": "1.47", "MinAPIVersion": "1.24", "Os": "linux", "Arch": "amd64"}


class _Daemon(socketserver.StreamRequestHandler):
    """Says little, at once."""

    def handle(self) -> None:
        """One connection, any number of requests."""
        while first := self.rfile.readline():
            while self.rfile.readline().strip():
                pass
            body = b"" if b"_ping" in first else json.dumps(VERSION if b"/version" in first else []).encode()
            head = f"HTTP/1.1 200 OK\r\nApi-Version: 1.47\r\nOstype: linux\r\nContent-Length: {len(body)}\r\n"
            self.wfile.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@contextlib.contextmanager
def answering() -> Iterator[str]:
    """A daemon's address, while the block lasts."""
    with tempfile.TemporaryDirectory() as folder, _Server(f"{folder}/s.sock", _Daemon) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"unix://{folder}/s.sock"
        server.shutdown()


def start_ms(command: Sequence[str], *, address: str, runs: int) -> float:
    """Milliseconds from start to end, the middle of `runs`."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "DOCKER_HOST": address}
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    program = str(Path(sys.executable).parent / "sampan")
    rows = []
    with answering() as address:
        measure = functools.partial(start_ms, address=address, runs=arguments.runs)
        for words in (("version",), ("ps",), ("--help",)):
            contenders = {
                OURS: functools.partial(measure, [program, *words]),
                BARE: functools.partial(measure, [sys.executable, "-c", "pass"]),
                DOCKER: functools.partial(measure, [peers.docker_cli(), *words]),
            }
            what = f"start of `{' '.join(words)}`"
            rows.append(harness.in_turn(what, "ms", contenders, rounds=arguments.rounds, lower_is_better=True))
    harness.report("cli_start", rows, ours=OURS, peer=BARE, notes={"docker": peers.docker_cli_version()})


if __name__ == "__main__":
    main()
