"""What `sampan stats` makes of the daemon's figures."""

from typing import Any

from sampan.cli import stats


def document(cpu: int, system: int, **more: Any) -> dict[str, Any]:
    usage = {"cpu_usage": {"total_usage": cpu}, "system_cpu_usage": system, "online_cpus": 2}
    return {
        "id": "ab" * 32,
        "name": "/web",
        "cpu_stats": usage,
        "precpu_stats": {"cpu_usage": {"total_usage": 0}},
        "memory_stats": {},
        "pids_stats": {},
        "blkio_stats": {"io_service_bytes_recursive": None},
        **more,
    }


def test_a_busy_processor_is_a_hundred_percent() -> None:
    before, now = document(1_000, 10_000), document(2_000, 12_000)
    assert stats.row(now, before)["CPUPerc"] == "100.00%"
    assert stats.row(now, now)["CPUPerc"] == "0.00%"


def test_memory_is_shown_without_the_cache_of_either_version() -> None:
    old = {"usage": 3 << 20, "limit": 4 << 20, "stats": {"total_inactive_file": 1 << 20, "inactive_file": 5}}
    new = {"usage": 3 << 20, "limit": 4 << 20, "stats": {"inactive_file": 1 << 20}}
    for memory in (old, new):
        shown = stats.row(document(1, 2, memory_stats=memory), None)
        assert (shown["MemUsage"], shown["MemPerc"]) == ("2MiB / 4MiB", "50.00%")


def test_traffic_and_blocks_are_summed() -> None:
    networks = {"eth0": {"rx_bytes": 1000, "tx_bytes": 1}, "eth1": {"rx_bytes": 500, "tx_bytes": 2}}
    blocks = [{"op": "Read", "value": 2000}, {"op": "write", "value": 3000}, {"op": "Total", "value": 9}]
    shown = stats.row(
        document(
            1, 2, networks=networks, blkio_stats={"io_service_bytes_recursive": blocks}, pids_stats={"current": 3}
        ),
        None,
    )
    assert (shown["NetIO"], shown["BlockIO"], shown["PIDs"]) == ("1.5kB / 3B", "2kB / 3kB", "3")


def test_a_container_that_does_not_run_uses_nothing() -> None:
    idle = document(0, 0)
    del idle["cpu_stats"]["system_cpu_usage"], idle["cpu_stats"]["online_cpus"]
    shown = stats.row(idle, None)
    assert (shown["CPUPerc"], shown["MemUsage"], shown["ID"], shown["Name"]) == ("0.00%", "0B / 0B", "ab" * 6, "web")
