"""The system call table as the `linux.seccomp` object of an OCI runtime configuration. Pure.

The filter covers the host's own architecture only: a filter over three architectures nearly doubles the start of a
container, and no image needs the others unless it holds 32-bit programs; for those `compat=True` adds the 32-bit table.
"""

from __future__ import annotations

from typing import Any

from sampan.security import syscalls

ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
COMPATIBLE = {"x86_64": ("SCMP_ARCH_X86", "SCMP_ARCH_X32"), "aarch64": ("SCMP_ARCH_ARM",)}


def profile(capabilities: frozenset[str], *, machine: str, compat: bool = False) -> dict[str, Any]:
    """The filter for a process with these capabilities on a `machine` as uname(2) names it."""
    names = [*syscalls.ALWAYS]
    for capability, governed in syscalls.GOVERNED.items():
        if capability in capabilities:
            names += governed
    rules = [_allow(sorted(set(names)))]
    if "SYS_ADMIN" not in capabilities:
        rules.append(_allow(["clone"], index=0, value=syscalls.NAMESPACE_FLAGS, other=0, how="SCMP_CMP_MASKED_EQ"))
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": syscalls.ENOSYS})
    rules += [_allow(["personality"], index=0, value=value, how="SCMP_CMP_EQ") for value in syscalls.PERSONALITIES]
    rules.append(_allow(["socket"], index=0, value=syscalls.AF_VSOCK, how="SCMP_CMP_NE"))
    result: dict[str, Any] = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": syscalls.EPERM,
        "syscalls": rules,
    }
    if machine in ARCHITECTURES:
        extra = COMPATIBLE[machine] if compat else ()
        result["architectures"] = [ARCHITECTURES[machine], *extra]
    return result


def _allow(names: list[str], *, index: int = 0, value: int = 0, other: int = 0, how: str = "") -> dict[str, Any]:
    rule: dict[str, Any] = {"names": names, "action": "SCMP_ACT_ALLOW"}
    if how:
        rule["args"] = [{"index": index, "value": value, "valueTwo": other, "op": how}]
    return rule
