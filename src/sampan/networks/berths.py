"""Berths: network namespaces made ready before a container asks for one.

Most of what an attach costs is making a namespace and plugging a pair into the bridge, and the plugging grows with the
bridge's ports. So a few are kept ready for the default network: settled, a pair in the bridge, both ends up, and a
netlink socket open inside. A container that starts takes one; its addresses, its ports and a path for its namespace are
all that is left to do, and none of that needs a thread.

A berth that nobody took is held by a descriptor alone: when the daemon ends, however it ends, the kernel removes the
namespace and the pair in it. Refilling waits a moment, so that it does not take the processor from the container whose
start emptied the place.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from sampan.kernel import libc, links, namespaces, netlink
from sampan.networks.model import Network

log = logging.getLogger(__name__)

ALIAS: Final = "sampan berth"  # on the host's end, also after it was taken
INSIDE: Final = "eth0"
REFILL_DELAY_S: Final = 0.05
_NO_MAC: Final = "02:42:00:00:00:00"  # until the endpoint's own is set: nothing in there sends anything before


@dataclass(frozen=True)
class Berth:
    """A ready namespace. Whoever takes it closes it once the namespace is kept by a path."""

    descriptor: int
    kernel: netlink.Socket  # speaks to the kernel inside
    index: int  # of the link inside
    interface: str
    network_id: str
    master: int

    def close(self) -> None:
        self.kernel.close()
        os.close(self.descriptor)


class Berths:
    """Up to `size` of them. `take` and `refill` are called in the event loop; the making is done by threads."""

    def __init__(self, kernel: netlink.Socket, *, size: int, new_id: Callable[[], str]) -> None:
        self._kernel = kernel
        self._size = size
        self._new_id = new_id
        self._ready: deque[Berth] = deque()
        self._making = False
        self._closed = False
        self._lock = threading.Lock()

    def take(self, network: Network) -> Berth | None:
        """One in this network's bridge, if there is any."""
        try:
            master = socket.if_nametoindex(network.interface)
        except OSError:
            return None  # the bridge is gone: the slow way tells so
        while True:
            with self._lock:
                if not self._ready:
                    return None
                berth = self._ready.popleft()
            if (berth.network_id, berth.master) == (network.id, master):
                return berth
            berth.close()  # made for a bridge that is another one now

    def refill(self, network: Network, master: int, *, port: links.Port | None) -> None:
        """Begin to make what is missing; returns at once. `master`: the bridge's number, as nobody inside can ask."""
        with self._lock:
            if self._closed or self._making or len(self._ready) >= self._size:
                return
            self._making = True
        done = namespaces.start_in(None, lambda: self._make(network, master, port=port))
        done.add_done_callback(lambda made: self._made(made, network, master, port=port))

    def empty(self, *, for_good: bool = False) -> None:
        """Let go of all."""
        with self._lock:
            self._closed = for_good
            berths = list(self._ready)
            self._ready.clear()
        for berth in berths:
            berth.close()

    def _make(self, network: Network, master: int, *, port: links.Port | None) -> Berth:
        """In a thread, inside a new namespace."""
        namespaces.settle(ipv6=False)
        name = f"veth{self._new_id()[:11]}"
        descriptor = namespaces.open_own()
        try:
            self._kernel.perform(
                [
                    links.veth(links.Veth(name, master, network.mtu_bytes, INSIDE, _NO_MAC, descriptor)),
                    links.change(name, up=True, no_ipv6=True, alias=ALIAS, port=port),
                ]
            )
            inside = netlink.Socket()
        except BaseException:
            os.close(descriptor)
            raise
        berth = Berth(descriptor, inside, socket.if_nametoindex(INSIDE), name, network.id, master)
        try:
            inside.perform([links.up(1), links.up(berth.index)])
        except BaseException:
            berth.close()
            raise
        return berth

    def _made(self, made: Future[Berth], network: Network, master: int, *, port: links.Port | None) -> None:
        """In the thread that made it, which is in the berth's namespace: another one makes the next."""
        error = made.exception()
        with self._lock:
            self._making = False
            keep = error is None and not self._closed
            if keep:
                self._ready.append(made.result())
        if keep:
            self.refill(network, master, port=port)
        elif error is None:
            made.result().close()
        elif isinstance(error, libc.KernelError):
            log.warning("no berth could be made ready, attaching goes the slow way: %s", error)
        else:
            raise error
