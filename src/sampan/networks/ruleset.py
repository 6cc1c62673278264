"""The firewall as text: one static table, everything that varies in sets and maps. Pure.

No rule is ever written for a network, an endpoint or a port: those are elements, so that a packet's path is as
long with ten thousand published ports as with one.

Words in the table: `bridges` are Sampan's bridges; `closed` those of `--internal` networks; `quiet` those without
inter-container communication, `links` what linked containers reach there all the same; `home` pairs a subnet with its
own bridge; `nat` are the subnets that leave the host under its address; `pub*` map what the world dials to what a
container listens on.
(`fwd`, `bridge`, `internal` are words of nft's own.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from sampan.networks.model import ANY, Link, Network, PublishedPort

TABLE: Final = "ip sampan"

# Order matters in `forward`: a packet between two bridges, or from the world to an unpublished port, falls through to
# the last line. Reply packets of what was allowed are let through first.
_STATIC: Final = """
  map pub { type inet_proto . inet_service : ipv4_addr . inet_service; }
  map pub_ip { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
  map pub_range { type inet_proto . inet_service : ipv4_addr; flags interval; }
  map pub_ip_range { type ipv4_addr . inet_proto . inet_service : ipv4_addr; flags interval; }
  set bridges { type ifname; }
  set closed { type ifname; }
  set quiet { type ifname . ifname; }
  set home_bridge { type ifname . ifname; }
  set home { type ipv4_addr . ifname; flags interval; }
  set nat { type ipv4_addr; flags interval; }
  set links { type ipv4_addr . ipv4_addr . inet_proto . inet_service; }
  chain publish {
    iifname @closed return
    dnat ip to ip daddr . meta l4proto . th dport map @pub_ip
    dnat ip to meta l4proto . th dport map @pub
    dnat ip to ip daddr . meta l4proto . th dport map @pub_ip_range
    dnat ip to meta l4proto . th dport map @pub_range
  }
  chain prerouting { type nat hook prerouting priority dstnat; fib daddr type local jump publish; }
  chain output { type nat hook output priority -100; fib daddr type local jump publish; }
  chain postrouting {
    type nat hook postrouting priority srcnat
    ip saddr . oifname @home ct status dnat masquerade
    ip saddr . oifname @home return
    ip saddr 127.0.0.0/8 oifname @bridges masquerade
    ip saddr @nat masquerade
  }
  chain guard {
    type filter hook prerouting priority raw
    iifname != "lo" ip daddr 127.0.0.0/8 drop
    iifname != "lo" ip saddr 127.0.0.0/8 drop
  }
  chain forward {
    type filter hook forward priority filter
    iifname . oifname @quiet ct status dnat accept
    iifname . oifname @quiet ip saddr . ip daddr . meta l4proto . th dport @links accept
    iifname . oifname @quiet ct state new drop
    iifname . oifname @home_bridge accept
    iifname @closed drop
    oifname @closed drop
    ct state established,related accept
    ct status dnat accept
    oifname @bridges drop
  }
"""


def rules() -> dict[str, int]:
    """How many rules each chain of the static table has."""
    found: dict[str, int] = {}
    for name, body in re.findall(r"chain (\w+) \{(.*?)\}", _STATIC, re.DOTALL):
        lines = [line.strip() for line in re.split(r"[;\n]", body)]
        found[name] = len([line for line in lines if line and not line.startswith("type ")])
    return found


def whole(networks: Iterable[Network], published: Iterable[PublishedPort], links: Iterable[Link] = ()) -> str:
    """The whole table in one transaction, in place of whatever was there: nothing is lost, nothing stray stays."""
    lines = [f"table {TABLE}", f"delete table {TABLE}", f"table {TABLE} {{{_STATIC}}}"]
    lines.extend(add_network(network) for network in networks)
    lines.append(publish(published))
    lines.append(change_links(add=links))
    return "\n".join(line for line in lines if line) + "\n"


def change_links(*, add: Iterable[Link] = (), remove: Iterable[Link] = ()) -> str:
    """Elements for links."""
    lines = []
    for verb, wanted in (("delete", remove), ("add", add)):
        members = ", ".join(f"{one.client} . {one.server} . {one.protocol} . {one.port}" for one in wanted)
        if members:
            lines.append(f"{verb} element {TABLE} links {{ {members} }}")
    return "\n".join(lines)


def none() -> str:
    """No table, whether there was one or not."""
    return f"table {TABLE}\ndelete table {TABLE}\n"


def add_network(network: Network) -> str:
    return _elements("add", network)


def remove_network(network: Network) -> str:
    return _elements("delete", network)


def _elements(verb: str, network: Network) -> str:
    if network.driver != "bridge":
        return ""
    link = f'"{network.interface}"'
    members = {
        "bridges": link,
        "home_bridge": f"{link} . {link}",
        "home": f"{network.subnet} . {link}",
    }
    if network.internal:
        members["closed"] = link
    elif network.masquerade:
        members["nat"] = str(network.subnet)
    if not network.icc:
        members["quiet"] = f"{link} . {link}"
    return "\n".join(f"{verb} element {TABLE} {name} {{ {member} }}" for name, member in members.items())


def publish(published: Iterable[PublishedPort]) -> str:
    return _ports("add", published)


def unpublish(published: Iterable[PublishedPort]) -> str:
    return _ports("delete", published)


def _ports(verb: str, published: Iterable[PublishedPort]) -> str:
    members: dict[str, list[str]] = {}
    for entry in published:
        name, key, value = _element(entry)
        members.setdefault(name, []).append(f"{key} : {value}")
    return "\n".join(f"{verb} element {TABLE} {name} {{ {', '.join(found)} }}" for name, found in members.items())


def _element(entry: PublishedPort) -> tuple[str, str, str]:
    single = entry.count == 1
    host = str(entry.host_port) if single else f"{entry.host_port}-{entry.host_port + entry.count - 1}"
    key = f"{entry.protocol} . {host}"
    value = f"{entry.address} . {entry.container_port}" if single else str(entry.address)
    if entry.host_address == ANY:
        return ("pub" if single else "pub_range", key, value)
    return ("pub_ip" if single else "pub_ip_range", f"{entry.host_address} . {key}", value)
