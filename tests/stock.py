"""The stock docker command line at an engine: what the tests in `clients` share."""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass

import peers

LIMIT_S = 60
ENGINES = [name for name in ("sampan", "docker-26.1") if name in peers.available()]
IMAGE = "bb:1"


@dataclass
class Cli:
    """The docker command line at one engine."""

    engine: peers.Engine

    def __call__(self, *words: str, input: bytes | None = None, rc: int | None = 0) -> str:
        done = self.run(*words, input=input)
        output = done.stdout.decode() + done.stderr.decode()
        if rc is not None:
            assert done.returncode == rc, f"docker {' '.join(words)} ended with {done.returncode}: {output}"
        return output

    def run(self, *words: str, input: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        command = [peers.docker_cli(), "-H", self.engine.host, *words]
        return subprocess.run(command, input=input or b"", capture_output=True, timeout=LIMIT_S, check=False)

    def out(self, *words: str, input: bytes | None = None) -> str:
        """Standard output alone, stripped; the command must succeed."""
        done = self.run(*words, input=input)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    @property
    def ours(self) -> bool:
        return self.engine.name == "sampan"


def until(docker: Cli, expected: str, *words: str) -> str:
    """Repeat a command until its output matches."""
    deadline = time.monotonic() + 20
    while not re.search(expected, seen := docker(*words, rc=None)):
        assert time.monotonic() < deadline, f"docker {' '.join(words)} never said {expected!r}: {seen}"
        time.sleep(0.02)
    return seen
