"""Messages of the kernel about nftables, as bytes."""

from __future__ import annotations

import struct

from sampan.kernel import netlink, nfevents, nfnetlink


def message(kind: int, family: int, table: str) -> bytes:
    payload = struct.pack("!BBH", family, 0, 0) + netlink.text(nfnetlink.NFTA_TABLE_NAME, table)
    head = struct.pack("=IHHII", 16 + len(payload), (nfnetlink.NFNL_SUBSYS_NFTABLES << 8) | kind, 0, 0, 0)
    return head + payload


def test_only_removals_count() -> None:
    data = (
        message(nfnetlink.NFT_MSG_DELTABLE, 2, "sampan")
        + message(nfevents.NFT_MSG_DELRULE, 1, "wall")
        + message(nfnetlink.NFT_MSG_NEWRULE, 2, "new")
        + message(14, 2, "elements")
    )
    assert nfevents.removed(data) == {("ip", "sampan"), ("inet", "wall")}


def test_torn_and_foreign_messages_are_passed_over() -> None:
    assert nfevents.removed(b"\0" * 40) == set()
    assert nfevents.removed(message(nfnetlink.NFT_MSG_DELTABLE, 2, "sampan")[:12]) == set()
