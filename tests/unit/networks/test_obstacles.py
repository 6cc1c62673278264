"""Which of other programs' chains stand in the way, from what nft tells."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.networks import obstacles, ruleset
from sampan.networks.obstacles import Chain

ACCEPT = {"rule": {"expr": [{"match": {"left": {"meta": {"key": "oifname"}}, "right": "sampan0"}}, {"accept": None}]}}
STATE = {"match": {"left": {"ct": {"key": "state"}}, "right": "established"}}
ESTABLISHED = {"rule": {"expr": [STATE, {"accept": None}]}}
REJECT = {"rule": {"expr": [{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}]}}
COUNTED_DROP = {"rule": {"expr": [{"counter": {"packets": 1, "bytes": 1}}, {"drop": None}]}}
SOME_DROP = {"rule": {"expr": [{"match": {"left": 1, "right": 2}}, {"drop": None}]}}


def chain(**more: Any) -> dict[str, Any]:
    base = {"family": "ip", "table": "filter", "name": "FORWARD", "hook": "forward", "policy": "drop"}
    return {"chain": {**base, **more}}


def test_forward_chains_of_others_are_found() -> None:
    listed = [
        {"metainfo": {}},
        chain(),
        chain(family="inet", table="firewalld", name="filter_FORWARD", policy="accept"),
        chain(table="sampan", name="forward"),
        chain(hook="input"),
        chain(family="ip6"),
        {"chain": {"family": "ip", "table": "filter", "name": "DOCKER"}},
    ]
    assert obstacles.forward_chains(listed) == [
        Chain("ip", "filter", "FORWARD", True),
        Chain("inet", "firewalld", "filter_FORWARD", False),
    ]


@pytest.mark.parametrize(
    ("drops", "rules", "closes"),
    [
        (True, [], True),
        (True, [ESTABLISHED], True),
        (True, [ESTABLISHED, ACCEPT], False),
        (False, [], False),
        (False, [ESTABLISHED], False),
        (False, [ESTABLISHED, REJECT], True),
        (False, [ESTABLISHED, COUNTED_DROP], True),
        (False, [SOME_DROP], False),
        (False, [ACCEPT, REJECT], False),
    ],
)
def test_a_chain_closes_by_its_policy_or_its_last_rule(drops: bool, rules: list[Any], closes: bool) -> None:
    assert obstacles.closes(Chain("ip", "filter", "FORWARD", drops), rules, ["sampan0"]) == closes


@pytest.mark.parametrize(
    ("found", "remedy"),
    [
        (Chain("ip", "filter", "FORWARD", True), "iptables -I FORWARD -o sampan0 -j ACCEPT"),
        (Chain("inet", "firewalld", "filter_FORWARD", False), "firewall-cmd --permanent"),
        (Chain("inet", "wall", "fwd", True), "nft insert rule inet wall fwd oifname sampan0 accept"),
    ],
)
def test_the_warning_brings_the_remedy(found: Chain, remedy: str) -> None:
    told = obstacles.warning(found, "sampan0")
    assert told.startswith("WARNING: ")
    assert remedy in told


def test_rules_of_the_static_table_are_counted() -> None:
    counted = ruleset.rules()
    assert counted["guard"] == 2
    assert counted["prerouting"] == counted["output"] == 1
    assert counted["publish"] == 5
