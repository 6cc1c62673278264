"""Healthchecks through the stock docker command line, the same against dockerd where it is unpacked."""

from __future__ import annotations

import contextlib
import json
import re
import time
from pathlib import Path

import docker
import pytest

import harbour
from stock import IMAGE, Cli, until

pytestmark = [pytest.mark.root, pytest.mark.peer]
OFTEN = ("--health-interval", "200ms", "--health-timeout", "5s")


def health(docker: Cli, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(docker.out("inspect", "-f", "{{json .State.Health}}", name))
    return found


def test_a_container_becomes_healthy_then_unhealthy_and_well_again(docker: Cli) -> None:
    command = ("--health-cmd", "echo asked; test -e /tmp/well", "--health-retries", "2")
    docker("run", "-d", "--name", "hh", *OFTEN, *command, IMAGE)
    assert "(health: starting)" in docker.out("ps", "--format", "{{.Status}}")
    docker("exec", "hh", "touch", "/tmp/well")
    until(docker, "^healthy", "inspect", "-f", "{{.State.Health.Status}}", "hh")
    assert "(healthy)" in docker.out("ps", "--format", "{{.Status}}")
    assert docker.out("ps", "--filter", "health=healthy", "--format", "{{.Names}}") == "hh"
    assert docker.out("ps", "--filter", "health=unhealthy", "--format", "{{.Names}}") == ""
    docker("exec", "hh", "rm", "/tmp/well")
    until(docker, "^unhealthy", "inspect", "-f", "{{.State.Health.Status}}", "hh")
    found = health(docker, "hh")
    assert set(found) == {"Status", "FailingStreak", "Log"}
    entries = found["Log"]
    assert isinstance(entries, list)
    assert set(entries[-1]) == {"Start", "End", "ExitCode", "Output"}
    assert (entries[-1]["ExitCode"], entries[-1]["Output"]) == (1, "asked\n")
    docker("exec", "hh", "touch", "/tmp/well")
    until(docker, "^healthy 0", "inspect", "-f", "{{.State.Health.Status}} {{.State.Health.FailingStreak}}", "hh")
    docker("stop", "-t", "0", "hh")
    assert health(docker, "hh")["Status"] == "unhealthy"


def test_a_probe_that_takes_too_long_is_ended(docker: Cli) -> None:
    words = ("--health-cmd", "echo waiting; exec sleep 99", "--health-interval", "100ms", "--health-timeout", "300ms")
    docker("run", "-d", "--name", "slow", *words, "--health-retries", "1", IMAGE)
    until(docker, "^unhealthy", "inspect", "-f", "{{.State.Health.Status}}", "slow")
    entry = health(docker, "slow")["Log"][0]  # type: ignore[index]
    assert entry["ExitCode"] == -1
    assert entry["Output"].startswith("Health check exceeded timeout (300ms)")
    assert "sleep 99" not in docker.out("top", "slow") or docker.out("top", "slow").count("sleep 99") == 1


def test_long_output_is_bounded(docker: Cli) -> None:
    words = ("--health-cmd", "i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); done")
    docker("run", "-d", "--name", "loud", *OFTEN, *words, IMAGE)
    until(docker, "^healthy", "inspect", "-f", "{{.State.Health.Status}}", "loud")
    output = health(docker, "loud")["Log"][0]["Output"]  # type: ignore[index]
    assert len(output) == 4096 + 3
    assert output.endswith("...")


def test_without_a_healthcheck_there_is_no_health(docker: Cli) -> None:
    docker("run", "-d", "--name", "plain", IMAGE)
    docker("run", "-d", "--name", "off", "--no-healthcheck", IMAGE)
    assert docker.out("inspect", "-f", "{{.State.Health}}", "off") == "<nil>"
    assert docker.out("inspect", "-f", "{{.State.Health}}", "plain") == "<nil>"
    assert docker.out("ps", "--filter", "health=none", "--format", "{{.Names}}").split() == ["off", "plain"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--health-interval", "5ns"), "Interval in Healthcheck cannot be less than 1ms"),
        (("--health-start-period", "1us"), "StartPeriod in Healthcheck cannot be less than 1ms"),
    ],
)
def test_times_out_of_range_are_refused(docker: Cli, words: tuple[str, ...], said: str) -> None:
    assert said in docker("create", *words, "--health-cmd", "true", IMAGE, rc=1)


def test_an_unknown_health_is_no_filter(docker: Cli) -> None:
    assert "health" in docker("ps", "--filter", "health=splendid", rc=1)


def test_events_tell_of_probes_and_of_the_change(docker: Cli) -> None:
    docker("run", "-d", "--name", "told", *OFTEN, "--health-cmd", "true", IMAGE)
    until(docker, "^healthy", "inspect", "-f", "{{.State.Health.Status}}", "told")
    docker("rm", "-f", "told")
    span = ("--since", "1m", "--until", f"{time.time():.9f}")  # a duration would be cut to whole seconds
    seen = docker.out("events", *span, "--filter", "container=told", "--format", "{{.Action}}")
    actions = seen.splitlines()
    first = actions.index("exec_create: /bin/sh -c true")
    assert actions[first : first + 4] == [
        "exec_create: /bin/sh -c true",
        "exec_start: /bin/sh -c true",
        "exec_die",
        "health_status: healthy",
    ]
    assert not re.search("health_status: unhealthy", seen)


def test_probing_goes_on_when_the_daemon_comes_back(tmp_path: Path) -> None:
    with harbour.Harbour(tmp_path / "port") as port:
        port.start()
        with contextlib.closing(port.client()) as client:
            image = harbour.busybox_image(client, "bb", "1")
            check = {"Test": ["CMD-SHELL", "test -e /tmp/well"], "Interval": 200_000_000, "Retries": 1}
            made = client.containers.run(image, detach=True, name="kept", healthcheck=check)
            made.exec_run(["touch", "/tmp/well"])
            wait_for(made, "healthy")
        port.kill()
        port.start()
        with contextlib.closing(port.client()) as client:
            made = client.containers.get("kept")
            assert made.attrs["State"]["Health"]["Status"] == "healthy"  # what was known is known
            made.exec_run(["rm", "/tmp/well"])
            wait_for(made, "unhealthy")


def wait_for(container: docker.models.containers.Container, status: str) -> None:
    deadline = time.monotonic() + 20
    container.reload()
    while container.attrs["State"]["Health"]["Status"] != status:
        assert time.monotonic() < deadline, container.attrs["State"]["Health"]
        time.sleep(0.05)
        container.reload()
