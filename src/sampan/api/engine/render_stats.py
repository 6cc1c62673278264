"""What a container uses, as `GET /containers/{name}/stats` shows it. Pure.

Source: Engine API 1.47, ContainerStats; dockerd leaves out what a version of control groups does not tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sampan.api.engine import words
from sampan.containers.statistics import Interface, Sample
from sampan.kernel.cgroup_figures import Blocks, Figures

_BLOCK_FIELDS = (
    *("io_service_bytes_recursive", "io_serviced_recursive", "io_queue_recursive", "io_service_time_recursive"),
    *("io_wait_time_recursive", "io_merged_recursive", "io_time_recursive", "sectors_recursive"),
)
NO_LIMIT = (1 << 64) - 1  # how dockerd writes a limit of processes that is none
_RECEIVED = ("rx_bytes", "rx_packets", "rx_errors", "rx_dropped")
_SENT = ("tx_bytes", "tx_packets", "tx_errors", "tx_dropped")


def stats(sample: Sample, before: Sample | None) -> dict[str, Any]:
    """One document; `before` gives the members that begin with `pre`."""
    found = sample.figures
    answer: dict[str, Any] = {
        "read": words.moment(sample.read_ns),
        "preread": words.moment(before.read_ns if before else 0),
        "pids_stats": _pids(found) if found else {},
        "blkio_stats": _blocks(found),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _cpu(sample),
        "precpu_stats": _cpu(before),
        "memory_stats": _memory(found, sample.machine_bytes) if found else {},
        "name": f"/{sample.container.name}",
        "id": sample.container.id,
    }
    if sample.interfaces:
        answer["networks"] = {one.name: _interface(one) for one in sample.interfaces}
    return answer


def _cpu(sample: Sample | None) -> dict[str, Any]:
    found = (sample and sample.figures) or Figures()
    usage: dict[str, Any] = {"total_usage": found.cpu_ns}
    if found.cpu_each_ns:
        usage["percpu_usage"] = list(found.cpu_each_ns)
    usage |= {"usage_in_kernelmode": found.cpu_kernel_ns, "usage_in_usermode": found.cpu_user_ns}
    answer: dict[str, Any] = {"cpu_usage": usage}
    if sample is not None and sample.figures is not None:
        answer |= {"system_cpu_usage": sample.system_cpu_ns, "online_cpus": sample.cpus}
    answer["throttling_data"] = {
        "periods": found.periods,
        "throttled_periods": found.throttled_periods,
        "throttled_time": found.throttled_ns,
    }
    return answer


def _memory(found: Figures, machine_bytes: int) -> dict[str, Any]:
    answer: dict[str, Any] = {"usage": found.memory_bytes}
    if found.memory_most_bytes is not None:
        answer["max_usage"] = found.memory_most_bytes
    answer["stats"] = dict(found.memory)
    if found.memory_failures:
        answer["failcnt"] = found.memory_failures
    limit = found.memory_limit_bytes
    answer["limit"] = machine_bytes if limit is None else min(limit, machine_bytes)
    return answer


def _pids(found: Figures) -> Mapping[str, int]:
    return {"current": found.pids, "limit": NO_LIMIT if found.pids_limit is None else found.pids_limit}


def _blocks(found: Figures | None) -> dict[str, Any]:
    answer: dict[str, Any] = dict.fromkeys(_BLOCK_FIELDS)
    if found is not None:
        answer["io_service_bytes_recursive"] = _entries(found.block_bytes)
        answer["io_serviced_recursive"] = _entries(found.block_operations)
    return answer


def _entries(blocks: Iterable[Blocks]) -> list[dict[str, Any]]:
    return [{"major": one.major, "minor": one.minor, "op": one.operation, "value": one.value} for one in blocks]


def _interface(one: Interface) -> dict[str, int]:
    return dict(zip((*_RECEIVED, *_SENT), (*one.received, *one.sent), strict=True))
