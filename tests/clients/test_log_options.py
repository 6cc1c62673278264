"""`docker logs` and `--log-opt`, the same at dockerd and at Sampan."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import pytest

from stock import IMAGE, Cli, until

pytestmark = [pytest.mark.root, pytest.mark.peer]


@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_a_rotated_log_keeps_the_newest(docker: Cli, driver: str) -> None:
    script = "i=0; while [ $i -lt 20000 ]; do echo line number $i; i=$((i+1)); done"
    options = ("--log-driver", driver, "--log-opt", "max-size=64k", "--log-opt", "max-file=3")
    docker("run", "-d", "--name", "much", *options, IMAGE, "sh", "-c", script)
    docker("wait", "much")
    lines = docker.run("logs", "much").stdout.decode().splitlines()
    assert 500 < len(lines) < 20000
    assert lines == [f"line number {number}" for number in range(20000 - len(lines), 20000)]
    assert docker.out("logs", "--tail", "2", "much").splitlines() == lines[-2:]
    assert docker.out("inspect", "-f", "{{.HostConfig.LogConfig.Type}}", "much") == driver


def test_details_show_labels_and_variables(docker: Cli) -> None:
    words = ("-l", "tier=front end", "-l", "other=x", "-e", "COLOUR=red", "--log-opt", "labels=tier")
    docker("run", "--name", "dressed", *words, "--log-opt", "env=COLOUR", IMAGE, "echo", "hello")
    assert docker.out("logs", "dressed") == "hello"
    assert docker.out("logs", "--details", "dressed") == "COLOUR=red,tier=front+end hello"
    stamped = docker.out("logs", "-t", "--details", "dressed")
    assert re.fullmatch(r"\S+Z COLOUR=red,tier=front\+end hello", stamped)
    docker("run", "--name", "bare", IMAGE, "echo", "hello")
    assert docker.run("logs", "--details", "bare").stdout == b" hello\n"


def test_a_log_of_none_cannot_be_read(docker: Cli) -> None:
    assert docker.out("run", "--name", "silent", "--log-driver", "none", IMAGE, "echo", "hello") == "hello"
    assert "configured logging driver does not support reading" in docker("logs", "silent", rc=1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--log-driver", "papyrus"), 'plugin "papyrus" not found'),
        (("--log-opt", "colour=red"), "unknown log opt 'colour' for json-file log driver"),
        (("--log-driver", "journald", "--log-opt", "max-size=1m"), "unknown log opt"),
        (("--log-driver", "syslog", "--log-opt", "syslog-address=gopher://x"), "unsupported scheme"),
        (("--log-driver", "syslog", "--log-opt", "syslog-facility=kitchen"), "invalid syslog facility"),
        (("--log-opt", "mode=sometimes"), "(?i)logging mode not supported"),
        (("--log-opt", "max-buffer-size=1m"), "max-buffer-size option is only supported with 'mode=non-blocking'"),
    ],
)
def test_a_driver_or_option_that_does_not_exist_is_refused(docker: Cli, options: tuple[str, ...], said: str) -> None:
    assert re.search(said, docker("create", *options, IMAGE, rc=1))


def test_a_stretch_of_time(docker: Cli) -> None:
    docker("run", "-d", "--name", "slow", IMAGE, "sh", "-c", "echo early; sleep 1.2; echo late; sleep 1000")
    until(docker, "late", "logs", "slow")
    stamps = [line.split()[0] for line in docker.out("logs", "-t", "slow").splitlines()]
    middle = datetime.fromisoformat(stamps[1][:26] + "+00:00").timestamp() - 0.5
    for text in (f"{middle:.6f}", datetime.fromtimestamp(middle, UTC).isoformat().replace("+00:00", "Z")):
        assert docker.out("logs", "--since", text, "slow") == "late", text
        assert docker.out("logs", "--until", text, "slow") == "early"
    assert docker.out("logs", "--since", "10m", "slow").split() == ["early", "late"]
    assert docker.out("logs", "--since", f"{time.time() + 100:.0f}", "slow") == ""
    assert docker.out("logs", "--tail", "1", "slow") == "late"
    assert docker.out("logs", "--tail", "0", "slow") == ""
    assert docker.out("logs", "-f", "--until", f"{middle:.6f}", "slow") == "early"


def test_following_goes_over_a_rotation_and_ends_with_the_container(docker: Cli) -> None:
    script = "i=0; while [ $i -lt 3000 ]; do echo line number $i; i=$((i+1)); done"
    options = ("--log-opt", "max-size=1m", "--log-opt", "max-file=5")
    docker("run", "-d", "--name", "much", *options, IMAGE, "sh", "-c", script)
    assert docker.out("logs", "-f", "much").splitlines() == [f"line number {number}" for number in range(3000)]
