"""Looking at the firewall: is our table whole, and which other program stands in the way. Blocking; changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from sampan.kernel import nft
from sampan.networks import obstacles, ruleset
from sampan.networks.model import Network

# Rules of each chain, as the ruleset's text has them.
RULES: Final = ruleset.rules()


def is_whole(table: nft.Nft, networks: Iterable[Network]) -> bool:
    """Whether every rule and the set of bridges is there. Elements for ports are not looked at: there may be many."""
    try:
        for chain, expected in RULES.items():
            found = [item for item in table.read(f"list chain {ruleset.TABLE} {chain}") if "rule" in item]
            if len(found) != expected:
                return False
        sets = [item["set"] for item in table.read(f"list set {ruleset.TABLE} bridges") if "set" in item]
    except nft.NftFailed:
        return False  # the table, or one of its chains, is not there
    bridges = {network.interface for network in networks if network.driver == "bridge"}
    return bool(sets) and set(sets[0].get("elem", ())) == bridges


def in_the_way(table: nft.Nft, interfaces: Collection[str]) -> list[obstacles.Chain]:
    """Other programs' chains that drop what containers send and get."""
    found = []
    for chain in obstacles.forward_chains(table.read("list chains")):
        try:
            rules = table.read(f"list chain {chain}")
        except nft.NftFailed:
            continue  # it went this moment, or is written in a way this nft does not read
        if obstacles.closes(chain, rules, interfaces):
            found.append(chain)
    return found
