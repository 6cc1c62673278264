"""SELinux labels of a container: from the host's policy and `--security-opt label=…` to one pair. Pure.

Processes get the policy's container domain and files its container type, both with a level of two categories that no
other container is likely to have: what one container writes another cannot read.

Source: dockerd's page on SELinux; selinux(8); lxc_contexts(5).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sampan.security.confinement import SecurityOptionInvalid

CATEGORIES: Final = 1022  # the two highest are for privileged containers' files
PRIVILEGED_LEVEL: Final = "s0:c1022,c1023"
SHARED_LEVEL: Final = "s0"
PARTS: Final = ("user", "role", "type", "level")
_LINE: Final = re.compile(r'\s*(\w+)\s*=\s*"([^"]+)"\s*\Z')
# Relabelling these would break the host. Source: opencontainers/selinux, label.CheckRestrictedPaths in spirit.
PROTECTED: Final = frozenset(
    {
        *("/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/opt", "/proc", "/root", "/run"),
        *("/sbin", "/sys", "/tmp", "/usr", "/var", "/var/lib", "/var/run"),
    }
)


@dataclass(frozen=True, slots=True)
class Policy:
    """What the host's policy gives containers: whole labels, `user:role:type:level`."""

    process: str
    file: str


@dataclass(frozen=True, slots=True)
class Labels:
    """One container's. An empty `process` leaves it in the runtime's own domain."""

    process: str
    mount: str


def parse_contexts(text: str) -> Policy | None:
    """The file `lxc_contexts` of a policy; None where it does not know containers."""
    found = {match[1]: match[2] for line in text.splitlines() if (match := _LINE.match(line))}
    if "process" not in found or "file" not in found:
        return None
    return Policy(found["process"], found["file"])


def level(container_id: str) -> str:
    """Two different categories that follow from the id: the same after each restart."""
    digest = int.from_bytes(hashlib.sha256(container_id.encode()).digest()[:8])
    first = digest % CATEGORIES
    second = digest // CATEGORIES % (CATEGORIES - 1)
    second += second >= first
    low, high = sorted((first, second))
    return f"s0:c{low},c{high}"


def labels(policy: Policy, security_opt: Sequence[str], container_id: str, *, privileged: bool) -> Labels:
    """Raises `SecurityOptionInvalid`."""
    own = level(container_id)
    changes: dict[str, str] = {}
    file_type = ""
    for option in security_opt:
        key, _, value = option.replace("=", ":", 1).partition(":")
        if key != "label":
            continue
        if value == "disable":
            privileged = True
            continue
        part, colon, text = value.partition(":")
        if not colon or not text or part not in (*PARTS, "filetype"):
            raise SecurityOptionInvalid(
                f"invalid --security-opt: {option!r}",
                remedy="use label=disable, or label=user:, role:, type:, level: or filetype: and a value",
            )
        if part == "filetype":
            file_type = text
        else:
            changes[part] = text
    if privileged:
        return Labels("", _with(policy.file, level=PRIVILEGED_LEVEL))
    own = changes.get("level", own)
    process = _with(policy.process, **{**changes, "level": own})
    return Labels(process, _with(policy.file, level=own, **({"type": file_type} if file_type else {})))


def shared(label: str) -> str:
    """The same for files of all containers (`:z`)."""
    return _with(label, level=SHARED_LEVEL)


def _with(label: str, **changes: str) -> str:
    """A label with other parts. The level may hold colons itself."""
    parts = dict(zip(PARTS, label.split(":", 3), strict=False))
    return ":".join({**parts, **changes}[part] for part in PARTS if part in parts or part in changes)
