"""Connection tracking: forget flows that began before a port was published, or before it led elsewhere.

A UDP flow that never pauses keeps its first translation for ever: a client that sends once a second would go on talking
to the container that is gone, or to nobody. TCP needs none of this: a connection ends by itself.

Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection
from typing import Final

from sampan.kernel import libc, netlink, nfnetlink
from sampan.kernel.netlink import Request

NFNL_SUBSYS_CTNETLINK: Final = 1
IPCTNL_MSG_CT_GET, IPCTNL_MSG_CT_DELETE = 1, 2
CTA_TUPLE_ORIG: Final = 1
CTA_TUPLE_PROTO: Final = 2
CTA_PROTO_NUM, CTA_PROTO_DST_PORT = 1, 3
GONE_ERRNO: Final = 2  # ENOENT: the flow ended by itself

_HEAD: Final = struct.pack("!BBH", socket.AF_INET, 0, 0)


class Flows:
    """The flows of the network namespace of the thread that made this."""

    def __init__(self) -> None:
        self._kernel = netlink.Socket(nfnetlink.NETLINK_NETFILTER)

    def close(self) -> None:
        self._kernel.close()

    def forget_udp(self, ports: Collection[int]) -> int:
        """Forget every UDP flow that was dialled to one of `ports`; how many there were."""
        found = [tuple_ for tuple_ in self._dialled() if _udp_port(tuple_) in ports]
        for tuple_ in found:
            body = _HEAD + netlink.nested(CTA_TUPLE_ORIG, tuple_)
            try:
                self._kernel.perform([_request("conntrack delete", IPCTNL_MSG_CT_DELETE, body)])
            except libc.KernelError as error:
                if error.errno != GONE_ERRNO:
                    raise
        return len(found)

    def _dialled(self) -> list[bytes]:
        """The original direction of every IPv4 flow, as the kernel writes it."""
        answers = self._kernel.dump(_request("conntrack get", IPCTNL_MSG_CT_GET, _HEAD))
        return [netlink.attributes(answer[len(_HEAD) :]).get(CTA_TUPLE_ORIG, b"") for answer in answers]


def _request(call: str, kind: int, body: bytes) -> Request:
    return Request(call, (), (NFNL_SUBSYS_CTNETLINK << 8) | kind, 0, body)


def _udp_port(tuple_: bytes) -> int | None:
    protocol = netlink.attributes(netlink.attributes(tuple_).get(CTA_TUPLE_PROTO, b""))
    if protocol.get(CTA_PROTO_NUM) != bytes([socket.IPPROTO_UDP]):
        return None
    port: int = struct.unpack("!H", protocol.get(CTA_PROTO_DST_PORT, bytes(2)))[0]
    return port
