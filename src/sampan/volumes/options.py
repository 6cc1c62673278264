"""The options of the driver `local`: what they ask to be mounted. Pure.

Source: docker volume create, driver options `type`, `device` and `o`, which mean what mount(8) means by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sampan import errors

KNOWN = frozenset({"type", "device", "o"})
# Words of `o` that are flags of the mount(2) call; every other word is for the file system.
# Source: include/uapi/linux/mount.h
_SET = {
    "ro": 1,
    "nosuid": 2,
    "nodev": 4,
    "noexec": 8,
    "sync": 16,
    "dirsync": 128,
    "noatime": 1024,
    "nodiratime": 2048,
    "bind": 4096,
    "rbind": 4096 | 16384,
    "silent": 32768,
    "relatime": 1 << 21,
    "strictatime": 1 << 24,
}
_CLEAR = {"rw": 1, "suid": 2, "dev": 4, "exec": 8, "async": 16, "atime": 1024, "diratime": 2048, "defaults": 0}
BIND = 4096
NETWORK_TYPES = frozenset({"nfs", "nfs4", "cifs"})


class OptionInvalid(errors.Invalid):
    """A driver option that does not exist, or one without another it needs."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One mount(2) call. `host` is the name in `addr=`, which the kernel wants as a number."""

    source: str
    file_system: str
    flags: int = 0
    data: str = ""
    host: str = ""


def check(options: Mapping[str, str]) -> None:
    """Raises `OptionInvalid`."""
    for name in options:
        if name == "size":
            raise OptionInvalid(
                "quota size requested but no quota support",
                remedy="limit it by its file system, as with type=tmpfs and o=size=100m",
            )
        if name not in KNOWN:
            raise OptionInvalid(f"invalid option: {name!r}", remedy="the driver local knows type, device and o")
    for name, needed in (("type", "device"), ("device", "type"), ("o", "device"), ("o", "type")):
        if options.get(name) and not options.get(needed):
            raise OptionInvalid(f'missing required option: "{needed}"', why=f"{name} is given")
    if any("\0" in value for value in options.values()):
        raise OptionInvalid("invalid option", why="it holds a NUL")


def wanted(options: Mapping[str, str]) -> Wanted | None:
    """The mount that checked options ask for, None for a plain directory."""
    if not options.get("device"):
        return None
    flags, data, host = 0, [], ""
    for word in options.get("o", "").split(","):
        if word in _SET:
            flags |= _SET[word]
        elif word in _CLEAR:
            flags &= ~_CLEAR[word]
        elif word:
            data.append(word)
            host = word.removeprefix("addr=") if word.startswith("addr=") else host
    kind = options.get("type", "")
    host = host if kind in NETWORK_TYPES else ""
    return Wanted(options["device"], "" if flags & BIND else kind, flags, ",".join(data), host)


def with_address(mount: Wanted, address: str) -> str:
    """The data of the call with the host's number in place of its name."""
    return ",".join(f"addr={address}" if word == f"addr={mount.host}" else word for word in mount.data.split(","))
