"""resolv.conf: what the host's says, and what a container's shall say.

Only `host_text` reads files. Source: resolv.conf(5). Docker's rules: a container on the default network gets the host's
file without loopback servers; on other networks it gets the embedded name server at 127.0.0.11, which asks the host's
servers itself.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sampan.networks.model import Resolver

EMBEDDED: Final = "127.0.0.11"
# The host's file; and where systemd-resolved keeps the real one when the host's names only itself.
HOST_FILES: Final = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
FALLBACK: Final = ("8.8.8.8", "8.8.4.4")  # what Docker uses when a host has only loopback servers


@dataclass(frozen=True)
class HostNames:
    """The host's own resolv.conf, read."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def read(text: str) -> HostNames:
    """Read a resolv.conf. Unknown lines are left out; the last `search` or `domain` wins; options add up."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].split(";", 1)[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            search = tuple(words[1:])
        elif words[0] == "options":
            options += words[1:]
    return HostNames(tuple(servers), search, tuple(options))


def is_loopback(server: str) -> bool:
    try:
        return ipaddress.ip_address(server.split("%", 1)[0]).is_loopback
    except ValueError:
        return False


def for_container(host: HostNames, own: Resolver, *, embedded: bool) -> str:
    """The text of a container's resolv.conf.

    `own` is the container's settings with the daemon's as default (`merge`). A search of "." means none.
    """
    search = own.search or host.search
    options = own.options or host.options
    if embedded:
        servers: tuple[str, ...] = (EMBEDDED,)
        if not any(option.startswith("ndots:") for option in options):
            options = (*options, "ndots:0")  # so that `web` is asked as `web`, before any search domain
    else:
        servers = own.servers or tuple(one for one in host.servers if not is_loopback(one)) or FALLBACK
    lines = [f"nameserver {server}" for server in servers]
    if search and search != (".",):
        lines.append("search " + " ".join(search))
    if options:
        lines.append("options " + " ".join(options))
    return "\n".join(lines) + "\n"


def for_host_mode(host_text: str, host: HostNames, own: Resolver) -> str:
    """In host mode the host's file goes as it is, unless the container has settings of its own."""
    if not (own.servers or own.search or own.options):
        return host_text
    every = Resolver(own.servers or host.servers, own.search, own.options)
    return for_container(host, every, embedded=False)


def upstreams(host: HostNames, own: Resolver) -> tuple[str, ...]:
    """Whom the embedded server asks. It asks from the host, where the host's loopback servers do answer."""
    return own.servers or host.servers or FALLBACK


def host_text(files: Sequence[Path]) -> str:
    """The first of `files` that names a server beyond this host itself; else the first that is there; else ""."""
    found = [path.read_text(errors="replace") for path in files if path.is_file()]
    for text in found:
        if any(not is_loopback(server) for server in read(text).servers):
            return text
    return found[0] if found else ""


def merge(own: Resolver, defaults: Resolver) -> Resolver:
    """A container's settings, with the daemon's where it has none."""
    return Resolver(own.servers or defaults.servers, own.search or defaults.search, own.options or defaults.options)
