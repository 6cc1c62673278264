"""From the options of a container to its confinement: one value that the runtime configuration is built from. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sampan import errors
from sampan.security import capabilities, seccomp

MASKED = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats"),
    *("/sys/devices/virtual/powercap", "/sys/firmware"),
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


class SecurityOptionInvalid(errors.Invalid):
    """A `--security-opt` that means nothing."""


@dataclass(frozen=True, slots=True)
class Confinement:
    """What limits the processes of one container."""

    capabilities: frozenset[str]
    seccomp: dict[str, Any] | None  # OCI form; None for unconfined
    no_new_privileges: bool
    masked_paths: tuple[str, ...]
    readonly_paths: tuple[str, ...]
    all_devices: bool


def confine(
    *,
    privileged: bool,
    cap_add: Sequence[str],
    cap_drop: Sequence[str],
    security_opt: Sequence[str],
    bounding: frozenset[str],
    machine: str,
    compat: bool = False,
    masked_paths: Sequence[str] | None = None,
    readonly_paths: Sequence[str] | None = None,
) -> Confinement:
    """Raises `SecurityOptionInvalid`, `CapabilityUnknown`. Paths given as None are the defaults."""
    granted = capabilities.effective(cap_add, cap_drop, privileged=privileged, bounding=bounding)
    profile: dict[str, Any] | None = seccomp.profile(granted, machine=machine, compat=compat)
    masked: Sequence[str] = MASKED if masked_paths is None else masked_paths
    read_only: Sequence[str] = READ_ONLY if readonly_paths is None else readonly_paths
    no_new_privileges = False
    if privileged:
        profile, masked, read_only = None, (), ()
    for option in security_opt:
        key, _, value = option.replace("=", ":", 1).partition(":")
        match key:
            case "no-new-privileges":
                no_new_privileges = _flag(option, value)
            case "seccomp":
                profile = read_profile(value, granted, machine)
            case "systempaths" if value == "unconfined":
                masked, read_only = (), ()
            case "apparmor" | "label":
                pass  # no such module is loaded unless the daemon says so; dockerd ignores the option then, too
            case _:
                raise SecurityOptionInvalid(
                    f"invalid --security-opt: {option!r}",
                    remedy="use no-new-privileges[:true|false], seccomp=unconfined|PROFILE or systempaths=unconfined",
                )
    return Confinement(granted, profile, no_new_privileges, tuple(masked), tuple(read_only), privileged)


def _flag(option: str, value: str) -> bool:
    if value not in ("", "true", "false"):
        raise SecurityOptionInvalid(f"invalid --security-opt: {option!r}", remedy="use true or false")
    return value != "false"


def read_profile(value: str, granted: frozenset[str], machine: str) -> dict[str, Any] | None:
    """`unconfined`, or the profile's text itself, in Docker's form. Raises `SecurityOptionInvalid`."""
    if value == "unconfined":
        return None
    if value in ("builtin", "default", ""):
        return seccomp.profile(granted, machine=machine)
    try:
        document = json.loads(value)
        return _translate(document, granted, machine)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SecurityOptionInvalid("decoding seccomp profile failed", why=str(error)) from error


def _translate(document: dict[str, Any], granted: frozenset[str], machine: str) -> dict[str, Any]:
    rules = []
    for rule in document["syscalls"]:
        needs, unless = rule.get("includes") or {}, rule.get("excludes") or {}
        if any(_bare(name) not in granted for name in needs.get("caps") or ()):
            continue
        if any(_bare(name) in granted for name in unless.get("caps") or ()):
            continue
        if needs.get("arches") and _GO_ARCHITECTURE.get(machine) not in needs["arches"]:
            continue
        names = rule.get("names") or [rule["name"]]
        translated = {"names": names, "action": rule["action"], "args": rule.get("args") or []}
        if rule.get("errnoRet") is not None:
            translated["errnoRet"] = rule["errnoRet"]
        rules.append(translated)
    result: dict[str, Any] = {"defaultAction": document["defaultAction"], "syscalls": rules}
    if document.get("defaultErrnoRet") is not None:
        result["defaultErrnoRet"] = document["defaultErrnoRet"]
    if machine in seccomp.ARCHITECTURES:
        result["architectures"] = [seccomp.ARCHITECTURES[machine], *seccomp.COMPATIBLE[machine]]
    return result


_GO_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}


def _bare(name: str) -> str:
    return name.removeprefix("CAP_")
