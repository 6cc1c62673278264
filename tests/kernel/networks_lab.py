"""A host of its own for network tests: run as a program inside fresh network and mount namespaces.

    unshare --net --mount python networks_lab.py SCENARIO

Everything a scenario makes dies with the process. `outside` is a neighbour of the host at 192.0.2.2, which routes to
the containers' subnets through the host (192.0.2.1) so that a missing drop shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import dns.asyncquery
import dns.message
import dns.rcode

from sampan.kernel import libc, links, namespaces, netlink, nft
from sampan.networks import failures
from sampan.networks.model import Attachment, EndpointWish, NetworkWish, PortWish, Settings
from sampan.networks.service import Networks
from sampan.state.database import Database

HOST = "192.0.2.1"
OUTSIDE = "192.0.2.2"
PATIENCE_S = 0.6  # for what must not arrive
REACH_S = 1.6  # for a connection: a busy machine may lose the first packet, and the kernel repeats it after a second


class Lab:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outside = folder / "outside"
        self.resolv_conf = folder / "resolv.conf"
        self.resolv_conf.write_text("nameserver 127.0.0.1\nsearch example.test\n")
        self.database = Database.open(folder / "state.sqlite")
        self.sockets: list[socket.socket] = []
        self._count = itertools.count(1)
        self._outside()

    def _outside(self) -> None:
        def build() -> int:
            namespaces.keep_own(self.outside)
            return namespaces.open_own()

        fd = namespaces.run_in(None, build)
        with netlink.Socket() as kernel:
            pair = links.Veth("wan", 0, 1500, "eth0", "02:00:00:00:00:02", fd)
            kernel.perform([links.up(1), links.veth(pair), links.change("wan", up=True)])
            here = ipaddress.IPv4Interface(f"{HOST}/24")
            kernel.perform([links.address(socket.if_nametoindex("wan"), here)])
        os.close(fd)

        def settle() -> None:
            with netlink.Socket() as kernel:
                index = socket.if_nametoindex("eth0")
                there = ipaddress.IPv4Interface(f"{OUTSIDE}/24")
                route = links.default_route(ipaddress.IPv4Address(HOST), index)
                kernel.perform([links.up(1), links.up(index), links.address(index, there), route])

        namespaces.run_in(self.outside, settle)

    async def start(
        self, live: tuple[str, ...] = (), *, upstream_port: int = 53, berths: int = 0, **settings: object
    ) -> Networks:
        networks = Networks(
            self.database,
            Settings(**settings),  # type: ignore[arg-type]
            self.folder / "run",
            clock=time.time_ns,
            ids=lambda: secrets.token_hex(32),
            host_resolv_conf=(self.resolv_conf,),
            upstream_port=upstream_port,
            berths=berths,
        )
        await networks.restore(live)
        return networks

    async def container(
        self,
        networks: Networks,
        network: str = "bridge",
        *ports: PortWish,
        name: str = "",
        aliases: tuple[str, ...] = (),
    ) -> Attachment:
        return await networks.attach(
            secrets.token_hex(32),
            name=name or f"box{next(self._count)}",
            wishes=(EndpointWish(network, aliases=aliases),),
            ports=ports,
        )

    def listen(self, where: Path | None, port: int, *, kind: int = socket.SOCK_STREAM) -> socket.socket:
        def build() -> socket.socket:
            server = socket.socket(socket.AF_INET, kind)
            server.bind(("0.0.0.0", port))
            if kind == socket.SOCK_STREAM:
                server.listen(16)
            server.settimeout(5)
            return server

        server = build() if where is None else namespaces.run_in(where, build)
        self.sockets.append(server)
        return server

    def reaches(self, where: Path | None, address: str, port: int) -> bool:
        def connect() -> bool:
            with socket.socket() as client:
                client.settimeout(REACH_S)
                try:
                    client.connect((address, port))
                except OSError:
                    return False
                return True

        return connect() if where is None else namespaces.run_in(where, connect)

    def pings(self, where: Path, address: str) -> bool:
        def ping() -> bool:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as client:
                client.settimeout(2)
                client.sendto(struct.pack("!BBHHH", 8, 0, 0, 0, 1), (address, 0))
                try:
                    return client.recv(64)[0] == 0
                except OSError:
                    return False

        return namespaces.run_in(where, ping)

    def link_names(self) -> set[str]:
        with netlink.Socket() as kernel:
            return {link.name for link in links.links(kernel)}

    def map_size(self, name: str) -> int:
        with nft.Nft() as table:
            found = next(one["map"] for one in table.read(f"list map ip sampan {name}") if "map" in one)
        return len(found.get("elem", []))

    def leftovers(self) -> list[str]:
        """Whatever containers left behind: namespaces, pairs, published ports."""
        rest = [path.name for path in (self.folder / "run" / "netns").iterdir()]
        rest += [name for name in self.link_names() if name.startswith("veth")]
        return rest + [name for name in ("pub", "pub_ip", "pub_range", "pub_ip_range") if self.map_size(name)]

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < end, f"never: {what}"
            await asyncio.sleep(0.01)


def bridge_filter(*, on: bool) -> bool:
    """Let bridged frames pass the IP firewall, or not. False: this kernel cannot be told so."""
    return namespaces.write_sysctl("net/bridge/bridge-nf-call-iptables", "1" if on else "0") or not on


def ip(attachment: Attachment, index: int = 0) -> str:
    address = attachment.endpoints[index].address
    assert address is not None
    return str(address.ip)


def inside(attachment: Attachment) -> Path:
    assert attachment.namespace is not None
    return attachment.namespace


# --- scenarios


async def neighbours(lab: Lab) -> None:
    networks = await lab.start()
    one, two = await lab.container(networks), await lab.container(networks)
    server = lab.listen(inside(two), 80)
    assert lab.reaches(inside(one), ip(two), 80)
    assert server.accept()[1][0] == ip(one)
    assert lab.pings(inside(one), ip(two))
    assert lab.pings(inside(one), "172.17.0.1")
    assert not Path("/proc/sys/net/ipv6/conf/sampan0/disable_ipv6").read_text().startswith("0")
    off = namespaces.run_in(inside(one), lambda: namespaces.read_sysctl("net/ipv6/conf/eth0/disable_ipv6"))
    assert off in ("1", None)
    assert namespaces.run_in(inside(one), lambda: namespaces.read_sysctl("net/ipv4/ip_unprivileged_port_start")) == "0"


async def ready_berths(lab: Lab) -> None:
    networks = await lab.start(berths=2)
    first = await lab.container(networks)
    assert ready(networks) == 0, "the first container found none"
    await lab.until(lambda: ready(networks) == 2, "two berths are made after the first attach")
    second = await lab.container(networks, "bridge", PortWish(80, host_port=8080))
    assert ready(networks) == 1
    server = lab.listen(inside(second), 80)
    assert lab.reaches(inside(first), ip(second), 80)
    assert server.accept()[1][0] == ip(first)
    assert lab.reaches(lab.outside, HOST, 8080)
    (endpoint,) = second.endpoints
    with netlink.Socket() as kernel:
        named = {link.name: link for link in links.links(kernel)}
    assert named[endpoint.interface].alias == "sampan berth"
    assert namespaces.run_in(inside(second), hardware_address) == endpoint.mac
    assert (
        namespaces.run_in(inside(second), lambda: namespaces.read_sysctl("net/ipv4/ip_unprivileged_port_start")) == "0"
    )
    await lab.until(lambda: ready(networks) == 2, "the one that was taken is replaced")
    await networks.restore((first.container_id, second.container_id))
    assert ready(networks) == 0, "a restore knows no berths"
    assert lab.reaches(inside(first), ip(second), 80)
    for box in (first, second):
        await networks.detach(box.container_id)
    await lab.until(lambda: not lab.leftovers(), "containers leave nothing")
    last = await lab.container(networks)
    await lab.until(lambda: ready(networks) == 2, "berths are made again")
    await networks.detach(last.container_id)
    await networks.shutdown()
    await lab.until(lambda: not lab.leftovers(), "berths go with the daemon that made them")


def ready(networks: Networks) -> int:
    return len(networks._host.berths._ready)


def hardware_address() -> str:
    with netlink.Socket() as kernel:
        return next(link.mac for link in links.links(kernel) if link.name == "eth0")


async def world(lab: Lab) -> None:
    networks = await lab.start()
    box = await lab.container(networks)
    server = lab.listen(lab.outside, 80)
    assert lab.reaches(inside(box), OUTSIDE, 80)
    assert server.accept()[1][0] == HOST, "the world sees the host's address"


async def published(lab: Lab) -> None:
    networks = await lab.start()
    box = await lab.container(networks, "bridge", PortWish(80, host_port=8080))
    lab.listen(inside(box), 80)
    lab.listen(inside(box), 81)
    assert lab.reaches(lab.outside, HOST, 8080)
    assert lab.reaches(None, "127.0.0.1", 8080)
    assert lab.reaches(None, HOST, 8080)
    assert not lab.reaches(lab.outside, ip(box), 81), "an unpublished port is closed even to a neighbour with a route"
    assert lab.reaches(None, ip(box), 81), "the host itself reaches its containers"
    await networks.detach(box.container_id)
    await networks.detach(box.container_id)
    assert not lab.reaches(lab.outside, HOST, 8080)
    await lab.until(lambda: not lab.leftovers(), "the kernel removed the pair")


async def published_udp(lab: Lab) -> None:
    networks = await lab.start()
    box = await lab.container(networks, "bridge", PortWish(53, "udp", host_port=5353))
    server = lab.listen(inside(box), 53, kind=socket.SOCK_DGRAM)

    def ask() -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            client.sendto(b"question", (HOST, 5353))
            data, peer = server.recvfrom(64)
            server.sendto(data.upper(), peer)
            answer, source = client.recvfrom(64)
            assert source == (HOST, 5353)
            return answer

    assert namespaces.run_in(lab.outside, ask) == b"QUESTION"


async def udp_flow(lab: Lab) -> None:
    """One client that never stops sending, from one port."""
    networks = await lab.start()

    def build() -> socket.socket:
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    with namespaces.run_in(lab.outside, build) as client:
        client.sendto(b"to nobody", (HOST, 5353))
        for _ in range(2):
            box = await lab.container(networks, "bridge", PortWish(53, "udp", host_port=5353))
            server = lab.listen(inside(box), 53, kind=socket.SOCK_DGRAM)
            client.sendto(ip(box).encode(), (HOST, 5353))
            assert server.recv(64) == ip(box).encode()
            await networks.detach(box.container_id)
            client.sendto(b"between", (HOST, 5353))


async def localhost_only(lab: Lab) -> None:
    networks = await lab.start()
    box = await lab.container(networks, "bridge", PortWish(80, host_address="127.0.0.1", host_port=8080))
    other = await lab.container(networks)
    lab.listen(inside(box), 80)
    assert lab.reaches(None, "127.0.0.1", 8080)
    assert not lab.reaches(lab.outside, HOST, 8080)
    assert not lab.reaches(None, HOST, 8080)
    hidden = lab.listen(None, 7777)

    def sneak() -> bool:  # a container that sends packets for 127.0.0.1 to its gateway
        namespaces.write_sysctl("net/ipv4/conf/eth0/route_localnet", "1")
        subprocess.run(["ip", "addr", "del", "127.0.0.1/8", "dev", "lo"], check=True)
        subprocess.run(["ip", "rule", "add", "pref", "0", "to", "127.0.0.1", "lookup", "99"], check=True)
        route = ["ip", "route", "add", "127.0.0.1", "via", "172.17.0.1", "dev", "eth0", "table", "99"]
        subprocess.run(route, check=True)
        with socket.socket() as client:
            client.settimeout(PATIENCE_S)
            try:
                client.connect(("127.0.0.1", hidden.getsockname()[1]))
            except OSError:
                return False
            return True

    assert not namespaces.run_in(inside(other), sneak), "route_localnet must not open the host's loopback to containers"


async def one_address(lab: Lab) -> None:
    networks = await lab.start()
    box = await lab.container(networks, "bridge", PortWish(80, host_address=HOST, host_port=8080))
    lab.listen(inside(box), 80)
    assert lab.reaches(lab.outside, HOST, 8080)
    assert not lab.reaches(None, "127.0.0.1", 8080)


async def port_range(lab: Lab) -> None:
    networks = await lab.start()
    wishes = tuple(PortWish(port, host_port=port) for port in range(10000, 30000))
    box = await lab.container(networks, "bridge", *wishes)
    lab.listen(inside(box), 10000)
    lab.listen(inside(box), 29999)
    assert [(entry.host_port, entry.count) for entry in box.published] == [(10000, 20000)]
    assert lab.map_size("pub_range") == 1
    lab.listen(None, 30007)
    try:
        await lab.container(networks, "bridge", *(PortWish(port, host_port=port) for port in range(30000, 30100)))
    except failures.PortTaken as error:
        assert ":30007: bind: address already in use" in str(error)
    else:
        raise AssertionError("published a port that a program holds")
    await lab.until(lambda: lab.reaches(lab.outside, HOST, 10000), "the first port is reached")
    await lab.until(lambda: lab.reaches(lab.outside, HOST, 29999), "the last port is reached")
    await lab.until(lambda: lab.reaches(None, "127.0.0.1", 29999), "the host reaches it too")
    await networks.detach(box.container_id)
    assert lab.map_size("pub_range") == 0


async def hairpin(lab: Lab) -> None:
    for filtered in (False, True):
        if bridge_filter(on=filtered):
            await _hairpin(lab)


async def _hairpin(lab: Lab) -> None:
    networks = await lab.start()
    one = await lab.container(networks, "bridge", PortWish(80, host_port=8080))
    two = await lab.container(networks)
    server = lab.listen(inside(one), 80)
    assert lab.reaches(inside(one), HOST, 8080), "a container reaches its own published port"
    assert server.accept()[1][0] == "172.17.0.1"
    assert lab.reaches(inside(two), HOST, 8080), "and so does its neighbour"
    assert server.accept()[1][0] == "172.17.0.1"
    await networks.detach(one.container_id)
    await networks.shutdown()


async def no_icc(lab: Lab) -> None:
    for filtered in (False, True):
        if bridge_filter(on=filtered):
            await _no_icc(lab)


async def _no_icc(lab: Lab) -> None:
    networks = await lab.start(icc=False)
    one = await lab.container(networks, "bridge", PortWish(80, host_port=8080))
    two = await lab.container(networks)
    lab.listen(inside(one), 80)
    with lab.listen(lab.outside, 80):
        await lab.until(lambda: lab.reaches(inside(two), OUTSIDE, 80), "the world is reached")
    assert not lab.reaches(inside(two), ip(one), 80)
    assert lab.reaches(inside(two), HOST, 8080), "a published port stays open to neighbours"

    def through_gateway() -> bool:
        subprocess.run(["ip", "route", "add", ip(one), "via", "172.17.0.1"], check=True)
        with socket.socket() as client:
            client.settimeout(PATIENCE_S)
            try:
                client.connect((ip(one), 80))
            except OSError:
                return False
            return True

    assert not namespaces.run_in(inside(two), through_gateway), "not even by way of the gateway"
    await networks.detach(one.container_id)
    await networks.shutdown()


async def isolation(lab: Lab) -> None:
    networks = await lab.start()
    await networks.create(NetworkWish("red"))
    await networks.create(NetworkWish("blue"))
    red = await lab.container(networks, "red", PortWish(80, host_port=8080))
    blue = await lab.container(networks, "blue")
    lab.listen(inside(red), 80)
    assert not lab.reaches(inside(blue), ip(red), 80)
    assert lab.reaches(inside(blue), HOST, 8080), "published means to everybody"


async def internal(lab: Lab) -> None:
    networks = await lab.start()
    await networks.create(NetworkWish("vault", internal=True))
    one = await lab.container(networks, "vault", PortWish(80, host_port=8080))
    two = await lab.container(networks, "vault")
    other = await lab.container(networks, "bridge", PortWish(80, host_port=9090))
    lab.listen(inside(one), 80)
    lab.listen(inside(other), 80)
    lab.listen(lab.outside, 80)
    assert one.published == ()
    assert lab.reaches(inside(two), ip(one), 80)
    assert not lab.reaches(inside(two), OUTSIDE, 80)
    assert not lab.reaches(lab.outside, ip(one), 80)
    assert not lab.reaches(inside(other), ip(one), 80)
    gateway = str(networks.get("vault").gateway)
    assert not lab.reaches(inside(two), gateway, 9090), "published ports of others are outside as well"


async def conflicts(lab: Lab) -> None:
    networks = await lab.start()
    holder = await lab.container(networks, "bridge", PortWish(80, host_port=8080))
    lab.listen(None, 7070)
    for wish, said in (
        (PortWish(80, host_port=8080), "Bind for 0.0.0.0:8080 failed: port is already allocated"),
        (PortWish(80, host_address="127.0.0.1", host_port=8080), "port is already allocated"),
        (PortWish(80, host_port=7070), "listen tcp4 0.0.0.0:7070: bind: address already in use"),
        (PortWish(80, host_address="198.51.100.1", host_port=1), "cannot assign requested address"),
    ):
        try:
            await lab.container(networks, "bridge", PortWish(81, host_port=9999), wish, name="late")
        except failures.PortTaken as error:
            assert said in str(error), error
            assert "on endpoint late (" in str(error)
        else:
            raise AssertionError(f"{wish} was published twice")
    assert [path.name for path in (lab.folder / "run" / "netns").iterdir()] == [holder.container_id]
    assert lab.map_size("pub") == 1
    free = await lab.container(networks, "bridge", PortWish(81, host_port=9999), PortWish(82), PortWish(83))
    assert [entry.host_port for entry in free.published if entry.container_port != 81] == [32768, 32769]
    assert len(networks.endpoints_on(networks.get("bridge"))) == 2


async def failure_undone(lab: Lab) -> None:
    networks = await lab.start()
    with netlink.Socket() as kernel:
        kernel.perform([links.delete("sampan0")])
    try:
        await lab.container(networks, "bridge", PortWish(80, host_port=8080))
    except (failures.BridgeGone, libc.KernelError):
        pass
    else:
        raise AssertionError("attached to a bridge that is gone")
    assert not lab.leftovers()
    await networks.shutdown()
    networks = await lab.start()
    box = await lab.container(networks, "bridge", PortWish(80, host_port=8080))
    assert lab.pings(inside(box), "172.17.0.1")


async def names(lab: Lab) -> None:
    lab.resolv_conf.write_text("nameserver 127.0.0.1\n")
    upstream = lab.listen(None, 5300, kind=socket.SOCK_DGRAM)
    upstream.setblocking(False)

    def serve() -> None:
        wire, peer = upstream.recvfrom(4096)
        response = dns.message.make_response(dns.message.from_wire(wire))
        response.answer.append(dns.rrset.from_text("far.test.", 5, "IN", "A", "203.0.113.9"))
        upstream.sendto(response.to_wire(), peer)

    asyncio.get_running_loop().add_reader(upstream, serve)
    networks = await lab.start(upstream_port=5300)
    await networks.create(NetworkWish("app"))
    await networks.create(NetworkWish("vault", internal=True))
    web = await lab.container(networks, "app", name="web", aliases=("www",))
    client = await lab.container(networks, "app", name="client")
    await lab.container(networks, "vault", name="safe")
    closed = await lab.container(networks, "vault", name="closed")
    assert web.resolv_conf.startswith("nameserver 127.0.0.11\n")

    async def check(who: Attachment) -> None:
        for name in ("web", "WEB", "www", web.container_id[:12], "web.app"):
            assert await ask(who, name) == [ip(web)], name
            assert await ask(who, name, tcp=True) == [ip(web)], name
        assert await ask(who, "web", "AAAA") == []
        assert await ask(who, f"{ipaddress.ip_address(ip(web)).reverse_pointer}", "PTR") == ["web.app."]
        assert await ask(who, "far.test") == ["203.0.113.9"]

    await check(client)
    assert await ask(closed, "safe") != []
    assert await ask(closed, "web") == "SERVFAIL", "names of other networks are unknown, and internal ones ask nobody"
    await networks.rename(web.container_id, "shop")
    assert await ask(client, "shop") == [ip(web)]
    await networks.rename(web.container_id, "web")
    live = (web.container_id, client.container_id)
    await networks.shutdown()
    networks = await lab.start(live, upstream_port=5300)
    await check(client)
    asyncio.get_running_loop().remove_reader(upstream)


async def ask(who: Attachment, name: str, kind: str = "A", *, tcp: bool = False) -> list[str] | str:
    query = dns.message.make_query(name, kind)

    def connect() -> socket.socket:
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
        client.settimeout(5)
        client.connect(("127.0.0.11", 53))
        return client

    client = await asyncio.to_thread(namespaces.run_in, inside(who), connect)
    with client:
        wire = query.to_wire()
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, struct.pack("!H", len(wire)) + wire if tcp else wire)
        data = await asyncio.wait_for(loop.sock_recv(client, 4096), 5)
    response = dns.message.from_wire(data[2:] if tcp else data)
    if response.rcode() != dns.rcode.NOERROR:
        return dns.rcode.to_text(response.rcode())
    return [item.to_text() for rrset in response.answer for item in rrset]


async def hot_plug(lab: Lab) -> None:
    networks = await lab.start()
    await networks.create(NetworkWish("app", subnet="10.9.0.0/24"))
    box = await lab.container(networks, "bridge", PortWish(80, host_port=8080), name="box")
    friend = await lab.container(networks, "app", name="friend")
    lab.listen(inside(box), 80)
    lab.listen(inside(friend), 80)
    lab.listen(lab.outside, 80)
    wish = EndpointWish("app", address="10.9.0.77", aliases=("extra",))
    box = await networks.connect(box.container_id, name="box", wish=wish)
    assert [one.inside for one in box.endpoints] == ["eth0", "eth1"]
    assert ip(box, 1) == "10.9.0.77"
    assert lab.reaches(inside(box), ip(friend), 80)
    assert await ask(friend, "extra") == ["10.9.0.77"]
    assert await ask(box, "friend") == [ip(friend)]
    await networks.disconnect(box.container_id, "bridge")
    assert lab.reaches(inside(box), OUTSIDE, 80), "the default route moved"
    assert lab.reaches(lab.outside, HOST, 8080), "and so did the published port"
    await networks.disconnect(box.container_id, "app")
    assert lab.map_size("pub") == 0
    assert await ask(friend, "extra") == "SERVFAIL"
    try:
        await networks.disconnect(box.container_id, "app")
    except failures.NotConnected:
        pass
    else:
        raise AssertionError("disconnected twice")


async def verbs(lab: Lab) -> None:
    networks = await lab.start()
    made = await networks.create(NetworkWish("app", labels={"tier": "one"}))
    assert made.interface in lab.link_names()
    for wish, kind in (
        (NetworkWish("app"), failures.NetworkExists),
        (NetworkWish("host"), failures.PredefinedNetwork),
        (NetworkWish("two", subnet=str(made.subnet)), failures.PoolOverlap),
        (NetworkWish("two", options={"com.docker.network.bridge.name": "wan"}), failures.BadNetwork),
    ):
        try:
            await networks.create(wish)
        except kind:
            continue
        raise AssertionError(f"{wish} was created")
    assert {one.name for one in networks.list()} == {"bridge", "host", "none", "app"}
    assert networks.get(made.id[:8]) == made
    box = await lab.container(networks, "app")
    try:
        await networks.remove("app")
    except failures.NetworkInUse as error:
        assert f"network app id {made.id} has active endpoints" in str(error)
    else:
        raise AssertionError("removed a network in use")
    assert await networks.prune() == ()
    await networks.detach(box.container_id)
    assert await networks.prune(lambda one: one.labels.get("tier") == "one") == ("app",)
    assert made.interface not in lab.link_names()
    none = await lab.container(networks, "none")
    assert namespaces.run_in(inside(none), lambda: [name for _, name in socket.if_nameindex()]) == ["lo"]
    host = await lab.container(networks, "host")
    assert host.namespace is None
    assert {one.name for one in networks.list()} == {"bridge", "host", "none"}


async def flushed(lab: Lab) -> None:
    networks = await lab.start()
    box = await lab.container(networks, "bridge", PortWish(80, host_port=8080))
    lab.listen(inside(box), 80)
    assert lab.reaches(lab.outside, HOST, 8080)
    for broken in ("flush ruleset", "flush table ip sampan", "delete table ip sampan", "flush chain ip sampan forward"):
        with nft.Nft() as other:
            other.run(broken)
        await lab.until(lambda: networks.table.is_whole(), f"written again after nft {broken}")
        assert lab.reaches(lab.outside, HOST, 8080), broken
    with nft.Nft() as other:
        other.run("add table ip others")
        other.run("flush ruleset")
    late = await lab.container(networks, "bridge", PortWish(81, host_port=8081))
    lab.listen(inside(late), 81)
    await lab.until(lambda: lab.reaches(lab.outside, HOST, 8081), "a port published in that moment works")
    await networks.detach(box.container_id)
    await networks.detach(late.container_id)
    await networks.shutdown()


async def other_firewall(lab: Lab) -> None:
    """A host's own firewall drops what it does not accept; it is told, with a remedy that works."""
    networks = await lab.start()
    box = await lab.container(networks, "bridge", PortWish(80, host_port=8080))
    lab.listen(inside(box), 80)
    assert await networks.table.obstacles() == ()
    with nft.Nft() as other:
        other.run("add table inet wall")
        other.run("add chain inet wall fwd_ { type filter hook forward priority 0; policy drop; }")
        assert not lab.reaches(lab.outside, HOST, 8080), "every table's word counts"
        (told,) = await networks.table.obstacles()
        assert "inet wall fwd_" in told
        remedy = told.partition("work only where it accepts them (")[2].rstrip(")")
        for command in remedy.split("; "):
            other.run(command.removeprefix("nft "))
        assert lab.reaches(lab.outside, HOST, 8080)
        assert await networks.table.obstacles() == ()
        other.run("delete table inet wall")
        other.run("add table inet firewalld")
        other.run("add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; policy accept; }")
        other.run("add rule inet firewalld filter_FORWARD ct state established accept")
        other.run("add rule inet firewalld filter_FORWARD reject")
        assert not lab.reaches(lab.outside, HOST, 8080)
        (told,) = await networks.table.obstacles()
        assert "firewall-cmd --permanent --zone=trusted --add-interface=sampan0" in told


async def host_refuses(lab: Lab) -> None:
    """The example of docs/networks.md."""
    networks = await lab.start()
    box = await lab.container(networks, "bridge", PortWish(80, host_port=8080), PortWish(80, host_port=8081))
    lab.listen(inside(box), 80)
    page = (Path(__file__).parents[2] / "docs" / "networks.md").read_text()
    example = page[page.index("table inet host {") :].partition("```")[0].replace("eth0", "wan")
    with nft.Nft() as own:
        own.run(example.replace("192.0.2.0/24", "203.0.113.0/24"))
        assert not lab.reaches(lab.outside, HOST, 8080), "the host's firewall refuses a published port"
        assert lab.reaches(lab.outside, HOST, 8081)
        own.run("delete table inet host")
        own.run(example)
        assert lab.reaches(lab.outside, HOST, 8080), "and lets in whom it names"


async def edited_ports(lab: Lab) -> None:
    networks = await lab.start()
    box = await lab.container(
        networks, "bridge", *(PortWish(port, host_port=port) for port in range(9000, 9020)), PortWish(80)
    )
    lab.listen(inside(box), 80)
    lab.listen(inside(box), 9005)
    lab.listen(inside(box), 9006)
    rows: list[int] = []
    any_address = ipaddress.IPv4Address("0.0.0.0")
    published = await networks.edit_ports(
        box.container_id,
        remove=[("tcp", any_address, 9005)],
        add=[PortWish(80, host_port=8080), PortWish(9005, host_port=9100)],
        row=lambda connection: rows.append(1),
    )
    assert sum(entry.count for entry in published) == 22
    assert not lab.reaches(lab.outside, HOST, 9005)
    assert all(lab.reaches(lab.outside, HOST, port) for port in (9006, 8080, 9100))
    with contextlib.suppress(failures.PortTaken):
        await networks.edit_ports(
            box.container_id, remove=[("tcp", any_address, 8080)], add=[PortWish(1, host_port=9006)], row=rows.append
        )
        raise AssertionError("9006 is taken")
    assert lab.reaches(lab.outside, HOST, 8080)
    assert len(rows) == 1
    await networks.shutdown()
    again = await lab.start((box.container_id,))
    assert not lab.reaches(lab.outside, HOST, 9005)
    assert all(lab.reaches(lab.outside, HOST, port) for port in (9006, 8080, 9100)), "the rows say the same"
    await again.detach(box.container_id)
    await lab.until(lambda: not lab.leftovers(), "no element is left")


async def linked(lab: Lab) -> None:
    """Without inter-container communication a link opens one port, in one direction, by frames or by packets."""
    for filtered in (False, True):
        if bridge_filter(on=filtered):
            await _linked(lab)


async def _linked(lab: Lab) -> None:
    networks = await lab.start(icc=False)
    client, server, other = [await lab.container(networks) for _ in range(3)]
    for box in (client, server):
        lab.listen(inside(box), 80)
        lab.listen(inside(box), 81)
    assert not lab.reaches(inside(client), ip(server), 80)
    await networks.links.replace(client.container_id, [(server.container_id, "tcp", 80)])
    assert lab.reaches(inside(client), ip(server), 80)
    assert not lab.reaches(inside(client), ip(server), 81)
    assert not lab.reaches(inside(server), ip(client), 80)
    assert not lab.reaches(inside(other), ip(server), 80)
    assert lab.pings(inside(client), "172.17.0.1")
    with nft.Nft() as elsewhere:
        elsewhere.run("flush ruleset")
    await lab.until(lambda: networks.table.is_whole(), "the table comes back")
    assert lab.reaches(inside(client), ip(server), 80), "links with it"
    assert not lab.reaches(inside(other), ip(server), 80)
    await networks.detach(server.container_id)
    assert networks.links.all() == (), "whoever gets the address next is not reached"
    for box in (client, other):
        await networks.detach(box.container_id)
    await networks.shutdown()


async def fixed_range(lab: Lab) -> None:
    """`--bip`, `--fixed-cidr` and `--default-gateway`, seen in addresses and routes."""
    networks = await lab.start(
        bip="10.66.0.1/24", fixed_cidr="10.66.0.128/30", default_gateway="10.66.0.254", mtu_bytes=1400
    )
    boxes = [await lab.container(networks) for _ in range(3)]
    assert [ip(box) for box in boxes] == ["10.66.0.128", "10.66.0.129", "10.66.0.130"]
    routes = namespaces.run_in(inside(boxes[0]), lambda: Path("/proc/thread-self/net/route").read_text())
    assert "FE00420A" in routes, "the default route leads to the gateway that was named"
    await lab.container(networks)
    with contextlib.suppress(failures.NoAddressLeft):
        await lab.container(networks)
        raise AssertionError("the range is used up")


async def no_iptables(lab: Lab) -> None:
    networks = await lab.start(iptables=False)
    one, two = await lab.container(networks), await lab.container(networks, "bridge", PortWish(80, host_port=8080))
    assert lab.pings(inside(one), ip(two))
    with nft.Nft() as table:
        assert [found for found in table.read("list tables") if "table" in found] == []


async def restart(lab: Lab) -> None:
    networks = await lab.start()
    kept = await lab.container(networks, "bridge", PortWish(80, host_port=8080))
    gone = await lab.container(networks, "bridge", PortWish(80, host_port=8081))
    lab.listen(inside(kept), 80)
    await networks.shutdown()
    with nft.Nft() as table:
        table.run("add element ip sampan pub { tcp . 9999 : 172.17.0.99 . 80 }")
        table.run("delete element ip sampan pub { tcp . 8080 }")
    with netlink.Socket() as kernel:
        kernel.perform([links.delete("sampan0")])
    networks = await lab.start((kept.container_id,))
    assert lab.map_size("pub") == 1
    assert networks.attachment(kept.container_id) is not None
    assert networks.attachment(gone.container_id) is None
    assert not (lab.folder / "run" / "netns" / gone.container_id).exists()
    await lab.until(lambda: lab.reaches(lab.outside, HOST, 8080), "the bridge made again leads to the container")
    later = await lab.container(networks)
    assert ip(later) != ip(kept)
    assert lab.pings(inside(later), ip(kept))


async def killed(lab: Lab) -> None:
    """Kill a daemon that attaches and detaches, at many moments; the next start finds all of it."""
    networks = await lab.start()
    await networks.shutdown()
    program = [sys.executable, __file__, "attach_forever", str(lab.folder)]
    for moment in range(6):
        daemon = subprocess.Popen(program, stdout=subprocess.PIPE)
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == b"started\n"
        time.sleep(0.05 + 0.0137 * moment)  # the moment is the matter of the test
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
        daemon.stdout.close()
        networks = await lab.start()
        await lab.until(lambda: not lab.leftovers(), f"clean after a kill: {lab.leftovers()}")
        bridges = {name for name in lab.link_names() if name.startswith("br-")}
        assert bridges == {one.interface for one in networks.list() if one.interface.startswith("br-")}
        await networks.shutdown()


async def attach_forever(folder: Path) -> None:
    database = Database.open(folder / "state.sqlite")
    networks = Networks(database, Settings(), folder / "run", clock=time.time_ns, ids=lambda: secrets.token_hex(32))
    await networks.restore(())
    print("started", flush=True)

    async def life(port: int) -> None:
        for round_ in itertools.count():
            made = await networks.create(NetworkWish(f"n{port}-{round_}"))
            container_id = secrets.token_hex(32)
            wishes = (EndpointWish(made.name),)
            await networks.attach(container_id, name="x", wishes=wishes, ports=(PortWish(80, host_port=port),))
            await networks.detach(container_id)
            await networks.remove(made.name)

    await asyncio.gather(*(life(9000 + number) for number in range(3)))


SCENARIOS: dict[str, Callable[[Lab], Awaitable[None]]] = {
    one.__name__: one
    for one in (
        *(
            neighbours,
            ready_berths,
            world,
            published,
            published_udp,
            udp_flow,
            localhost_only,
            one_address,
            port_range,
            hairpin,
            no_icc,
        ),
        *(flushed, other_firewall, host_refuses, edited_ports, linked, fixed_range),
        *(isolation, internal, conflicts, failure_undone, names, hot_plug, verbs, no_iptables, restart, killed),
    )
}


async def _run(name: str, folder: Path) -> None:
    lab = Lab(folder)
    try:
        await SCENARIOS[name](lab)
    finally:
        for one in lab.sockets:
            one.close()
        lab.database.close()


def main() -> None:
    if sys.argv[1] == "attach_forever":
        asyncio.run(attach_forever(Path(sys.argv[2])))
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "lab", folder], check=True)
        try:
            asyncio.run(_run(sys.argv[1], Path(folder)))
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


if __name__ == "__main__":
    main()
