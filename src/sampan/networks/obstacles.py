"""Other programs' firewalls on the way of containers: who drops forwarded packets, and how to let ours through. Pure.

Every table's chains see a packet, and one that drops it is enough: Sampan's `accept` does not speak for others. That is
meant (a host's firewall can refuse what it wants to refuse), but it must not be a riddle.

Source: nft(8), "Chains": "accept … the packet is still subject to later chains"; nft -j, libnftables-json(5).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

OWN_TABLES: Final = frozenset({"sampan", "sampan_names"})
FAMILIES: Final = ("ip", "inet")


@dataclass(frozen=True, slots=True)
class Chain:
    """A base chain that sees forwarded packets."""

    family: str
    table: str
    name: str
    drops: bool  # by its policy

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.name}"


def forward_chains(objects: Iterable[Mapping[str, Any]]) -> list[Chain]:
    """Of `nft -j list chains`: those of other programs."""
    found = []
    for item in objects:
        chain = item.get("chain")
        if not chain or chain.get("hook") != "forward" or chain["family"] not in FAMILIES:
            continue
        if chain["table"] not in OWN_TABLES:
            drops = chain.get("policy") == "drop"
            found.append(Chain(chain["family"], chain["table"], chain["name"], drops))
    return found


def closes(chain: Chain, rules: Iterable[Mapping[str, Any]], interfaces: Collection[str]) -> bool:
    """Whether the chain drops what no rule of it accepts, and no rule names a bridge of ours.

    `rules` are the objects of `nft -j list chain`. A chain without the policy may end with a rule that refuses
    everything, as firewalld's does.
    """
    expressions = [item["rule"]["expr"] for item in rules if "rule" in item]
    if any(f'"{name}"' in json.dumps(expressions) for name in interfaces):
        return False
    if chain.drops:
        return True
    last = expressions[-1] if expressions else []
    return bool(last) and all({"drop", "reject", "counter", "log"} & set(part) for part in last) and _refuses(last)


def _refuses(expression: Iterable[Mapping[str, Any]]) -> bool:
    return any("drop" in part or "reject" in part for part in expression)


def warning(chain: Chain, interface: str) -> str:
    """What info and the log say."""
    return (
        f"WARNING: the chain {chain} drops forwarded packets: published ports and the containers' way out work only "
        f"where it accepts them ({_remedy(chain, interface)})"
    )


def _remedy(chain: Chain, interface: str) -> str:
    if chain.table == "firewalld":
        return f"firewall-cmd --permanent --zone=trusted --add-interface={interface}; firewall-cmd --reload"
    if chain.table == "filter" and chain.name == "FORWARD":
        return f"iptables -I FORWARD -o {interface} -j ACCEPT; iptables -I FORWARD -i {interface} -j ACCEPT"
    rule = f"nft insert rule {chain}"
    return f"{rule} oifname {interface} accept; {rule} iifname {interface} accept"
