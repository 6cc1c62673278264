"""Settings that are more than a word: what `nofile=1024:4096` or `base=10.0.0.0/8,size=24` say.

Every function raises `SettingInvalid`, which names the option, what was given and the remedy.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, ip_address
from typing import Final

from sampan.config.failures import SettingInvalid
from sampan.formats import sizes

# Source: setrlimit(2), in Docker's spelling.
ULIMITS: Final = frozenset(
    {
        *("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss"),
        *("rtprio", "rttime", "sigpending", "stack"),
    }
)


def address(text: str, flag: str) -> IPv4Address:
    """An IPv4 address."""
    try:
        return IPv4Address(text)
    except ValueError as error:
        raise _invalid(text, flag, "use an IPv4 address") from error


def server(text: str, flag: str) -> None:
    """An address of either kind: it is this host that asks the server."""
    try:
        ip_address(text)
    except ValueError as error:
        raise _invalid(text, flag, "use an IP address") from error


def network(text: str, flag: str) -> IPv4Network:
    """A subnet, `10.0.0.0/8`."""
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise _invalid(text, flag, "use an IPv4 subnet such as 10.0.0.0/24", why=str(error)) from error


def interface(text: str, flag: str) -> IPv4Interface:
    """An address with its subnet's prefix, `10.0.0.1/24`."""
    try:
        if "/" not in text:
            raise ValueError("it has no prefix length")
        found = IPv4Interface(text)
    except ValueError as error:
        raise _invalid(text, flag, "use an address and a prefix, such as 10.0.0.1/24", why=str(error)) from error
    if found.network.prefixlen > 30 or found.ip in (found.network.network_address, found.network.broadcast_address):
        raise _invalid(text, flag, "use a host's address, such as 10.0.0.1/24", why="it is no host of its subnet")
    return found


def size_bytes(text: str, flag: str) -> int:
    """`64m` -> bytes."""
    try:
        return sizes.parse(text)
    except ValueError as error:
        raise _invalid(text, flag, "write a number and k, m or g") from error


def pair(text: str, flag: str) -> tuple[str, str]:
    """`key=value`."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise _invalid(text, flag, "write KEY=VALUE")
    return key, value


def ulimit(text: str, flag: str) -> tuple[str, int, int]:
    """`nofile=1024:4096` -> name, soft, hard; one number is both."""
    name, limits = pair(text, flag)
    soft, _, hard = limits.partition(":")
    if name not in ULIMITS:
        raise _invalid(text, flag, f"use one of {', '.join(sorted(ULIMITS))}")
    try:
        found = int(soft), int(hard or soft)
    except ValueError as error:
        raise _invalid(text, flag, "write NAME=SOFT:HARD in numbers") from error
    if found[1] >= 0 and (found[0] > found[1] or found[0] < 0):
        raise _invalid(text, flag, "the soft limit must not exceed the hard one")
    return (name, *found)


def pool(text: str, flag: str) -> tuple[IPv4Network, int]:
    """`base=10.0.0.0/8,size=24` -> where to cut from, prefix length of each piece."""
    words = dict(pair(part, flag) for part in text.split(","))
    if set(words) != {"base", "size"}:
        raise _invalid(text, flag, "write base=SUBNET,size=PREFIX")
    base = network(words["base"], flag)
    if not words["size"].isdecimal() or not base.prefixlen <= int(words["size"]) <= 30:
        raise _invalid(text, flag, f"size is a prefix length from {base.prefixlen} to 30")
    return base, int(words["size"])


def runtime(text: str, flag: str) -> tuple[str, str]:
    """`crun=/usr/bin/crun` -> name, program."""
    name, path = pair(text, flag)
    if not path.startswith("/"):
        raise _invalid(text, flag, "write NAME=/absolute/path")
    if name in ("runc", "io.containerd.runc.v2"):
        raise _invalid(text, flag, "choose another name", why="runtime runc is reserved")
    return name, path


def one_of(text: str, flag: str, words: tuple[str, ...]) -> None:
    """One of a few words."""
    if text not in words:
        raise _invalid(text, flag, f"use {', '.join(words[:-1])} or {words[-1]}")


def between(number: int, flag: str, least: int, most: int) -> None:
    """A number within its range."""
    if not least <= number <= most:
        raise _invalid(str(number), flag, f"use a number from {least} to {most}")


def _invalid(text: str, flag: str, remedy: str, *, why: str = "") -> SettingInvalid:
    return SettingInvalid(f"invalid value {text!r} for {flag}", why=why, remedy=remedy)
