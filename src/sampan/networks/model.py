"""Values of the networks room: networks, endpoints, published ports, wishes, settings. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Final, Literal

Driver = Literal["bridge", "host", "null"]
Protocol = Literal["tcp", "udp", "sctp"]

DEFAULT_NAME: Final = "bridge"
# An auxiliary address of this name is the gateway of the network's containers. Source: moby/moby libnetwork.
GATEWAY_NAME: Final = "DefaultGatewayIPv4"
PREDEFINED: Final = ("bridge", "host", "none")
ANY: Final = IPv4Address("0.0.0.0")

# Docker's default pools: (where to cut from, prefix length of each piece).
# Source: moby/moby libnetwork ipamutils, "local scope default networks".
DEFAULT_POOLS: Final = (
    (IPv4Network("172.17.0.0/16"), 16),
    (IPv4Network("172.18.0.0/16"), 16),
    (IPv4Network("172.19.0.0/16"), 16),
    (IPv4Network("172.20.0.0/14"), 16),
    (IPv4Network("172.24.0.0/14"), 16),
    (IPv4Network("172.28.0.0/14"), 16),
    (IPv4Network("192.168.0.0/16"), 20),
)


@dataclass(frozen=True)
class Settings:
    """What the daemon's options say about networks."""

    bridge: str = "sampan0"  # -b; "none": no default network
    bip: str = ""  # --bip: the default bridge's address with its prefix
    fixed_cidr: str = ""  # --fixed-cidr: the part of its subnet that containers get addresses from
    default_gateway: str = ""  # --default-gateway: where its containers' default route leads, if not to the bridge
    icc: bool = True
    host_address: IPv4Address = ANY  # --ip: where ports are published unless the wish says otherwise
    mtu_bytes: int = 1500
    iptables: bool = True  # --iptables=false: write no nft rule at all
    ip_forward: bool = True
    ip_masquerade: bool = True
    pools: tuple[tuple[IPv4Network, int], ...] = DEFAULT_POOLS
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Network:
    """A network as it is stored. `subnet`, `gateway` and `interface` are empty for `host` and `none`."""

    id: str
    name: str
    driver: Driver
    created_ns: int
    interface: str = ""
    subnet: IPv4Network | None = None
    gateway: IPv4Address | None = None
    ip_range: IPv4Network | None = None
    auxiliary: Mapping[str, IPv4Address] = field(default_factory=dict)
    internal: bool = False
    attachable: bool = False
    icc: bool = True
    masquerade: bool = True
    mtu_bytes: int = 1500
    host_address: IPv4Address = ANY
    foreign: bool = False  # the bridge is the administrator's: never created or deleted here
    chosen_subnet: bool = False  # the subnet was asked for, so addresses in it may be too
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def predefined(self) -> bool:
        return self.name in PREDEFINED

    @property
    def way_out(self) -> IPv4Address | None:
        """Where the default route of its containers leads."""
        return None if self.internal else self.auxiliary.get(GATEWAY_NAME, self.gateway)

    @property
    def has_names(self) -> bool:
        """Whether containers here resolve each other: on networks that users made."""
        return self.driver == "bridge" and not self.predefined


@dataclass(frozen=True)
class NetworkWish:
    """`docker network create`. Empty strings: Sampan chooses."""

    name: str
    driver: str = "bridge"
    subnet: str = ""
    gateway: str = ""
    ip_range: str = ""
    auxiliary: Mapping[str, str] = field(default_factory=dict)
    internal: bool = False
    attachable: bool = False
    ipv6: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EndpointWish:
    """One network a container shall be on. `network` is a name, an id or the start of an id."""

    network: str
    address: str = ""
    mac: str = ""
    aliases: tuple[str, ...] = ()
    gateway_priority: int = 0  # the highest gives the default route; equal ones: the first


@dataclass(frozen=True)
class PortWish:
    """One published port. `host_port` 0: any free one; `host_port_last` above it: any free one between."""

    container_port: int
    protocol: Protocol = "tcp"
    host_address: str = ""
    host_port: int = 0
    host_port_last: int = 0


@dataclass(frozen=True)
class Endpoint:
    """One container's place on one network. `address` is None on `host` and `none`."""

    id: str
    network_id: str
    container_id: str
    container_name: str
    interface: str = ""  # the host end of the pair
    inside: str = ""  # its name in the container: eth0
    address: IPv4Interface | None = None
    gateway: IPv4Address | None = None
    mac: str = ""
    aliases: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()  # every name others reach it by: name, short id, hostname, aliases
    gateway_priority: int = 0


@dataclass(frozen=True)
class PublishedPort:
    """`count` consecutive host ports that lead to as many consecutive ports of one endpoint."""

    endpoint_id: str
    address: IPv4Address  # the container's
    protocol: Protocol
    host_address: IPv4Address
    host_port: int
    container_port: int
    count: int = 1


@dataclass(frozen=True)
class Link:
    """`--link`: one container may reach one port of another although their network is quiet."""

    client: IPv4Address
    server: IPv4Address
    protocol: Protocol
    port: int


@dataclass(frozen=True)
class Alias:
    """`--link` as the name server answers it: what one container calls `target` (a name or an id) on one network."""

    target: str
    alias: str
    network: str  # a name or an id


@dataclass(frozen=True)
class Resolver:
    """A container's own name settings: what `--dns`, `--dns-search` and `--dns-option` gave it."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attachment:
    """What a container got. `namespace` is None in host mode: the container uses the host's."""

    container_id: str
    namespace: Path | None
    endpoints: tuple[Endpoint, ...]
    published: tuple[PublishedPort, ...]
    resolv_conf: str = ""
