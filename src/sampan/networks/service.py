"""The verbs of the networks room, for the containers room and the API.

Every verb first decides and notes its decision in the ledger without waiting for anything, so that two verbs at once
never promise the same thing; then the row is written, then the kernel is told. A verb that fails takes all of it back.
A verb goes to its end even if its caller is cancelled; verbs of one container wait for each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import weakref
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from sampan.events.bus import Bus
from sampan.kernel import nft
from sampan.networks import editing, failures, linking, plan, ports, resolvconf, store
from sampan.networks.berths import INSIDE, REFILL_DELAY_S, Berth
from sampan.networks.host import Host, NameSockets, Plug, held, held_among
from sampan.networks.ledger import Ledger
from sampan.networks.model import (
    DEFAULT_NAME,
    Attachment,
    Endpoint,
    EndpointWish,
    Network,
    NetworkWish,
    PortWish,
    PublishedPort,
    Resolver,
    Settings,
)
from sampan.networks.naming import Naming
from sampan.networks.start import Start
from sampan.networks.table import Table
from sampan.state.database import Database

T = TypeVar("T")
log = logging.getLogger(__name__)

NO_RESOLVER: Final = Resolver()
MOST_WITH_BERTHS: Final = plan.BRIDGE_PORTS - 23  # near its limit a bridge's ports are for containers alone
MANY_PORTS: Final = 64  # so many ports are tried in the event loop, 20 us each; more in a thread
SWEEP_S: Final = 1.0  # seconds; an empty namespace is gone in some milliseconds, a thousand of them in one second


class Networks:
    """The networks of one daemon. Call `restore` before anything else, and `shutdown` at the end."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        run_dir: Path,
        *,
        clock: Callable[[], int],
        ids: Callable[[], str],
        host_resolv_conf: Sequence[Path] = resolvconf.HOST_FILES,
        upstream_port: int = 53,
        berths: int = 0,
        bus: Bus | None = None,
    ) -> None:
        """`berths`: how many namespaces are kept ready for the default network."""
        self._bus = bus
        self._database = database
        self._settings = settings
        self._clock = clock
        self._ids = ids
        self._host = Host(settings, run_dir, berths=berths, ids=ids)
        self._ledger = Ledger()
        self._names = Naming(
            self._ledger, settings, self._host, host_files=host_resolv_conf, upstream_port=upstream_port
        )
        self._refilling: asyncio.TimerHandle | None = None
        self._leaving: set[str] = set()
        self.links = linking.Links(self._host, self._ledger)
        self.table = Table(self._host, self._ledger, self.links)
        self._sweeping: asyncio.Task[None] | None = None
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    # --- networks

    async def create(self, wish: NetworkWish) -> Network:
        """`docker network create`."""
        return await _whole(self._create(wish))

    async def _create(self, wish: NetworkWish) -> Network:
        reachable, (foreign, _) = await asyncio.to_thread(self._look, wish)
        network = plan.network(
            wish,
            ledger=self._ledger,
            settings=self._settings,
            host=reachable,
            new_id=self._ids(),
            now_ns=self._clock(),
        )
        network = replace(network, foreign=foreign)
        self._ledger.add_network(network)
        try:
            await self._database.write(lambda connection: store.add_network(connection, network))
            await asyncio.to_thread(self._host.create_network, network)
        except BaseException:
            self._ledger.remove_network(network)
            await self._database.write(lambda connection: store.remove_network(connection, network.id))
            raise
        self._tell("create", network)
        return network

    def _tell(self, action: str, network: Network) -> None:
        if self._bus is not None:
            self._bus.publish("network", action, network.id, name=network.name, type=network.driver)

    def _look(self, wish: NetworkWish) -> tuple[Any, tuple[bool, Any]]:
        interface = wish.options.get(plan.BRIDGE_NAME, "")
        return self._host.reachable(), self._host.bridge_address(interface) if interface else (False, None)

    def list(self) -> tuple[Network, ...]:
        """Every network, the oldest first."""
        return tuple(self._ledger.networks.values())

    def get(self, reference: str) -> Network:
        """By name, id or start of an id. Raises: `NoSuchNetwork`, `AmbiguousNetwork`."""
        return self._ledger.find(reference)

    def endpoints_on(self, network: Network) -> tuple[Endpoint, ...]:
        """For `docker network inspect`: who is there."""
        return self._ledger.endpoints_on(network.id)

    async def remove(self, reference: str) -> Network:
        """`docker network rm`. Raises: `PredefinedNetwork`, `NetworkInUse`."""
        network = self._ledger.find(reference)
        if network.predefined:
            raise failures.PredefinedNetwork(f"{network.name} is a pre-defined network and cannot be removed")
        if self._ledger.count_on(network.id):
            raise failures.NetworkInUse(
                f"error while removing network: network {network.name} id {network.id} has active endpoints",
                remedy="stop or disconnect its containers",
            )
        await _whole(self._remove(network))
        self._tell("destroy", network)
        return network

    async def _remove(self, network: Network) -> None:
        self._ledger.remove_network(network)
        await self._database.write(lambda connection: store.remove_network(connection, network.id))
        try:
            await asyncio.to_thread(self._host.remove_network, network)
        except nft.NftFailed:
            log.warning("the firewall table lacked parts of network %s; writing it again", network.name)
            await self.table.rewrite()
            await asyncio.to_thread(self._host.remove_bridge, network)

    async def prune(self, chosen: Callable[[Network], bool] = lambda network: True) -> tuple[str, ...]:
        """Remove the networks that nobody uses and that `chosen` agrees to; their names."""
        idle = [one for one in self.list() if not one.predefined and not self._ledger.count_on(one.id) and chosen(one)]
        removed = []
        for network in idle:
            try:
                await self.remove(network.id)
            except (failures.NetworkInUse, failures.NoSuchNetwork):
                continue  # somebody was quicker
            removed.append(network.name)
        return tuple(removed)

    # --- containers

    async def attach(
        self,
        container_id: str,
        *,
        name: str,
        hostname: str = "",
        wishes: Sequence[EndpointWish] = (EndpointWish(DEFAULT_NAME),),
        ports: Sequence[PortWish] = (),
        resolver: Resolver = NO_RESOLVER,
    ) -> Attachment:
        """Give a container its namespace, endpoints and published ports. Call it once per start, `detach` at the end.

        Raises: `PortTaken`, `NoSuchNetwork`, `AddressInUse`, `NoAddressLeft`, `NoPortLeft`, `BadEndpoint`, ...
        """
        async with self._turn(container_id):
            return await _whole(self._attach(container_id, name, hostname, wishes, ports, resolver))

    async def _attach(
        self,
        container_id: str,
        name: str,
        hostname: str,
        wishes: Sequence[EndpointWish],
        wanted_ports: Sequence[PortWish],
        resolver: Resolver,
    ) -> Attachment:
        plan.check_modes(self._ledger, wishes)
        if self._ledger.endpoints_of(container_id):
            raise failures.AlreadyConnected(f"container {name} is attached already", remedy="detach it first")
        sockets: NameSockets | None = None
        berth: Berth | None = None
        try:
            for wish in wishes:
                self._reserve(wish, container_id, name, hostname)
            berth = self._take_berth(container_id)
            endpoints = self._ledger.endpoints_of(container_id)
            published = await self._reserve_ports(container_id, wanted_ports)
            row = asyncio.wrap_future(
                self._database.submit(lambda connection: store.add_endpoints(connection, endpoints, published))
            )
            try:
                sockets = await self._build(container_id, endpoints, published, berth)
            finally:
                await row
            await self.table.pay()
        except BaseException:
            await self._take_back(container_id, sockets)
            raise
        finally:
            if berth is not None:
                berth.close()
            self._refill_later()
        self._names.settle(container_id, resolver)
        await self._names.open(container_id, sockets)
        return self._attachment(container_id)

    def _take_berth(self, container_id: str) -> Berth | None:
        """A ready namespace for a container that is on the default network alone; its endpoint takes over the pair."""
        endpoints = self._ledger.endpoints_of(container_id)
        default = self._ledger.named(DEFAULT_NAME)
        if default is None or [one.network_id for one in endpoints] != [default.id] or default.driver != "bridge":
            return None
        berth = self._host.berths.take(default) if endpoints[0].inside == INSIDE else None
        if berth is not None:
            self._ledger.remove_endpoint(endpoints[0])
            self._ledger.add_endpoint(replace(endpoints[0], interface=berth.interface))
        return berth

    def _refill_later(self) -> None:
        """Once nobody attaches any more: in a burst, making berths would hold up those who wait."""
        if self._refilling is not None:
            self._refilling.cancel()
            self._refilling = None
        default = self._ledger.named(DEFAULT_NAME)
        if default is not None and default.driver == "bridge" and self._ledger.count_on(default.id) < MOST_WITH_BERTHS:
            self._refilling = asyncio.get_running_loop().call_later(REFILL_DELAY_S, self._host.refill, default)

    async def _build(
        self,
        container_id: str,
        endpoints: Sequence[Endpoint],
        published: Sequence[PublishedPort],
        berth: Berth | None,
    ) -> NameSockets | None:
        """Build while the row is being written: the next start removes what is built and has no row."""
        if self._in_host_mode(container_id):
            return None
        if berth is not None:
            self._host.attach_berth(container_id, self._plugs(endpoints)[0], published, berth)
            return None
        names = self._names.wanted(container_id)
        return await asyncio.wrap_future(
            self._host.attach(container_id, self._plugs(endpoints), published, names=names)
        )

    async def _take_back(self, container_id: str, sockets: NameSockets | None) -> None:
        """Undo a failed attach. What was built although the row failed goes as well."""
        published = self._ledger.published_by(container_id)
        self._forget(container_id)
        if sockets is not None:
            sockets.close()
        await self._database.write(lambda connection: store.remove_container(connection, container_id))
        if await asyncio.to_thread(self._host.has_namespace, container_id):
            await asyncio.to_thread(self._host.detach, container_id, published)

    def _reserve(self, wish: EndpointWish, container_id: str, name: str, hostname: str) -> Endpoint:
        present = self._ledger.endpoints_of(container_id)
        endpoint = plan.endpoint(
            self._ledger,
            wish,
            container_id=container_id,
            name=name,
            hostname=hostname,
            new_id=self._ids(),
            inside=plan.free_inside(present),
        )
        self._ledger.add_endpoint(endpoint)
        return endpoint

    async def _reserve_ports(self, container_id: str, wishes: Sequence[PortWish]) -> tuple[PublishedPort, ...]:
        leading = plan.way_out(self._ledger.endpoints_of(container_id))
        if leading is None or not wishes:
            return ()  # no way in where there is no way out: internal networks publish nothing
        default = self._ledger.networks[leading.network_id].host_address
        probe: ports.Held = held
        if len(wishes) > MANY_PORTS:
            known = await asyncio.to_thread(held_among, ports.exact(wishes, default))
            probe = lambda *port: known[port] if port in known else held(*port)  # noqa: E731
        choices = self._ledger.ports.choose(wishes, leading, default=default, held=probe)
        published = ports.compact(choices, leading)
        self._ledger.publish(container_id, published)
        return published

    def _plugs(self, endpoints: Sequence[Endpoint]) -> tuple[Plug, ...]:
        leading = plan.way_out(endpoints)
        with_links = [one for one in endpoints if one.address is not None]
        return tuple(Plug(self._ledger.networks[one.network_id], one, one is leading) for one in with_links)

    def _forget(self, container_id: str) -> None:
        self._ledger.unpublish(container_id)
        for endpoint in self._ledger.endpoints_of(container_id):
            self._ledger.remove_endpoint(endpoint)

    async def detach(self, container_id: str, *, keep_rows: bool = False) -> None:
        """Take everything back that `attach` and `connect` gave. One that has nothing is no error.

        `keep_rows`: the caller removes the rows with `forget_rows` in a transaction of its own; what a crash leaves of
        them `restore` drops.
        """
        async with self._turn(container_id):
            await _whole(self._detach(container_id, keep_rows=keep_rows))

    def forget_rows(self, connection: store.Connection, container_id: str) -> None:
        """Part of a container's removal, after `detach` with `keep_rows`."""
        store.remove_container(connection, container_id)

    async def _detach(self, container_id: str, *, keep_rows: bool) -> None:
        if not self._ledger.endpoints_of(container_id) and not self._host.has_namespace(container_id):
            return  # nothing to take back: a removal asks again what an exit did
        self._names.close(container_id)
        endpoints = self._ledger.endpoints_of(container_id)
        self._leave(endpoint.interface for endpoint in endpoints if endpoint.interface)
        await self.links.drop(endpoint.address.ip for endpoint in endpoints if endpoint.address)
        published = self._ledger.published_by(container_id)
        missing = False
        try:
            await asyncio.to_thread(self._host.detach, container_id, published)
        except nft.NftFailed:
            missing = True
        finally:
            self._forget(container_id)
            if not keep_rows:
                await self._database.write(lambda connection: store.remove_container(connection, container_id))
        if missing:
            log.warning("the firewall table lacked ports of container %s; writing it again", container_id[:12])
            await self.table.rewrite()
            await asyncio.to_thread(self._host.detach, container_id, ())

    def _leave(self, pairs: Iterable[str]) -> None:
        """Look after a while whether the kernel took the pairs with their namespace, and help where it could not."""
        self._leaving.update(pairs)
        if self._leaving and self._sweeping is None:
            self._sweeping = asyncio.ensure_future(self._sweep())

    async def _sweep(self) -> None:
        await asyncio.sleep(SWEEP_S)
        self._sweeping = None
        pairs, self._leaving = self._leaving, set()
        await asyncio.to_thread(self._host.sweep, pairs)

    async def connect(
        self,
        container_id: str,
        *,
        name: str,
        wish: EndpointWish,
        hostname: str = "",
        ports: Sequence[PortWish] = (),
    ) -> Attachment:
        """Plug a running container into one more network. `ports`: published now if nothing could be before."""
        async with self._turn(container_id):
            return await _whole(self._connect(container_id, name, wish, hostname, ports))

    async def _connect(
        self, container_id: str, name: str, wish: EndpointWish, hostname: str, wanted_ports: Sequence[PortWish]
    ) -> Attachment:
        plan.check_connect(self._ledger, container_id, wish)
        before = plan.way_out(self._ledger.endpoints_of(container_id))
        endpoint = self._reserve(wish, container_id, name, hostname)
        network = self._ledger.networks[endpoint.network_id]
        leading = plan.way_out(self._ledger.endpoints_of(container_id))
        needs_names = network.has_names and not self._names.is_open(container_id)
        try:
            # The pair before its row: after a crash a pair without a row is a stray, a row without a pair a riddle.
            plug = Plug(network, endpoint, leading is endpoint)
            sockets = await asyncio.to_thread(self._host.connect, container_id, plug, names=needs_names)
        except BaseException:
            self._ledger.remove_endpoint(endpoint)
            raise
        try:
            await self._database.write(lambda connection: store.add_endpoints(connection, [endpoint], ()))
        except BaseException:
            self._ledger.remove_endpoint(endpoint)
            if sockets is not None:
                sockets.close()
            await asyncio.to_thread(self._host.disconnect, container_id, endpoint, before)
            raise
        await self._names.open(container_id, sockets)
        if leading is endpoint and before is not None:
            await self._move_ports(container_id, leading)
        elif leading is endpoint and wanted_ports:
            await self._publish_late(container_id, wanted_ports)
        return self._attachment(container_id)

    async def disconnect(self, container_id: str, network: str) -> None:
        """Unplug a running container from one network. Raises: `NotConnected`."""
        async with self._turn(container_id):
            await _whole(self._disconnect(container_id, self._ledger.find(network)))

    async def _disconnect(self, container_id: str, network: Network) -> None:
        endpoint = plan.connected(self._ledger, container_id, network)
        rest = [one for one in self._ledger.endpoints_of(container_id) if one.id != endpoint.id]
        leading = plan.way_out(rest)
        if any(entry.endpoint_id == endpoint.id for entry in self._ledger.published_by(container_id)):
            await self._move_ports(container_id, leading)
        # The row before its pair: after a crash a pair without a row is a stray and goes, as it was asked to.
        await self._database.write(lambda connection: store.remove_endpoint(connection, endpoint.id))
        try:
            await asyncio.to_thread(self._host.disconnect, container_id, endpoint, leading)
        finally:
            self._ledger.remove_endpoint(endpoint)

    async def _move_ports(self, container_id: str, leading: Endpoint | None) -> None:
        """Let a container's published ports lead to another of its endpoints, or to nothing."""
        former = self._ledger.unpublish(container_id)
        current = plan.moved(former, leading)
        self._ledger.publish(container_id, current)
        await self._database.write(lambda connection: store.move_ports(connection, container_id, current))
        try:
            await asyncio.to_thread(self._host.move_ports, former, current)
        except nft.NftFailed:
            log.warning("the firewall table lacked ports of container %s; writing it again", container_id[:12])
            await self.table.rewrite()

    async def _publish_late(self, container_id: str, wishes: Sequence[PortWish]) -> None:
        published = await self._reserve_ports(container_id, wishes)
        await self._database.write(lambda connection: store.add_ports(connection, published))
        await asyncio.to_thread(self._host.publish, published)
        await self.table.pay()

    async def edit_ports(
        self,
        container_id: str,
        *,
        remove: Collection[editing.Removed],
        add: Sequence[PortWish],
        row: Callable[[store.Connection], None],
    ) -> tuple[PublishedPort, ...]:
        """Change a running container's published ports; `row` is written with them. See `editing`."""
        async with self._turn(container_id):
            change = editing.edit(
                container_id,
                remove=remove,
                add=add,
                row=row,
                ledger=self._ledger,
                database=self._database,
                host=self._host,
                rewrite=self.table.rewrite,
            )
            return await _whole(change)

    async def rename(self, container_id: str, name: str) -> None:
        """A running container has a new name: its neighbours resolve the new one."""
        async with self._turn(container_id):
            renamed = []
            for endpoint in self._ledger.endpoints_of(container_id):
                self._ledger.remove_endpoint(endpoint)
                renamed.append(plan.renamed(endpoint, name))
            for endpoint in renamed:
                self._ledger.add_endpoint(endpoint)
            await self._database.write(lambda connection: store.rename_container(connection, renamed))

    def attachment(self, container_id: str) -> Attachment | None:
        """What a running container has now, without the text of its resolv.conf; None for one that is not attached."""
        endpoints = self._ledger.endpoints_of(container_id)
        if not endpoints:
            return None
        namespace = None if self._in_host_mode(container_id) else self._host.namespace(container_id)
        return Attachment(container_id, namespace, endpoints, self._ledger.published_by(container_id))

    def _attachment(self, container_id: str) -> Attachment:
        in_host_mode = self._in_host_mode(container_id)
        return Attachment(
            container_id=container_id,
            namespace=None if in_host_mode else self._host.namespace(container_id),
            endpoints=self._ledger.endpoints_of(container_id),
            published=self._ledger.published_by(container_id),
            resolv_conf=self._names.resolv_conf(container_id, in_host_mode=in_host_mode),
        )

    def _in_host_mode(self, container_id: str) -> bool:
        return any(network.driver == "host" for network in self._ledger.networks_of(container_id))

    # --- the daemon's own start and end

    async def restore(self, live: Collection[str], resolvers: dict[str, Resolver] | None = None) -> None:
        """Make rows and kernel agree: `live` containers keep what they have, everything else goes.

        `resolvers`: the name settings of live containers, as given to `attach`.
        """
        self._host.berths.empty()  # their pairs have no rows: to the start they are strays
        start = Start(self._database, self._settings, self._host, self._ledger, clock=self._clock, ids=self._ids)
        await _whole(start.run(live))
        if self._settings.iptables:
            await self.table.watch()
        await self._names.reopen(resolvers or {})

    async def shutdown(self) -> None:
        """Close what this process holds. Containers keep their networks; only names are not answered meanwhile."""
        self.table.close()
        if self._refilling is not None:
            self._refilling.cancel()
        self._names.close_all()
        if self._sweeping is not None:
            self._sweeping.cancel()  # the next start removes what has no row
            self._sweeping = None
        self._host.close()

    @contextlib.asynccontextmanager
    async def _turn(self, container_id: str) -> AsyncIterator[None]:
        async with self._locks.setdefault(container_id, asyncio.Lock()):
            yield


async def _whole(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, even when the caller is cancelled: half a verb is nobody's wish. The caller waits for the end."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is not None:
            log.warning("a cancelled verb failed as well: %s", task.exception())
        raise
