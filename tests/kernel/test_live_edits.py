"""Editing containers that run: ports at once and without a restart, limits at once, the rest from the next start on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import docker
import pytest

from harbour import Harbour, busybox_image

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")]
SERVE = ["sh", "-c", "while true; do echo $$ $GREETING | nc -l -p 80; done"]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    with Harbour(tmp_path_factory.mktemp("edits")) as one:
        one.start()
        client = one.client()
        busybox_image(client, "bb")
        client.close()
        yield one


def sampan(host: Harbour, *words: str, rc: int = 0) -> str:
    line = [sys.executable, "-m", "sampan.cli.main", "-H", f"unix://{host.socket}", *words]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == rc, done.stdout + done.stderr
    return done.stdout + done.stderr


def asks(host: Harbour, port: int) -> str:
    """What a container says on a port of the host; "" where nobody answers."""
    program = (
        "import socket, sys, time\n"
        "end = time.monotonic() + 5\n"
        "while time.monotonic() < end:\n"
        "    try:\n"
        f"        with socket.create_connection(('127.0.0.1', {port}), 2) as s:\n"
        "            data = s.recv(99)\n"
        "    except OSError:\n"
        "        break\n"
        "    if data:\n"
        "        print(data.decode()); break\n"
        "    time.sleep(0.02)\n"  # nc is between two clients
    )
    return host.host.run([sys.executable, "-c", program]).strip()


def closed(host: Harbour, port: int) -> bool:
    program = f"import socket, sys; sys.exit(socket.socket().connect_ex(('127.0.0.1', {port})) == 0)"
    return host.host.run([sys.executable, "-c", program], check=False) == "" and not asks(host, port)


def limit_file(host: Harbour, container_id: str) -> str:
    """Where the kernel keeps a container's memory limit, with control groups of either version."""
    names = ["-path", f"*/{container_id}/memory.limit_in_bytes", "-o", "-path", f"*/{container_id}/memory.max"]
    return host.host.run(["find", "/sys/fs/cgroup", *names]).split()[0]


def shown(client: docker.DockerClient, name: str) -> dict[str, Any]:
    return dict(client.api.inspect_container(name))


def test_a_port_comes_and_goes_while_the_container_runs(host: Harbour, client: docker.DockerClient) -> None:
    box = client.containers.run("bb", SERVE, detach=True, name="web", environment={"GREETING": "ahoy"})
    pid = shown(client, "web")["State"]["Pid"]
    assert sampan(host, "update", "--publish-add", "8080:80", "web") == "web\n"
    assert asks(host, 8080).endswith("ahoy")
    assert shown(client, "web")["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"] == "8080"
    sampan(host, "update", "--publish-rm", "8080", "--publish-add", "8081:80", "web")
    assert closed(host, 8080)
    assert asks(host, 8081).endswith("ahoy")
    assert shown(client, "web")["State"]["Pid"] == pid, "nothing was restarted"
    host.kill()
    host.start()
    assert asks(host, 8081).endswith("ahoy"), "the edit is durable"
    assert shown(client, "web")["HostConfig"]["PortBindings"] == {"80/tcp": [{"HostIp": "", "HostPort": "8081"}]}
    box.restart(timeout=0)
    assert asks(host, 8081).endswith("ahoy")
    assert host.violations() == []


def test_a_port_that_is_taken_changes_nothing(host: Harbour, client: docker.DockerClient) -> None:
    client.containers.run("bb", detach=True, name="first", ports={"80/tcp": 8090})
    client.containers.run("bb", detach=True, name="web", ports={"80/tcp": 8091})
    before = shown(client, "web")
    said = sampan(host, "update", "--publish-rm", "8091", "--publish-add", "8090:80", "-m", "64m", "web", rc=1)
    assert "port is already allocated" in said
    after = shown(client, "web")
    assert after["HostConfig"] == before["HostConfig"]
    assert after["NetworkSettings"]["Ports"] == before["NetworkSettings"]["Ports"]
    limit = host.host.run(["cat", limit_file(host, before["Id"])]).strip()
    assert limit == "max" or int(limit) > 1 << 40, "the limit that was set before was taken back"


def test_limits_hold_at_once_and_the_rest_from_the_next_start_on(host: Harbour, client: docker.DockerClient) -> None:
    box = client.containers.run("bb", detach=True, name="web", environment={"OLD": "1"})
    said = sampan(
        host, *("update", "--memory", "64m", "--env-add", "NEW=2", "--env-rm", "OLD", "--mount-add"),
        *("type=volume,source=goods,target=/goods", "--label-add", "deck=2", "--command", "sleep 2000", "web"),
    )  # fmt: skip
    assert "environment: holds from the container's next start on" in said
    assert "mounts: holds from the container's next start on" in said
    assert shown(client, "web")["HostConfig"]["Memory"] == 64 << 20
    assert shown(client, "web")["Config"]["Labels"]["deck"] == "2"
    assert "OLD=1" in box.exec_run("cat /proc/1/environ").output.decode()
    with pytest.raises(docker.errors.APIError, match="volume is in use"):
        client.volumes.get("goods").remove()
    box.restart(timeout=0)
    environment = box.exec_run("cat /proc/1/environ").output.decode()
    assert "NEW=2" in environment
    assert "OLD=1" not in environment
    assert box.exec_run("test -d /goods").exit_code == 0
    assert shown(client, "web")["Args"] == ["2000"]


def test_a_daemon_killed_within_an_update_makes_the_limits_equal_to_the_row(
    host: Harbour, client: docker.DockerClient
) -> None:
    """The mark that `update` leaves, and a kernel that has gone ahead of the row: what kill -9 in between leaves."""
    box = client.containers.run("bb", detach=True, name="web", mem_limit="128m")
    file = limit_file(host, box.id)
    host.host.run(["sh", "-c", f"echo {64 << 20} > {file}"])
    (host.run / "containers" / box.id / "updating").touch()
    host.kill()
    host.start()
    assert int(host.host.run(["cat", file])) == 128 << 20
    assert not (host.run / "containers" / box.id / "updating").exists()


def test_the_edit_of_a_stopped_container_is_what_it_starts_with(host: Harbour, client: docker.DockerClient) -> None:
    box = client.containers.create("bb", SERVE, name="web")
    assert sampan(host, "update", "--publish-add", "8070:80", "--env-add", "GREETING=hoy", "web") == "web\n"
    box.start()
    assert asks(host, 8070).endswith("hoy")


def test_dockers_own_update_is_answered_as_ever(host: Harbour, client: docker.DockerClient) -> None:
    client.containers.run("bb", detach=True, name="web")
    answer = client.api.update_container("web", mem_limit="64m", restart_policy={"Name": "always"})
    assert json.dumps(answer) == '{"Warnings": []}'
