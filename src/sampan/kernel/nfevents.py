"""What other programs do to the firewall, as the kernel tells it: removals in tables of this network namespace.

    with Watch() as watch:          # readable when something happened
        watch.removals()            # {("ip", "sampan"), ...}

Source: include/uapi/linux/netfilter/nfnetlink.h (NFNLGRP_NFTABLES), nf_tables.h; nft(8), "monitor".
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import Final

from sampan.kernel import libc, netlink, nfnetlink

NFNLGRP_NFTABLES: Final = 7
NETLINK_ADD_MEMBERSHIP: Final = 1
NFT_MSG_DELCHAIN, NFT_MSG_DELRULE, NFT_MSG_DELSET = 5, 8, 11
NFT_MSG_DESTROYTABLE, NFT_MSG_DESTROYCHAIN, NFT_MSG_DESTROYRULE, NFT_MSG_DESTROYSET = 26, 27, 28, 29
# Elements are left out: they come and go with every container. Attribute 1 is the table's name in all of these.
_REMOVALS: Final = frozenset(
    {
        *(nfnetlink.NFT_MSG_DELTABLE, NFT_MSG_DELCHAIN, NFT_MSG_DELRULE, NFT_MSG_DELSET),
        *(NFT_MSG_DESTROYTABLE, NFT_MSG_DESTROYCHAIN, NFT_MSG_DESTROYRULE, NFT_MSG_DESTROYSET),
    }
)
_FAMILIES: Final = {1: "inet", nfnetlink.NFPROTO_IPV4: "ip", 7: "bridge", 10: "ip6"}
_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_RECEIVE_BYTES: Final = 1 << 16

Table = tuple[str, str]  # family and name, as nft writes them
LOST: Final[Table] = ("", "")  # the kernel had to drop messages: anything may have happened


class Watch:
    """A socket that hears every transaction. It belongs to the network namespace of the thread that made it."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, nfnetlink.NETLINK_NETFILTER)
        try:
            self._socket.bind((0, 0))
            self._socket.setsockopt(netlink.SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
        except OSError as error:
            self._socket.close()
            raise libc.failed(error, "setsockopt", "NETLINK_ADD_MEMBERSHIP", "NFNLGRP_NFTABLES") from error

    def fileno(self) -> int:
        """For the event loop."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()

    def removals(self) -> set[Table]:
        """The tables in which something was removed since the last call; `LOST` among them when messages were lost."""
        found: set[Table] = set()
        while True:
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise libc.failed(error, "recv", "nfnetlink") from error
                found.add(LOST)
                continue
            found |= removed(data)


def removed(data: bytes) -> set[Table]:
    """The tables that the messages in `data` take something from. Pure."""
    found: set[Table] = set()
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            break
        payload = data[at + _HEADER.size : at + length]
        if kind >> 8 == nfnetlink.NFNL_SUBSYS_NFTABLES and kind & 0xFF in _REMOVALS and len(payload) >= 4:
            name = netlink.attributes(payload[4:]).get(nfnetlink.NFTA_TABLE_NAME, b"").rstrip(b"\0").decode()
            found.add((_FAMILIES.get(payload[0], str(payload[0])), name))
        at += (length + 3) & ~3
    return found
