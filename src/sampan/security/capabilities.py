"""Which capabilities a container's processes get.

Source: capabilities(7); the default set is the one dockerd gives, so that images made for it work.
"""

from __future__ import annotations

from collections.abc import Iterable

from sampan import errors

# In the kernel's order: the position is the bit. Source: include/uapi/linux/capability.h, up to CAP_LAST_CAP of 5.9.
NAMES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER"),
    *("SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
    *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"),
    "CHECKPOINT_RESTORE",
)
DEFAULT = frozenset(
    {
        *("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP"),
        *("NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"),
    }
)


class CapabilityUnknown(errors.Invalid):
    """No such capability."""


def from_mask(mask: int) -> frozenset[str]:
    """Names of the set bits, as in `CapBnd` of /proc/self/status."""
    return frozenset(name for bit, name in enumerate(NAMES) if mask >> bit & 1)


def effective(add: Iterable[str], drop: Iterable[str], *, privileged: bool, bounding: frozenset[str]) -> frozenset[str]:
    """What the options leave, never more than `bounding`: asking for more would make the runtime refuse to start.

    `ALL` stands for every capability. A name given both ways is dropped, unless it is the named exception to
    `--cap-drop ALL`, as in dockerd.
    """
    added, dropped = {_name(text, "CapAdd") for text in add}, {_name(text, "CapDrop") for text in drop}
    if privileged:
        return bounding
    result = set(bounding) if "ALL" in added else set(DEFAULT)
    if "ALL" in dropped:
        result = set(bounding) - dropped if "ALL" in added else set()
    result |= added - {"ALL"}
    result -= dropped
    return frozenset(result) & bounding


def _name(text: str, field: str) -> str:
    name = text.upper().removeprefix("CAP_")
    if name != "ALL" and name not in NAMES:
        raise CapabilityUnknown(
            f'invalid {field}: unknown capability: "CAP_{name}"',
            remedy="see capabilities(7) for the names, with or without CAP_",
        )
    return name
