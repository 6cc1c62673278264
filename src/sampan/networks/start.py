"""The start of the room: rows and kernel are made to agree, whatever happened to either while the daemon was away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import replace

from sampan.networks import ipam, plan, store
from sampan.networks.host import Host
from sampan.networks.ledger import Ledger
from sampan.networks.model import DEFAULT_NAME, Endpoint, Network, PublishedPort, Settings
from sampan.state.database import Database

log = logging.getLogger(__name__)


class Start:
    """One start. Fills the ledger from the rows, then brings the kernel to it."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        host: Host,
        ledger: Ledger,
        *,
        clock: Callable[[], int],
        ids: Callable[[], str],
    ) -> None:
        self._database = database
        self._settings = settings
        self._host = host
        self._ledger = ledger
        self._clock = clock
        self._ids = ids

    async def run(self, live: Collection[str]) -> None:
        await asyncio.to_thread(self._host.prepare)
        present = {path for path in live if await asyncio.to_thread(self._host.has_namespace, path)}
        networks, endpoints, published = await asyncio.to_thread(self._read)
        in_host_mode = {network.id for network in networks if network.driver == "host"}
        keep = {one.container_id for one in endpoints if one.container_id in present or one.network_id in in_host_mode}
        keep &= set(live)
        await self._drop_rows({one.container_id for one in endpoints} - keep)
        for network in networks:
            self._ledger.add_network(network)
        for endpoint in endpoints:
            if endpoint.container_id in keep:
                self._ledger.add_endpoint(endpoint)
        for container_id, entry in published:
            if container_id in keep:
                self._ledger.publish(container_id, [entry])
        await self._predefined()
        await asyncio.to_thread(self._kernel, present)

    def _read(self) -> tuple[list[Network], list[Endpoint], list[tuple[str, PublishedPort]]]:
        with self._database.read() as connection:
            return store.networks(connection), store.endpoints(connection), store.published(connection)

    async def _drop_rows(self, containers: Collection[str]) -> None:
        if not containers:
            return

        def verb(connection: store.Connection) -> None:
            for container_id in containers:
                store.remove_container(connection, container_id)

        await self._database.write(verb)

    # --- the three networks that are always there

    async def _predefined(self) -> None:
        for name, driver in (("host", "host"), ("none", "null")):
            if self._ledger.named(name) is None:
                await self._add(Network(id=self._ids(), name=name, driver=driver, created_ns=self._clock()))  # type: ignore[arg-type]
        former = self._ledger.named(DEFAULT_NAME)
        if self._settings.bridge == "none":
            if former is not None and not self._ledger.count_on(former.id):
                self._ledger.remove_network(former)
                await self._database.write(lambda connection: store.remove_network(connection, former.id))
                await asyncio.to_thread(self._host.remove_bridge, former)
            return
        if former is None:
            await self._add(await self._default())
        else:
            await self._refresh(former)

    async def _default(self) -> Network:
        facts = await asyncio.to_thread(self._host.reachable)
        foreign, own = await asyncio.to_thread(self._host.bridge_address, self._settings.bridge)
        settings = (
            replace(self._settings, bip=str(own)) if own is not None and not self._settings.bip else self._settings
        )
        others = [one.subnet for one in self._ledger.networks.values() if one.subnet is not None]
        made = plan.default_network(settings=settings, host=[*facts, *others], new_id=self._ids(), now_ns=self._clock())
        return replace(made, foreign=foreign)

    async def _refresh(self, former: Network) -> None:
        """Take over changed options. The bridge and its subnet change only while no container uses them."""
        settings = self._settings
        moved = not plan.fits_default(former, settings)
        assert former.subnet is not None, "the default network has a subnet"
        current = replace(
            former,
            ip_range=former.ip_range if moved else ipam.read_range(settings.fixed_cidr, former.subnet),
            auxiliary=former.auxiliary if moved else plan.default_gateway(settings, former.subnet),
            icc=settings.icc,
            masquerade=settings.ip_masquerade,
            mtu_bytes=settings.mtu_bytes,
            host_address=settings.host_address,
        )
        if moved and self._ledger.count_on(former.id):
            log.warning(
                "containers use %s: the new bridge or --bip applies at the next start without them", former.interface
            )
        elif moved:
            await asyncio.to_thread(self._host.remove_bridge, former)
            self._ledger.remove_network(former)
            current = replace(await self._default(), id=former.id, created_ns=former.created_ns)
        if current != former:
            await self._database.write(lambda connection: store.replace_network(connection, current))
        self._ledger.networks[former.id] = current
        self._ledger.add_network(current)

    async def _add(self, network: Network) -> None:
        await self._database.write(lambda connection: store.add_network(connection, network))
        self._ledger.add_network(network)

    # --- the kernel

    def _kernel(self, namespaces: Collection[str]) -> None:
        ledger, host = self._ledger, self._host
        networks = tuple(ledger.networks.values())
        endpoints = [one for container_id in ledger.containers() for one in ledger.endpoints_of(container_id)]
        pairs = {one.interface: ledger.networks[one.network_id] for one in endpoints if one.interface}
        host.remove_strays(containers=namespaces, networks=ledger.networks, pairs=pairs)
        for network in networks:
            if network.driver == "bridge":
                host.create_network(network, into_table=False)
        host.replug(pairs)
        host.write_table(networks, tuple(ledger.all_published()))
