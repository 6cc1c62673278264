"""What a control group has used, read from its files: version 1, or version 2. Blocks for a few reads of memory files.

A file that is missing (a controller this host does not have, a group that goes away) counts as nothing used.
Source: Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst of the kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sampan.kernel.cgroups import Hierarchy

TICK_NS = 10_000_000  # USER_HZ is 100 on every architecture Linux still runs on
NS_PER_US = 1000


@dataclass(frozen=True, slots=True)
class Blocks:
    """One operation on one block device. `value` is bytes or operations."""

    major: int
    minor: int
    operation: str
    value: int


@dataclass(frozen=True, slots=True)
class Figures:
    """All counters of one group. Times in nanoseconds; a limit of None is none."""

    cpu_ns: int = 0
    cpu_kernel_ns: int = 0
    cpu_user_ns: int = 0
    cpu_each_ns: tuple[int, ...] = ()  # version 1 only
    periods: int = 0
    throttled_periods: int = 0
    throttled_ns: int = 0
    memory_bytes: int = 0
    memory_most_bytes: int | None = None  # version 1 only
    memory_limit_bytes: int | None = None
    memory_failures: int = 0
    memory: Mapping[str, int] = field(default_factory=dict)  # the kernel's own names
    block_bytes: tuple[Blocks, ...] = ()
    block_operations: tuple[Blocks, ...] = ()
    pids: int = 0
    pids_limit: int | None = None


def read(hierarchy: Hierarchy, name: str) -> Figures:
    """The counters of the group `name`."""
    return _read_unified(hierarchy, name) if hierarchy.version == 2 else _read_separate(hierarchy, name)


def system_cpu_ns(stat: str) -> int:
    """Processor time of all processors together since the boot, from the text of /proc/stat; waiting counts, as does
    idling: a share of it is a share of the machine."""
    words = stat.partition("\n")[0].split()
    return sum(map(int, words[1:8])) * TICK_NS


def _read_separate(hierarchy: Hierarchy, name: str) -> Figures:
    accounting = hierarchy.controller("cpuacct", name)
    memory = hierarchy.controller("memory", name)
    block = hierarchy.controller("blkio", name)
    pids = hierarchy.controller("pids", name)
    ticks = _pairs(_text(accounting / "cpuacct.stat"))
    quota = _pairs(_text(hierarchy.controller("cpu", name) / "cpu.stat"))
    return Figures(
        cpu_ns=_number(accounting / "cpuacct.usage"),
        cpu_kernel_ns=ticks.get("system", 0) * TICK_NS,
        cpu_user_ns=ticks.get("user", 0) * TICK_NS,
        cpu_each_ns=tuple(map(int, _text(accounting / "cpuacct.usage_percpu").split())),
        periods=quota.get("nr_periods", 0),
        throttled_periods=quota.get("nr_throttled", 0),
        throttled_ns=quota.get("throttled_time", 0),
        memory_bytes=_number(memory / "memory.usage_in_bytes"),
        memory_most_bytes=_number(memory / "memory.max_usage_in_bytes"),
        memory_limit_bytes=_limit(memory / "memory.limit_in_bytes"),
        memory_failures=_number(memory / "memory.failcnt"),
        memory=_pairs(_text(memory / "memory.stat")),
        block_bytes=_throttled(block, "io_service_bytes"),
        block_operations=_throttled(block, "io_serviced"),
        pids=_number(pids / "pids.current"),
        pids_limit=_limit(pids / "pids.max"),
    )


def _throttled(block: Path, what: str) -> tuple[Blocks, ...]:
    """`8:0 Read 4096` with `Total` among the operations, and a last line for all devices that is left out."""
    lines = (line.split() for line in _text(block / f"blkio.throttle.{what}_recursive").splitlines())
    found = []
    for words in lines:
        if len(words) == 3:
            major, _, minor = words[0].partition(":")
            found.append(Blocks(int(major), int(minor), words[1], int(words[2])))
    return tuple(found)


def _read_unified(hierarchy: Hierarchy, name: str) -> Figures:
    group = hierarchy.controller("", name)
    cpu = _pairs(_text(group / "cpu.stat"))
    devices = _devices(_text(group / "io.stat"))
    return Figures(
        cpu_ns=cpu.get("usage_usec", 0) * NS_PER_US,
        cpu_kernel_ns=cpu.get("system_usec", 0) * NS_PER_US,
        cpu_user_ns=cpu.get("user_usec", 0) * NS_PER_US,
        periods=cpu.get("nr_periods", 0),
        throttled_periods=cpu.get("nr_throttled", 0),
        throttled_ns=cpu.get("throttled_usec", 0) * NS_PER_US,
        memory_bytes=_number(group / "memory.current"),
        memory_limit_bytes=_limit(group / "memory.max"),
        memory_failures=_pairs(_text(group / "memory.events")).get("oom", 0),
        memory=_pairs(_text(group / "memory.stat")),
        block_bytes=_of_devices(devices, {"rbytes": "read", "wbytes": "write"}),
        block_operations=_of_devices(devices, {"rios": "read", "wios": "write"}),
        pids=_number(group / "pids.current"),
        pids_limit=_limit(group / "pids.max"),
    )


def _devices(text: str) -> list[tuple[int, int, dict[str, int]]]:
    """`8:0 rbytes=1 wbytes=2 rios=3 wios=4 …` a line."""
    found = []
    for line in text.splitlines():
        device, *fields = line.split()
        major, _, minor = device.partition(":")
        pairs = (item.partition("=") for item in fields)
        found.append((int(major), int(minor), {key: int(value) for key, _, value in pairs if value.isdigit()}))
    return found


def _of_devices(devices: Iterable[tuple[int, int, dict[str, int]]], names: Mapping[str, str]) -> tuple[Blocks, ...]:
    return tuple(
        Blocks(major, minor, operation, values.get(name, 0))
        for major, minor, values in devices
        for name, operation in names.items()
    )


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # no such controller here; or ENODEV: the group went away between opening and reading
        return ""


def _number(path: Path) -> int:
    text = _text(path).strip()
    return int(text) if text.isdigit() else 0


def _limit(path: Path) -> int | None:
    """None for `max`, and for version 1's largest number of pages."""
    text = _text(path).strip()
    return int(text) if text.isdigit() and int(text) < 1 << 62 else None


def _pairs(text: str) -> dict[str, int]:
    """`name number` a line."""
    words = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in words if len(pair) == 2 and pair[1].isdigit()}
