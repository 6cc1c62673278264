"""nftables by hand, for the one small table that every container's namespace gets.

libnftables waits for answers with select(2), which ends the whole process once the socket's number is 1024 or more: a
daemon with many containers must not open one per container. The requests here go through `netlink.Socket`, which does
not select.

Source: include/uapi/linux/netfilter/nfnetlink.h, nf_tables.h.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Final

from sampan.kernel import netlink
from sampan.kernel.netlink import Request, attribute, nested, text

NETLINK_NETFILTER: Final = 12
NFNL_SUBSYS_NFTABLES: Final = 10
NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END = 0x10, 0x11
NFT_MSG_NEWTABLE, NFT_MSG_DELTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE = 0, 2, 3, 6
NFPROTO_IPV4: Final = 2
NF_INET_LOCAL_OUT: Final = 3
NF_IP_PRI_NAT_DST: Final = -100
NLM_F_APPEND: Final = 0x800
NFTA_TABLE_NAME: Final = 1
NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME, NFTA_CHAIN_HOOK, NFTA_CHAIN_TYPE = 1, 3, 4, 7
NFTA_HOOK_HOOKNUM, NFTA_HOOK_PRIORITY = 1, 2
NFTA_RULE_TABLE, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS = 1, 2, 4
NFTA_LIST_ELEM, NFTA_EXPR_NAME, NFTA_EXPR_DATA, NFTA_DATA_VALUE = 1, 1, 2, 1
NFTA_PAYLOAD_DREG, NFTA_PAYLOAD_BASE, NFTA_PAYLOAD_OFFSET, NFTA_PAYLOAD_LEN = 1, 2, 3, 4
NETWORK_HEADER, TRANSPORT_HEADER = 1, 2
NFTA_CMP_SREG, NFTA_CMP_OP, NFTA_CMP_DATA = 1, 2, 3
NFTA_META_DREG, NFTA_META_KEY, NFT_META_L4PROTO = 1, 2, 16
NFTA_IMMEDIATE_DREG, NFTA_IMMEDIATE_DATA = 1, 2
NFTA_NAT_TYPE, NFTA_NAT_FAMILY, NFTA_NAT_REG_ADDR_MIN, NFTA_NAT_REG_PROTO_MIN = 1, 2, 3, 5
NFT_NAT_DNAT: Final = 1
NFT_REG_1, NFT_REG_2 = 1, 2

_DESTINATION_ADDRESS: Final = 16  # offset in the IPv4 header, bytes
_DESTINATION_PORT: Final = 2  # offset in the TCP and UDP header, bytes


def redirect(table: str, address: IPv4Address, port: int, ports: dict[int, int]) -> list[Request]:
    """A table that leads what local programs send to `address`:`port` to another port of it, per protocol number.

    It replaces a table of the same name, in one transaction.
    """
    rules = [
        _message("newrule", NFT_MSG_NEWRULE, _rule(table, address, protocol, port, target), flags=_APPEND)
        for protocol, target in ports.items()
    ]
    name = text(NFTA_TABLE_NAME, table)
    return [
        _batch(NFNL_MSG_BATCH_BEGIN),
        _message("newtable", NFT_MSG_NEWTABLE, name, flags=netlink.NLM_F_CREATE),
        _message("deltable", NFT_MSG_DELTABLE, name),
        _message("newtable", NFT_MSG_NEWTABLE, name, flags=netlink.NLM_F_CREATE),
        _message("newchain", NFT_MSG_NEWCHAIN, _output_chain(table), flags=netlink.NLM_F_CREATE),
        *rules,
        _batch(NFNL_MSG_BATCH_END),
    ]


def perform(requests: Sequence[Request]) -> None:
    """Carry out one transaction in the calling thread's namespace.

    Closing the socket waits for an RCU grace period, about 15 ms: a thread of its own does that.
    """
    kernel = netlink.Socket(NETLINK_NETFILTER)
    try:
        kernel.perform(requests)
    finally:
        threading.Thread(target=kernel.close, name="nfnetlink-close").start()


_APPEND: Final = netlink.NLM_F_CREATE | NLM_F_APPEND


def _batch(kind: int) -> Request:
    head = struct.pack("!BBH", socket.AF_UNSPEC, 0, NFNL_SUBSYS_NFTABLES)
    return Request("nft batch", (), kind, 0, head, acknowledged=False)


def _message(call: str, kind: int, body: bytes, *, flags: int = 0) -> Request:
    head = struct.pack("!BBH", NFPROTO_IPV4, 0, 0)
    return Request(f"nft {call}", ("ip",), (NFNL_SUBSYS_NFTABLES << 8) | kind, flags, head + body)


def _output_chain(table: str) -> bytes:
    hook = nested(NFTA_CHAIN_HOOK, _u32(NFTA_HOOK_HOOKNUM, NF_INET_LOCAL_OUT), _priority(NF_IP_PRI_NAT_DST))
    return text(NFTA_CHAIN_TABLE, table) + text(NFTA_CHAIN_NAME, "output") + hook + text(NFTA_CHAIN_TYPE, "nat")


def _rule(table: str, address: IPv4Address, protocol: int, port: int, target: int) -> bytes:
    expressions = nested(
        NFTA_RULE_EXPRESSIONS,
        _load(NETWORK_HEADER, _DESTINATION_ADDRESS, 4),
        _equals(address.packed),
        _expression("meta", _u32(NFTA_META_DREG, NFT_REG_1) + _u32(NFTA_META_KEY, NFT_META_L4PROTO)),
        _equals(bytes([protocol])),
        _load(TRANSPORT_HEADER, _DESTINATION_PORT, 2),
        _equals(struct.pack("!H", port)),
        _constant(NFT_REG_1, address.packed),
        _constant(NFT_REG_2, struct.pack("!H", target)),
        _destination_nat(),
    )
    return text(NFTA_RULE_TABLE, table) + text(NFTA_RULE_CHAIN, "output") + expressions


def _destination_nat() -> bytes:
    body = _u32(NFTA_NAT_TYPE, NFT_NAT_DNAT) + _u32(NFTA_NAT_FAMILY, NFPROTO_IPV4)
    return _expression("nat", body + _u32(NFTA_NAT_REG_ADDR_MIN, NFT_REG_1) + _u32(NFTA_NAT_REG_PROTO_MIN, NFT_REG_2))


def _load(base: int, offset: int, length: int) -> bytes:
    place = _u32(NFTA_PAYLOAD_BASE, base) + _u32(NFTA_PAYLOAD_OFFSET, offset) + _u32(NFTA_PAYLOAD_LEN, length)
    return _expression("payload", _u32(NFTA_PAYLOAD_DREG, NFT_REG_1) + place)


def _equals(value: bytes) -> bytes:
    data = nested(NFTA_CMP_DATA, attribute(NFTA_DATA_VALUE, value))
    return _expression("cmp", _u32(NFTA_CMP_SREG, NFT_REG_1) + _u32(NFTA_CMP_OP, 0) + data)


def _constant(register: int, value: bytes) -> bytes:
    data = nested(NFTA_IMMEDIATE_DATA, attribute(NFTA_DATA_VALUE, value))
    return _expression("immediate", _u32(NFTA_IMMEDIATE_DREG, register) + data)


def _expression(name: str, body: bytes) -> bytes:
    return nested(NFTA_LIST_ELEM, text(NFTA_EXPR_NAME, name), nested(NFTA_EXPR_DATA, body))


def _u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!I", value))


def _priority(value: int) -> bytes:
    return attribute(NFTA_HOOK_PRIORITY, struct.pack("!i", value))
