"""exec, top and wait, the same at dockerd and at Sampan; an exec is confined as the first process is."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from typing import Any

import docker as sdk
import pytest

import peers
from stock import IMAGE, LIMIT_S, Cli, until

pytestmark = [pytest.mark.root, pytest.mark.peer]
STATUS = "^(Uid|Gid|Groups|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp|Umask):"
HOLD = ("sleep", "1000")


def status(text: str) -> dict[str, list[str]]:
    """The lines of /proc/<pid>/status that say how a process is confined."""
    lines = (line.split(":") for line in text.splitlines() if re.match(STATUS, line))
    return {name: value.split() for name, value in lines}


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--cap-drop", "ALL", "--cap-add", "CHOWN"),
        ("--user", "1000:1001", "--group-add", "44", "--group-add", "55"),
        ("--security-opt", "no-new-privileges"),
        ("--security-opt", "seccomp=unconfined"),
        ("--privileged",),
        ("--init",),
        ("-t",),
    ],
)
def test_an_exec_is_confined_as_the_first_process(docker: Cli, options: tuple[str, ...]) -> None:
    docker("run", "-d", "--name", "box", *options, IMAGE, *HOLD)
    first = status(docker.out("exec", "box", "cat", "/proc/1/status"))
    exec_ = status(docker.out("exec", "box", "cat", "/proc/self/status"))
    assert len(first) >= 10
    assert exec_ == first
    assert exec_["CapInh"] == exec_["CapAmb"] == ["0000000000000000"]


def test_another_user_in_an_exec(docker: Cli) -> None:
    docker("run", "-d", "--name", "box", "--user", "1000:1001", "--group-add", "44", IMAGE, *HOLD)
    root = status(docker.out("exec", "-u", "0", "box", "cat", "/proc/self/status"))
    assert root["Uid"] == ["0"] * 4
    assert root["CapEff"] == root["CapPrm"] == root["CapBnd"]
    assert "44" in root["Groups"]
    other = status(docker.out("exec", "-u", "7:8", "box", "cat", "/proc/self/status"))
    assert (other["Uid"], other["Gid"]) == (["7"] * 4, ["8"] * 4)
    assert other["CapEff"] == ["0000000000000000"]
    assert other["Umask"] == root["Umask"]
    assert docker.run("exec", "-u", "nobody-here", "box", "true").returncode != 0


def test_a_privileged_exec_has_every_capability_and_no_other_freedom(docker: Cli) -> None:
    docker("run", "-d", "--name", "box", IMAGE, *HOLD)
    plain = status(docker.out("exec", "box", "cat", "/proc/self/status"))
    more = status(docker.out("exec", "--privileged", "box", "cat", "/proc/self/status"))
    assert int(more["CapEff"][0], 16) > int(plain["CapEff"][0], 16)
    assert more["Seccomp"] == plain["Seccomp"]


def test_the_environment_of_an_exec(docker: Cli) -> None:
    docker("run", "-d", "--name", "box", "-e", "A=1", "-e", "B=2", "-w", "/tmp", IMAGE, *HOLD)
    show = ("/bin/busybox", "env")
    found = set(docker.out("exec", "-e", "B=3", "-e", "C=4", "box", *show).splitlines())
    assert {"A=1", "B=3", "C=4", "HOME=/root"} <= found
    assert not any(line.startswith("TERM=") for line in found)
    assert "HOME=/" in docker.out("exec", "-u", "7", "box", *show).splitlines()
    assert docker.out("exec", "box", "sh", "-c", "pwd") == "/tmp"
    assert docker.out("exec", "-w", "/etc", "box", "sh", "-c", "pwd") == "/etc"
    assert docker.run("exec", "-w", "/no/such", "box", "true").returncode in (126, 127)


def test_a_detached_exec_and_what_inspect_says(docker: Cli) -> None:
    docker("run", "-d", "--name", "box", IMAGE, *HOLD)
    assert docker.out("exec", "-d", "box", "sh", "-c", "echo late > /tmp/said; exec sleep 500") == ""
    until(docker, "late", "exec", "box", "cat", "/tmp/said")
    client = sdk.APIClient(base_url=docker.engine.host, version="1.45")
    try:
        ids = client.inspect_container("box")["ExecIDs"]
        found = client.exec_inspect(ids[0])
    finally:
        client.close()
    assert found["Running"] is True
    assert found["ProcessConfig"]["entrypoint"] == "sh"
    assert found["Pid"] > 0


def test_an_exec_needs_a_running_container(docker: Cli) -> None:
    docker("create", "--name", "box", IMAGE)
    assert "is not running" in docker("exec", "box", "true", rc=1)
    docker("start", "box")
    docker("pause", "box")
    assert "is paused" in docker("exec", "box", "true", rc=1)
    docker("unpause", "box")


def test_keys_let_a_client_go_and_the_process_stays(docker: Cli) -> None:
    docker("run", "-d", "--name", "box", IMAGE, *HOLD)
    words = f"{peers.docker_cli()} -H {docker.engine.host} exec -it --detach-keys=ctrl-a,x box sh"
    command = ["script", "-qec", words, "/dev/null"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdin is not None
        until(docker, r"(?m)^sh|\bsh\b", "top", "box", "-o", "pid,args")
        running.stdin.write(b"\x01x")
        running.stdin.flush()
        running.wait(LIMIT_S)
    assert re.search(r"\bsh$", docker.out("top", "box", "-o", "pid,args"), re.M)


# --- top


@pytest.mark.parametrize(
    ("options", "titles"),
    [
        ((), ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]),
        (("aux",), ["USER", "PID", "%CPU", "%MEM", "VSZ", "RSS", "TTY", "STAT", "START", "TIME", "COMMAND"]),
        (("-o", "pid,comm"), ["PID", "COMMAND"]),
        (("-eo", "comm,pid"), ["COMMAND", "PID"]),
    ],
)
def test_top_takes_the_options_of_ps(docker: Cli, options: tuple[str, ...], titles: list[str]) -> None:
    docker("run", "-d", "--name", "box", IMAGE, *HOLD)
    heading, *rows = docker.out("top", "box", *options).splitlines()
    assert heading.split() == titles
    assert len(rows) == 1
    assert "sleep" in rows[0]


@pytest.mark.parametrize("options", [("-o", "comm"), ("-eo", "user"), ("--no-such-option",)])
def test_top_needs_process_ids(docker: Cli, options: tuple[str, ...]) -> None:
    docker("run", "-d", "--name", "box", IMAGE, *HOLD)
    said = docker("top", "box", *options, rc=1)
    assert re.search("(?i)PID field in ps output|ps:", said)


# --- wait


@pytest.fixture
def api(docker: Cli) -> Any:
    client = sdk.APIClient(base_url=docker.engine.host, version="1.45", timeout=LIMIT_S)
    yield client
    client.close()


def test_waiting_for_what_does_not_run_returns_at_once(docker: Cli, api: sdk.APIClient) -> None:
    docker("create", "--name", "idle", IMAGE)
    assert api.wait("idle")["StatusCode"] == 0
    docker("run", "--name", "done", IMAGE, "sh", "-c", "exit 5", rc=5)
    assert api.wait("done", condition="not-running")["StatusCode"] == 5


@pytest.mark.parametrize(("condition", "code"), [("next-exit", 7), ("removed", 7)])
def test_waiting_for_what_is_to_come(docker: Cli, api: sdk.APIClient, condition: str, code: int) -> None:
    docker("create", "--rm", "--name", "later", IMAGE, "sh", "-c", "read x; exit 7")
    found: list[Any] = []
    client = sdk.APIClient(base_url=docker.engine.host, version="1.45", timeout=LIMIT_S)
    waiting = threading.Thread(target=lambda: found.append(client.wait("later", condition=condition)))
    waiting.start()
    docker("start", "later")
    waiting.join(LIMIT_S)
    client.close()
    assert [one["StatusCode"] for one in found] == [code]


def test_a_condition_that_does_not_exist_is_refused(docker: Cli, api: sdk.APIClient) -> None:
    docker("create", "--name", "idle", IMAGE)
    with pytest.raises(sdk.errors.APIError, match=r"(?i)invalid condition"):
        api.wait("idle", condition="dawn")


def test_the_daemon_reads_the_keys_too_and_tells_of_it(docker: Cli) -> None:
    docker("run", "-dit", "--name", "box", IMAGE, "sh")
    query = "stdin=1&stdout=1&stream=1&detachKeys=ctrl-a,x"
    first = f"POST /v1.45/containers/box/attach?{query} HTTP/1.1"
    head = f"{first}\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(LIMIT_S)
        stream.connect(docker.engine.host.removeprefix("unix://"))
        stream.sendall(head.encode())
        assert b"101 UPGRADED" in stream.recv(4096)
        stream.sendall(b"\x01x")
        while stream.recv(4096):  # until the daemon lets go
            continue
    span = ("--since", "1m", "--until", f"{time.time() + 0.5:.9f}")
    assert docker.out("events", *span, "--filter", "event=detach", "--format", "{{.Action}}") == "detach"
    assert docker.out("inspect", "-f", "{{.State.Running}}", "box") == "true"
