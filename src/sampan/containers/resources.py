"""Resource limits: checked when they are asked for, translated for the runtime. Pure.

Source: OCI runtime-spec config-linux.md; dockerd's checks and words where users know them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sampan import errors
from sampan.containers.wanted import HostConfig, ThrottleDevice

if TYPE_CHECKING:
    from sampan.containers.spec import DeviceNode

_CPUSET = re.compile(r"[0-9]{1,6}(-[0-9]{1,6})?(,[0-9]{1,6}(-[0-9]{1,6})?)*\Z")
LEAST_MEMORY_BYTES = 6 << 20
CPU_PERIOD_US = 100_000

# Devices every container may use: (kind, major, minor, access). -1 is any. Source: OCI runtime-spec, "Default Devices",
# and pseudo-terminals, tun, and mknod of anything (the node stays closed by this very list).
DEFAULT_DEVICES = (
    ("c", -1, -1, "m"),
    ("b", -1, -1, "m"),
    ("c", 1, 3, "rwm"),
    ("c", 1, 5, "rwm"),
    ("c", 1, 7, "rwm"),
    ("c", 1, 8, "rwm"),
    ("c", 1, 9, "rwm"),
    ("c", 5, 0, "rwm"),
    ("c", 5, 1, "rwm"),
    ("c", 5, 2, "rwm"),
    ("c", 136, -1, "rwm"),
)


class LimitInvalid(errors.Invalid):
    """A resource limit out of range, or two that exclude each other."""


def check(host: HostConfig, *, cpus: int) -> list[str]:
    """Raises `LimitInvalid`; returns warnings. `cpus` is the number of this host's processors."""
    if host.memory and host.memory < LEAST_MEMORY_BYTES:
        raise LimitInvalid("Minimum memory limit allowed is 6MB")
    if host.memory_swap > 0 and not host.memory:
        raise LimitInvalid("You should always set the Memory limit when using Memoryswap limit, see usage")
    if host.memory and 0 < host.memory_swap < host.memory:
        raise LimitInvalid("Minimum memoryswap limit should be larger than memory limit, see usage")
    if host.memory and host.memory_reservation > host.memory:
        raise LimitInvalid("Minimum memory limit can not be less than memory reservation limit, see usage")
    if 0 < host.memory_reservation < LEAST_MEMORY_BYTES:
        raise LimitInvalid("Minimum memory reservation allowed is 6MB")
    if host.nano_cpus < 0 or host.nano_cpus > cpus * 10**9:
        raise LimitInvalid(f"range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available")
    if host.nano_cpus and (host.cpu_period or host.cpu_quota):
        other = "Period" if host.cpu_period else "Quota"
        raise LimitInvalid(f"Conflicting options: Nano CPUs and CPU {other} cannot both be set")
    _check_cpuset(host.cpuset_cpus, cpus)
    if not -1000 <= host.oom_score_adj <= 1000:
        raise LimitInvalid(f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    if host.cpu_period and not 1000 <= host.cpu_period <= 1_000_000:
        raise LimitInvalid("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if host.cpu_quota and 0 < host.cpu_quota < 1000:
        raise LimitInvalid("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if host.blkio_weight and not 10 <= host.blkio_weight <= 1000:
        raise LimitInvalid("Range of blkio weight is from 10 to 1000")
    if host.memory_swappiness is not None and not -1 <= host.memory_swappiness <= 100:
        raise LimitInvalid(f"Invalid value: {host.memory_swappiness}, valid memory swappiness range is 0-100")
    for device in host.blkio_weight_device:
        if not 10 <= device.weight <= 1000:
            raise LimitInvalid(f"Range of blkio weight is from 10 to 1000, {device.path} has {device.weight}")
    if any(one.rate < 0 for _, devices in _throttles(host) for one in devices):
        raise LimitInvalid("a rate of a block device cannot be negative")
    if ".." in host.cgroup_parent.split("/") or "\0" in host.cgroup_parent:
        raise LimitInvalid(f"invalid cgroup parent: {host.cgroup_parent!r}", remedy="write a path without '..'")
    return []


def _check_cpuset(text: str, cpus: int) -> None:
    """`0-2,5`. Raises `LimitInvalid`."""
    if not text:
        return
    if not _CPUSET.match(text):
        raise LimitInvalid(f"Invalid value {text[:100]} for cpuset cpus", remedy="write a list of ranges, as in 0-2,5")
    if any(int(number) >= cpus for number in re.findall(r"[0-9]+", text)):
        there = f"0-{cpus - 1}" if cpus > 1 else "0"
        raise LimitInvalid(f"Requested CPUs are not available - requested {text[:100]}, available: {there}")


def block_paths(host: HostConfig) -> set[str]:
    """Every block device that a limit names."""
    weights = {device.path for device in host.blkio_weight_device}
    return weights | {one.path for _, devices in _throttles(host) for one in devices}


def _throttles(host: HostConfig) -> list[tuple[str, list[ThrottleDevice]]]:
    """By the runtime's names."""
    return [
        ("throttleReadBpsDevice", host.blkio_device_read_bps),
        ("throttleWriteBpsDevice", host.blkio_device_write_bps),
        ("throttleReadIOPSDevice", host.blkio_device_read_iops),
        ("throttleWriteIOPSDevice", host.blkio_device_write_iops),
    ]


def _block(host: HostConfig, numbers: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    def device(path: str, name: str, value: int) -> dict[str, Any]:
        major, minor = numbers[path]
        return {"major": major, "minor": minor, name: value}

    result: dict[str, Any] = {"weight": host.blkio_weight} if host.blkio_weight else {}
    if host.blkio_weight_device:
        result["weightDevice"] = [device(one.path, "weight", one.weight) for one in host.blkio_weight_device]
    for name, devices in _throttles(host):
        if devices:
            result[name] = [device(one.path, "rate", one.rate) for one in devices]
    return result


def limits(
    host: HostConfig,
    devices: Sequence[DeviceNode],
    *,
    all_devices: bool,
    block: Mapping[str, tuple[int, int]] = MappingProxyType({}),
) -> dict[str, Any]:
    """`linux.resources` of the runtime configuration. `block` has the numbers of all `block_paths`."""
    result: dict[str, Any] = {"devices": _device_rules(devices, host.device_cgroup_rules, all_devices=all_devices)}
    memory: dict[str, Any] = {}
    if host.memory:
        memory["limit"] = host.memory
        memory["swap"] = host.memory_swap or 2 * host.memory
    if host.memory_reservation:
        memory["reservation"] = host.memory_reservation
    if host.memory_swappiness is not None and host.memory_swappiness >= 0:
        memory["swappiness"] = host.memory_swappiness
    if host.oom_kill_disable:
        memory["disableOOMKiller"] = True
    if memory:
        result["memory"] = memory
    if cpu := _cpu(host):
        result["cpu"] = cpu
    if host.pids_limit and host.pids_limit > 0:
        result["pids"] = {"limit": host.pids_limit}
    if block_limits := _block(host, block):
        result["blockIO"] = block_limits
    return result


def _cpu(host: HostConfig) -> dict[str, Any]:
    cpu: dict[str, Any] = {}
    if host.nano_cpus:
        cpu["period"] = CPU_PERIOD_US
        cpu["quota"] = host.nano_cpus * CPU_PERIOD_US // 10**9
    if host.cpu_period:
        cpu["period"] = host.cpu_period
    if host.cpu_quota:
        cpu["quota"] = host.cpu_quota
    if host.cpu_shares:
        cpu["shares"] = host.cpu_shares
    if host.cpu_realtime_period:
        cpu["realtimePeriod"] = host.cpu_realtime_period
    if host.cpu_realtime_runtime:
        cpu["realtimeRuntime"] = host.cpu_realtime_runtime
    if host.cpuset_cpus:
        cpu["cpus"] = host.cpuset_cpus
    if host.cpuset_mems:
        cpu["mems"] = host.cpuset_mems
    return cpu


def _device_rules(devices: Sequence[DeviceNode], rules: Sequence[str], *, all_devices: bool) -> list[dict[str, Any]]:
    if all_devices:
        return [{"allow": True, "access": "rwm"}]
    result: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    result += [_rule(kind, major, minor, access) for kind, major, minor, access in DEFAULT_DEVICES]
    result += [_rule(node.kind, node.major, node.minor, node.access) for node in devices]
    result += [parse_rule(text) for text in rules]
    return result


def parse_rule(text: str) -> dict[str, Any]:
    """`c 42:* rmw` of `--device-cgroup-rule`. Raises `LimitInvalid`."""
    words = text.split()
    numbers = words[1].split(":") if len(words) == 3 else []
    good = (
        len(numbers) == 2
        and words[0] in ("a", "b", "c")
        and all(number == "*" or number.isdigit() for number in numbers)
        and set(words[2]) <= set("rwm")
    )
    if not good:
        raise LimitInvalid(f"invalid device cgroup rule format: '{text}'", remedy="write 'c 42:* rwm'")
    major, minor = (-1 if number == "*" else int(number) for number in numbers)
    return _rule(words[0], major, minor, words[2])


def _rule(kind: str, major: int, minor: int, access: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"allow": True, "type": kind, "access": access}
    if major >= 0:
        rule["major"] = major
    if minor >= 0:
        rule["minor"] = minor
    return rule
