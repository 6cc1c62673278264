"""The rtnetlink requests Sampan makes, and the facts it reads: links, addresses, routes.

Builders return a `netlink.Request`; nothing here talks to the kernel but `links`, `addresses` and `routes`, which dump.

Source: rtnetlink(7), include/uapi/linux/if_link.h, if_addr.h, rtnetlink.h, if_bridge.h.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass
from typing import Final

from sampan.kernel import netlink
from sampan.kernel.netlink import Request

RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_GETLINK: Final = 18
RTM_NEWADDR: Final = 20
RTM_DELADDR: Final = 21
RTM_GETADDR: Final = 22
RTM_NEWROUTE: Final = 24
RTM_GETROUTE: Final = 26

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO, IFLA_IFALIAS = 1, 3, 4, 10, 18, 20
IFLA_AF_SPEC, IFLA_NET_NS_FD = 26, 28
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
IFLA_INET6_ADDR_GEN_MODE: Final = 8
IN6_ADDR_GEN_MODE_NONE: Final = 1
IFLA_BRPORT_MODE, IFLA_BRPORT_ISOLATED = 4, 33
VETH_INFO_PEER: Final = 1
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST = 1, 2, 4
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PREFSRC, RTA_TABLE = 1, 4, 5, 7, 15
RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST = 254, 3, 0, 1
IFF_UP: Final = 1
NO_DEVICE_ERRNO: Final = 19  # ENODEV: no link has that name

_LINK: Final = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ADDRESS: Final = struct.Struct("=BBBBI")  # family, prefix, flags, scope, index
_ROUTE: Final = struct.Struct("=BBBBBBBBI")  # family, dst, src, tos, table, protocol, scope, type, flags


@dataclass(frozen=True)
class Link:
    """A link as the kernel shows it. `master` is 0 for none; `kind` is "" for hardware."""

    index: int
    name: str
    kind: str
    mac: str
    mtu: int
    master: int
    alias: str
    up: bool


@dataclass(frozen=True)
class Veth:
    """A pair: `name` here, `peer` in the namespace behind the descriptor `namespace_fd`."""

    name: str
    master: int
    mtu: int
    peer: str
    peer_mac: str
    namespace_fd: int


def bridge(name: str, *, mac: str, mtu: int, alias: str) -> list[Request]:
    """Make a bridge, then name its owner and bring it up. Two requests: alias cannot be given at creation."""
    body = _u32(IFLA_MTU, mtu) + netlink.attribute(IFLA_ADDRESS, mac_bytes(mac))
    kind = netlink.nested(IFLA_LINKINFO, netlink.text(IFLA_INFO_KIND, "bridge"))
    made = _new_link("newlink bridge", (name,), _name(name) + body + kind, exclusive=True)
    return [made, change(name, alias=alias, up=True)]


def veth(pair: Veth) -> Request:
    """Make both ends at once, both down: the peer's UP flag in this message is refused (ENOTCONN)."""
    peer = _LINK.pack(0, 0, 0, 0, 0) + _name(pair.peer) + _u32(IFLA_MTU, pair.mtu)
    peer += netlink.attribute(IFLA_ADDRESS, mac_bytes(pair.peer_mac)) + _u32(IFLA_NET_NS_FD, pair.namespace_fd)
    kind = netlink.nested(
        IFLA_LINKINFO,
        netlink.text(IFLA_INFO_KIND, "veth"),
        netlink.nested(IFLA_INFO_DATA, netlink.attribute(VETH_INFO_PEER | netlink.NLA_F_NESTED, peer)),
    )
    body = _name(pair.name) + _u32(IFLA_MTU, pair.mtu) + _u32(IFLA_MASTER, pair.master) + kind
    return _new_link("newlink veth", (pair.name, pair.peer), body, exclusive=True)


@dataclass(frozen=True)
class Port:
    """How a bridge treats one of its ports.

    `isolated`: it reaches no other isolated port. `hairpin`: a frame may leave where it came in.
    """

    isolated: bool = False
    hairpin: bool = False


def change(
    name: str,
    *,
    up: bool | None = None,
    master: int | None = None,
    alias: str = "",
    port: Port | None = None,
    no_ipv6: bool = False,
) -> Request:
    """Change a link by name. What is not given stays."""
    body = _name(name)
    if alias:
        body += netlink.attribute(IFLA_IFALIAS, alias.encode())
    if master is not None:
        body += _u32(IFLA_MASTER, master)
    if port is not None:
        flags = netlink.attribute(IFLA_BRPORT_MODE, bytes([port.hairpin]))
        flags += netlink.attribute(IFLA_BRPORT_ISOLATED, bytes([port.isolated]))
        slave = netlink.nested(IFLA_INFO_SLAVE_DATA, flags)
        body += netlink.nested(IFLA_LINKINFO, netlink.text(IFLA_INFO_SLAVE_KIND, "bridge"), slave)
    if no_ipv6:
        mode = netlink.attribute(IFLA_INET6_ADDR_GEN_MODE, bytes([IN6_ADDR_GEN_MODE_NONE]))
        body += netlink.nested(IFLA_AF_SPEC, netlink.nested(socket.AF_INET6, mode))
    state, mask = (IFF_UP if up else 0, IFF_UP) if up is not None else (0, 0)
    return Request("setlink", (name,), RTM_NEWLINK, 0, _LINK.pack(0, 0, 0, state, mask) + body)


def up(index: int, *, mac: str = "") -> Request:
    """Bring a link up, with another hardware address if one is given."""
    body = netlink.attribute(IFLA_ADDRESS, mac_bytes(mac)) if mac else b""
    return Request("setlink up", (index,), RTM_NEWLINK, 0, _LINK.pack(0, 0, index, IFF_UP, IFF_UP) + body)


def delete(name: str) -> Request:
    return Request("dellink", (name,), RTM_DELLINK, 0, _LINK.pack(0, 0, 0, 0, 0) + _name(name))


def address(index: int, value: ipaddress.IPv4Interface) -> Request:
    """Give a link an address; one that is there already is no error."""
    head = _ADDRESS.pack(socket.AF_INET, value.network.prefixlen, 0, 0, index)
    body = netlink.attribute(IFA_LOCAL, value.ip.packed) + netlink.attribute(IFA_ADDRESS, value.ip.packed)
    body += netlink.attribute(IFA_BROADCAST, value.network.broadcast_address.packed)
    flags = netlink.NLM_F_CREATE | netlink.NLM_F_REPLACE
    return Request("newaddr", (index, str(value)), RTM_NEWADDR, flags, head + body)


def default_route(gateway: ipaddress.IPv4Address, index: int) -> Request:
    """The way out, in place of any other."""
    return Request("newroute default", (str(gateway),), RTM_NEWROUTE, _REPLACE, _default(gateway, index))


def host_route(target: ipaddress.IPv4Address, gateway: ipaddress.IPv4Address, index: int) -> Request:
    """The way to one address, in place of any other."""
    head = _ROUTE.pack(socket.AF_INET, 32, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0)
    body = netlink.attribute(RTA_DST, target.packed) + netlink.attribute(RTA_GATEWAY, gateway.packed)
    return Request(
        "newroute", (f"{target}/32", str(gateway)), RTM_NEWROUTE, _REPLACE, head + body + _u32(RTA_OIF, index)
    )


_REPLACE: Final = netlink.NLM_F_CREATE | netlink.NLM_F_REPLACE


def _default(gateway: ipaddress.IPv4Address, index: int) -> bytes:
    head = _ROUTE.pack(socket.AF_INET, 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0)
    return head + netlink.attribute(RTA_GATEWAY, gateway.packed) + _u32(RTA_OIF, index)


def links(kernel: netlink.Socket) -> list[Link]:
    """Every link of the socket's namespace."""
    request = Request("getlink", (), RTM_GETLINK, 0, _LINK.pack(0, 0, 0, 0, 0))
    return [_link(payload) for payload in kernel.dump(request)]


def addresses(kernel: netlink.Socket) -> list[tuple[int, ipaddress.IPv4Interface]]:
    """Every IPv4 address as (link index, address with its prefix)."""
    request = Request("getaddr", (), RTM_GETADDR, 0, _ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0))
    found = []
    for payload in kernel.dump(request):
        _, prefix, _, _, index = _ADDRESS.unpack_from(payload)
        values = netlink.attributes(payload[_ADDRESS.size :])
        local = values.get(IFA_LOCAL) or values[IFA_ADDRESS]
        found.append((index, ipaddress.IPv4Interface((local, prefix))))
    return found


def routes(kernel: netlink.Socket) -> list[tuple[int, ipaddress.IPv4Network]]:
    """Every IPv4 destination of the main table as (link index, network); the default route is 0.0.0.0/0."""
    request = Request("getroute", (), RTM_GETROUTE, 0, _ROUTE.pack(socket.AF_INET, *(0,) * 8))
    found = []
    for payload in kernel.dump(request):
        _, prefix, _, _, table, _, _, _, _ = _ROUTE.unpack_from(payload)
        values = netlink.attributes(payload[_ROUTE.size :])
        if table != RT_TABLE_MAIN:
            continue
        index = struct.unpack("=I", values[RTA_OIF])[0] if RTA_OIF in values else 0
        found.append((index, ipaddress.IPv4Network((values.get(RTA_DST, bytes(4)), prefix))))
    return found


def mac_bytes(mac: str) -> bytes:
    """Six bytes of `02:42:ac:11:00:02`."""
    return bytes.fromhex(mac.replace(":", ""))


def _link(payload: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(payload)
    values = netlink.attributes(payload[_LINK.size :])
    kind = netlink.attributes(values.get(IFLA_LINKINFO, b"")).get(IFLA_INFO_KIND, b"")
    return Link(
        index=index,
        name=_string(values.get(IFLA_IFNAME, b"")),
        kind=_string(kind),
        mac=values.get(IFLA_ADDRESS, b"").hex(":"),
        mtu=struct.unpack("=I", values.get(IFLA_MTU, bytes(4)))[0],
        master=struct.unpack("=I", values.get(IFLA_MASTER, bytes(4)))[0],
        alias=_string(values.get(IFLA_IFALIAS, b"")),
        up=bool(flags & IFF_UP),
    )


def _new_link(call: str, arguments: tuple[object, ...], body: bytes, *, exclusive: bool) -> Request:
    flags = netlink.NLM_F_CREATE | (netlink.NLM_F_EXCL if exclusive else 0)
    return Request(call, arguments, RTM_NEWLINK, flags, _LINK.pack(0, 0, 0, 0, 0) + body)


def _name(name: str) -> bytes:
    return netlink.text(IFLA_IFNAME, name)


def _u32(kind: int, value: int) -> bytes:
    return netlink.attribute(kind, struct.pack("=I", value))


def _string(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
