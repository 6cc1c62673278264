"""Docker's own files: `config.json`, helpers and contexts are read and written so that both programs use them."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.cli import failures, main, session
from sampan.cli.endpoint import archive, choose, connect, contexts
from sampan.cli.settings import auth, file, helpers, preferences

needs_docker = pytest.mark.skipif(shutil.which("docker") is None, reason="the docker command line is not installed")

HELPER = """#!/bin/sh
# Keeps secrets in files, as the protocol of docker-credential-helpers says.
place=$STORE; mkdir -p "$place"; echo "$1" >>"$place/log"
case $1 in
  get) read -r server; name=$(echo "$server" | tr /: __)
    [ -e "$place/$name" ] || { echo "credentials not found in native keychain"; exit 1; }
    cat "$place/$name" ;;
  store) said=$(cat); name=$(echo "$said" | sed 's/.*"ServerURL":"\\([^"]*\\)".*/\\1/' | tr /: __)
    echo "$said" >"$place/$name" ;;
  erase) read -r server; rm -f "$place/$(echo "$server" | tr /: __)" ;;
  list) echo '{"ship:5000":"me"}' ;;
esac
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A person with nothing: no settings, no variables, a helper called `fake` in the search path."""
    for name in ("DOCKER_HOST", "SAMPAN_HOST", "DOCKER_CONTEXT", "DOCKER_API_VERSION", "DOCKER_CONTENT_TRUST"):
        monkeypatch.delenv(name, raising=False)
    programs = tmp_path / "bin"
    programs.mkdir()
    helper = programs / "docker-credential-fake"
    helper.write_text(HELPER)
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("STORE", str(tmp_path / "store"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setattr(file, "_read", {})
    before = dict(session.chosen)
    yield tmp_path / "docker"
    session.chosen.clear()
    session.chosen.update(before)


def sampan(*words: str) -> int:
    file._read.clear()
    return main.main(["sampan", *words])


def docker(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *words], capture_output=True, text=True, timeout=30, check=False)


def configure(home: Path, members: dict[str, Any]) -> None:
    home.mkdir(exist_ok=True)
    (home / "config.json").write_text(json.dumps(members))
    file._read.clear()


# --- config.json


def test_a_login_is_kept_for_us_alone_and_what_we_do_not_know_stays(home: Path) -> None:
    configure(home, {"unknown": {"z": 1, "a": [2]}, "psFormat": "{{.ID}}"})
    assert auth.keep("ship:5000", "me", "pa:ss") == ""
    written = json.loads((home / "config.json").read_text())
    assert written["unknown"] == {"z": 1, "a": [2]}
    assert written["auths"] == {"ship:5000": {"auth": base64.b64encode(b"me:pa:ss").decode()}}
    assert stat.S_IMODE((home / "config.json").stat().st_mode) == 0o600
    assert auth.credentials("ship:5000") == {"username": "me", "password": "pa:ss", "serveraddress": "ship:5000"}
    auth.forget("ship:5000")
    assert json.loads((home / "config.json").read_text())["auths"] == {}


def test_an_identity_token_is_kept_instead_of_the_password(home: Path) -> None:
    auth.keep("ship", "me", "secret", "token")
    assert (
        "secret"
        not in base64.b64decode(json.loads((home / "config.json").read_text())["auths"]["ship"]["auth"]).decode()
    )
    assert auth.credentials("ship")["identitytoken"] == "token"


def test_older_programs_wrote_addresses_as_keys(home: Path) -> None:
    configure(home, {"auths": {"https://ship:5000/v1/": {"auth": base64.b64encode(b"a:b").decode()}}})
    assert auth.credentials("ship:5000")["username"] == "a"


@pytest.mark.parametrize("content", ["{", "[]", "\0", '{"auths": 3}', '{"auths": {"ship": {"auth": "%%%"}}}'])
def test_a_file_that_cannot_be_read_is_told_and_holds_nothing(home: Path, content: str) -> None:
    home.mkdir()
    (home / "config.json").write_text(content)
    file._read.clear()
    assert auth.credentials("ship") == {}


@pytest.mark.parametrize("setting", [{"credsStore": "fake"}, {"credHelpers": {"ship:5000": "fake"}}])
def test_a_helper_keeps_the_password(home: Path, setting: dict[str, Any]) -> None:
    configure(home, setting)
    assert auth.credentials("ship:5000") == {}
    assert auth.keep("ship:5000", "me", "pw") == "fake"
    assert auth.credentials("ship:5000") == {"username": "me", "password": "pw", "serveraddress": "ship:5000"}
    assert json.loads((home / "config.json").read_text())["auths"] == {"ship:5000": {}}
    assert list(auth.all_known()) == ["ship:5000"]
    auth.forget("ship:5000")
    assert auth.credentials("ship:5000") == {}
    assert (home.parent / "store" / "log").read_text().split()[:3] == ["get", "store", "get"]


def test_a_helper_that_is_missing_is_named(home: Path) -> None:
    configure(home, {"credsStore": "absent"})
    with pytest.raises(helpers.HelperFailed, match="docker-credential-absent"):
        auth.credentials("ship")


def test_proxies_go_into_containers_unless_given() -> None:
    config = {
        "proxies": {"default": {"httpProxy": "http://p", "noProxy": "x"}, "tcp://ship": {"httpProxy": "http://q"}}
    }
    assert preferences.proxies(config, "unix:///s", ["NO_PROXY=y"]) == [
        "HTTP_PROXY=http://p",
        "http_proxy=http://p",
        "no_proxy=x",
    ]
    assert preferences.proxies(config, "tcp://ship", []) == ["HTTP_PROXY=http://q", "http_proxy=http://q"]
    assert preferences.proxies({"proxies": 3}, "x", []) == []


def test_preferences_count_where_nothing_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(home, {"detachKeys": "ctrl-x"})
    assert (preferences.detach_keys(""), preferences.detach_keys("a")) == ("ctrl-x", "a")
    monkeypatch.setenv("DOCKER_DEFAULT_PLATFORM", "linux/arm64")
    assert (preferences.platform(""), preferences.platform("x")) == ("linux/arm64", "x")
    preferences.check_trust(None)
    with pytest.raises(preferences.NotVerified):
        preferences.check_trust(False)
    monkeypatch.setenv("DOCKER_CONTENT_TRUST", "1")
    preferences.check_trust(True)
    with pytest.raises(preferences.NotVerified):
        preferences.check_trust(None)


# --- contexts


def certificate(folder: Path) -> Path:
    path = folder / "ca.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "30"]
    subprocess.run([*words, "-keyout", "/dev/null", "-out", str(path)], capture_output=True, timeout=60, check=True)
    return path


@needs_docker
def test_docker_reads_what_we_write(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ca = certificate(tmp_path)
    assert sampan("context", "create", "far", "--description", "there", "--docker", f"host=tcp://s:1,ca={ca}") == 0
    assert sampan("context", "use", "far") == 0
    capsys.readouterr()
    for words in (
        ("ls",),
        ("ls", "--format", "json"),
        ("ls", "-q"),
        ("inspect", "far"),
        ("inspect", "default"),
        ("show",),
    ):
        theirs = docker("context", *words)
        assert sampan("context", *words) == theirs.returncode == 0
        ours = capsys.readouterr().out.replace("/run/sampan/sampan.sock", "/var/run/docker.sock")
        assert re.sub(" +", " ", ours) == re.sub(" +", " ", theirs.stdout)
    assert docker("context", "export", "far", str(tmp_path / "theirs.tar")).returncode == 0
    assert sampan("context", "import", "back", str(tmp_path / "theirs.tar")) == 0
    assert contexts.keys("back") == {"ca.pem": ca.read_bytes()}


@needs_docker
def test_we_read_what_docker_writes(home: Path, tmp_path: Path) -> None:
    ca = certificate(tmp_path)
    assert (
        docker("context", "create", "far", "--docker", f"host=tcp://s:1,ca={ca},skip-tls-verify=true").returncode == 0
    )
    theirs = (contexts.meta_folder("far") / "meta.json").read_bytes()
    found = contexts.endpoint("far")
    assert found.address == "tcp://s:1"
    assert found.tls is not None
    assert (found.tls["verify"], Path(found.tls["ca"]).read_text()) == (False, ca.read_text())
    assert sampan("context", "update", "far", "--description", "") == 0
    assert (contexts.meta_folder("far") / "meta.json").read_bytes() == theirs
    assert sampan("context", "export", "far", str(tmp_path / "ours.tar")) == 0
    assert docker("context", "import", "again", str(tmp_path / "ours.tar")).returncode == 0
    assert sampan("context", "rm", "-f", "far", "again") == 0
    assert docker("context", "ls", "-q").stdout == "default\n"


@needs_docker
@pytest.mark.parametrize(
    "words",
    [
        "create a",
        "create default",
        "create x/y",
        "create far --docker hst=x",
        "create far --docker host=tcp://x,ca=/none",
        "use nope",
        "rm nope",
        "rm default",
        "inspect nope",
        "update nope",
        "export nope -",
    ],
)
def test_refusals_are_dockers(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = docker("context", *words.split())
    code = sampan("context", *words.split())
    captured = capsys.readouterr()
    assert (code, captured.err.replace("sampan", "docker")) == (theirs.returncode, theirs.stderr)


def test_an_archive_of_strangers_names_is_refused() -> None:
    import io
    import tarfile

    for name in ("../evil", "tls/other/x", "tls/docker/../../x", "etc/passwd"):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
        with pytest.raises(failures.CliError):
            archive.unpack(packed.getvalue())
    with pytest.raises(failures.CliError):
        archive.unpack(b"nonsense")


# --- which daemon


@pytest.mark.parametrize(
    ("chosen", "environment", "configured", "expected"),
    [
        ({}, {}, "", "default"),
        ({}, {}, "far", "far"),
        ({}, {"DOCKER_CONTEXT": "near"}, "far", "near"),
        ({}, {"DOCKER_HOST": "unix:///x", "DOCKER_CONTEXT": "near"}, "far", "default"),
        ({"context": "given"}, {"DOCKER_HOST": "unix:///x"}, "far", "given"),
        ({"host": ("unix:///y",)}, {"DOCKER_CONTEXT": "near"}, "far", "default"),
    ],
)
def test_the_nearest_word_chooses_the_context(
    chosen: dict[str, Any], environment: dict[str, str], configured: str, expected: str
) -> None:
    assert choose.context_name(chosen, environment, configured) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ship", ["-T", "--", "ship"]),
        ("me@ship", ["-T", "-l", "me", "--", "ship"]),
        ("me@ship:22", ["-T", "-l", "me", "-p", "22", "--", "ship"]),
    ],
)
def test_an_ssh_address_is_a_command(text: str, expected: list[str]) -> None:
    assert connect.ssh_command(text)[3:-1] == expected


@pytest.mark.parametrize("text", ["", "-oProxyCommand=x", "-l@ship", "a:b@ship", "ship:x", "ship/it's"])
def test_an_ssh_address_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(failures.BadUsage):
        connect.ssh_command(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("ship", ("ship", 2375)), ("ship:1", ("ship", 1)), ("[::1]:2", ("::1", 2)), (":3", ("127.0.0.1", 3))],
)
def test_hosts_and_ports(text: str, expected: tuple[str, int]) -> None:
    assert connect.host_and_port(text, 2375) == expected


def test_both_spellings_of_a_command_are_installed() -> None:
    import tomllib

    from sampan.cli import table

    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    single = {path for path, entry in table.COMMANDS.items() if " " not in path and entry[2]}
    expected = {"sampan", *(f"sampan-{name}" for name in (*single, *table.GROUPS, "daemon", "build"))}
    assert set(project["scripts"]) == expected
    assert set(project["scripts"].values()) == {"sampan.cli.main:main"}
    assert main.arguments(["/usr/bin/sampan-ps", "-a"]) == ["ps", "-a"]
    assert main.arguments(["sampan-container", "ls"]) == ["container", "ls"]


def test_a_start_loads_few_modules() -> None:
    code = (
        "import sys; from sampan.cli import main; before = set(sys.modules);"
        "main.main(['sampan', '-H', 'unix:///nonexistent', 'ps']);"
        "print(*sorted(sys.modules), file=sys.stdout)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    slow = {"argparse", "dataclasses", "inspect", "typing", "pathlib", "urllib.parse", "http.client", "email", "ssl"}
    slow |= {"click", "subprocess", "datetime", "threading", "tempfile", "shutil", "logging", "asyncio", "msgspec"}
    assert loaded & slow == set()
