"""Nothing acknowledged is lost and nothing is left behind when the daemon, the keeper or the machine goes down at once.

A sample; `bench/crash_loop.py` kills a hundred times and more.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import harbour as harbours

NEEDED = ("runc", "nft", "ip", "unshare", "nsenter", "busybox")
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}"),
]
CRASHES = Path(harbours.__file__).with_name("crashes.py")
FOREVER = ["sleep", "1000000"]


@pytest.fixture
def harbour(tmp_path):
    with harbours.Harbour(tmp_path / "h") as made:
        made.start()
        yield made


@pytest.fixture
def client(harbour):
    made = harbour.client()
    harbours.busybox_image(made, "box", marker="box")
    yield made
    made.close()


def run(client, name, command=FOREVER, **options):
    return client.containers.run("box", command, name=name, detach=True, **options)


def statuses(client):
    return {one.name: one.status for one in client.containers.list(all=True)}


def until(condition, limit_s=15.0):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "the condition does not come true"
        time.sleep(0.02)


def test_ten_kills_in_the_middle_of_everything_lose_nothing(tmp_path):
    command = [sys.executable, str(CRASHES), "--kills", "10", "--seed", str(os.getpid()), "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}{done.stderr[-3000:]}"


def test_containers_go_on_when_the_daemon_is_told_to_stop(harbour, client):
    steady = run(client, "steady", ["sh", "-c", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done"])
    pid = steady.attrs["State"]["Pid"] or client.api.inspect_container("steady")["State"]["Pid"]
    before = len(steady.logs().split())
    harbour.stop()
    assert harbour.host.run(["cat", f"/proc/{pid}/comm"]) == "sh\n"
    harbour.start()
    numbers = [int(line) for line in steady.logs().split()]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > before
    assert harbour.violations() == []


def test_an_exit_while_the_daemon_is_away_is_recorded_with_its_code_and_heeds_the_policy(harbour, client):
    run(client, "seven", ["sh", "-c", "sleep 0.5; exit 7"])
    run(client, "again", ["sh", "-c", "sleep 0.5; exit 8"], restart_policy={"Name": "on-failure"})
    run(client, "fleeting", ["sleep", "0.5"], auto_remove=True)
    harbour.kill()
    until(lambda: "sleep 0.5" not in harbour.host.run(["ps", "ax", "-o", "args"]))
    harbour.start()
    assert client.api.inspect_container("seven")["State"]["ExitCode"] == 7
    until(lambda: client.api.inspect_container("again")["RestartCount"] >= 1)
    until(lambda: set(statuses(client)) == {"seven", "again"})
    client.containers.get("again").remove(force=True)
    assert harbour.violations() == []


def test_when_the_keeper_is_killed_its_containers_are_recorded_and_new_ones_start(harbour, client):
    run(client, "plain")
    run(client, "frozen").pause()
    run(client, "always", restart_policy={"Name": "always"})
    harbour.host.kill(harbour.keeper_pid())
    until(lambda: statuses(client) == {"plain": "exited", "frozen": "exited", "always": "running"})
    state = client.api.inspect_container("plain")["State"]
    assert state["ExitCode"] == 255
    assert "streams" in state["Error"]
    assert run(client, "new", ["cat", "/marker"]).wait()["StatusCode"] == 0
    client.containers.get("plain").start()
    assert harbour.violations() == []


def test_after_a_reboot_the_policies_start_containers_and_nothing_else_runs(harbour, client):
    run(client, "plain")
    run(client, "frozen").pause()
    run(client, "always", restart_policy={"Name": "always"}, ports={"80/tcp": 8080})
    run(client, "stopped", restart_policy={"Name": "unless-stopped"}).stop(timeout=0)
    harbour.reboot()
    harbour.start()
    wanted = {"plain": "exited", "frozen": "exited", "always": "running", "stopped": "exited"}
    until(lambda: statuses(client) == wanted)
    assert harbour.violations() == []


def test_one_killed_between_freezing_and_the_row_is_told_as_paused(harbour, client):
    one = run(client, "one")
    harbour.kill()
    harbour.host.run(["runc", "--root", str(harbour.run / "runtime"), "pause", one.id])
    harbour.start()
    assert statuses(client) == {"one": "paused"}
    one.unpause()
    assert harbour.violations() == []


def test_a_created_container_with_an_anonymous_volume_is_removed_with_it(harbour, client):
    made = client.api.create_container("box", FOREVER, volumes=["/v"])
    client.api.remove_container(made["Id"], v=True)
    assert client.volumes.list() == []
    assert harbour.violations() == []


DAMAGE = {
    "processes": "kill -9 $(cat {run}/containers/{id}/pid)",
    "folders": "mkdir {data}/containers/stray",
    "mounts": "mkdir -p {run}/x && mount -t tmpfs tmpfs {run}/x",
    "links": "ip link add stray type bridge",
    "firewall": "nft add element ip sampan pub '{{ tcp . 99 : 192.0.2.1 . 99 }}'",
    "groups": "for d in /sys/fs/cgroup/pids /sys/fs/cgroup; do mkdir -p $d/sampan/stray && exit; done",
    "volumes": "mkdir {data}/volumes/stray",
    "images": "rm {data}/layers/*/*.facts",
    "blobs": "for f in {data}/content/blobs/sha256/*; do echo x >> $f; done",
}


@pytest.mark.parametrize("check", DAMAGE)
def test_the_checker_sees_what_it_is_there_to_see(harbour, client, check):
    one = run(client, "one")
    assert harbour.violations() == []
    harbour.kill()  # nobody repairs it
    words = DAMAGE[check].format(id=one.id, data=harbour.data, run=harbour.run)
    harbour.host.run(["sh", "-ec", words])
    found = harbour.violations("--patience", "0.3")
    assert [line for line in found if line.startswith(f"{check}: ")], found
