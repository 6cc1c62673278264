"""The Docker SDK for Python against the Docker face."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest

docker = pytest.importorskip("docker")

# The SDK leaves the socket of an attached stream to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


@pytest.fixture
def sdk(engine_harbour: Any) -> Iterator[Any]:
    client = docker.DockerClient(base_url=engine_harbour.url, version="1.47", timeout=10)
    yield client
    client.close()
    gc.collect()


def test_it_negotiates_lists_and_inspects(engine_harbour: Any, sdk: Any) -> None:
    automatic = docker.DockerClient(base_url=engine_harbour.url, version="auto", timeout=10)
    assert automatic.api.api_version == "1.47"
    automatic.close()
    assert sdk.version()["ApiVersion"] == "1.47"
    assert sdk.info()["Name"] == "harbour"
    (web,) = sdk.containers.list()
    assert (web.name, web.status, web.ports["80/tcp"][0]["HostPort"]) == ("web", "running", "8080")
    assert sdk.images.list()[0].tags == ["busybox:latest"]
    assert sdk.networks.list()[0].name == "bridge"
    assert sdk.volumes.get("pantry").name == "pantry"
    assert sdk.df()["LayersSize"] == 4_321_000


def test_it_runs_execs_and_reads_logs(sdk: Any) -> None:
    web = sdk.containers.get("web")
    assert web.logs() == b"out\nerr\n"
    assert web.logs(stdout=True, stderr=False, tail=1) == b"out\nerr\n"
    result = web.exec_run(["id", "-u"], demux=True)
    assert (result.exit_code, result.output) == (7, (b"id -u\n", None))
    assert web.top()["Titles"] == ["PID", "CMD"]
    made = sdk.containers.create("busybox", ["hello"], name="job")
    made.start()
    made.reload()
    assert made.status == "running"


def test_it_raises_its_own_errors_by_status(sdk: Any) -> None:
    with pytest.raises(docker.errors.NotFound, match="No such container: nobody"):
        sdk.containers.get("nobody")
    with pytest.raises(docker.errors.ImageNotFound):
        sdk.images.get("nothing")
    with pytest.raises(docker.errors.APIError, match="already in use"):
        sdk.containers.create("busybox", name="web")


def test_it_pulls_and_hears_events(engine_harbour: Any, sdk: Any) -> None:
    engine_harbour.publish("container", "die", "d" * 64, name="old", image="busybox")
    heard = list(sdk.events(since=0, until=9, decode=True))
    assert heard == []
    lines = list(sdk.api.pull("busybox", tag="1", stream=True, decode=True))
    assert lines[0]["status"] == "Pulling from library/busybox"
