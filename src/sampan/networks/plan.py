"""Decisions: what a wished network becomes, what endpoints a container gets, which of them leads out. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Final

from sampan import errors
from sampan.networks import failures, ipam
from sampan.networks.ledger import Ledger
from sampan.networks.model import (
    GATEWAY_NAME,
    PREDEFINED,
    Endpoint,
    EndpointWish,
    Network,
    NetworkWish,
    PublishedPort,
    Settings,
)

# A Linux bridge numbers its ports with ten bits and keeps number 0. Source: net/bridge/br_private.h, BR_PORT_BITS.
BRIDGE_PORTS: Final = 1023
LONGEST_LINK_NAME: Final = 15  # characters; source: include/uapi/linux/if.h, IFNAMSIZ
SMALLEST_MTU: Final = 68  # bytes; source: RFC 791

BRIDGE_NAME: Final = "com.docker.network.bridge.name"

_NAME: Final = re.compile(r"[^\s/\x00-\x1f\x7f]([^/\x00-\x1f\x7f]{0,126}[^\s/\x00-\x1f\x7f])?\Z")
_MAC: Final = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}\Z")
_TRUE: Final = ("1", "t", "T", "true", "TRUE", "True")
_FALSE: Final = ("0", "f", "F", "false", "FALSE", "False")


def network(
    wish: NetworkWish, *, ledger: Ledger, settings: Settings, host: Collection[IPv4Network], new_id: str, now_ns: int
) -> Network:
    """The network that a wish becomes. `host` are the subnets the host itself can reach."""
    _check_name(wish.name, ledger)
    if wish.driver != "bridge":
        raise errors.Unsupported(f'network driver "{wish.driver}" is not known', remedy='the driver there is: "bridge"')
    if wish.ipv6:
        raise errors.Unsupported("Sampan's networks are IPv4 only", remedy="leave out --ipv6")
    existing = ledger.networks.values()
    subnet, gateway, inner, auxiliary = ipam.plan_pool(wish, pools=settings.pools, networks=tuple(existing), host=host)
    interface = wish.options.get(BRIDGE_NAME) or f"br-{new_id[:12]}"
    if len(interface) > LONGEST_LINK_NAME or re.search(r"[\s/\"]", interface) or interface in (".", ".."):
        raise failures.BadNetwork(
            f"invalid bridge name {interface!r}", why="a link's name has at most 15 plain characters"
        )
    for other in existing:
        if other.interface == interface:
            raise failures.BadNetwork(
                f"bridge {interface} belongs to network {other.name}", remedy="choose another name"
            )
    return Network(
        id=new_id,
        name=wish.name,
        driver="bridge",
        created_ns=now_ns,
        interface=interface,
        subnet=subnet,
        gateway=gateway,
        ip_range=inner,
        auxiliary=auxiliary,
        internal=wish.internal,
        attachable=wish.attachable,
        chosen_subnet=bool(wish.subnet),
        options=dict(wish.options),
        labels=dict(wish.labels),
        icc=_flag(wish.options, "com.docker.network.bridge.enable_icc"),
        masquerade=_flag(wish.options, "com.docker.network.bridge.enable_ip_masquerade"),
        mtu_bytes=_mtu(wish.options, settings.mtu_bytes),
        host_address=_host_address(wish.options, settings.host_address),
    )


def _check_name(name: str, ledger: Ledger) -> None:
    if name in PREDEFINED:
        raise failures.PredefinedNetwork(f"operation is not permitted on predefined {name} network")
    if not _NAME.match(name):
        raise failures.BadNetwork(
            f"invalid network name {name[:200]!r}",
            remedy="give 1 to 128 characters, without slashes and with blanks only inside",
        )
    if ledger.named(name) is not None:
        raise failures.NetworkExists(name)


def _flag(options: Mapping[str, str], key: str) -> bool:
    text = options.get(key, "true")
    if text not in (*_TRUE, *_FALSE):
        raise failures.BadNetwork(f"invalid value {text!r} for {key}", remedy="write true or false")
    return text in _TRUE


def _mtu(options: Mapping[str, str], default: int) -> int:
    text = options.get("com.docker.network.driver.mtu", str(default))
    if not text.isascii() or not text.isdigit() or not SMALLEST_MTU <= int(text) <= 65535:
        raise failures.BadNetwork(f"invalid MTU {text!r}", why=f"it is a number of bytes from {SMALLEST_MTU} to 65535")
    return int(text)


def _host_address(options: Mapping[str, str], default: IPv4Address) -> IPv4Address:
    text = options.get("com.docker.network.bridge.host_binding_ipv4", str(default))
    try:
        return IPv4Address(text)
    except ValueError as error:
        raise failures.BadNetwork(f"invalid host binding address {text}", why=str(error)) from error


def default_network(*, settings: Settings, host: Collection[IPv4Network], new_id: str, now_ns: int) -> Network:
    """The network `bridge` on a host that has none yet: `--bip`, or the first pool clear of the host's routes."""
    if settings.bip:
        own = ipam.read_bip(settings.bip)
        subnet, gateway = own.network, own.ip
    elif settings.fixed_cidr:
        subnet = ipam.read_subnet(settings.fixed_cidr)
        gateway = next(subnet.hosts())
    else:
        subnet = ipam.choose_subnet(settings.pools, host)
        gateway = next(subnet.hosts())
    return Network(
        id=new_id,
        name="bridge",
        driver="bridge",
        created_ns=now_ns,
        interface=settings.bridge,
        subnet=subnet,
        gateway=gateway,
        ip_range=ipam.read_range(settings.fixed_cidr, subnet),
        auxiliary=default_gateway(settings, subnet),
        icc=settings.icc,
        masquerade=settings.ip_masquerade,
        mtu_bytes=settings.mtu_bytes,
        host_address=settings.host_address,
    )


def default_gateway(settings: Settings, subnet: IPv4Network) -> dict[str, IPv4Address]:
    """`--default-gateway` as an auxiliary address of the default network."""
    if not settings.default_gateway:
        return {}
    return {GATEWAY_NAME: ipam.read_address(settings.default_gateway, subnet, what="default gateway")}


def fits_default(former: Network, settings: Settings) -> bool:
    """Whether the settings leave the default network's bridge and subnet as they are."""
    assert former.subnet is not None, "the default network has a subnet"
    if former.interface != settings.bridge:
        return False
    if settings.bip and settings.bip != f"{former.gateway}/{former.subnet.prefixlen}":
        return False
    if settings.fixed_cidr and not ipam.read_subnet(settings.fixed_cidr).subnet_of(former.subnet):
        return False
    return not settings.default_gateway or IPv4Address(settings.default_gateway) in former.subnet


def endpoint(
    ledger: Ledger,
    wish: EndpointWish,
    *,
    container_id: str,
    name: str,
    hostname: str,
    new_id: str,
    inside: str,
) -> Endpoint:
    """The endpoint a wish becomes. Reserves nothing: the caller adds it to the ledger before it awaits anything."""
    where = ledger.find(wish.network)
    if any(one.network_id == where.id for one in ledger.endpoints_of(container_id)):
        raise failures.AlreadyConnected(f"endpoint with name {name} already exists in network {where.name}")
    made = Endpoint(
        id=new_id,
        network_id=where.id,
        container_id=container_id,
        container_name=name,
        aliases=wish.aliases,
        gateway_priority=wish.gateway_priority,
    )
    if where.driver != "bridge":
        return made
    if ledger.count_on(where.id) >= BRIDGE_PORTS:
        raise failures.NoPortLeft(
            f"network {where.name} is full", why=f"a Linux bridge holds {BRIDGE_PORTS} ports", remedy="add a network"
        )
    if wish.aliases and not where.has_names:
        raise failures.BadEndpoint("network-scoped alias is supported only for containers in user defined networks")
    address = _address(ledger, where, wish)
    assert where.subnet is not None, "a bridge network has a subnet"
    return replace(
        made,
        interface=f"veth{new_id[:11]}",
        inside=inside,
        address=IPv4Interface((address, where.subnet.prefixlen)),
        gateway=where.way_out,
        mac=_mac(wish.mac, address),
        dns_names=_dns_names(name, container_id, hostname, wish.aliases) if where.has_names else (),
    )


def _address(ledger: Ledger, where: Network, wish: EndpointWish) -> IPv4Address:
    taken = ledger.taken(where.id)
    if wish.address:
        return ipam.requested_address(where, wish.address, taken)
    return ipam.next_address(where, taken, after=ledger.last_address(where.id))


def _mac(wished: str, address: IPv4Address) -> str:
    if not wished:
        return ipam.mac_of(address)
    if not _MAC.match(wished) or int(wished[:2], 16) & 1:
        raise failures.BadEndpoint(f"invalid MAC address {wished}", remedy="give six bytes, the first one even")
    return wished.lower()


def _dns_names(name: str, container_id: str, hostname: str, aliases: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for one in (name, *aliases, container_id[:12], hostname) if one))


def way_out(endpoints: Sequence[Endpoint]) -> Endpoint | None:
    """The endpoint that carries the default route and the published ports: the highest priority, then the first."""
    leading = [one for one in endpoints if one.gateway is not None]
    return max(leading, key=lambda one: one.gateway_priority, default=None)


def moved(published: Sequence[PublishedPort], leading: Endpoint | None) -> tuple[PublishedPort, ...]:
    """Published ports, led to another endpoint of the same container; none where no endpoint leads out."""
    if leading is None or leading.address is None:
        return ()
    return tuple(replace(entry, endpoint_id=leading.id, address=leading.address.ip) for entry in published)


def renamed(endpoint: Endpoint, name: str) -> Endpoint:
    former = endpoint.container_name
    names = tuple(dict.fromkeys(name if one == former else one for one in endpoint.dns_names))
    return replace(endpoint, container_name=name, dns_names=names)


def free_inside(endpoints: Sequence[Endpoint]) -> str:
    """The first of eth0, eth1, ... that no endpoint of the container has."""
    taken = {one.inside for one in endpoints}
    return next(name for name in map("eth{}".format, range(len(taken) + 1)) if name not in taken)


def check_modes(ledger: Ledger, wishes: Sequence[EndpointWish]) -> None:
    """`host` and `none` stand alone."""
    found = [ledger.find(wish.network) for wish in wishes]
    for one in found:
        if one.driver != "bridge" and len(found) > 1:
            raise failures.BadEndpoint(
                f"container cannot be connected to multiple networks with one of the networks in {one.name} mode"
            )


def check_connect(ledger: Ledger, container_id: str, wish: EndpointWish) -> None:
    """A container in host or none mode has no place for another endpoint, and nobody joins those later."""
    target = ledger.find(wish.network)
    if target.driver == "host" or any(one.driver == "host" for one in ledger.networks_of(container_id)):
        raise failures.BadEndpoint("container cannot be disconnected from host network or connected to host network")
    if target.driver == "null" or any(one.driver == "null" for one in ledger.networks_of(container_id)):
        raise failures.BadEndpoint("container cannot be connected to multiple networks with one of them in none mode")


def connected(ledger: Ledger, container_id: str, network: Network) -> Endpoint:
    """A container's endpoint on a network. Raises: `NotConnected`."""
    for endpoint in ledger.endpoints_of(container_id):
        if endpoint.network_id == network.id and network.driver == "host":
            raise failures.BadEndpoint("container cannot be disconnected from host network or connected to it")
        if endpoint.network_id == network.id:
            return endpoint
    raise failures.NotConnected(f"container {container_id} is not connected to network {network.name}")
