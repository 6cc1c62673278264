"""Links carried out: looked up when a container is created, followed when one of both starts, taken away on request."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path

import msgspec

from sampan import errors
from sampan.containers import joining, store
from sampan.containers.links import plan
from sampan.containers.links.plan import LinkInvalid, Peer
from sampan.containers.model import Container, ContainerUnknown
from sampan.containers.room import Room
from sampan.containers.wanted import Wanted
from sampan.networks.model import DEFAULT_NAME, Alias

log = logging.getLogger(__name__)


def settle(room: Room, wanted: Wanted) -> Wanted:
    """At a creation: every link with the other's id. Raises `LinkInvalid`.

    On networks that users made a link is no more than a name, and who is meant may come later.
    """
    if not wanted.host.links:
        return wanted
    mode = joining.network_mode(wanted)
    if mode in ("host", "none") or joining.shared_with(mode):
        raise LinkInvalid(f"conflicting options: {mode} type networking can't be used with links")
    if mode != DEFAULT_NAME:
        for text in wanted.host.links:
            plan.parse(text)
        return wanted
    settled = []
    for text in wanted.host.links:
        reference, alias = plan.parse(text)
        try:
            other = room.get(reference)
        except ContainerUnknown as error:
            raise LinkInvalid(f"could not get container for {reference}", why=str(error)) from error
        if joining.network_mode(other.wanted) == "host":
            raise LinkInvalid(
                f"conflicting options: host type networking can't be used with links. {joining.UNDEFINED}"
            )
        settled.append(f"{other.id}:{alias}")
    host = msgspec.structs.replace(wanted.host, links=settled)
    return Wanted(wanted.config, host, wanted.networking)


def links_of(container: Container) -> list[tuple[str, str, str]]:
    """Reference, alias, and the network the link is on."""
    mode = joining.network_mode(container.wanted)
    found = [(*plan.parse(text), mode) for text in container.wanted.host.links]
    for name, settings in container.wanted.networking.endpoints_config.items():
        found += [(*plan.parse(text), mode if name == "default" else name) for text in settings.links]
    return list(dict.fromkeys(found))


def peers(room: Room, container: Container, *, needed: bool) -> list[Peer]:
    """The linked containers that run now. On the default network they must (`needed`), as in dockerd.

    Raises: Conflict.
    """
    found = []
    for reference, alias, network in links_of(container):
        try:
            other = room.get(reference)
        except ContainerUnknown:
            other = None
        address = _address(room, other, network) if other is not None and other.alive else None
        if other is not None and address is not None:
            found.append(Peer(alias, other, address))
        elif needed and network == DEFAULT_NAME:
            name = other.name if other is not None else reference[:12]
            raise errors.Conflict(
                f"Cannot link to a non running container: /{name} AS /{container.name}/{alias}",
                remedy=f"start {name} first",
            )
    return found


def _address(room: Room, other: Container, network: str) -> IPv4Address | None:
    try:
        while shared := joining.shared_with(joining.network_mode(other.wanted)):
            other = room.get(shared)  # it has that one's addresses
    except ContainerUnknown:
        return None
    attachment = room.networks.attachment(other.id)
    wanted = room.networks.get(network).id
    for endpoint in attachment.endpoints if attachment else ():
        if endpoint.network_id == wanted and endpoint.address is not None:
            return endpoint.address.ip
    return None


async def open_ports(room: Room, container: Container) -> None:
    """Let it reach what its links name, also on a quiet network, and ask for them by their names."""
    room.networks.links.call(container.id, [Alias(*link) for link in links_of(container)])
    wishes = [
        (peer.container.id, protocol, port)
        for peer in peers(room, container, needed=False)
        for port, protocol in plan.exposed(peer.container)
    ]
    await room.networks.links.replace(container.id, wishes)


async def follow(room: Room, started: Container) -> None:
    """After a start: those that are linked to it learn its address."""
    for other in _alive(room):
        if any(_means(reference, started) for reference, _, _ in links_of(other)):
            await refresh(room, other)


async def refresh(room: Room, container: Container) -> None:
    """A running container's /etc/hosts and ports, as its links are now."""
    try:
        await asyncio.to_thread(_rewrite, room.paths(container.id).hosts, peers(room, container, needed=False))
        await open_ports(room, container)
    except (errors.SampanError, OSError) as error:
        log.error("links of container %s: %s", container.name, error)


async def recall(room: Room) -> None:
    """At a daemon's start: the networks room remembers no links."""
    for container in _alive(room):
        await refresh(room, container)


async def remove(room: Room, reference: str) -> None:
    """`rm --link /parent/alias`. Raises `NotFound`, `LinkInvalid`."""
    parent, slash, alias = reference.strip("/").partition("/")
    if not slash or not alias:
        raise LinkInvalid(f"invalid link name {reference!r}", remedy="write /CONTAINER/ALIAS")
    container = room.get(parent)
    async with room.live_of(container.id).lock:
        container = room.get(container.id)
        host = msgspec.structs.replace(container.wanted.host, links=plan.without(container.wanted.host.links, alias))
        wanted = Wanted(container.wanted.config, host, container.wanted.networking)
        changed = dataclasses.replace(container, wanted=wanted)
        await room.database.write(lambda connection: store.change(connection, changed))
        if container.alive:
            await refresh(room, changed)


def shown(room: Room, container: Container) -> list[str] | None:
    """For inspect: `/other:/this/alias`, with the names they have now. Networks of users show theirs themselves."""
    if joining.network_mode(container.wanted) != DEFAULT_NAME:
        return None
    found = []
    for text in container.wanted.host.links:
        reference, alias = plan.parse(text)
        try:
            found.append(f"/{room.get(reference).name}:/{container.name}/{alias}")
        except ContainerUnknown:
            continue  # it was removed
    return found or None


def names(room: Room) -> dict[str, list[str]]:
    """`/parent/alias` of every link, by the id of what it leads to."""
    found: dict[str, list[str]] = {}
    for parent in room.roster.every():
        for text in parent.wanted.host.links:
            other, alias = plan.parse(text)
            found.setdefault(other, []).append(f"/{parent.name}/{alias}")
    return found


def _alive(room: Room) -> Sequence[Container]:
    return [item for item in room.roster.every() if item.alive and has_links(item)]


def has_links(container: Container) -> bool:
    """Whether it is linked to any other, on whichever network."""
    wanted = container.wanted
    return bool(wanted.host.links) or any(one.links for one in wanted.networking.endpoints_config.values())


def _means(reference: str, container: Container) -> bool:
    return reference in (container.id, container.name) or (len(reference) >= 12 and container.id.startswith(reference))


def _rewrite(path: Path, present: Sequence[Peer]) -> None:
    """In place: the file is mounted into the container, and another one would not be seen there. Blocking."""
    content = plan.hosts(path.read_text(), present)
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        data = content.encode()
        os.pwrite(descriptor, data, 0)
        os.ftruncate(descriptor, len(data))
    finally:
        os.close(descriptor)
