"""Kill the daemon in the middle of everything, start it again, and compare: a program.

    python crashes.py --kills 100 [--seed 1] [--workers 4] [--folder DIR] [--result FILE]

Workers go through the life of containers, images, networks and volumes beside each other, and each keeps a book of what
it was told is done. At a random moment after some operation began the daemon gets SIGKILL; when it is up again the
books must hold (`_Worker.compare`), the rows and the host must agree (`invariants.py`), and what went on meanwhile must
be recorded: counters without a gap, exits with their code. Ends with code 1 when anything was lost.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import re
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import requests

import harbour as harbours
from sampan.formats import stdcopy

BASE = "base:latest"
COUNT = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done"
FOREVER = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"]
LATEST_S = 0.4  # the kill comes at most this long after the operation it is meant for began
SETTLE_S = 10.0
BROKEN = (requests.exceptions.RequestException, docker.errors.DockerException, OSError, ValueError, KeyError)
GONE = (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError, ConnectionError)

THERE, ABSENT, UNKNOWN = "there", "absent", "unknown"


@dataclass
class Entry:
    """What a worker was told of one thing. `state` of a container: created, running, exited, or unknown."""

    is_: str = UNKNOWN
    state: str = UNKNOWN
    policy: str = "no"
    code: int | None = None  # how it ends by itself
    id: str = ""
    marker: str = ""
    fleeting: bool = False  # --rm and ends by itself


@dataclass
class Tally:
    """What was done, for the report."""

    acknowledged: collections.Counter[str] = field(default_factory=collections.Counter)
    killed_in: collections.Counter[str] = field(default_factory=collections.Counter)
    moments: collections.Counter[str] = field(default_factory=collections.Counter)
    refused: collections.Counter[str] = field(default_factory=collections.Counter)
    faults: list[str] = field(default_factory=list)
    restart_s: list[float] = field(default_factory=list)


class Worker(threading.Thread):
    """One client with things of its own."""

    def __init__(self, harbour: harbours.Harbour, number: int, seed: int, tally: Tally) -> None:
        super().__init__(name=f"w{number}", daemon=True)
        self.harbour, self.tally = harbour, tally
        self.random = random.Random(seed * 1000 + number)
        self.count = 0
        self.containers: dict[str, Entry] = {}
        self.images: dict[str, Entry] = {}
        self.tags: dict[str, Entry] = {}  # in the registry
        self.networks: dict[str, Entry] = {}
        self.volumes: dict[str, Entry] = {}
        self.doing = ""
        self.began = threading.Event()
        self.go = threading.Event()
        self.idle = threading.Event()
        self.pausing = False
        self.ending = False
        self.client: docker.DockerClient | None = None

    # --- the loop

    def run(self) -> None:
        while True:
            self.idle.set()
            self.go.wait()
            self.go.clear()
            if self.ending:
                return
            self.idle.clear()
            self.client = self.harbour.client(30.0)
            while not self.pausing:
                self._one()
            self.client.close()

    def _one(self) -> None:
        actions = self._actions()
        name, action = self.random.choices([(n, a) for n, a, _ in actions], [w for _, _, w in actions])[0]
        self.doing = name
        self.began.set()
        try:
            action()
            self.tally.acknowledged[name] += 1
        except BROKEN as error:
            if not isinstance(error, GONE) or not self.pausing:
                text = re.sub(r"[0-9a-f]{12,}|w\d+-\w+|veth\w+|\d+", "#", str(error))
                self.tally.refused[f"{name}: {text[:300]}"] += 1
                time.sleep(0.01)
        if not self.pausing:
            self.doing = ""

    def _actions(self) -> list[tuple[str, Callable[[], None], float]]:
        def some(book: dict[str, Entry], state: str = "") -> list[str]:
            return [n for n, e in book.items() if e.is_ == THERE and (not state or e.state == state)]

        many = len(some(self.containers)) > 6
        actions: list[tuple[str, Callable[[], None], float]] = [
            ("import", self.import_, 1.0 if len(some(self.images)) < 5 else 0.1),
            ("create", self.create, 0.5 if many else 4.0),
            ("run-rm", self.run_rm, 2.0),
        ]
        if len(some(self.networks)) < 3:
            actions.append(("network-create", self.network_create, 1.0))
        if len(some(self.volumes)) < 3:
            actions.append(("volume-create", self.volume_create, 1.0))

        def on(title: str, book: dict[str, Entry], state: str, verb: Callable[[str], None], weight: float) -> None:
            if names := some(book, state):
                actions.append((title, lambda: verb(self.random.choice(names)), weight))

        on("start", self.containers, "created", self.start_one, 5.0)
        on("start-again", self.containers, "exited", self.start_one, 1.5)
        on("stop", self.containers, "running", self.stop_one, 2.0)
        on("restart", self.containers, "running", self.restart_one, 1.0)
        on("exec", self.containers, "running", self.exec_one, 1.0)
        on("pause", self.containers, "running", self.pause_one, 0.7)
        on("rename", self.containers, "", self.rename_one, 0.5)
        on("connect", self.containers, "running", self.connect_one, 0.7)
        on("rm", self.containers, "created", self.remove_one, 0.7)
        on("rm", self.containers, "exited", self.remove_one, 2.0)
        on("rm-f", self.containers, "running", self.force_one, 3.0 if many else 1.0)
        on("tag", self.images, "", self.tag_one, 0.5)
        on("push", self.images, "", self.push_one, 1.5)
        on("rmi", self.images, "", self.remove_image, 1.5)
        on("pull", self.tags, "", self.pull_one, 1.5)
        on("network-rm", self.networks, "", self.network_remove, 1.0)
        on("volume-rm", self.volumes, "", self.volume_remove, 1.0)
        return actions

    @property
    def api(self) -> Any:
        assert self.client is not None
        return self.client.api

    def _new(self, kind: str) -> str:
        self.count += 1
        return f"{self.name}-{kind}{self.count}"

    # --- containers

    def create(self) -> None:
        name = self._new("c")
        kind = self.random.choice(["forever", "forever", "count", "short"])
        code = self.random.randrange(1, 100) if kind == "short" else None
        policy = "no" if kind == "short" else self.random.choice(["no", "no", "always", "unless-stopped"])
        command = {"forever": FOREVER, "count": ["sh", "-c", COUNT], "short": ["sh", "-c", f"sleep 0.2; exit {code}"]}
        images = [n for n, e in self.images.items() if e.is_ == THERE and e.state != "tagged"]
        volumes = [n for n, e in self.volumes.items() if e.is_ == THERE]
        networks = [n for n, e in self.networks.items() if e.is_ == THERE]
        ports = {"80/tcp": None} if self.random.random() < 0.3 else {}
        entry = self.containers[name] = Entry(policy=policy, code=code)
        host = self.api.create_host_config(
            restart_policy={"Name": policy},
            port_bindings=ports,
            binds=[f"{self.random.choice(volumes)}:/v"] if volumes and self.random.random() < 0.4 else [],
            network_mode=self.random.choice(networks) if networks and self.random.random() < 0.4 else "bridge",
        )
        image = self.random.choice(images) if images and self.random.random() < 0.5 else BASE
        made = self.api.create_container(image, command[kind], name=name, host_config=host, ports=[80] if ports else [])
        entry.id, entry.is_, entry.state = made["Id"], THERE, "created"

    def run_rm(self) -> None:
        name = self._new("r")
        self.containers[name] = Entry(fleeting=True)
        seconds = self.random.choice([0, 0.05, 0.3])
        host = self.api.create_host_config(auto_remove=True, port_bindings={"80/tcp": None})
        made = self.api.create_container(BASE, ["sleep", str(seconds)], name=name, host_config=host, ports=[80])
        self.api.start(made["Id"])

    def start_one(self, name: str) -> None:
        entry = self.containers[name]
        entry.state = UNKNOWN
        self.api.start(name)
        entry.state = "running" if entry.code is None else "ended"

    def stop_one(self, name: str) -> None:
        entry = self.containers[name]
        entry.state = UNKNOWN
        self.api.stop(name, timeout=self.random.choice([0, 2]))
        entry.state = "exited"

    def restart_one(self, name: str) -> None:
        entry = self.containers[name]
        entry.state = UNKNOWN
        self.api.restart(name, timeout=0)
        entry.state = "running"

    def _output_of(self, exec_id: str) -> bytes:
        """Without an upgrade: the SDK loses output that a busy machine lets it read together with the answer's head."""
        url = self.api._url("/exec/{0}/start", exec_id)
        answer = self.api._post_json(url, data={"Detach": False, "Tty": False}, stream=True)
        self.api._raise_for_status(answer)
        content = answer.raw.read()
        return b"".join(content[start:end] for _, start, end in stdcopy.frames(content))

    def exec_one(self, name: str) -> None:
        made = self.api.exec_create(name, ["sh", "-c", "echo hello; sleep 0.05; echo end"])
        output = self._output_of(made["Id"])
        if output != b"hello\nend\n" and not self.pausing:
            self.tally.faults.append(f"exec in {name} gave {output!r}")

    def pause_one(self, name: str) -> None:
        entry = self.containers[name]
        entry.state = "frozen?"
        self.api.pause(name)
        self.api.unpause(name)
        entry.state = "running"

    def rename_one(self, name: str) -> None:
        if self.containers[name].fleeting:
            return
        entry = self.containers.pop(name)
        new = self._new("n")
        self.containers[name], self.containers[new] = Entry(), Entry()
        entry_id = entry.id
        self.containers[new].id = entry_id
        self.containers[new].code, self.containers[new].policy = entry.code, entry.policy
        self.api.rename(entry_id, new)
        self.containers[name].is_ = ABSENT
        self.containers[new] = entry

    def connect_one(self, name: str) -> None:
        networks = [n for n, e in self.networks.items() if e.is_ == THERE]
        if networks:
            network = self.random.choice(networks)
            self.api.connect_container_to_network(name, network)
            self.api.disconnect_container_from_network(name, network)

    def remove_one(self, name: str) -> None:
        self.containers[name].is_ = UNKNOWN
        self.api.remove_container(name)
        self.containers[name].is_ = ABSENT

    def force_one(self, name: str) -> None:
        self.containers[name].is_ = self.containers[name].state = UNKNOWN
        self.api.remove_container(name, force=True, v=True)
        self.containers[name].is_ = ABSENT

    # --- images

    def import_(self) -> None:
        name = f"{self._new('i').lower()}:1"
        entry = self.images[name] = Entry(marker=name + "x" * self.random.choice([1, 1000, 300_000]))
        packed = harbours.busybox_tar(entry.marker)
        answer = json.loads(self.api.import_image_from_data(packed, *name.split(":")).splitlines()[-1])
        entry.id, entry.is_ = answer["status"], THERE

    def tag_one(self, name: str) -> None:
        new = f"{self._new('t').lower()}:1"
        entry = self.images[new] = Entry(state="tagged", marker=self.images[name].marker, id=self.images[name].id)
        self.api.tag(name, *new.split(":"))
        entry.is_ = THERE

    def push_one(self, name: str) -> None:
        source = self.images[name]
        new = f"{harbours.REGISTRY}/team/{self.name}:{self.random.choice('abcd')}"
        self.images[new] = Entry(state="tagged", id=source.id, marker=source.marker)
        self.api.tag(name, *new.rsplit(":", 1))
        self.images[new].is_ = THERE
        self.tags[new] = Entry(marker=source.marker)
        lines = self.api.push(*new.rsplit(":", 1)).splitlines()
        if not any("aux" in json.loads(line) for line in lines):
            raise ValueError(f"push: {lines[-1:]}")
        self.tags[new].is_ = THERE

    def pull_one(self, tag: str) -> None:
        self.images[tag] = Entry(state="tagged", marker=self.tags[tag].marker)
        lines = self.api.pull(*tag.rsplit(":", 1)).splitlines()
        if not any("Status: " in line for line in lines):
            raise ValueError(f"pull: {lines[-1:]}")
        self.images[tag].is_ = THERE

    def remove_image(self, name: str) -> None:
        entry = self.images[name]
        entry.is_ = UNKNOWN
        try:
            self.api.remove_image(name)
        except docker.errors.APIError as error:
            if error.status_code != 409:
                raise
            return  # a container uses it
        entry.is_ = ABSENT

    # --- networks and volumes

    def network_create(self) -> None:
        name = self._new("net")
        self.networks[name] = Entry()
        self.api.create_network(name)
        self.networks[name].is_ = THERE

    def network_remove(self, name: str) -> None:
        self.networks[name].is_ = UNKNOWN
        self.api.remove_network(name)
        self.networks[name].is_ = ABSENT

    def volume_create(self) -> None:
        name = self._new("v")
        self.volumes[name] = Entry()
        self.api.create_volume(name)
        self.volumes[name].is_ = THERE

    def volume_remove(self, name: str) -> None:
        self.volumes[name].is_ = UNKNOWN
        self.api.remove_volume(name)
        self.volumes[name].is_ = ABSENT

    # --- after the restart

    def compare(self, client: docker.DockerClient) -> list[str]:
        """What the daemon forgot or made up. Unknown entries become what is found."""
        found = {item["Names"][0][1:]: item for item in client.api.containers(all=True)}
        names = {name for item in client.api.images() for name in item["RepoTags"]}
        networks = {item["Name"] for item in client.api.networks()}
        volumes = {item["Name"] for item in client.api.volumes()["Volumes"] or ()}
        faults = [
            *_settle("image", self.images, names),
            *_settle("network", self.networks, networks),
            *_settle("volume", self.volumes, volumes),
            *_settle("registry tag", self.tags, _registry_tags(self.harbour)),
            *_settle("container", self.containers, set(found)),
        ]
        for name, entry in self.containers.items():
            if name in found:
                faults += self._compare_container(client, name, entry, found[name])
        return [f"{self.name}: {fault}" for fault in faults]

    def _compare_container(
        self, client: docker.DockerClient, name: str, entry: Entry, item: dict[str, Any]
    ) -> list[str]:
        inspected = client.api.inspect_container(item["Id"])["State"]
        status, code = inspected["Status"], inspected["ExitCode"]
        if entry.id and entry.id != item["Id"]:
            return [f"container {name} has another id"]
        entry.id = item["Id"]
        if entry.fleeting:
            return [f"container {name} was made with --rm and is {status}"] if status != "created" else []
        if entry.state == "frozen?" and status == "paused":
            client.api.unpause(name)
            status = "running"
        wanted = {"running" if entry.state == "frozen?" else entry.state}
        if entry.state == "exited" and entry.policy == "always":
            wanted = {"running"}
            if "network" in inspected["Error"] and "not found" in inspected["Error"]:
                wanted = {"exited"}  # a stopped container's network may be removed; then no policy can start it
        if entry.state == "ended":
            wanted = {"exited"}
        if entry.state == UNKNOWN:
            wanted = {"created", "running", "exited"} if entry.code is None else {"created", "exited"}
        if status not in wanted:
            return [f"container {name} is {status} {inspected}, it should be {sorted(wanted)} ({entry})"]
        if status == "exited" and entry.code is not None and entry.state == "ended" and code != entry.code:
            return [f"container {name} ended with {code}, not {entry.code}: {inspected}"]
        entry.state = status
        if status != "created" and entry.code is None:
            return gaps(name, client.api.logs(item["Id"]))
        return []


def _settle(kind: str, book: dict[str, Entry], found: set[str]) -> list[str]:
    faults = []
    for name, entry in list(book.items()):
        present = name in found
        if entry.is_ == THERE and not present:
            faults.append(f"{kind} {name} is lost")
        if entry.is_ == ABSENT and present:
            faults.append(f"{kind} {name} is back")
        if entry.is_ == UNKNOWN and (entry.state == "tagged" or kind == "registry tag"):
            entry.marker = ""  # the name may still be that of the image before
        entry.is_ = THERE if present else ABSENT
        if not present:
            del book[name]
    return faults


def gaps(name: str, log: bytes) -> list[str]:
    """A counter counts on, or begins at 0 after a start."""
    before = -1
    for line in log.split():
        if not line.isdigit():
            return [f"the log of {name} has {line!r}"]
        if int(line) not in (before + 1, 0):
            return [f"the log of {name} has {int(line)} after {before}"]
        before = int(line)
    return []


def _registry_tags(harbour: harbours.Harbour) -> set[str]:
    database = sqlite3.connect(f"file:{harbour.data / 'state.db'}?mode=ro", uri=True)
    try:
        rows = database.execute("SELECT repository, name FROM repository_tag").fetchall()
    finally:
        database.close()
    return {f"{harbours.REGISTRY}/{repository}:{name}" for repository, name in rows}


class Loop:
    """The harbour, its workers, and the kills."""

    def __init__(self, harbour: harbours.Harbour, *, workers: int, seed: int) -> None:
        self.harbour = harbour
        self.random = random.Random(seed)
        self.tally = Tally()
        self.workers = [Worker(harbour, number, seed, self.tally) for number in range(workers)]
        self.counted = 0

    def prepare(self) -> None:
        """The image all use, and containers that live through everything."""
        self.harbour.start()
        client = self.harbour.client()
        harbours.busybox_image(client, "base", marker="base")
        run = client.containers.run
        run(BASE, ["sh", "-c", COUNT], name="steady", detach=True)
        run(
            BASE,
            ["busybox", "httpd", "-f", "-p", "80", "-h", "/"],
            name="web",
            detach=True,
            ports={"80/tcp": 8080},
            restart_policy={"Name": "always"},
        )
        run(
            BASE,
            ["sh", "-c", "sleep 0.3; exit 1"],
            name="flapping",
            detach=True,
            restart_policy={"Name": "unless-stopped"},
        )
        client.close()
        for worker in self.workers:
            worker.start()

    def round(self) -> None:
        """Work, kill, start, compare."""
        chosen = self.random.choice(self.workers)
        delay_s = self.random.choice([0.02, 0.1, LATEST_S]) * self.random.random()
        for worker in self.workers:
            worker.pausing = False
            worker.go.set()
        time.sleep(self.random.random() * 0.6)
        chosen.began.clear()
        chosen.began.wait(10)
        aimed = chosen.doing
        time.sleep(delay_s)
        for worker in self.workers:
            worker.pausing = True
        self.harbour.kill()
        for worker in self.workers:
            if not worker.idle.wait(40):
                self.tally.faults.append(f"{worker.name} hangs in {worker.doing}")
            self.tally.killed_in[worker.doing or "between"] += 1
            worker.doing = ""
        self.tally.moments[f"{aimed} +{int(delay_s * 20) * 50}..{int(delay_s * 20) * 50 + 50} ms"] += 1
        started = time.monotonic()
        self.harbour.start()
        self.tally.restart_s.append(time.monotonic() - started)
        self.compare()

    def compare(self) -> None:
        """Add what is wrong to the tally."""
        faults = self.harbour.violations("--patience", str(SETTLE_S))
        client = self.harbour.client()
        try:
            self._await_ends(client)
            for worker in self.workers:
                faults += worker.compare(client)
            faults += self._constant(client)
            faults += self._images(client)
        except BROKEN as error:
            faults.append(f"comparing: {error!r}")
        finally:
            client.close()
        self.tally.faults += faults

    def _await_ends(self, client: docker.DockerClient) -> None:
        """Short-lived containers may still be running."""
        short = {name for worker in self.workers for name, e in worker.containers.items() if e.code or e.fleeting}
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            running = {item["Names"][0][1:] for item in client.api.containers()}
            if not running & short:
                return
            time.sleep(0.02)

    def _constant(self, client: docker.DockerClient) -> list[str]:
        faults = []
        log = client.api.logs("steady")
        faults += gaps("steady", log)
        if log.split().count(b"0") != 1 or len(log.split()) < self.counted:
            faults.append(f"steady has {len(log.split())} lines, it had {self.counted}")
        self.counted = len(log.split())
        for name in ("steady", "web"):
            if (status := client.api.inspect_container(name)["State"]["Status"]) != "running":
                faults.append(f"{name} is {status}")
        faults += self._flapping(client)
        fetch = (
            "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/marker', timeout=5).read().decode())"
        )
        try:
            if self.harbour.host.run([sys.executable, "-c", fetch]).strip() != "base":
                faults.append("web answers something else")
        except harbours.HarbourFailed as error:
            faults.append(f"web does not answer: {str(error)[-200:]}")
        return faults

    def _flapping(self, client: docker.DockerClient) -> list[str]:
        """It is started again and again; while it starts Docker's word is "created"."""
        deadline = time.monotonic() + SETTLE_S
        while (state := client.api.inspect_container("flapping")["State"])["Status"] not in ("running", "restarting"):
            if time.monotonic() > deadline:
                return [f"flapping is {state}"]
            time.sleep(0.01)
        return []

    def _images(self, client: docker.DockerClient) -> list[str]:
        """One image of each worker is started and its file read."""
        faults = []
        for worker in self.workers:
            known = [(name, entry.marker) for name, entry in worker.images.items() if entry.marker]
            if not known:
                continue
            name, marker = self.random.choice(known)
            if (read := client.containers.run(name, ["cat", "/marker"], remove=True).decode()) != marker:
                faults.append(f"image {name} has the marker {read[:40]}, not {marker[:40]}")
        return faults

    def end(self) -> None:
        """Let the workers go."""
        for worker in self.workers:
            worker.ending = True
            worker.go.set()
            if worker.is_alive():
                worker.join(10)


def document(loop: Loop, arguments: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """The record of a run."""
    tally, count = loop.tally, len(loop.tally.restart_s)
    return {
        "kills": count,
        "seed": arguments.seed,
        "workers": arguments.workers,
        "seconds": round(seconds, 1),
        "restart_s": {"median": sorted(tally.restart_s)[count // 2], "longest": max(tally.restart_s)} if count else {},
        "acknowledged": dict(tally.acknowledged.most_common()),
        "in_flight_at_the_kill": dict(tally.killed_in.most_common()),
        "moments": dict(sorted(tally.moments.items())),
        "refused": dict(tally.refused.most_common()),
        "lines_counted_without_a_gap": loop.counted,
        "faults": tally.faults,
    }


def main() -> int:
    """The run; 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--result", type=Path)
    parser.add_argument("--stop-at-fault", action="store_true")
    parser.add_argument("--option", action="append", default=[])
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="crashes-"))
    began = time.monotonic()
    with harbours.Harbour(folder, *arguments.option) as harbour:
        loop = Loop(harbour, workers=arguments.workers, seed=arguments.seed)
        try:
            loop.prepare()
            for number in range(arguments.kills):
                before = len(loop.tally.faults)
                loop.round()
                for fault in loop.tally.faults[before:]:
                    print(f"kill {number}: {fault}", flush=True)
                if arguments.stop_at_fault and len(loop.tally.faults) > before:
                    break
        finally:
            loop.end()
    report = json.dumps(document(loop, arguments, time.monotonic() - began), indent=1)
    if arguments.result:
        arguments.result.write_text(report + "\n")
    print(report)
    if not arguments.folder:
        shutil.rmtree(folder)
    return 1 if loop.tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
