"""The figures of containers fit the specification, for both versions of control groups and for a stopped container."""

from __future__ import annotations

import pytest

import swagger
from sampan.api.engine import render_stats
from sampan.containers import wanted
from sampan.containers.model import Container, Phase, State
from sampan.containers.statistics import Interface, Sample, parse_interfaces
from sampan.kernel.cgroup_figures import Blocks, Figures

CONTAINER = Container(
    "ab" * 32, "web", "sha256:x", Phase.RUNNING, wanted.decode_create({"Image": "x"}), State(pid=1), 1
)
NET_DEV = """Inter-|   Receive                            |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo:  100    2    0    0    0     0          0         0      100    2    0    0    0     0       0          0
  eth0: 5000   50    1    2    0     0          0         0     7000   70    3    4    0     0       0          0
"""
SECOND = 10**9


def sample(**figures: object) -> Sample:
    return Sample(
        CONTAINER,
        read_ns=5 * SECOND,
        figures=Figures(**figures),  # type: ignore[arg-type]
        system_cpu_ns=7,
        cpus=2,
        machine_bytes=1 << 30,
        interfaces=parse_interfaces(NET_DEV),
    )


SAMPLES = {
    "version 1": sample(cpu_ns=5, cpu_each_ns=(2, 3), memory_most_bytes=9, block_bytes=(Blocks(8, 0, "Read", 1),)),
    "version 2": sample(cpu_ns=5, memory={"anon": 1}, pids=3, pids_limit=10),
    "stopped": Sample(CONTAINER),
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_an_answer_fits_the_specification(kind: str) -> None:
    for before in (None, SAMPLES["version 1"]):
        answer = render_stats.stats(SAMPLES[kind], before)
        assert swagger.answer_misfits("GET", "/containers/web/stats", 200, answer) == []


def test_interfaces_are_those_of_the_container_without_its_loopback() -> None:
    assert parse_interfaces(NET_DEV) == (Interface("eth0", (5000, 50, 1, 2), (7000, 70, 3, 4)),)
    shown = render_stats.stats(SAMPLES["version 2"], None)["networks"]
    assert (shown["eth0"]["rx_bytes"], shown["eth0"]["tx_dropped"]) == (5000, 4)


def test_what_one_version_does_not_tell_is_left_out() -> None:
    one, two = (render_stats.stats(SAMPLES[kind], None) for kind in ("version 1", "version 2"))
    assert one["cpu_stats"]["cpu_usage"]["percpu_usage"] == [2, 3]
    assert "percpu_usage" not in two["cpu_stats"]["cpu_usage"]
    assert "max_usage" not in two["memory_stats"]
    assert one["memory_stats"]["limit"] == 1 << 30  # no limit: the machine is one
    assert (one["pids_stats"]["limit"], two["pids_stats"]["limit"]) == ((1 << 64) - 1, 10)


def test_a_stopped_container_has_no_figures() -> None:
    found = render_stats.stats(SAMPLES["stopped"], None)
    assert (found["memory_stats"], found["pids_stats"], found["read"]) == ({}, {}, "0001-01-01T00:00:00Z")
    assert found["cpu_stats"]["cpu_usage"]["total_usage"] == 0
