"""The stock docker command line, the same script against Sampan and, where it is unpacked, against dockerd.

What both answer is the contract; a case that only one of them passes is a difference users would meet.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import harbour
import peers
from stock import ENGINES, IMAGE, LIMIT_S, Cli, until

pytestmark = [pytest.mark.root, pytest.mark.peer]


@pytest.fixture(scope="module", params=ENGINES)
def docker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    folder = tmp_path_factory.mktemp("engine")
    with peers.running([request.param], folder=folder) as running:
        cli = Cli(running[request.param])
        cli("import", "-c", "CMD sleep 1000", "-", IMAGE, input=harbour.busybox_tar("one"))
        yield cli


@pytest.fixture(autouse=True)
def nothing_stays(docker: Cli) -> Iterator[None]:
    yield
    left = docker.out("ps", "-aq").split()
    if left:
        docker("rm", "-f", "-v", *left)


# --- run and its exit codes


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("true",), 0, ""),
        (("false",), 1, ""),
        (("sh", "-c", "exit 7"), 7, ""),
        (("sh", "-c", "sh -c 'kill -9 $$'; exit $?"), 137, ""),
        (("sh", "-c", "kill -9 $$"), 0, ""),  # the first process of a namespace cannot kill itself
        (("no-such-program",), 127, "executable file not found"),
        (("/etc/passwd",), 126, "permission denied"),
        (("/no/such/file",), 127, "no such file or directory"),
        (("echo", "hello"), 0, "hello"),
    ],
)
def test_the_exit_code_is_the_programs_own(docker: Cli, words: tuple[str, ...], code: int, said: str) -> None:
    assert said in docker("run", "--rm", IMAGE, *words, rc=code)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--memory", "1m"), 125, "6MB"),
        (("--cpus", "100"), 125, "CPUs"),
        (("--network", "no-such-network"), 125, "not found"),
        (("-v", "relative/path:/x"), 125, "invalid characters"),
        (("-w", "relative"), 125, "absolute path"),
        (("--name", "bad name"), 125, "Invalid container name"),
        (("--user", "nobody-here"), 125, "unable to find user"),
        (("--cap-add", "FLY"), 125, "(?i)invalid capability|unknown capability"),
        (("--runtime", "no-such"), 125, "runtime"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_runs(
    docker: Cli, options: tuple[str, ...], code: int, said: str
) -> None:
    assert re.search(said, docker("run", "--rm", *options, IMAGE, "true", rc=None))
    assert docker.run("run", "--rm", *options, IMAGE, "true").returncode in (code, 126)
    assert docker.out("ps", "-aq") == "" or not docker.ours


def test_the_two_streams_stay_apart(docker: Cli) -> None:
    done = docker.run("run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


def test_input_goes_in_and_its_end_too(docker: Cli) -> None:
    content = bytes(range(256)) * 4000
    done = docker.run("run", "--rm", "-i", IMAGE, "cat", input=content)
    assert done.stdout == content


def test_environment_directory_user_and_entrypoint(docker: Cli) -> None:
    words = ("run", "--rm", "-e", "A=1", "-w", "/tmp/deep", "-u", "7:8", "--entrypoint", "sh", IMAGE)
    output = docker.out(*words, "-c", "echo $A $PWD $(/bin/busybox id -u):$(/bin/busybox id -g)")
    assert output == "1 /tmp/deep 7:8"


def test_the_hostname_is_the_short_id_or_the_given_one(docker: Cli) -> None:
    name = docker.out("run", "--rm", IMAGE, "/bin/busybox", "hostname")
    assert re.fullmatch(r"[0-9a-f]{12}", name)
    assert docker.out("run", "--rm", "--hostname", "pier", IMAGE, "/bin/busybox", "hostname") == "pier"


def test_a_read_only_root_and_a_tmpfs(docker: Cli) -> None:
    script = "touch /x 2>/dev/null && echo bad; touch /t/x && echo good"
    assert docker.out("run", "--rm", "--read-only", "--tmpfs", "/t", IMAGE, "sh", "-c", script) == "good"


def test_a_memory_limit_kills_and_says_so(docker: Cli) -> None:
    hog = "x=a; while true; do x=$x$x; done"
    docker("run", "--name", "hog", "-m", "16m", "--memory-swap", "16m", IMAGE, "sh", "-c", hog, rc=None)
    assert docker.out("inspect", "-f", "{{.State.OOMKilled}}", "hog") == "true"


def test_a_process_limit_holds(docker: Cli) -> None:
    script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; echo done"
    assert "fork" in docker("run", "--rm", "--pids-limit", "4", IMAGE, "sh", "-c", script, rc=None)


# --- life


def test_a_container_lives_through_every_verb(docker: Cli) -> None:
    docker("run", "-d", "--name", "c1", IMAGE, "sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.1; done")
    assert docker.out("ps", "--format", "{{.Names}} {{.State}}") == "c1 running"
    docker("pause", "c1")
    assert docker.out("inspect", "-f", "{{.State.Status}}", "c1") == "paused"
    docker("unpause", "c1")
    docker("rename", "c1", "c2")
    docker("stop", "c2")
    assert docker.out("inspect", "-f", "{{.State.ExitCode}} {{.State.Running}}", "c2") == "5 false"
    docker("start", "c2")
    docker("restart", "c2")
    docker("kill", "c2")
    assert docker.out("wait", "c2") == "137"
    assert "is not running" in docker("kill", "c2", rc=1)
    docker("rm", "c2")
    assert "No such container" in docker("start", "c2", rc=1)


def test_create_then_start_attached(docker: Cli) -> None:
    docker("create", "--name", "later", IMAGE, "sh", "-c", "echo said; exit 4")
    assert docker.out("ps", "-a", "--format", "{{.Status}}") == "Created"
    assert "said" in docker("start", "-a", "later", rc=4)


def test_names_are_unique_and_a_running_container_is_not_removed(docker: Cli) -> None:
    docker("run", "-d", "--name", "one", IMAGE)
    assert 'The container name "/one" is already in use' in docker("create", "--name", "one", IMAGE, rc=1)
    assert "is running" in docker("rm", "one", rc=1)
    docker("rm", "-f", "one")


def test_short_ids_and_unknown_ones(docker: Cli) -> None:
    long = docker.out("run", "-d", IMAGE)
    assert docker.out("inspect", "-f", "{{.Id}}", long[:5]) == long
    assert "No such" in docker("inspect", "no-such-thing", rc=1)


def test_a_restart_policy_starts_it_again(docker: Cli) -> None:
    docker("run", "-d", "--name", "again", "--restart", "on-failure:2", IMAGE, "sh", "-c", "echo run; exit 1")
    until(docker, "exited 2", "inspect", "-f", "{{.State.Status}} {{.RestartCount}}", "again")
    assert docker.out("logs", "again").split() == ["run"] * 3


def test_logs_have_times_tails_and_streams(docker: Cli) -> None:
    docker(
        "run",
        "--name",
        "talker",
        IMAGE,
        "sh",
        "-c",
        "for i in 1 2 3 4 5; do echo line $i; done; sleep 0.3; echo oops >&2",
    )
    assert docker.run("logs", "talker").stdout.decode().split("\n")[0] == "line 1"
    assert docker.run("logs", "talker").stderr == b"oops\n"
    assert docker.run("logs", "--tail", "2", "talker").stdout.count(b"\n") == 1
    stamped = docker.run("logs", "-t", "talker").stdout.decode().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z line \d$", line) for line in stamped)
    assert docker.run("logs", "--since", "1h", "talker").stdout.count(b"line") == 5
    assert docker.run("logs", "--until", "1h", "talker").stdout == b""


def test_logs_can_be_followed_to_the_end(docker: Cli) -> None:
    docker("run", "-d", "--name", "slow", IMAGE, "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done")
    assert docker.out("logs", "-f", "slow").split() == ["1", "2", "3"]


def test_attach_sees_what_follows(docker: Cli) -> None:
    docker("run", "-d", "-i", "--name", "echoer", IMAGE, "sh", "-c", "read line; echo heard $line; exit 6")
    attached = docker.run("attach", "echoer", input=b"you\n")
    assert attached.returncode == 6
    if docker.ours:  # dockerd loses the last output now and then when the container ends at once
        assert attached.stdout == b"heard you\n"


def test_a_shared_network_can_be_shared_on(docker: Cli) -> None:
    docker("run", "-d", "--name", "owner", "--add-host", "far:203.0.113.7", IMAGE)
    docker("run", "-d", "--name", "guest", "--network", "container:owner", IMAGE)
    words = ("run", "--rm", "--network", "container:guest", IMAGE, "cat", "/etc/hosts")
    assert "203.0.113.7" in docker.out(*words)


def test_exec_runs_beside(docker: Cli) -> None:
    docker("run", "-d", "--name", "host", IMAGE)
    assert docker.out("exec", "host", "echo", "inside") == "inside"
    assert docker("exec", "host", "sh", "-c", "exit 9", rc=9) == ""
    assert docker.out("exec", "-i", "host", "cat", input=b"x" * 100_000) == "x" * 100_000
    assert docker.out("exec", "-e", "A=5", "-w", "/tmp", "host", "sh", "-c", "echo $A $PWD") == "5 /tmp"
    assert "executable file not found" in docker("exec", "host", "no-such", rc=None)
    assert docker.run("exec", "host", "no-such").returncode in (126, 127)


def test_top_shows_its_processes_only(docker: Cli) -> None:
    docker("run", "-d", "--name", "tt", IMAGE, "sleep", "777")
    lines = docker.out("top", "tt").splitlines()
    assert len(lines) == 2
    assert "sleep 777" in lines[1]


def test_a_terminal_of_the_given_size(docker: Cli) -> None:
    command = f"{peers.docker_cli()} -H {docker.engine.host} run --rm -it {IMAGE} sh -c 'test -t 0 && echo tty; exit 3'"
    done = subprocess.run(["script", "-qec", command, "/dev/null"], capture_output=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, b"tty\r\n" in done.stdout) == (3, True)


# --- images


def test_images_are_tagged_listed_inspected_and_removed(docker: Cli) -> None:
    docker("tag", IMAGE, "copy/of:it")
    assert "copy/of" in docker.out("images", "--format", "{{.Repository}}").split()
    assert docker.out("inspect", "-f", "{{.Id}}", IMAGE) == docker.out("inspect", "-f", "{{.Id}}", "copy/of:it")
    assert docker.out("inspect", "-f", "{{json .Config.Cmd}}", IMAGE) == '["/bin/sh","-c","sleep 1000"]'
    assert "Untagged: copy/of:it" in docker("rmi", "copy/of:it")
    assert "Imported from -" in docker.out("history", IMAGE)
    assert "No such image" in docker("rmi", "no/such:image", rc=1)


def test_an_image_in_use_is_not_removed(docker: Cli) -> None:
    docker("import", "-", "used:1", input=harbour.busybox_tar("used"))
    docker("run", "-d", "--name", "user", "used:1", "sleep", "100")
    assert "conflict" in docker("rmi", "used:1", rc=1)
    docker("rm", "-f", "user")
    assert "Deleted: sha256:" in docker("rmi", "used:1")


@pytest.mark.parametrize("name", ["UPPER:1", "bad//name", "-x:1", "ok:bad tag"])
def test_a_wrong_name_is_refused(docker: Cli, name: str) -> None:
    assert re.search("(?i)invalid", docker("tag", IMAGE, name, rc=1))


def test_a_missing_image_is_pulled_and_the_failure_is_told(docker: Cli) -> None:
    output = docker("run", "--rm", "127.0.0.1:9/no/such:image", "true", rc=125)
    assert "Unable to find image" in output
    assert "refused" in output


# --- networks and volumes


def test_containers_of_a_network_know_each_other_by_name(docker: Cli) -> None:
    docker("network", "create", "--subnet", "10.77.0.0/24", "pier")
    try:
        docker("run", "-d", "--name", "db", "--network", "pier", "--network-alias", "store", IMAGE)
        for name in ("db", "store"):
            assert "1 packets received" in docker("run", "--rm", "--network", "pier", IMAGE, *ping(name))
        assert docker.out("inspect", "-f", "{{.NetworkSettings.Networks.pier.IPAddress}}", "db").startswith("10.77.0.")
        assert "active endpoints" in docker("network", "rm", "pier", rc=1)
        docker("rm", "-f", "db")
    finally:
        docker("network", "rm", "pier", rc=None)


def ping(name: str) -> tuple[str, ...]:
    return ("/bin/busybox", "ping", "-c", "1", "-W", "5", name)


def test_networks_are_checked_when_they_are_made(docker: Cli) -> None:
    docker("network", "create", "--subnet", "10.78.0.0/24", "one")
    try:
        assert "already exists" in docker("network", "create", "one", rc=1)
        assert "overlaps" in docker("network", "create", "--subnet", "10.78.0.0/16", "two", rc=1)
        assert "one" in docker.out("network", "ls", "--format", "{{.Name}}").split()
    finally:
        docker("network", "rm", "one")
    assert docker("network", "rm", "bridge", rc=1)


def test_a_container_without_network_has_only_loopback(docker: Cli) -> None:
    links = docker.out("run", "--rm", "--network", "none", IMAGE, "/bin/busybox", "ip", "-o", "link")
    assert "lo:" in links
    assert "eth0" not in links


def test_a_published_port_answers_and_is_shown(docker: Cli) -> None:
    script = "mkdir /www; echo -n ahoy > /www/index.html; exec /bin/busybox httpd -f -p 80 -h /www"
    docker("run", "-d", "--name", "web", "-p", "127.0.0.1:8099:80", IMAGE, "sh", "-c", script)
    assert docker.out("port", "web", "80/tcp") == "127.0.0.1:8099"
    assert fetch(docker, "http://127.0.0.1:8099/") == "ahoy"
    assert re.search("(?i)already (allocated|in use)", docker("run", "-d", "-p", "127.0.0.1:8099:80", IMAGE, rc=125))


def fetch(docker: Cli, url: str) -> str:
    """From the engine's own host: its loopback is not ours."""
    namespace = f"--net=/proc/{docker.engine.box.processes()[0]}/ns/net"
    # A static busybox cannot look up service names: its wget crashes.
    program = (
        "import sys, urllib.request as u; print(u.build_opener(u.ProxyHandler({})).open(sys.argv[1]).read().decode())"
    )
    command = ["nsenter", namespace, sys.executable, "-c", program, url]
    deadline = time.monotonic() + 20
    while True:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
        assert time.monotonic() < deadline, f"no answer from {url}: {done.stderr}"
        time.sleep(0.05)


def test_a_volume_keeps_what_a_container_wrote(docker: Cli) -> None:
    docker("volume", "create", "--label", "a=b", "hold")
    try:
        docker("run", "--rm", "-v", "hold:/data", IMAGE, "sh", "-c", "echo cargo > /data/f")
        assert docker.out("run", "--rm", "-v", "hold:/data:ro", IMAGE, "cat", "/data/f") == "cargo"
        assert docker.out("volume", "inspect", "-f", "{{.Labels.a}}", "hold") == "b"
        docker("create", "--name", "user", "-v", "hold:/data", IMAGE)
        assert "volume is in use" in docker("volume", "rm", "hold", rc=1)
        docker("rm", "user")
    finally:
        docker("volume", "rm", "hold", rc=None)
    assert "hold" not in docker.out("volume", "ls", "-q").split()


def test_an_empty_volume_is_filled_from_the_image(docker: Cli) -> None:
    assert docker.out("run", "--rm", "-v", "filled:/etc", IMAGE, "ls", "/etc").split() != []
    assert "passwd" in docker.out("run", "--rm", "-v", "filled:/x", IMAGE, "ls", "/x").split()
    docker("volume", "rm", "filled")


def test_a_host_directory_is_bound(docker: Cli, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("from the host")
    assert docker.out("run", "--rm", "-v", f"{tmp_path}:/in:ro", IMAGE, "cat", "/in/f") == "from the host"
    assert "Read-only" in docker("run", "--rm", "-v", f"{tmp_path}:/in:ro", IMAGE, "touch", "/in/g", rc=1)


# --- the daemon


def test_version_and_info(docker: Cli) -> None:
    assert "API version" in docker.out("version")
    assert docker.out("info", "-f", "{{.OSType}}") == "linux"


def test_events_tell_a_life(docker: Cli) -> None:
    since = str(int(time.time()))
    docker("run", "--rm", "--name", "brief", IMAGE, "true")
    until = str(int(time.time()) + 1)
    form = "{{.Type}} {{.Action}}"
    seen = docker.out("events", "--since", since, "--until", until, "-f", "container=brief", "--format", form).split(
        "\n"
    )
    told = [line.partition(" ")[2] for line in seen if line.startswith("container")]
    assert [word for word in told if word in ("create", "start", "die", "destroy")] == [
        "create",
        "start",
        "die",
        "destroy",
    ]


def test_volumes_come_from_another_container(docker: Cli) -> None:
    docker("run", "--name", "owner", "-v", "/cargo", IMAGE, "sh", "-c", "echo tea > /cargo/f")
    assert docker.out("run", "--rm", "--volumes-from", "owner", IMAGE, "cat", "/cargo/f") == "tea"
    read_only = docker("run", "--rm", "--volumes-from", "owner:ro", IMAGE, "touch", "/cargo/g", rc=1)
    assert "Read-only" in read_only


def test_a_whole_prune_removes_what_is_unused(docker: Cli) -> None:
    docker("run", "--name", "done", IMAGE, "true")
    docker("network", "create", "idle")
    docker("system", "prune", "-f")
    assert docker.out("ps", "-aq") == ""
    assert "idle" not in docker.out("network", "ls", "--format", "{{.Name}}").split()
