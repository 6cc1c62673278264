"""Logging in and searching by both command lines, at our own registry and at Debian's with a password file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import peers
from harbour import Harbour, busybox_image

pytestmark = pytest.mark.root
LIMIT_S = 60
GUARDED = "127.0.0.1:5555"
# bcrypt of "secret"
PASSWORDS = "sailor:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"
PROGRAMS = {"docker": [peers.docker_cli()], "sampan": [str(Path(sys.executable).parent / "sampan")]}


REFUSED = (["-f", "colour=red", "bb"], ["-f", "stars=many", "bb"], ["--limit", "101", "bb"], [" "])


def debian_registry() -> str:
    unpacked = peers.TOOLS / "usr/bin/docker-registry"
    found = str(unpacked) if unpacked.exists() else shutil.which("docker-registry")
    if found is None:
        pytest.skip("docker-registry is not here; run: bash tests/peers.sh")
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    """A daemon with its registry, one image pushed into it, and beside them a registry that wants a password."""
    folder = tmp_path_factory.mktemp("login")
    with Harbour(folder / "h") as harbour:
        harbour.start()
        client = harbour.client()
        try:
            busybox_image(client, "127.0.0.1:5000/team/bb", "1", marker="one")
            client.images.push("127.0.0.1:5000/team/bb", tag="1")
        finally:
            client.close()
        yield harbour


@pytest.fixture(scope="module")
def guarded(home: Harbour, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "passwords").write_text(PASSWORDS)
    document = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": GUARDED},
        "auth": {"htpasswd": {"realm": "harbour", "path": str(folder / "passwords")}},
    }
    (folder / "registry.json").write_text(json.dumps(document))
    home.host.spawn([debian_registry(), "serve", str(folder / "registry.json")], log=folder / "log")
    deadline = time.monotonic() + 20
    while "401" not in home.host.run(
        ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://{GUARDED}/v2/"], check=False
    ):
        assert time.monotonic() < deadline, (folder / "log").read_text()
    return GUARDED


def run(program: str, home: Harbour, settings: Path, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DOCKER_CONFIG": str(settings)}
    command = [*PROGRAMS[program], "-H", f"unix://{home.socket}", *words]
    return subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=LIMIT_S, check=False, env=environment
    )


def test_both_programs_write_the_same_file(home: Harbour, guarded: str, tmp_path: Path) -> None:
    for program in PROGRAMS:
        settings = tmp_path / program
        settings.mkdir()
        (settings / "config.json").write_text('{"detachKeys": "ctrl-x"}')
        done = run(program, home, settings, "login", "-u", "sailor", "--password-stdin", guarded, given="secret\n")
        assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["Login Succeeded"]), done.stderr
    written = {program: (tmp_path / program / "config.json").read_text() for program in PROGRAMS}
    assert json.loads(written["sampan"]) == json.loads(written["docker"])
    assert (tmp_path / "sampan/config.json").stat().st_mode & 0o777 == 0o600
    assert guarded in json.loads(written["docker"])["auths"]
    # Each program uses and forgets what the other kept.
    for program, other in (("docker", "sampan"), ("sampan", "docker")):
        image = f"{guarded}/{program}/bb:1"
        assert run(program, home, tmp_path / other, "tag", "127.0.0.1:5000/team/bb:1", image).returncode == 0
        assert run(program, home, tmp_path / other, "push", "-q", image).returncode == 0
        assert run(program, home, tmp_path / other, "logout", guarded).returncode == 0
        assert json.loads((tmp_path / other / "config.json").read_text())["auths"] == {}
        refused = run(program, home, tmp_path / other, "push", "-q", image)
        assert refused.returncode == 1
        assert "no basic auth credentials" in refused.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_wrong_password_is_told_and_not_kept(program: str, home: Harbour, guarded: str, tmp_path: Path) -> None:
    done = run(program, home, tmp_path, "login", "-u", "sailor", "--password-stdin", guarded, given="wrong")
    assert done.returncode == 1
    assert "unauthorized" in done.stderr
    assert not (tmp_path / "config.json").exists()


@pytest.mark.parametrize("program", PROGRAMS)
def test_our_own_registry_takes_every_login(program: str, home: Harbour, tmp_path: Path) -> None:
    done = run(program, home, tmp_path, "login", "-u", "a", "--password-stdin", "127.0.0.1:5000", given="b")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["bb"], ["127.0.0.1:5000/team/bb"]),
        (["127.0.0.1:5000/team"], ["team/bb"]),
        (["--limit", "1", "b"], ["127.0.0.1:5000/team/bb"]),
        (["-f", "stars=1", "bb"], []),
        (["-f", "is-official=true", "bb"], []),
        (["-f", "is-automated=false", "bb"], ["127.0.0.1:5000/team/bb"]),
        (["nothing"], []),
    ],
    ids=lambda value: " ".join(value),
)
def test_search_finds_repositories(
    program: str, home: Harbour, words: list[str], expected: list[str], tmp_path: Path
) -> None:
    done = run(program, home, tmp_path, "search", "--format", "{{.Name}}", *words)
    assert (done.returncode, done.stdout.split()) == (0, expected), done.stderr


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_a_search_that_cannot_be_meant_is_refused(
    program: str, home: Harbour, words: list[str], tmp_path: Path
) -> None:
    done = run(program, home, tmp_path, "search", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert "daemon" in done.stderr or "limit" in done.stderr


def test_podman_searches_the_same_registry(home: Harbour) -> None:
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    found = home.host.run(["podman", "search", "--tls-verify=false", "--format", "{{.Name}}", "127.0.0.1:5000/bb"])
    assert found.split() == ["127.0.0.1:5000/team/bb"]


def test_a_connection_goes_through_standard_streams(home: Harbour, tmp_path: Path) -> None:
    """What `docker -H ssh://` starts on the other side: here both programs find `ssh` to be a local shell."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(f"#!/bin/sh\nDOCKER_HOST=unix://{home.socket} exec sampan system dial-stdio\n")
    (programs / "ssh").chmod(0o755)
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    for command in PROGRAMS.values():
        done = subprocess.run(
            [*command, "-H", "ssh://somebody@somewhere", "images", "-q"],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
            env={**os.environ, "PATH": path, "DOCKER_CONFIG": str(tmp_path)},
        )
        assert (done.returncode, bool(done.stdout.split())) == (0, True), done.stderr
