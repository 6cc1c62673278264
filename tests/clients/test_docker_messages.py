"""What users grep for: the stock client's errors, filters and clean-up, the same script against Sampan and dockerd.

Sentences are looked for in both engines' output; where dockerd's own changed between versions, in both forms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import harbour
import peers
from stock import ENGINES, Cli, until

pytestmark = [pytest.mark.root, pytest.mark.peer]
IMAGE = "bb:1"


@pytest.fixture(scope="module", params=ENGINES)
def docker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    folder = tmp_path_factory.mktemp("engine")
    with peers.running([request.param], folder=folder) as running:
        cli = Cli(running[request.param])
        cli("import", "-c", "CMD sleep 1000", "-c", "EXPOSE 99", "-", IMAGE, input=harbour.busybox_tar("one"))
        cli("run", "-d", "--name", "busy", "-p", "127.0.0.1:8098:80", IMAGE)
        cli("network", "create", "pier")
        cli("volume", "create", "hold")
        cli("create", "--name", "holder", "-v", "hold:/data", IMAGE)
        yield cli


ERRORS = [
    # containers
    ("create --name busy {i}", 1, r'Conflict\. The container name "/busy" is already in use by container'),
    ("run --name busy {i}", 125, r"You have to remove \(or rename\) that container to be able to reuse that name"),
    ("rename holder busy", 1, r'Conflict\. The container name "/busy" is already in use'),
    ("rename holder holder", 1, r"Renaming a container with the same name as its current name"),
    (
        "rm busy",
        1,
        r"cannot remove container .*: container is running: stop the container before removing or force remove",
    ),
    ("start nobody", 1, r"No such container: nobody"),
    ("stop nobody", 1, r"No such container: nobody"),
    ("logs nobody", 1, r"No such container: nobody"),
    ("exec nobody true", 1, r"No such container: nobody"),
    ("rm nobody", 1, r"No such container: nobody"),
    ("inspect nobody", 1, r"(?i)No such object: nobody"),
    ("exec holder true", 1, r"container [0-9a-f]{64} is not running"),
    ("kill holder", 1, r"(?i)cannot kill container: holder: .*is not running"),
    ("kill -s NOPE busy", 1, r"(?i)invalid signal: NOPE"),
    ("stop -s NOPE busy", 1, r"(?i)invalid signal: NOPE"),
    ("pause holder", 1, r"(?i)Container [0-9a-f]{64} is not running"),
    ("unpause busy", 1, r"Container [0-9a-f]{64} is not paused"),
    ("top holder", 1, r"(?i)container [0-9a-f]{64} is not running"),
    ("top busy -o cmd", 1, r"(?i)couldn't find PID field in ps output"),
    ("update --memory 1m busy", 1, r"Minimum memory limit allowed is 6MB"),
    ("attach holder", 1, r"cannot attach to a stopped container, start it first"),
    ("logs --since nonsense busy", 1, r"invalid value for \"since\"|parsing time|invalid"),
    # images
    ("run --rm bb/Upper true", 125, r"invalid reference format: repository name \(.*\) must be lowercase"),
    ("tag {i} bad//name", 1, r"invalid reference format"),
    ("tag nothing:1 else:1", 1, r"No such image: nothing:1"),
    ("rmi nothing:1", 1, r"No such image: nothing:1"),
    ("image inspect nothing:1", 1, r"(?i)No such image: nothing:1"),
    ("history nothing:1", 1, r"No such image: nothing:1"),
    ("push nothing:1", 1, r"An image does not exist locally with the tag: nothing"),
    (
        "rmi {i}",
        1,
        r"conflict: unable to remove repository reference \"bb:1\" \(must force\) - container [0-9a-f]{12} is using",
    ),
    ("pull {i}@sha256:00", 1, r"invalid reference format|invalid checksum digest length"),
    # networks
    ("network create pier", 1, r"network with name pier already exists"),
    (
        "network create bridge",
        1,
        r"operation is not permitted on predefined bridge network|network with name bridge already exists",
    ),
    ("network rm bridge", 1, r"bridge is a pre-defined network and cannot be removed"),
    ("network rm nowhere", 1, r"(?i)network nowhere not found|No such network"),
    ("network inspect nowhere", 1, r"(?i)network nowhere not found|No such network: nowhere"),
    ("network connect nowhere busy", 1, r"(?i)network nowhere not found"),
    ("network connect pier nobody", 1, r"No such container: nobody"),
    ("network disconnect pier busy", 1, r"is not connected to (the )?network pier"),
    (
        "network connect host busy",
        1,
        r"container cannot be disconnected from host network or connected to host network",
    ),
    ("network create --subnet 10.0.0.0/33 wrong", 1, r"(?i)invalid (subnet|CIDR|address)"),
    (
        "network create -d nonsense wrong",
        1,
        r"(?i)could not find plugin nonsense in v1 plugin registry|plugin \"nonsense\" not found|nonsense",
    ),
    ("run --network nowhere {i}", 125, r"network nowhere not found"),
    ("run --network container {i}", 125, r"invalid container format container:<name\|id>"),
    ("run --network container:busy -h x {i}", 125, r"conflicting options: hostname and the network mode"),
    ("run --network container:busy --dns 9.9.9.9 {i}", 125, r"conflicting options: dns and the network mode"),
    (
        "run --network container:busy --add-host a:1.1.1.1 {i}",
        125,
        r"conflicting options: custom host-to-IP mapping and the network mode",
    ),
    (
        "run --network container:busy -p 1:1 {i}",
        125,
        r"conflicting options: port publishing and the container type network mode",
    ),
    (
        "run --network container:busy --expose 1 {i}",
        125,
        r"conflicting options: port exposing and the container type network mode",
    ),
    ("run --network host --link busy {i}", 125, r"conflicting options: host type networking can't be used with links"),
    (
        "run --ip 10.1.1.1 {i}",
        125,
        r"(user specified|invalid) .*IP address|only when connecting to|supported on user defined networks only",
    ),
    ("run -p 127.0.0.1:8098:80 {i}", 125, r"Bind for 127\.0\.0\.1:8098 failed: port is already allocated"),
    ("run -p 99999:80 {i}", 125, r"(?i)invalid (hostPort|port)"),
    # volumes
    ("volume rm hold", 1, r"remove hold: volume is in use - \[[0-9a-f]{64}\]"),
    ("volume rm nothing", 1, r"(get|remove) nothing: no such volume"),
    ("volume inspect nothing", 1, r"(?i)get nothing: no such volume"),
    ("volume create ../x", 1, r"includes invalid characters for a local volume name"),
    ("volume create -d nonsense v", 1, r"(?i)nonsense"),
    ("run -v /a:/b:nonsense {i}", 125, r"(?i)invalid (mode|volume specification)"),
    ("run -v hold:/x -v busy:/x {i}", 125, r"Duplicate mount point: /x"),
    ("run --mount type=bind,src=/no/such/place,dst=/x {i}", 125, r"bind source path does not exist: /no/such/place"),
    ("run --volumes-from nobody {i}", 125, r"No such container: nobody"),
    # options
    ("run --restart sometimes {i}", 125, r"(?i)invalid restart policy"),
    (
        "run --restart always --rm {i}",
        125,
        r"(?i)conflicting options: (cannot specify both --restart and --rm|--restart and --rm)",
    ),
    ("run --log-driver nonsense {i}", 125, r"no log driver named 'nonsense' is registered|logging plugin nonsense"),
    ("run --memory 1m {i}", 125, r"Minimum memory limit allowed is 6MB"),
    ("run --memory-swap 1m --memory 10m {i}", 125, r"Minimum memoryswap limit should be larger than memory limit"),
    (
        "run --cpus 1000 {i}",
        125,
        r"(?i)Range of CPUs is from 0\.01 to [0-9.]+, as there are only [0-9]+ CPUs available",
    ),
    ("run --cpuset-cpus 900 {i}", 125, r"Requested CPUs are not available - requested 900, available:"),
    ("run --cap-add FLY {i}", 125, r"(?i)invalid CapAdd: unknown capability: \"CAP_FLY\""),
    ("run --security-opt nonsense {i}", 125, r"(?i)invalid --security-opt"),
    ("run --sysctl nonsense=1 {i}", 125, r"(?i)sysctl \"?'?nonsense"),
    (
        "run --device /dev/no-such {i}",
        127,
        r"error gathering device information while adding custom device \"/dev/no-such\": no such file",
    ),
    ("run --gpus all {i}", 125, r"could not select device driver"),
    ("run --oom-score-adj 5000 {i}", 125, r"Invalid value 5000, range for oom score adj is \[-1000, 1000\]"),
    ("run --shm-size=-1 {i}", 125, r"(?i)SHM size can not be less than 0|invalid size"),
    ("run --stop-signal NOPE {i}", 125, r"(?i)invalid signal: NOPE"),
    ("run -w relative {i}", 125, r"the working directory 'relative' is invalid, it needs to be an absolute path"),
    ("run --name -x {i}", 125, r"Invalid container name \(-x\), only \[a-zA-Z0-9\]\[a-zA-Z0-9_\.-\] are allowed"),
    ("run --pid container:nobody {i}", 125, r"No such container: nobody|cannot join PID of a non running container"),
    ("run --ipc nonsense {i}", 125, r"(?i)invalid IPC mode"),
    ("run --userns nonsense {i}", 125, r"(?i)invalid (USER|userns) mode"),
    ("run --uts nonsense {i}", 125, r"(?i)invalid UTS mode"),
    # lists and the rest
    ("ps -f status=odd", 1, r"invalid filter 'status=odd'"),
    ("ps -f exited=abc", 1, r"invalid filter 'exited=abc'|invalid syntax"),
    ("ps -f nonsense=1", 1, r"invalid filter 'nonsense'"),
    ("images -f nonsense=1", 1, r"invalid filter 'nonsense'"),
    ("network ls -f nonsense=1", 1, r"invalid filter 'nonsense'"),
    ("volume ls -f nonsense=1", 1, r"invalid filter 'nonsense'"),
    ("ps -f before=nobody", 1, r"(?i)No such container: nobody"),
    ("node ls", 1, r"This node is not a swarm manager"),
    ("service ls", 1, r"This node is not a swarm manager"),
    ("swarm leave", 1, r"This node is not part of a swarm"),
    ("secret ls", 1, r"This node is not a swarm manager"),
    ("plugin inspect nothing", 1, r"(?i)plugin .*nothing.* not found|No such plugin"),
]


@pytest.mark.parametrize(("line", "code", "said"), ERRORS, ids=[line for line, _, _ in ERRORS])
def test_the_error_is_the_one_people_know(docker: Cli, line: str, code: int, said: str) -> None:
    done = docker.run(*line.format(i=IMAGE).split())
    output = (done.stdout + done.stderr).decode()
    assert re.search(said, output), output
    assert done.returncode == code


def test_ps_filters_by_host_ports_exposed_ports_and_beginnings_of_network_ids(docker: Cli) -> None:
    network = docker.out("network", "inspect", "-f", "{{.Id}}", "bridge")
    for text, names in (
        ("publish=8098", "busy"),
        ("publish=80", ""),
        ("publish=8000-8100/tcp", "busy"),
        ("publish=8098/udp", ""),
        ("expose=80/tcp", "busy"),
        ("expose=99", "busy"),
        ("expose=98", ""),
        (f"network={network}", "busy"),
        (f"network={network[:6]}", "busy"),
        ("network=bridge", "busy"),
        ("network=pier", ""),
        ("name=bus", "busy"),
        ("name=[", ""),
    ):
        assert docker.out("ps", "-f", text, "--format", "{{.Names}}") == names, text


def test_a_restart_is_no_end_that_removes(docker: Cli) -> None:
    name = docker.out("run", "-d", "--rm", IMAGE)
    docker("restart", "-t", "0", name)
    assert docker.out("inspect", "-f", "{{.State.Running}} {{.HostConfig.AutoRemove}}", name) == "true true"
    docker("kill", name)
    until(docker, "(?i)no such object", "inspect", name)


def test_a_container_that_waits_for_its_restart_can_be_killed_for_good(docker: Cli) -> None:
    name = docker.out("run", "-d", "--restart", "always", IMAGE, "false")
    try:
        until(docker, "restarting", "inspect", "-f", "{{.State.Status}} {{.RestartCount}}", name)
        until(docker, "^[4-9]", "inspect", "-f", "{{.RestartCount}}", name)
        until(docker, "restarting", "inspect", "-f", "{{.State.Status}}", name)
        docker("kill", name)
        until(docker, "exited", "inspect", "-f", "{{.State.Status}}", name)
    finally:
        docker("rm", "-f", name)


def test_prune_follows_labels(docker: Cli) -> None:
    for kind, make in (("container", ("run", "-d", IMAGE, "true")), ("volume", ("volume", "create"))):
        names = {}
        for label in ("foo", "bar", "plain", "foobar"):
            words = list(make)
            words[1 if kind == "container" else 2 : 1 if kind == "container" else 2] = ["--label", label]
            names[label] = docker.out(*words)
            if kind == "container":
                docker("wait", names[label])
        assert gone(docker(kind, "prune", "-f", "--filter", "label=foobar"), names) == {"foobar"}
        assert gone(docker(kind, "prune", "-f", "--filter", "label=foo"), names) == {"foo"}
        seen = gone(docker(kind, "prune", "-f", "--filter", "label!=bar"), names)
        assert seen == {"plain"}
        everything = ("-a",) if kind == "volume" else ()
        assert gone(docker(kind, "prune", "-f", *everything), names) == {"bar"}


def gone(output: str, names: dict[str, str]) -> set[str]:
    """Which of the names the output tells."""
    return {label for label, name in names.items() if name in output}


def test_a_volume_is_there_before_its_container_runs(docker: Cli) -> None:
    docker("create", "--name", "early", "-v", "dawn:/x", "-v", "/y", IMAGE)
    places = docker.out("inspect", "-f", "{{range .Mounts}}{{.Source}} {{end}}", "early").split()
    assert [Path(place).is_dir() for place in places] == [True, True]
    docker("rm", "-v", "early")
    docker("volume", "rm", "dawn")


def test_the_size_of_a_container_is_what_its_files_hold(docker: Cli) -> None:
    docker("run", "--name", "writer", IMAGE, "sh", "-c", "mkdir -p /a/b/c; echo 1 > /a/b/c/f")
    assert docker.out("ps", "-a", "-s", "-f", "name=writer", "--format", "{{.Size}}").startswith("2B ")
    docker("rm", "writer")


def test_names_with_dots_in_the_network_resolve(docker: Cli) -> None:
    docker("network", "create", "br.net.1")
    docker("run", "-d", "--network", "br.net.1", "--name", "c1.net1", IMAGE)
    words = ("run", "--rm", "--network", "br.net.1", IMAGE, "/bin/busybox", "ping", "-c1", "-W5", "c1.net1.br.net.1")
    assert "1 packets received" in docker(*words)
    docker("rm", "-f", "c1.net1")
    docker("network", "rm", "br.net.1")
