"""Docker Compose brings a project of three services up, changes it and takes it down: against Sampan and dockerd.

The project has what projects have: an image that is built, health that others wait for, a network with aliases, a
volume, labels, ports, environment and a start order.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import harbour
import peers
from stock import ENGINES, IMAGE, Cli

COMPOSE = peers.PEERS / "compose-2.26/usr/libexec/docker/cli-plugins/docker-compose"
pytestmark = [
    pytest.mark.root,
    pytest.mark.peer,
    pytest.mark.skipif(not COMPOSE.exists(), reason="docker-compose is not unpacked; run: bash tests/peers.sh"),
]
LIMIT_S = 180

PROJECT = """
services:
  store:
    image: bb:1
    command: sh -c 'echo store is up; echo $$CARGO > /data/cargo; touch /ready; sleep 1000'
    environment:
      CARGO: tea
    volumes:
      - hold:/data
    healthcheck:
      test: ["CMD", "test", "-f", "/ready"]
      interval: 1s
      retries: 30
    labels:
      tier: back
    networks:
      pier:
        aliases: [pantry]
  clerk:
    image: bb:1
    command: ["sh", "-c", "while :; do echo ahoy; /bin/busybox sleep 0.2; done"]
    depends_on:
      store:
        condition: service_healthy
    networks: [pier]
    stop_grace_period: 1s
  web:
    image: bb:1
    command: sh -c 'mkdir /www; echo -n landed > /www/index.html; exec /bin/busybox httpd -f -p 80 -h /www'
    depends_on: [clerk]
    ports: ["127.0.0.1:8097:80"]
    volumes:
      - type: volume
        source: hold
        target: /seen
        read_only: true
    networks: [pier]
    restart: unless-stopped
volumes:
  hold:
    labels:
      kept: "yes"
networks:
  pier:
    ipam:
      config: [{subnet: 10.79.0.0/24}]
"""
BUILT = """
services:
  maker:
    build:
      context: .
      args: {GREETING: ahoy}
"""
DOCKERFILE = """
FROM bb:1
ARG GREETING
ENV SAID=$GREETING
RUN echo built > /mark
CMD ["sh", "-c", "echo $SAID; cat /mark"]
"""


@dataclass
class Project:
    """One project at one engine."""

    docker: Cli
    folder: Path

    def __call__(self, *words: str, rc: int = 0) -> str:
        environment = peers.environment() | {
            "DOCKER_HOST": self.docker.engine.host,
            "DOCKER_BUILDKIT": "0",
            "DOCKER_CONFIG": str(self.folder / "config"),
        }
        done = subprocess.run(
            [COMPOSE, "--ansi", "never", "--project-name", "quay", *words],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        output = done.stdout + done.stderr
        assert done.returncode == rc, f"compose {' '.join(words)} ended with {done.returncode}: {output}"
        return output

    def states(self) -> dict[str, str]:
        """`{"quay-web-1": "running"}`."""
        lines = self("ps", "-a", "--format", "json").splitlines()
        return {one["Name"]: one["State"] for one in map(json.loads, lines)}


@pytest.fixture(scope="module", params=ENGINES)
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("project")
    (folder / "config").mkdir()
    (folder / "compose.yaml").write_text(PROJECT)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    with peers.running([request.param], folder=tmp_path_factory.mktemp("engine")) as running:
        docker = Cli(running[request.param])
        docker("import", "-c", "CMD sleep 1000", "-", IMAGE, input=harbour.busybox_tar("one"))
        yield Project(docker, folder)


def test_a_project_is_brought_up_changed_and_taken_down(project: Project) -> None:
    output = project("up", "-d", "--wait")
    assert re.search(r"quay-store-1\s+Healthy", output)
    assert project.states() == {"quay-store-1": "running", "quay-clerk-1": "running", "quay-web-1": "running"}

    assert project("exec", "-T", "web", "cat", "/seen/cargo") == "tea\n"
    for name in ("store", "pantry", "web"):
        words = ("exec", "-T", "clerk", "/bin/busybox", "ping", "-c", "1", "-W", "5", name)
        assert "1 packets received" in project(*words)
    assert fetched(project, "http://127.0.0.1:8097/") == "landed"
    assert project("port", "web", "80").strip() == "127.0.0.1:8097"

    project("up", "-d", "--scale", "clerk=3", "--no-recreate")
    assert [name for name in project.states() if "clerk" in name] != []
    assert sum("clerk" in name for name in project.states()) == 3
    assert followed(project) == {"clerk-1", "clerk-2", "clerk-3"}
    assert "ahoy" in project("logs", "--tail", "5", "clerk")
    assert "store is up" in project("logs", "store")

    project("restart", "-t", "1", "web")
    project("pause", "store")
    assert project.states()["quay-store-1"] == "paused"
    project("unpause", "store")
    assert "clerk" in project("top", "clerk") or "sh" in project("top", "clerk")
    project("stop", "-t", "1", "web")
    assert project.states()["quay-web-1"] == "exited"
    project("start", "web")
    assert "aside" in project("run", "--rm", "-T", "web", "echo", "aside").splitlines()
    assert "quay" in project("ls")

    changed = PROJECT.replace("CARGO: tea", "CARGO: salt")
    (project.folder / "compose.yaml").write_text(changed)
    output = project("up", "-d", "--wait", "--scale", "clerk=1")
    assert re.search(r"quay-store-1\s+(Recreated|Started|Healthy)", output)
    assert project("exec", "-T", "web", "cat", "/seen/cargo") == "salt\n"
    (project.folder / "compose.yaml").write_text(PROJECT)

    project("down", "-v", "-t", "1")
    assert project.states() == {}
    docker = project.docker
    assert "quay_pier" not in docker.out("network", "ls", "--format", "{{.Name}}").split()
    assert "quay_hold" not in docker.out("volume", "ls", "-q").split()
    assert docker.out("ps", "-aq") == ""


def test_an_image_is_built_for_a_service(project: Project) -> None:
    (project.folder / "compose.yaml").write_text(BUILT)
    try:
        assert {"ahoy", "built"} <= set(project("run", "--build", "--rm", "-T", "maker").splitlines())
        project("down")
        assert "Deleted: sha256:" in project.docker("rmi", "quay-maker")
    finally:
        (project.folder / "compose.yaml").write_text(PROJECT)


def followed(project: Project) -> set[str]:
    """Whose lines `logs -f` shows as they come: until three containers were heard, or 300 lines passed."""
    environment = peers.environment() | {"DOCKER_HOST": project.docker.engine.host}
    command = [COMPOSE, "--ansi", "never", "--project-name", "quay", "logs", "-f", "--tail", "1", "clerk"]
    with subprocess.Popen(
        command, cwd=project.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        heard: set[str] = set()
        for _, line in zip(range(300), process.stdout, strict=False):
            heard |= set(re.findall(r"(clerk-\d)\s+\| ahoy", line))
            if len(heard) == 3:
                break
        process.kill()
    return heard


def fetched(project: Project, url: str) -> str:
    """From the engine's own host: its loopback is not ours."""
    namespace = f"--net=/proc/{project.docker.engine.box.processes()[0]}/ns/net"
    program = (
        "import sys, urllib.request as u; print(u.build_opener(u.ProxyHandler({})).open(sys.argv[1]).read().decode())"
    )
    deadline = time.monotonic() + 20
    while True:
        command = ["nsenter", namespace, sys.executable, "-c", program, url]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
        assert time.monotonic() < deadline, f"no answer from {url}: {done.stderr}"
        time.sleep(0.05)
