"""`sampan` against the Docker face, and beside the stock client: the same words, the same output."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

PROGRAM = [sys.executable, "-m", "sampan.cli.main"]


def run(program: list[str], harbour: Any, *words: str, given: bytes | None = None) -> tuple[int, str, str]:
    done = subprocess.run(
        [*program, "-H", harbour.url, *words], capture_output=True, timeout=30, check=False, input=given or b""
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def sampan(harbour: Any, *words: str, given: bytes | None = None) -> tuple[int, str, str]:
    return run(PROGRAM, harbour, *words, given=given)


def first_line(text: str) -> str:
    """Without the part of a name that clients before 28 leave to the daemon."""
    return text.partition("\n")[0].replace("docker.io/library/", "")


@pytest.mark.skipif(shutil.which("docker") is None, reason="the docker command line is not installed")
@pytest.mark.parametrize(
    "words",
    [
        ["ps"],
        ["ps", "-a", "--no-trunc"],
        ["ps", "-q"],
        ["ps", "-s"],
        ["ps", "--format", "{{.ID}} {{.Names}} {{.Networks}} {{.Labels}} {{.State}} {{.Mounts}}"],
        ["ps", "--format", r"table {{.Names}}\t{{.Status}}"],
        ["container", "ls"],
        ["images"],
        ["images", "--digests"],
        ["images", "-q", "--no-trunc"],
        ["image", "ls", "--format", "{{.Repository}} {{.Tag}} {{.ID}} {{.Size}}"],
        ["history", "busybox"],
        ["history", "-q", "busybox"],
        ["inspect", "web", "--format", "{{.State.Status}} {{json .Config.Cmd}} {{.Config.Labels}} {{.Args}}"],
        ["inspect", "-f", "{{range $p, $c := .NetworkSettings.Ports}}{{$p}} {{end}}", "web"],
        ["inspect", "-f", '{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}', "web"],
        ["inspect", "nobody"],
        ["inspect", "--type", "image", "busybox", "-f", "{{.Os}}"],
        ["port", "web"],
        ["port", "web", "80"],
        ["top", "web"],
        ["network", "ls"],
        ["network", "ls", "-q"],
        ["network", "inspect", "bridge", "-f", "{{.Driver}} {{.Scope}} {{.Internal}}"],
        ["volume", "ls"],
        ["volume", "inspect", "pantry", "-f", "{{.Mountpoint}}"],
        ["volume", "create", "--label", "a=b", "hold"],
        ["network", "create", "--subnet", "10.9.0.0/24", "crew"],
        ["stop", "web"],
        ["kill", "-s", "HUP", "web"],
        ["wait", "nobody"],
        ["rm", "web"],
        ["rm", "-f", "nobody"],
        ["start", "web"],
        ["logs", "web"],
        ["exec", "web", "echo", "a", "b"],
        ["create", "busybox"],
        ["pull", "absent"],
    ],
    ids=" ".join,
)
def test_the_output_and_exit_code_are_the_docker_clients(engine_harbour: Any, words: list[str]) -> None:
    ours = sampan(engine_harbour, *words)
    if words[:2] in (["network", "create"], ["create", "busybox"]):
        assert ours[0] == 0, ours[2]
        assert len(ours[1]) == 65
        return
    theirs = run(["docker"], engine_harbour, *words)
    assert ours[0] == theirs[0], ours
    assert [line.rstrip() for line in ours[1].splitlines()] == [line.rstrip() for line in theirs[1].splitlines()]
    assert first_line(ours[2]) == first_line(theirs[2])


def test_run_gives_the_output_and_the_exit_code(engine_harbour: Any) -> None:
    assert sampan(engine_harbour, "run", "busybox", "hello", "-d", "you") == (3, "hello -d you\n", "")


def test_run_with_input_copies_both_ways_and_ends_with_the_input(engine_harbour: Any) -> None:
    given = b"0123456789abcdef" * 40_000
    code, out, err = sampan(engine_harbour, "run", "-i", "busybox", "cat", given=given)
    assert code == 3
    assert out == "cat\n" + given.decode()
    assert err == given.decode().upper()


def test_run_in_the_background_prints_the_id(engine_harbour: Any) -> None:
    code, out, _ = sampan(engine_harbour, "run", "-d", "--name", "job", "busybox", "true")
    assert (code, len(out)) == (0, 65)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["run", "busybox", "nonsense"], 127, 'exec: "nonsense": executable file not found in $PATH'),
        (["run", "--name", "web", "busybox"], 125, 'Conflict. The container name "/web" is already in use'),
        (["run", "--no-such-option", "busybox"], 125, "unknown flag: --no-such-option"),
        (["run", "-m", "much", "busybox"], 125, "invalid size"),
        (["run", "-it", "busybox"], 1, "the input device is not a TTY"),
        (["run", "--pull", "never", "missing:latest"], 125, "No such image"),
        (["ps", "--no-such-option"], 125, "unknown flag: --no-such-option"),
        (["stop", "nobody"], 1, "Error response from daemon: No such container: nobody"),
        (["exec", "nobody", "true"], 1, "Error response from daemon: No such container: nobody"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_failures_have_dockers_exit_codes(engine_harbour: Any, words: list[str], code: int, text: str) -> None:
    got, _, err = sampan(engine_harbour, *words)
    assert (got, text in err) == (code, True), err


def test_a_missing_image_is_pulled_first(engine_harbour: Any) -> None:
    code, _, err = sampan(engine_harbour, "run", "missing:latest")
    assert code == 125  # in these rooms it stays missing
    assert err.startswith("Unable to find image 'missing:latest' locally\nlatest: Pulling from library/busybox\n")


def test_no_daemon_is_told_with_the_address(tmp_path: Any) -> None:
    done = subprocess.run(
        [*PROGRAM, "-H", f"unix://{tmp_path}/none.sock", "ps"], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"Cannot connect to the Sampan daemon at unix://{tmp_path}/none.sock.")


def test_exec_gives_the_exit_code_and_detached_exec_none(engine_harbour: Any) -> None:
    assert sampan(engine_harbour, "exec", "web", "id", "-u") == (7, "id -u\n", "")
    assert sampan(engine_harbour, "exec", "-d", "web", "id") == (0, "", "")
    assert sampan(engine_harbour, "exec", "-i", "web", "cat", given=b"x") == (7, "cat\nx", "X")


def test_import_sends_a_file(engine_harbour: Any, tmp_path: Any) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(b"t" * 500_000)
    code, out, _ = sampan(engine_harbour, "import", str(archive), "mine:1")
    assert (code, out.startswith("sha256:")) == (0, True)
    assert engine_harbour.images.imported == archive.read_bytes()


def test_signals_are_passed_on_to_the_container(engine_harbour: Any) -> None:
    engine_harbour.call("POST", "/containers/create?name=cat", {"Image": "busybox", "Cmd": ["cat"], "OpenStdin": True})
    command = [*PROGRAM, "-H", engine_harbour.url, "start", "-a", "-i", "cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"cat\n"
        running.send_signal(signal.SIGUSR1)
        limit = time.monotonic() + 10
        while ("kill", "cat", "USR1") not in engine_harbour.containers.calls and time.monotonic() < limit:
            time.sleep(0.02)
        assert ("kill", "cat", "USR1") in engine_harbour.containers.calls
        assert running.stdin is not None
        running.stdin.close()
        assert running.wait(10) == 3


def test_a_terminal_is_raw_and_sized_and_the_detach_keys_leave_it(engine_harbour: Any) -> None:
    ours, theirs = pty.openpty()
    command = [*PROGRAM, "-H", engine_harbour.url, "run", "-it", "--name", "shell", "busybox", "sh"]
    environment = {**os.environ, "COLUMNS": "90", "LINES": "30"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as running:
        os.close(theirs)
        got = b""
        while b"sh\n" not in got:
            got += os.read(ours, 1000)
        os.write(ours, b"ls\x03")
        while b"ls\x03" not in got:
            got += os.read(ours, 1000)
        os.write(ours, b"\x10\x11")
        assert running.wait(10) == 0
    os.close(ours)
    assert ("resize", "shell", 30, 90) in engine_harbour.containers.calls
