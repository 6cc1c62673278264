"""What is done to the kernel: bridges, namespaces, pairs, the table. Blocking: call it from worker threads.

Every method either does the whole of its task or undoes what it did and raises. Nothing here decides.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Final

from sampan.kernel import conntrack, libc, links, namespaces, netlink, nfnetlink, nft
from sampan.networks import failures, firewall, obstacles, resolvconf, ruleset
from sampan.networks.berths import Berth, Berths
from sampan.networks.drivers import bridge
from sampan.networks.model import Endpoint, Link, Network, Protocol, PublishedPort, Settings

log = logging.getLogger(__name__)

_VETH: Final = re.compile(r"veth[0-9a-f]{11}\Z")
_NAMES_TABLE: Final = "sampan_names"  # in every namespace whose container resolves names
_NAMES_PORT: Final = 53
_SOCKET_TYPES: Final = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


@dataclass(frozen=True)
class NameSockets:
    """Where a container's name server listens: both on 127.0.0.11 inside its namespace."""

    udp: socket.socket
    tcp: socket.socket

    def close(self) -> None:
        self.udp.close()
        self.tcp.close()


@dataclass(frozen=True)
class Plug:
    """One endpoint to be made. `leads_out`: it carries the default route."""

    network: Network
    endpoint: Endpoint
    leads_out: bool


def _no_ids() -> str:
    raise AssertionError("a host without berths makes no names")


class Host:
    """The kernel of the network namespace in which the daemon runs."""

    def __init__(self, settings: Settings, run_dir: Path, *, berths: int = 0, ids: Callable[[], str] = _no_ids) -> None:
        self._settings = settings
        self._namespaces = run_dir / "netns"
        self._kernel = netlink.Socket()
        self._nft = nft.Nft() if settings.iptables else None
        self._flows = conntrack.Flows() if settings.iptables else None
        self._indexes: dict[str, int] = {}  # bridge name -> link number
        self._filtered = False  # the kernel passes bridged frames through the IP firewall
        self.owes_table = False  # a port could not be published in the table as it is
        self.berths = Berths(self._kernel, size=berths, new_id=ids)

    def refill(self, network: Network) -> None:
        """Make berths in this network's bridge, in the background."""
        try:
            master = socket.if_nametoindex(network.interface)
        except OSError:
            return  # the next attach tells that the bridge is gone
        self.berths.refill(network, master, port=bridge.port(network, filtered=self._filtered))

    def close(self) -> None:
        self.berths.empty(for_good=True)
        self._kernel.close()
        if self._nft is not None:
            self._nft.close()
        if self._flows is not None:
            self._flows.close()

    def namespace(self, container_id: str) -> Path:
        return self._namespaces / container_id

    def has_namespace(self, container_id: str) -> bool:
        return namespaces.is_namespace(self.namespace(container_id))

    # --- at start

    def prepare(self) -> None:
        """The folder of namespaces, and forwarding. Raises: `ForwardingOff`."""
        self._namespaces.mkdir(parents=True, exist_ok=True)
        self._filtered = namespaces.read_sysctl("net/bridge/bridge-nf-call-iptables") == "1"
        if not self._settings.ip_forward or namespaces.read_sysctl("net/ipv4/ip_forward") == "1":
            return
        try:
            namespaces.write_sysctl("net/ipv4/ip_forward", "1")
        except libc.KernelError as error:
            remedy = "run: sysctl -w net.ipv4.ip_forward=1, or start with --ip-forward=false"
            raise failures.ForwardingOff("cannot turn on IPv4 forwarding", why=error.why, remedy=remedy) from error
        log.info("turned on net.ipv4.ip_forward: containers reach the world through this host")

    def reachable(self) -> list[IPv4Network]:
        """Subnets that the host has an address in or a route to, default routes left out."""
        found = {network for _, network in links.routes(self._kernel) if network.prefixlen}
        found |= {address.network for _, address in links.addresses(self._kernel)}
        return sorted(found)

    def bridge_address(self, name: str) -> tuple[bool, IPv4Interface | None]:
        """Whether a link `name` exists that Sampan did not make, and its first IPv4 address."""
        for link in links.links(self._kernel):
            if link.name == name and not link.alias.startswith(bridge.ALIAS):
                own = [address for index, address in links.addresses(self._kernel) if index == link.index]
                return True, own[0] if own else None
        return False, None

    def remove_strays(self, *, containers: Collection[str], networks: Collection[str], pairs: Collection[str]) -> None:
        """Remove namespaces, bridges and host ends of pairs that nobody has a row for."""
        for path in self._namespaces.iterdir():
            if path.name not in containers:
                log.info("removing stray network namespace %s", path.name)
                namespaces.drop(path)
        for link in links.links(self._kernel):
            ours = link.kind == "bridge" and link.alias.startswith(bridge.ALIAS)
            stray_bridge = ours and link.alias.removeprefix(bridge.ALIAS) not in networks
            stray_pair = link.kind == "veth" and _VETH.match(link.name) and link.name not in pairs
            if stray_bridge or stray_pair:
                log.info("removing stray link %s", link.name)
                self._delete_link(link.name)

    def _delete_link(self, name: str) -> None:
        try:
            self._kernel.perform([links.delete(name)])
        except libc.KernelError as error:  # the namespace that held its other end may be going at this moment
            if error.errno != links.NO_DEVICE_ERRNO:
                raise

    def write_table(
        self, networks: Iterable[Network], published: Iterable[PublishedPort], links: Iterable[Link] = ()
    ) -> None:
        """Put the whole table in place of whatever is there."""
        if self._nft is not None:
            self._nft.run(ruleset.whole(networks, published, links))

    def change_links(self, *, add: Collection[Link] = (), remove: Collection[Link] = ()) -> None:
        """What linked containers may reach of each other."""
        if self._nft is not None and (add or remove):
            self._nft.run(ruleset.change_links(add=add, remove=remove))

    def route_through_host(
        self, container_id: str, inside: str, gateway: IPv4Address, peers: Collection[IPv4Address]
    ) -> None:
        """Neighbours that a quiet bridge keeps apart meet in the host's IP forwarding, where the table judges."""

        def change() -> None:
            for name in ("all", inside):  # the host would tell it that the neighbour is on the same link
                namespaces.write_sysctl(f"net/ipv4/conf/{name}/accept_redirects", "0")
            with netlink.Socket() as kernel:
                index = socket.if_nametoindex(inside)
                kernel.perform([links.host_route(peer, gateway, index) for peer in peers])

        namespaces.run_in(self.namespace(container_id), change)

    def table_is_whole(self, networks: Iterable[Network]) -> bool:
        """Whether nobody took anything from the table. True without one."""
        return self._nft is None or firewall.is_whole(self._nft, networks)

    def in_the_way(self, interfaces: Collection[str]) -> list[obstacles.Chain]:
        """Other programs' chains that drop what containers send and get."""
        return firewall.in_the_way(self._nft, interfaces) if self._nft is not None else []

    def replug(self, pairs: Mapping[str, Network]) -> None:
        """Put host ends of pairs back into their bridges, where a bridge had to be made again."""
        for link in links.links(self._kernel):
            network = pairs.get(link.name)
            if network is not None and link.master != self._index(network.interface):
                log.warning("plugging %s into %s again", link.name, network.interface)
                port = bridge.port(network, filtered=self._filtered)
                joined = links.change(link.name, master=self._index(network.interface))
                self._kernel.perform([joined, links.change(link.name, up=True, port=port)])

    def sweep(self, pairs: Collection[str]) -> None:
        """Delete host ends that outlived their namespace's mount, because a process still runs inside."""
        for link in links.links(self._kernel):
            if link.name in pairs:
                log.info("link %s outlived its container; removing it", link.name)
                self._delete_link(link.name)

    # --- networks

    def create_network(self, network: Network, *, into_table: bool = True) -> None:
        bridge.create(self._kernel, network)
        self._indexes.pop(network.interface, None)
        if into_table and self._nft is not None:
            try:
                self._nft.run(ruleset.add_network(network))
            except nft.NftFailed:
                bridge.remove(self._kernel, network)
                raise

    def remove_network(self, network: Network) -> None:
        if self._nft is not None:
            self._nft.run(ruleset.remove_network(network))
        self.remove_bridge(network)

    def remove_bridge(self, network: Network) -> None:
        """`remove_network` for one that the table does not hold."""
        bridge.remove(self._kernel, network)
        self._indexes.pop(network.interface, None)

    # --- containers

    def attach(
        self,
        container_id: str,
        plugs: Sequence[Plug],
        published: Sequence[PublishedPort],
        *,
        names: bool,
    ) -> Future[NameSockets | None]:
        """Make a namespace with all its endpoints, and publish. `names`: open a name server's sockets inside.

        Does not block: one thread of its own does all of it, which saves the switch to a worker thread and back.
        """
        path = self.namespace(container_id)

        def build() -> NameSockets | None:
            namespaces.drop(path)  # whatever an earlier life of this container left
            sockets: NameSockets | None = None
            try:
                namespaces.settle(ipv6=False)
                namespaces.keep_own(path)
                self._plug(plugs)
                self._settle_inside(plugs, first=True)
                sockets = _open_names() if names else None
                self.publish(published)  # last, as nothing of a transaction that fails is there
            except BaseException:
                if sockets is not None:
                    sockets.close()
                namespaces.drop(path)
                raise
            return sockets

        return namespaces.start_in(None, build)

    def attach_berth(self, container_id: str, plug: Plug, published: Sequence[PublishedPort], berth: Berth) -> None:
        """`attach` with a ready namespace, which stays the caller's to close.

        Half a millisecond of kernel calls: in the event loop, a thread's hand-over would cost more.
        """
        path = self.namespace(container_id)
        namespaces.drop(path)
        try:
            namespaces.keep(berth.descriptor, path)
            berth.kernel.perform(
                bridge.settle_inside(plug.endpoint, index=berth.index, leads_out=plug.leads_out, set_mac=True)
            )
            self.publish(published)
        except BaseException:
            namespaces.drop(path)
            raise

    def detach(self, container_id: str, published: Sequence[PublishedPort]) -> None:
        """Take the ports back and drop the namespace; the kernel removes the links with it."""
        self.unpublish(published)
        namespaces.drop(self.namespace(container_id))

    def connect(self, container_id: str, plug: Plug, *, names: bool) -> NameSockets | None:
        """Plug one more endpoint into a namespace that is in use. `names`: it had no name server so far."""

        def build() -> NameSockets | None:
            self._plug([plug])
            self._settle_inside([plug], first=False)
            return _open_names() if names else None

        try:
            return namespaces.run_in(self.namespace(container_id), build)
        except BaseException:
            self._delete_link(plug.endpoint.interface)
            raise

    def disconnect(self, container_id: str, endpoint: Endpoint, leads_out: Endpoint | None) -> None:
        """Unplug one endpoint; another one may now carry the default route."""
        self._delete_link(endpoint.interface)
        self.lead_out(container_id, leads_out)

    def lead_out(self, container_id: str, endpoint: Endpoint | None) -> None:
        """Point a container's default route at one of its endpoints, or at nothing."""
        if endpoint is None or endpoint.gateway is None:
            return  # the route went with its link
        gateway, inside = endpoint.gateway, endpoint.inside

        def change() -> None:
            with netlink.Socket() as kernel:
                kernel.perform([links.default_route(gateway, socket.if_nametoindex(inside))])

        namespaces.run_in(self.namespace(container_id), change)

    def open_names(self, container_id: str) -> NameSockets:
        """Sockets for a container whose former ones died with the daemon."""
        return namespaces.run_in(self.namespace(container_id), _open_names)

    def _plug(self, plugs: Sequence[Plug]) -> None:
        """Make pairs into the calling thread's namespace."""
        fd = namespaces.open_own()
        try:
            requests: list[netlink.Request] = []
            for plug in plugs:
                master = self._index(plug.network.interface)
                requests += bridge.plug(
                    plug.network, plug.endpoint, master=master, namespace_fd=fd, filtered=self._filtered
                )
            self._kernel.perform(requests)
        except libc.KernelError:
            self._indexes = {}  # a bridge may have been made again under another number
            raise
        finally:
            os.close(fd)

    def _settle_inside(self, plugs: Sequence[Plug], *, first: bool) -> None:
        """Bring the inner ends up in the calling thread's namespace, with addresses and the way out."""
        with netlink.Socket() as inside:
            requests = [links.up(1)] if first else []
            for plug in plugs:
                index = socket.if_nametoindex(plug.endpoint.inside)
                requests += bridge.settle_inside(plug.endpoint, index=index, leads_out=plug.leads_out)
            inside.perform(requests)

    def _index(self, name: str) -> int:
        """A bridge's number. Asked of the kernel once: the thread that needs it is in another namespace."""
        if name not in self._indexes:
            self._indexes = {link.name: link.index for link in links.links(self._kernel) if link.kind == "bridge"}
        try:
            return self._indexes[name]
        except KeyError:
            remedy = "restart the daemon: it makes its bridges again"
            raise failures.BridgeGone(f"bridge {name} is gone from this host", remedy=remedy) from None

    # --- ports

    def publish(self, published: Sequence[PublishedPort]) -> None:
        """A table that somebody flushed this moment is no failure: `owes_table` says that it must be written again."""
        if self._nft is not None and published:
            try:
                self._nft.run(ruleset.publish(published))
            except nft.NftFailed as error:
                log.warning("%s", error)
                self.owes_table = True
            self._forget_flows(published)

    def move_ports(self, former: Sequence[PublishedPort], current: Sequence[PublishedPort]) -> None:
        """Take `former` back and publish `current` in one transaction."""
        if self._nft is not None and (former or current):
            self._nft.run(f"{ruleset.unpublish(former)}\n{ruleset.publish(current)}")
            self._forget_flows([*former, *current])

    def unpublish(self, published: Sequence[PublishedPort]) -> None:
        if self._nft is not None and published:
            self._nft.run(ruleset.unpublish(published))
            self._forget_flows(published)

    def _forget_flows(self, published: Iterable[PublishedPort]) -> None:
        udp = [entry for entry in published if entry.protocol == "udp"]
        if udp and self._flows is not None:
            self._flows.forget_udp({entry.host_port + step for entry in udp for step in range(entry.count)})


def _open_names() -> NameSockets:
    """Open the name server's two sockets on one free port inside, and lead the resolver's address to them."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    sockets = NameSockets(udp, tcp)
    try:
        udp.bind((resolvconf.EMBEDDED, 0))
        tcp.bind((resolvconf.EMBEDDED, 0))
        tcp.listen(32)
        ports = {socket.IPPROTO_UDP: udp.getsockname()[1], socket.IPPROTO_TCP: tcp.getsockname()[1]}
        nfnetlink.perform(nfnetlink.redirect(_NAMES_TABLE, IPv4Address(resolvconf.EMBEDDED), _NAMES_PORT, ports))
    except BaseException:
        sockets.close()
        raise
    return sockets


def held(protocol: Protocol, address: IPv4Address, port: int) -> str:
    """Why a program of this host keeps us from a port, or "": found by binding it for a moment.

    SO_REUSEADDR for TCP only: connections that linger from a former server are no obstacle, listeners are.
    """
    kind = _SOCKET_TYPES.get(protocol)
    if kind is None:
        return ""  # SCTP: the kernel may lack it, and a program that listens is rare
    with socket.socket(socket.AF_INET, kind) as probe:
        if protocol == "tcp":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((str(address), port))
            if protocol == "tcp":
                probe.listen(1)
        except OSError as error:
            return (error.strerror or str(error)).lower()
    return ""


def held_among(wanted: Iterable[tuple[Protocol, IPv4Address, int]]) -> dict[tuple[Protocol, IPv4Address, int], str]:
    """`held` for many ports."""
    return {port: held(*port) for port in wanted}
