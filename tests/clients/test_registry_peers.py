"""Other engines at Sampan's registry: dockerd of two ages and podman push to it and pull from it, layers of every form.

Each engine shares a box with a Sampan daemon, so that both see the registry on the box's loopback.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

import box
import harbour
import peers

pytestmark = [pytest.mark.root, pytest.mark.peer]
REGISTRY = "127.0.0.1:5000"
LIMIT_S = 90
PEERS = [name for name in ("docker-20.10", "docker-26.1") if name in peers.available()]


Dock = tuple["Port", peers.Engine]


@dataclass
class Port:
    """One box with our daemon in it."""

    home: box.Box
    socket: Path

    def ours(self, *words: str, input: bytes = b"") -> str:
        """The docker command line at our engine."""
        return run([peers.docker_cli(), "-H", f"unix://{self.socket}", *words], input=input)

    def inside(self, words: Sequence[str], input: bytes = b"") -> str:
        """A program in the box's network and mounts."""
        target = f"--target={self.home.processes()[0]}"
        return run(["nsenter", target, "--net", "--mount", "--pid", "--", *words], input=input)

    def manifest(self, name: str, tag: str) -> dict[str, object]:
        """What the registry serves."""
        program = (
            "import sys, urllib.request as u; o = u.build_opener(u.ProxyHandler({}));"
            "print(o.open(u.Request(sys.argv[1], headers={'Accept': '*/*'})).read().decode())"
        )
        text = self.inside([sys.executable, "-c", program, f"http://{REGISTRY}/v2/{name}/manifests/{tag}"])
        return dict(json.loads(text))


def run(words: Sequence[str], input: bytes = b"") -> str:
    done = subprocess.run(list(words), input=input, capture_output=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout.decode()}{done.stderr.decode()}"
    return done.stdout.decode().strip()


def start_ours(home: box.Box, folder: Path) -> Port:
    socket = folder / "ours.sock"
    program = Path(sys.executable).parent / "sampan"
    command = [
        program,
        "daemon",
        "-H",
        f"unix://{socket}",
        "--data-root",
        folder / "ours",
        "--registry",
        f"tcp://{REGISTRY}",
    ]
    home.start([*command, "--pidfile", folder / "pid"], env=peers.environment(), log=folder / "ours.log")
    deadline = time.monotonic() + 30
    while not home.listening(5000) or not socket.exists():
        assert time.monotonic() < deadline, (folder / "ours.log").read_text()
        time.sleep(0.05)
    port = Port(home, socket)
    port.ours("import", "-c", "CMD echo aboard", "-", f"{REGISTRY}/ours/raw:1", input=harbour.busybox_tar("ours"))
    return port


@pytest.fixture(scope="module", params=PEERS)
def dock(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Port, peers.Engine]]:
    folder = tmp_path_factory.mktemp("dock")
    with peers.running([request.param], folder=folder) as running:
        engine = running[request.param]
        yield start_ours(engine.box, folder), engine


def at(engine: peers.Engine, *words: str, input: bytes = b"") -> str:
    return run([peers.docker_cli(), "-H", engine.host, *words], input=input)


def test_dockerd_pulls_and_runs_what_we_pushed_without_compressing(dock: Dock) -> None:
    port, engine = dock
    port.ours("push", f"{REGISTRY}/ours/raw:1")
    assert "layer.v1.tar" in json.dumps(port.manifest("ours/raw", "1"))
    at(engine, "pull", f"{REGISTRY}/ours/raw:1")
    assert at(engine, "run", "--rm", f"{REGISTRY}/ours/raw:1", "cat", "/marker") == "ours"


def test_we_pull_and_run_what_dockerd_pushed(dock: Dock) -> None:
    port, engine = dock
    name = f"{REGISTRY}/theirs/image:1"
    at(engine, "import", "-c", "CMD echo aboard", "-", name, input=harbour.busybox_tar("theirs"))
    at(engine, "push", name)
    port.ours("pull", name)
    assert port.ours("run", "--rm", name, "cat", "/marker") == "theirs"
    before = port.manifest("theirs/image", "1")
    port.ours("tag", name, f"{REGISTRY}/copied/image:1")
    port.ours("push", f"{REGISTRY}/copied/image:1")
    assert port.manifest("copied/image", "1") == before  # a layer pulled compressed is pushed elsewhere unchanged


def test_dockerd_pushes_a_second_repository_by_mounting(dock: Dock) -> None:
    port, engine = dock
    first, second = f"{REGISTRY}/mount/a:1", f"{REGISTRY}/mount/b:1"
    at(engine, "import", "-", first, input=harbour.busybox_tar("mounted"))
    at(engine, "tag", first, second)
    at(engine, "push", first)
    assert "Mounted from mount/a" in at(engine, "push", second)
    port.ours("pull", second)


@pytest.mark.skipif(shutil.which("podman") is None, reason="podman is not installed: apt-get install podman")
def test_podman_pushes_and_pulls(tmp_path: Path) -> None:
    with box.opened("podman") as home:
        port = start_ours(home, tmp_path)
        places = ["--root", str(tmp_path / "storage"), "--runroot", "/run/podman"]
        options = [*places, "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]

        def podman(*words: str, input: bytes = b"") -> str:
            return port.inside(["podman", *options, *words], input=input)

        port.ours("push", f"{REGISTRY}/ours/raw:1")
        podman("pull", "--tls-verify=false", f"{REGISTRY}/ours/raw:1")
        assert f"{REGISTRY}/ours/raw" in podman("images", "--format", "{{.Repository}}")
        podman("import", "-", f"{REGISTRY}/theirs/podman:1", input=harbour.busybox_tar("podman"))
        podman("push", "--tls-verify=false", f"{REGISTRY}/theirs/podman:1")
        port.ours("pull", f"{REGISTRY}/theirs/podman:1")
        assert port.ours("run", "--rm", f"{REGISTRY}/theirs/podman:1", "cat", "/marker") == "podman"
