"""Which ports linked containers reach of each other although their network is quiet (`--icc=false`).

The bridge keeps all of them apart; the linked ones are given a route to each other through the host, whose forwarding
lets through what the set `links` names. Nothing is stored: it follows from containers and their addresses, and the
containers room tells it anew after a restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable
from ipaddress import IPv4Address

from sampan.kernel import nft
from sampan.networks.host import Host
from sampan.networks.ledger import Ledger
from sampan.networks.model import DEFAULT_NAME, Alias, Endpoint, Link, Protocol

log = logging.getLogger(__name__)
Wish = tuple[str, Protocol, int]  # the server's container id, and a port of it


class Links:
    """All of one daemon."""

    def __init__(self, host: Host, ledger: Ledger) -> None:
        self._host = host
        self._ledger = ledger
        self._all: set[Link] = set()

    def all(self) -> tuple[Link, ...]:
        """For writing the table."""
        return tuple(self._all)

    async def replace(self, client_id: str, wishes: Collection[Wish]) -> None:
        """What this container may reach from now on. Of networks whose containers all talk nothing is needed."""
        client = self._quiet(client_id)
        if client is None or client.address is None:
            return
        wanted: set[Link] = set()
        servers: dict[str, Endpoint] = {}
        for server_id, protocol, port in wishes:
            server = self._quiet(server_id)
            if server is not None and server.address is not None and server_id != client_id:
                servers[server_id] = server
                wanted.add(Link(client.address.ip, server.address.ip, protocol, port))
        former = {link for link in self._all if link.client == client.address.ip}
        await self._change(add=wanted - former, remove=former - wanted)
        await asyncio.to_thread(self._route, client_id, client, servers)

    def call(self, client_id: str, aliases: Iterable[Alias]) -> None:
        """What this container calls others from now on."""
        self._ledger.linked[client_id] = tuple(aliases)

    async def drop(self, addresses: Iterable[IPv4Address]) -> None:
        """A container goes: another one will have its address."""
        gone = set(addresses)
        await self._change(remove={link for link in self._all if link.client in gone or link.server in gone})

    def _quiet(self, container_id: str) -> Endpoint | None:
        """Its place on the default network, if that is quiet."""
        network = self._ledger.named(DEFAULT_NAME)
        if network is None or network.icc:
            return None
        return next((one for one in self._ledger.endpoints_of(container_id) if one.network_id == network.id), None)

    def _route(self, client_id: str, client: Endpoint, servers: dict[str, Endpoint]) -> None:
        there = [server.address.ip for server in servers.values() if server.address is not None]
        gateway = self._ledger.networks[client.network_id].gateway
        if gateway is None or client.address is None or not there:
            return
        self._host.route_through_host(client_id, client.inside, gateway, there)
        for server_id, server in servers.items():
            self._host.route_through_host(server_id, server.inside, gateway, [client.address.ip])

    async def _change(self, *, add: Collection[Link] = (), remove: Collection[Link] = ()) -> None:
        if not add and not remove:
            return
        self._all = (self._all - set(remove)) | set(add)
        try:
            await asyncio.to_thread(self._host.change_links, add=tuple(add), remove=tuple(remove))
        except nft.NftFailed as error:  # somebody flushed the table: it is written again, with all links
            log.warning("links between containers: %s", error)
