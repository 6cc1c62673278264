"""One stuck container hangs nobody who looks: ps, inspect, info, events answer while verbs wait for a frozen keeper."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import docker
import pytest

from harbour import Harbour, busybox_image

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")]
LIMIT_S = 10.0  # of a client that only looks; the verbs below wait for as long as the keeper is frozen


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    with Harbour(tmp_path_factory.mktemp("stuck")) as one:
        one.start()
        client = one.client()
        busybox_image(client, "bb")
        client.close()
        yield one


class Verb(threading.Thread):
    """A request that does not come back while the keeper is frozen."""

    def __init__(self, host: Harbour, work: object) -> None:
        super().__init__(daemon=True)
        self.host, self.work, self.error = host, work, ""

    def run(self) -> None:
        client = self.host.client(120.0)
        try:
            self.work(client)  # type: ignore[operator]
        except docker.errors.APIError as error:
            self.error = str(error)
        finally:
            client.close()


def test_looking_answers_while_every_verb_of_a_container_hangs(host: Harbour) -> None:
    client = host.client(LIMIT_S)
    box = client.containers.run("bb", detach=True, name="stuck", tty=True)
    other = client.containers.create("bb", name="other")
    keeper = host.keeper_pid()
    host.host.kill(keeper, signal.SIGSTOP)
    verbs = [
        Verb(host, lambda c: c.containers.get("stuck").resize(20, 80)),  # waits for the keeper's reply
        Verb(host, lambda c: c.containers.get("other").start()),  # holds its container's lock while it waits
        Verb(host, lambda c: c.containers.get("other").start()),  # one of both waits for that lock
        Verb(host, lambda c: c.containers.get("stuck").exec_run("true")),
    ]
    try:
        for verb in verbs:
            verb.start()
        verbs[0].join(1.0)
        assert verbs[0].is_alive(), "the keeper's reply is missing"
        assert {item.name for item in client.containers.list(all=True)} == {"stuck", "other"}
        assert client.api.containers(all=True, size=True)
        assert client.api.inspect_container("stuck")["State"]["Running"]
        assert client.api.inspect_container("other")["Name"] == "/other"
        assert client.info()["Containers"] == 2
        assert client.df()["Containers"]
        assert client.images.list()
        assert client.networks.list()
        assert client.version()
        assert box.logs() == b""
        made = client.containers.create("bb", name="new")
        made.remove()
        seen = list(client.api.events(since=0, until=int(time.time()), decode=True))
        assert any(event.get("Action") == "create" for event in seen)
        assert all(verb.is_alive() for verb in verbs), "they hang still: looking did not wait for them"
    finally:
        host.host.kill(keeper, signal.SIGCONT)
    for verb in verbs:
        verb.join(60.0)
        assert not verb.is_alive(), "the keeper goes on, and so do they"
    assert [verb.error for verb in verbs] == [""] * len(verbs)
    other.reload()
    assert other.status == "running"
    client.close()
