"""`docker stats`, `--init` and the limits that came late, against both engines."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import docker as sdk
import pytest

from stock import IMAGE, Cli

pytestmark = [pytest.mark.root, pytest.mark.peer]
BUSY = ("sh", "-c", "while :; do :; done")


def documents(docker: Cli, name: str, **options: Any) -> Any:
    client = sdk.APIClient(base_url=docker.engine.host, version="1.45")
    try:
        return client.stats(name, **options)
    finally:
        client.close()


def shape(value: Any, path: str = "") -> set[str]:
    """The names of all members, to the leaves; what is in lists is one of a kind."""
    if isinstance(value, dict):
        return {path}.union(*(shape(item, f"{path}.{key}") for key, item in value.items()))
    return {path}


def test_one_look_has_dockers_members(docker: Cli) -> None:
    docker("run", "-d", "--name", "used", "-m", "64m", IMAGE, *BUSY)
    found = documents(docker, "used", stream=False)
    assert found["name"] == "/used"
    assert found["memory_stats"]["limit"] == 64 << 20
    assert found["cpu_stats"]["cpu_usage"]["total_usage"] > found["precpu_stats"]["cpu_usage"]["total_usage"] > 0
    assert found["cpu_stats"]["system_cpu_usage"] > found["precpu_stats"]["system_cpu_usage"]
    assert found["pids_stats"]["current"] == 1
    assert set(found["networks"]["eth0"]) == {
        *("rx_bytes", "rx_packets", "rx_errors", "rx_dropped", "tx_bytes", "tx_packets", "tx_errors", "tx_dropped")
    }
    members = shape({key: value for key, value in found.items() if key != "memory_stats"})
    expected = {".cpu_stats.throttling_data.periods", ".precpu_stats.online_cpus", ".blkio_stats.sectors_recursive"}
    assert expected <= members


def test_one_shot_is_one_look(docker: Cli) -> None:
    docker("run", "-d", "--name", "shot", IMAGE)
    found = documents(docker, "shot", stream=False, one_shot=True)
    assert found["precpu_stats"]["cpu_usage"]["total_usage"] == 0
    assert found["preread"] == "0001-01-01T00:00:00Z"


def test_a_stream_goes_on_until_the_container_is_gone(docker: Cli) -> None:
    docker("run", "-d", "--name", "watched", IMAGE)
    client = sdk.APIClient(base_url=docker.engine.host, version="1.45")
    try:
        lines = client.stats("watched", decode=True, stream=True)
        first, second = next(lines), next(lines)
    finally:
        client.close()
    assert second["preread"] == first["read"]


def test_the_table_of_all(docker: Cli) -> None:
    docker("run", "-d", "--name", "busy", IMAGE, *BUSY)
    docker("create", "--name", "idle", IMAGE)
    lines = docker.out("stats", "--no-stream", "-a", "--format", "{{.Name}} {{.CPUPerc}} {{.PIDs}}").splitlines()
    found = {line.split()[0]: line.split()[1:] for line in lines}
    assert float(found["busy"][0].rstrip("%")) > 1
    assert found["idle"] == ["0.00%", "0"]
    assert "No such container" in docker("stats", "--no-stream", "nobody", rc=1)


def test_our_own_table_says_the_same(docker: Cli) -> None:
    if not docker.ours:
        pytest.skip("about our command line")
    docker("run", "-d", "--name", "busy", IMAGE, *BUSY)
    words = [str(Path(sys.executable).with_name("sampan")), "-H", docker.engine.host, "stats", "--no-stream"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    heading, line = done.stdout.splitlines()
    assert re.split(r"\s{2,}", heading) == [
        *("CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS")
    ]
    assert re.search(r"busy\s+[1-9][0-9.]*%", line)


def test_an_init_reaps_and_the_command_keeps_its_exit_code(docker: Cli) -> None:
    script = "/bin/busybox ps -o pid,args; exit 6"
    output = docker("run", "--rm", "--init", IMAGE, "sh", "-c", script, rc=6)
    assert re.search(r"1 .*docker-init -- sh -c", output)
    docker("run", "-d", "--name", "reaped", "--init", IMAGE, "sh", "-c", "(sleep 0.1 &) ; exec sleep 100")
    assert docker.out("inspect", "-f", "{{.HostConfig.Init}}", "reaped") == "true"
    docker("stop", "-t", "5", "reaped")
    assert docker.out("inspect", "-f", "{{.State.ExitCode}}", "reaped") == "143"


def test_a_graphics_card_is_refused_in_dockers_words(docker: Cli) -> None:
    said = docker("run", "--rm", "--gpus", "all", IMAGE, "true", rc=125)
    assert 'could not select device driver "" with capabilities: [[gpu]]' in said


def test_a_control_group_of_ones_own(docker: Cli) -> None:
    words = ("run", "-d", "--name", "apart", "--cgroup-parent", "/elsewhere", IMAGE)
    long = docker.out(*words)
    groups = docker.out("exec", "apart", "cat", "/proc/1/cgroup")
    assert f"/elsewhere/{long}" in groups
    assert documents(docker, "apart", stream=False, one_shot=True)["pids_stats"]["current"] == 1
    assert len(docker.out("top", "apart").splitlines()) == 2
    docker("pause", "apart")
    docker("unpause", "apart")
    docker("rm", "-f", "apart")
    assert f"/elsewhere/{long}" not in docker.out("run", "--rm", IMAGE, "cat", "/proc/1/cgroup")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--userns", "private"), "(?i)invalid user"),
        (("--isolation", "hyperv"), "(?i)invalid isolation"),
        (("--storage-opt", "size=1g"), "storage-opt"),
        (
            ("--volume-driver", "nfs", "-v", "data:/x"),
            "nfs|Unable to find image",
        ),  # dockerd answers 404, and the CLI pulls
        (("--device-read-bps", "/dev/none:1mb"), "(?i)no such"),
        (("--blkio-weight-device", "/dev/null:5"), "(?i)weight"),
    ],
)
def test_what_cannot_be_done_is_said(docker: Cli, options: tuple[str, ...], said: str) -> None:
    output = docker("run", "--rm", *options, IMAGE, "true", rc=None)
    assert re.search(said, output), output


def test_the_hosts_users_are_what_there_is(docker: Cli) -> None:
    docker("run", "--rm", "--userns", "host", "--isolation", "default", "--volume-driver", "local", IMAGE, "true")
    assert json.loads(docker.out("image", "inspect", "-f", "{{json .RepoTags}}", IMAGE)) == [IMAGE]
