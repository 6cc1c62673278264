"""Links as text: what `--link` means, what a linked container's environment and /etc/hosts get. Pure.

Source: Docker's page on legacy container links; moby/moby daemon/links for the names of the variables.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from sampan import errors
from sampan.containers import ports
from sampan.containers.model import Container
from sampan.networks.model import Protocol

_OWN = frozenset({"HOME", "PATH"})  # variables of the other that say nothing about it
BEGIN, END = "# links", "# end of links"  # around our lines in /etc/hosts


class LinkInvalid(errors.Invalid):
    """A link that cannot be meant."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A linked container as it is now."""

    alias: str
    container: Container
    address: IPv4Address


def parse(text: str) -> tuple[str, str]:
    """`name:alias`, `name`, and inspect's `/name:/parent/alias` -> reference, alias. Raises `LinkInvalid`."""
    reference, colon, alias = text.partition(":")
    reference = reference.removeprefix("/")
    alias = alias.rpartition("/")[2] if colon else reference
    if not reference or not alias or ":" in alias or any(letter.isspace() for letter in alias):
        raise LinkInvalid(f"bad format for links: {text}", remedy="write NAME:ALIAS")
    return reference, alias


def exposed(container: Container) -> list[tuple[int, Protocol]]:
    """The ports of a container, in order: what it exposes and what it publishes."""
    found: set[tuple[int, Protocol]] = set()
    for text in (*container.wanted.config.exposed_ports, *container.wanted.host.port_bindings):
        first, last, protocol = ports.parse_port(text)
        found |= {(port, protocol) for port in range(first, last + 1)}
    return sorted(found, key=lambda one: (one[0], one[1] != "tcp", one[1]))


def environment(parent: str, peers: Sequence[Peer]) -> list[str]:
    """`DB_NAME`, `DB_PORT`, `DB_PORT_5432_TCP_ADDR`, `DB_ENV_USER`, …"""
    found: list[str] = []
    for peer in peers:
        prefix = peer.alias.upper().replace("-", "_")
        listed = exposed(peer.container)
        if listed:
            port, protocol = listed[0]
            found.append(f"{prefix}_PORT={protocol}://{peer.address}:{port}")
        for port, protocol in listed:
            name = f"{prefix}_PORT_{port}_{protocol.upper()}"
            found += [
                f"{name}={protocol}://{peer.address}:{port}",
                f"{name}_ADDR={peer.address}",
                f"{name}_PORT={port}",
                f"{name}_PROTO={protocol}",
            ]
        found.append(f"{prefix}_NAME=/{parent}/{peer.alias}")
        for item in peer.container.wanted.config.env:
            name, equals, value = item.partition("=")
            if equals and name.upper() not in _OWN:
                found.append(f"{prefix}_ENV_{name}={value}")
    return found


def hosts(content: str, peers: Iterable[Peer]) -> str:
    """/etc/hosts with the lines of these links in place of former ones."""
    head, begin, rest = content.partition(f"{BEGIN}\n")
    tail = rest.partition(f"{END}\n")[2] if begin else ""
    lines = [f"{peer.address}\t{' '.join(_names(peer))}\n" for peer in peers]
    return f"{head}{BEGIN}\n{''.join(lines)}{END}\n{tail}" if lines else head + tail


def _names(peer: Peer) -> list[str]:
    config = peer.container.wanted.config
    return list(dict.fromkeys([peer.alias, config.hostname or peer.container.short_id, peer.container.name]))


def without(links: Sequence[str], alias: str) -> list[str]:
    """The stored links of a container but one. Raises `NotFound`."""
    kept = [text for text in links if parse(text)[1] != alias]
    if len(kept) == len(links):
        raise errors.NotFound(f"no link {alias!r} to remove")
    return kept
