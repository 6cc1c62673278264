"""Kill the daemon at the system calls of one operation, one after the other: a program.

    python crashpoints.py [--verb start --verb rm …] [--calls fsync,renameat …] [--most 6]

For each operation and each call that changes something outside the process (`CALLS`), strace kills the daemon as it
enters the first, second, … such call of a thread. Then it starts again, rows and host must agree (`invariants.py`), and
the same operation done once more must succeed or find that it happened. Ends with code 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import collections
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import requests

import harbour as harbours

CALLS = (
    "fsync,fdatasync",
    "rename,renameat,renameat2",
    "unlink,unlinkat,rmdir",
    "mkdir,mkdirat",
    "sendto,sendmsg",
    "pwrite64",
    "umount2,move_mount,fsconfig,mount",
)
BASE = "base:latest"
FOREVER = ["sleep", "1000000"]
BROKEN = (requests.exceptions.RequestException, docker.errors.DockerException, OSError, ValueError)
ATTACH_LIMIT_S = 20.0


@dataclass(frozen=True)
class Verb:
    """`prepare` makes what `act` needs; both get a name that nobody used before."""

    prepare: Callable[[Any, str], object]
    act: Callable[[Any, str], object]
    fine: tuple[int, ...] = ()  # statuses the second time: it had happened


def _create(api: Any, name: str, **options: Any) -> None:
    host = api.create_host_config(
        port_bindings={"80/tcp": None}, binds=[f"{name}-v:/v"], mounts=[docker.types.Mount("/anonymous", None)]
    )
    api.create_container(BASE, FOREVER, name=name, host_config=host, ports=[80], **options)


def _running(api: Any, name: str) -> None:
    _create(api, name)
    api.start(name)


def _image(api: Any, name: str) -> None:
    api.import_image_from_data(harbours.busybox_tar(name * 1000), name, "1")


def _push(api: Any, name: str) -> None:
    repository = f"{harbours.REGISTRY}/team/{name}"
    api.tag(f"{name}:1", repository, "1")
    lines = api.push(repository, "1").splitlines()
    if not any("aux" in json.loads(line) for line in lines):
        raise ValueError(lines[-1])


def _pushed(api: Any, name: str) -> None:
    _image(api, name)
    _push(api, name)
    api.remove_image(f"{harbours.REGISTRY}/team/{name}:1")
    api.remove_image(f"{name}:1")


def _pull(api: Any, name: str) -> None:
    lines = api.pull(f"{harbours.REGISTRY}/team/{name}", "1").splitlines()
    if not any("Status: " in line for line in lines):
        raise ValueError(lines[-1])


def _on_network(api: Any, name: str) -> None:
    _running(api, name)
    api.create_network(f"{name}-net")


def _connected(api: Any, name: str) -> None:
    _on_network(api, name)
    api.connect_container_to_network(name, f"{name}-net")


def _nothing(_api: Any, _name: str) -> None:
    pass


VERBS = {
    "create": Verb(_nothing, _create, (409,)),
    "start": Verb(_create, lambda api, name: api.start(name)),
    "stop": Verb(_running, lambda api, name: api.stop(name, timeout=0)),
    "restart": Verb(_running, lambda api, name: api.restart(name, timeout=0)),
    "rm": Verb(_create, lambda api, name: api.remove_container(name, v=True), (404,)),
    "rm-f": Verb(_running, lambda api, name: api.remove_container(name, v=True, force=True), (404,)),
    "pause": Verb(_running, lambda api, name: api.pause(name), (409,)),
    "import": Verb(_nothing, _image),
    "rmi": Verb(_image, lambda api, name: api.remove_image(f"{name}:1"), (404,)),
    "push": Verb(_image, _push),
    "pull": Verb(_pushed, _pull),
    "network-create": Verb(_nothing, lambda api, name: api.create_network(name), (409,)),
    "network-rm": Verb(lambda api, name: api.create_network(name), lambda api, name: api.remove_network(name), (404,)),
    "connect": Verb(_on_network, lambda api, name: api.connect_container_to_network(name, f"{name}-net"), (403, 409)),
    "disconnect": Verb(
        _connected, lambda api, name: api.disconnect_container_from_network(name, f"{name}-net"), (403, 404, 409)
    ),
    "rename": Verb(_running, lambda api, name: api.rename(name, f"{name}-new"), (404, 409)),
    "volume-create": Verb(_nothing, lambda api, name: api.create_volume(name)),
    "volume-rm": Verb(lambda api, name: api.create_volume(name), lambda api, name: api.remove_volume(name), (404,)),
}


class Points:
    """A harbour, and what was found."""

    def __init__(self, harbour: harbours.Harbour) -> None:
        self.harbour = harbour
        self.number = 0
        self.killed: collections.Counter[str] = collections.Counter()
        self.survived: collections.Counter[str] = collections.Counter()
        self.faults: list[str] = []

    def prepare(self) -> None:
        """The image that containers are made from."""
        self.harbour.start()
        client = self.harbour.client()
        harbours.busybox_image(client, "base", marker="base")
        client.close()

    def at(self, title: str, calls: str, count: int) -> bool:
        """One kill; False if the operation came through, because it makes no such call any more."""
        self.number += 1
        verb, name = VERBS[title], f"{title}-{self.number}"
        point = f"{title} at {calls} {count}"
        client = self.harbour.client(20.0)
        try:
            verb.prepare(client.api, name)
            self._attach(calls, count)
            try:
                verb.act(client.api, name)
            except BROKEN as error:
                if self.harbour.host.status(self.harbour.pid) is None:
                    time.sleep(0.2)
                if self.harbour.host.status(self.harbour.pid) is None:
                    self.faults.append(f"{point}: refused without a kill: {error}")
        finally:
            client.close()
        died = self.harbour.host.status(self.harbour.pid) is not None
        if not died:
            self.harbour.kill()
        (self.killed if died else self.survived)[title] += 1
        self.harbour.start()
        self._check(point, verb, name)
        return died

    def _check(self, point: str, verb: Verb, name: str) -> None:
        found = self.harbour.violations("--patience", "3")
        client = self.harbour.client(20.0)
        try:
            verb.act(client.api, name)
        except docker.errors.APIError as error:
            if error.status_code not in verb.fine:
                found.append(f"the second time: {error}")
        except BROKEN as error:
            found.append(f"the second time: {error!r}")
        if self.number % 5 == 0:
            found += self.harbour.violations("--patience", "3")
            found += self._clear(client.api)
        client.close()
        self.faults += [f"{point}: {line}" for line in found]
        for line in found:
            print(f"{point}: {line}", flush=True)

    def _clear(self, api: Any) -> list[str]:
        found = []
        for item in api.containers(all=True):
            try:
                api.remove_container(item["Id"], force=True, v=True)
            except BROKEN as error:
                found.append(f"{item['Names']} cannot be removed: {error}")
        return found

    def _attach(self, calls: str, count: int) -> None:
        words = ["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(self.harbour.pid), "-e", f"trace={calls}"]
        self.harbour.host.spawn(
            [*words, "-e", f"inject={calls}:signal=KILL:when={count}"], log=self.harbour.folder / "strace.log"
        )
        ask = f"grep -L 'TracerPid:.[1-9]' /proc/{self.harbour.pid}/task/*/status | wc -l"
        deadline = time.monotonic() + ATTACH_LIMIT_S
        while self.harbour.host.run(["sh", "-c", ask]).strip() != "0":
            if time.monotonic() > deadline:
                raise harbours.HarbourFailed("strace does not attach")


def main() -> int:
    """The run; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verb", action="append", choices=list(VERBS))
    parser.add_argument("--calls", action="append")
    parser.add_argument("--most", type=int, default=6)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--result", type=Path)
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="crashpoints-"))
    with harbours.Harbour(folder) as harbour:
        points = Points(harbour)
        points.prepare()
        for title in arguments.verb or VERBS:
            for calls in arguments.calls or CALLS:
                for count in range(1, arguments.most + 1):
                    if not points.at(title, calls, count):
                        break
    report = {"killed": points.killed, "came_through": points.survived, "faults": points.faults}
    text = json.dumps(report, indent=1)
    if arguments.result:
        arguments.result.write_text(text + "\n")
    print(text)
    if not arguments.folder:
        shutil.rmtree(folder)
    return 1 if points.faults else 0


if __name__ == "__main__":
    sys.exit(main())
