"""The same commands at dockerd and at Sampan tell the same events: types, actions, names of attributes, in order."""

from __future__ import annotations

import time

import docker as sdk
import pytest

from stock import IMAGE, Cli

pytestmark = [pytest.mark.root, pytest.mark.peer]
LIMIT_S = 10

_PLAIN = "image name"
_JOINED = ("network connect: container name type",)
_LEFT = ("network disconnect: container name type",)
_MOUNTED = ("volume mount: container destination driver propagation read/write",)
_UNMOUNTED = ("volume unmount: container driver",)
_DIED = ("container die: execDuration exitCode image name",)
_KILLED = ("container kill: image name signal",)

# What is typed, and what is told of it.
SCRIPT: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("volume create vv", ("volume create: driver",)),
    ("network create nn", ("network create: name type",)),
    (
        f"run --name a1 --rm -v vv:/v {IMAGE} true",
        (
            *(f"container create: {_PLAIN}", f"container attach: {_PLAIN}"),
            *(*_JOINED, *_MOUNTED, f"container start: {_PLAIN}"),
            *(*_LEFT, *_UNMOUNTED, *_DIED, f"container destroy: {_PLAIN}"),
        ),
    ),
    (
        f"run -d --name b1 -v vv:/v:ro --network nn -v anon:/w {IMAGE} sleep 1000",
        (
            *("volume create: driver", f"container create: {_PLAIN}"),
            *(*_JOINED, *_MOUNTED * 2, f"container start: {_PLAIN}"),
        ),
    ),
    (
        "exec b1 true",
        (
            *("container exec_create: true : execID image name", "container exec_start: true : execID image name"),
            "container exec_die: execID exitCode image name",
        ),
    ),
    ("top b1", (f"container top: {_PLAIN}",)),
    ("pause b1", (f"container pause: {_PLAIN}",)),
    ("unpause b1", (f"container unpause: {_PLAIN}",)),
    ("rename b1 b2", ("container rename: image name oldName",)),
    ("network connect bridge b2", _JOINED),
    ("network disconnect bridge b2", _LEFT),
    ("update -m 64m --memory-swap 128m b2", (f"container update: {_PLAIN}",)),
    (
        "restart -t 0 b2",
        (
            *(*_KILLED * 2, *_LEFT, *_UNMOUNTED * 2, f"container stop: {_PLAIN}", *_DIED),
            *(*_JOINED, *_MOUNTED * 2, f"container start: {_PLAIN}", f"container restart: {_PLAIN}"),
        ),
    ),
    ("stop -t 0 b2", (*_KILLED * 2, *_LEFT, *_UNMOUNTED * 2, f"container stop: {_PLAIN}", *_DIED)),
    ("start b2", (*_JOINED, *_MOUNTED * 2, f"container start: {_PLAIN}")),
    ("kill -s USR1 b2", _KILLED),
    ("kill b2", (*_KILLED, *_LEFT, *_UNMOUNTED * 2, *_DIED)),
    ("rm b2", (f"container destroy: {_PLAIN}",)),
    (f"create --name c1 -v /x {IMAGE} true", ("volume create: driver", f"container create: {_PLAIN}")),
    ("rm -v c1", ("volume destroy: driver", f"container destroy: {_PLAIN}")),
    (f"tag {IMAGE} other:2", ("image tag: name",)),
    ("rmi other:2", ("image untag: name",)),
    ("volume rm vv anon", ("volume destroy: driver",) * 2),
    ("network rm nn", ("network destroy: name type",)),
    ("container prune -f", ("container prune: reclaimed",)),
    ("volume prune -f", ("volume prune: reclaimed",)),
    ("network prune -f", ("network prune: reclaimed",)),
    ("image prune -f", ("image prune: reclaimed",)),
    ("builder prune -f", ("builder prune: reclaimed",)),
)


def told(api: sdk.APIClient, since: float, count: int) -> list[str]:
    """What happened, once as much as expected has, or the time is up."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        seen = list(api.events(since=since, until=time.time(), decode=True))
        if len(seen) >= count or time.monotonic() > deadline:
            return [f"{one['Type']} {one['Action']}: {' '.join(sorted(one['Actor']['Attributes']))}" for one in seen]
        time.sleep(0.05)


def test_every_command_tells_what_docker_tells(docker: Cli) -> None:
    api = sdk.APIClient(base_url=docker.engine.host, version="1.45")
    differences = []
    try:
        for words, expected in SCRIPT:
            since = time.time()
            docker(*words.split(" "))
            seen = told(api, since, len(expected))
            # dockerd 26.1 tells a disconnection twice now and then, and its threads have no fixed order
            if set(seen) != set(expected) or (docker.ours and seen != list(expected)):
                differences.append((words, expected, seen))
    finally:
        api.close()
    assert not differences, "\n".join(map(repr, differences))


def test_events_of_the_past_end_and_a_wrong_span_is_refused(docker: Cli) -> None:
    api = sdk.APIClient(base_url=docker.engine.host, version="1.45")
    try:
        now = time.time()
        assert list(api.events(since=now - 1000, until=now - 999, decode=True)) == []
        answer = api.get(api._url("/events"), params={"since": now, "until": now - 5})
        assert (answer.status_code, "cannot be after" in answer.json()["message"]) == (400, True)
    finally:
        api.close()


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"container": "seen"}, {"create", "start", "die", "destroy"}),
        ({"container": "se"}, {"create", "start", "die", "destroy"}),
        ({"container": "unseen"}, set()),
        ({"type": "container", "event": ["create", "die"]}, {"create", "die"}),
        ({"type": "network"}, {"connect", "disconnect"}),
        ({"network": "bridge"}, {"connect", "disconnect"}),
        ({"volume": "vseen"}, {"create", "mount", "unmount", "destroy"}),
        ({"label": "a=b"}, {"create", "start", "die", "destroy"}),
        ({"label": "a=c"}, set()),
        ({"image": IMAGE, "event": "start"}, {"start"}),
        ({"image": IMAGE.partition(":")[0], "event": "start"}, {"start"}),
        ({"scope": "local", "event": "die"}, {"die"}),
    ],
)
def test_filters_choose(docker: Cli, filters: dict[str, str], expected: set[str]) -> None:
    since = time.time()
    docker("run", "-d", "--name", "seen", "-l", "a=b", "-v", "vseen:/v", IMAGE, "true")
    docker("wait", "seen")
    docker("rm", "-f", "seen")
    docker("volume", "rm", "vseen")
    api = sdk.APIClient(base_url=docker.engine.host, version="1.45")
    try:
        seen = list(api.events(since=since, until=time.time(), filters=filters, decode=True))
    finally:
        api.close()
    assert {one["Action"] for one in seen} == expected
