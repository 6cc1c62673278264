"""Every answer of a whole daemon against the specification: types, required members, words of enumerations."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

import harbour
import swagger
from rawapi import Api

pytestmark = pytest.mark.root
IMAGE = "bb:1"
WANTED: dict[str, Any] = {
    "Image": IMAGE,
    "Cmd": ["sh", "-c", "echo out; echo err >&2; sleep 1000"],
    "Env": ["A=1"],
    "Labels": {"tier": "front"},
    "ExposedPorts": {"80/tcp": {}},
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1_000_000_000},
    "HostConfig": {
        "Binds": ["hold:/data", "/tmp:/tmp:ro"],
        "Mounts": [{"Type": "tmpfs", "Target": "/scratch"}],
        "PortBindings": {"80/tcp": [{"HostPort": "8096"}]},
        "NetworkMode": "pier",
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2},
        "Memory": 64 << 20,
        "CapAdd": ["NET_ADMIN"],
        "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}],
    },
    "NetworkingConfig": {
        "EndpointsConfig": {"pier": {"Aliases": ["store"], "IPAMConfig": {"IPv4Address": "10.80.0.9"}}}
    },
}


class Checked(Api):
    """Remembers which operations were asked, and checks what they say."""

    def __init__(self, home: harbour.Harbour) -> None:
        super().__init__(home)
        self.asked: set[str] = set()

    def fits(self, method: str, path: str, body: Any = None, *, status: int = 200, lines: bool = False) -> Any:
        """The answer, which must have this status and the shape that the specification gives it."""
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if method == "POST" and content is None:
            content = b""
        code, text = self.ask(method, path, content)
        assert code == status, (method, path, code, text[:500])
        bare = path.partition("?")[0]
        self.asked.add(swagger.operation_of(method, bare))
        if not text:
            return None
        values = [json.loads(line) for line in text.splitlines()] if lines else [json.loads(text)]
        for value in values:
            assert swagger.answer_misfits(method, bare, status, value) == [], (method, path)
        return values if lines else values[0]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checked]:
    with harbour.Harbour(tmp_path_factory.mktemp("answers")) as home:
        home.start()
        client = home.client()
        try:
            harbour.busybox_image(client, "bb", "1")
            yield Checked(home)
        finally:
            client.close()


def test_every_answer_has_the_shape_of_the_specification(api: Checked) -> None:
    network = {"Name": "pier", "IPAM": {"Config": [{"Subnet": "10.80.0.0/24", "Gateway": "10.80.0.1"}]}}
    api.fits("POST", "/networks/create", network, status=201)
    api.fits("POST", "/volumes/create", {"Name": "hold", "Labels": {"a": "b"}}, status=201)
    made = api.fits("POST", "/containers/create?name=web", WANTED, status=201)
    for state in ("created", "running", "paused", "exited"):
        if state == "running":
            api.fits("POST", "/containers/web/start", status=204)
        if state == "paused":
            api.fits("POST", "/containers/web/pause", status=204)
        if state == "exited":
            api.fits("POST", "/containers/web/unpause", status=204)
            api.fits("POST", "/containers/web/stop?t=0", status=204)
        shown = api.fits("GET", "/containers/web/json?size=1")
        assert shown["State"]["Status"] == state
        (summary,) = api.fits("GET", "/containers/json?all=1&size=1")
        assert (summary["Id"], summary["State"]) == (made["Id"], state)
        api.fits("GET", "/networks/pier")
        if state == "running":
            look_at_a_running_one(api)
    look_at_the_rest(api)
    change_and_remove(api)
    unasked = {name for name in swagger.document()["paths"] if swagger.document()["paths"][name]} - api.asked
    assert unasked == NOT_HERE


def look_at_a_running_one(api: Checked) -> None:
    api.fits("GET", "/containers/web/top")
    api.fits("GET", "/containers/web/stats?stream=0&one-shot=1")
    api.fits("GET", "/containers/web/changes")
    api.fits("POST", "/containers/create?name=screen", {"Image": IMAGE, "Tty": True}, status=201)
    api.fits("POST", "/containers/screen/start", status=204)
    api.fits("POST", "/containers/screen/resize?h=20&w=80")
    api.fits("DELETE", "/containers/screen?force=1", status=204)
    asked = api.fits("POST", "/containers/web/exec", {"Cmd": ["true"], "AttachStdout": True}, status=201)
    api.fits("GET", f"/exec/{asked['Id']}/json")
    api.ask("POST", f"/exec/{asked['Id']}/start", b"{}")
    api.fits("GET", f"/exec/{asked['Id']}/json")
    api.fits("GET", "/containers/web/json")
    api.fits("GET", "/system/df")
    api.fits("POST", "/containers/web/update", {"Memory": 65 << 20})
    api.fits("POST", "/networks/bridge/connect", {"Container": "web"})
    api.fits("GET", "/containers/web/json")
    api.fits("POST", "/networks/bridge/disconnect", {"Container": "web"})
    api.fits("POST", "/containers/web/kill?signal=HUP", status=204)


def look_at_the_rest(api: Checked) -> None:
    for path in (
        "/info",
        "/version",
        "/images/json",
        "/images/json?shared-size=1&manifests=1",
        "/networks",
        "/volumes",
    ):
        api.fits("GET", path)
    api.fits("GET", "/volumes/hold")
    api.fits("GET", "/images/bb:1/json")
    api.fits("GET", "/images/bb:1/history")
    told = api.fits("GET", f"/events?since=1&until={int(time.time()) + 1}", lines=True)
    assert {"create", "start", "pause", "die"} <= {event["Action"] for event in told}


def change_and_remove(api: Checked) -> None:
    api.fits("POST", "/images/bb:1/tag?repo=copy&tag=it", status=201)
    api.fits("POST", "/commit?container=web&repo=kept&tag=1", {}, status=201)
    api.fits("POST", "/containers/web/rename?name=net", status=204)
    api.fits("POST", "/containers/net/restart?t=0", status=204)
    api.fits("DELETE", "/containers/net?force=1&v=1", status=204)
    api.fits("DELETE", "/images/copy:it")
    for kind in ("containers", "images", "networks", "volumes"):
        api.fits("POST", f"/{kind}/prune")
    api.fits("POST", "/build/prune")
    api.fits("POST", "/volumes/create", {"Name": "gone"}, status=201)
    api.fits("DELETE", "/volumes/gone", status=204)
    api.fits("POST", "/networks/create", {"Name": "gone"}, status=201)
    api.fits("DELETE", "/networks/gone", status=204)


# Streams, archives and what needs a registry: their owners' tests look at them.
NOT_HERE = {
    *("POST /auth", "GET /_ping", "HEAD /_ping", "POST /session", "POST /build", "PUT /volumes/{name}"),
    *("GET /distribution/{name}/json", "GET /images/search", "POST /images/create", "POST /images/{name}/push"),
    *("GET /images/get", "GET /images/{name}/get", "POST /images/load"),
    *("GET /containers/{id}/logs", "GET /containers/{id}/export", "GET /containers/{id}/attach/ws"),
    *("POST /containers/{id}/attach", "POST /containers/{id}/wait", "POST /exec/{id}/start", "POST /exec/{id}/resize"),
    *("GET /containers/{id}/archive", "HEAD /containers/{id}/archive", "PUT /containers/{id}/archive"),
}
