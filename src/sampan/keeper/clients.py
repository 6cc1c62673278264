"""The keeper's socket and the connections to it: packets in, packets and descriptors out, and no waiting for anybody.

A client that does not read is dropped once its queue is full: events are facts another `hello` can fetch again.
"""

from __future__ import annotations

import os
import socket
import stat
from collections import deque
from collections.abc import Callable

from sampan.keeper import loop, protocol

_MAX_QUEUED_PACKETS = 1024


class Client:
    """One connection."""

    def __init__(
        self,
        connection: socket.socket,
        *,
        events: loop.Loop,
        on_packet: Callable[[Client, bytes, list[int]], None],
        on_close: Callable[[Client], None],
    ) -> None:
        self._socket = connection
        self._loop = events
        self._on_packet = on_packet
        self._on_close = on_close
        self._queue: deque[tuple[bytes, list[int]]] = deque()
        self.open = True
        connection.setblocking(False)
        events.add(connection.fileno(), loop.READ, self._on_ready)

    def send(self, message: dict[str, object], descriptors: list[int] | None = None) -> None:
        """Send or queue one packet. The descriptors are the client's from now on, and closed here in any case."""
        self._queue.append((protocol.encode(message), descriptors or []))
        if not self.open:
            self._discard()
        elif len(self._queue) > _MAX_QUEUED_PACKETS:
            self.close()
        else:
            self._flush()

    def close(self) -> None:
        """Drop the connection and what was queued for it."""
        if not self.open:
            return
        self.open = False
        self._loop.remove(self._socket.fileno())
        self._socket.close()
        self._discard()
        self._on_close(self)

    def _discard(self) -> None:
        while self._queue:
            for descriptor in self._queue.popleft()[1]:
                os.close(descriptor)

    def _flush(self) -> None:
        while self._queue:
            packet, descriptors = self._queue[0]
            try:
                if descriptors:
                    socket.send_fds(self._socket, [packet], descriptors, socket.MSG_NOSIGNAL)
                else:
                    self._socket.send(packet, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                self._loop.change(self._socket.fileno(), loop.READ | loop.WRITE)
                return
            except OSError:
                self.close()  # the peer is gone, or the packet can never be sent: it must not wait for a reply
                return
            self._queue.popleft()
            for descriptor in descriptors:
                os.close(descriptor)
        self._loop.change(self._socket.fileno(), loop.READ)

    def _on_ready(self, events: int) -> None:
        if events & loop.WRITE:
            self._flush()
        if not self.open or not events & ~loop.WRITE:
            return
        try:
            # One byte more than allowed: a longer packet shows. Further descriptors are dropped by the kernel.
            packet, descriptors, _, _ = socket.recv_fds(
                self._socket, protocol.MAX_PACKET_BYTES + 1, 1, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            packet, descriptors = b"", []
        if packet:
            self._on_packet(self, packet, descriptors)
        else:
            self.close()


class Listener:
    """The socket at `path`, mode 0600."""

    def __init__(self, path: str) -> None:
        """Raises: OSError. The caller holds the lock, so a socket that lies there belongs to nobody."""
        self._path = path
        self._spare = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if stat.S_ISSOCK(os.stat(path).st_mode):
                os.unlink(path)
        except FileNotFoundError:
            pass  # the usual case
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        mask = os.umask(0o177)
        try:
            self._socket.bind(path)
        finally:
            os.umask(mask)
        self._socket.listen(64)

    def serve(self, events: loop.Loop, on_connection: Callable[[socket.socket], None]) -> None:
        """Accept from now on."""
        events.add(self._socket.fileno(), loop.READ, lambda _events: self._accept(on_connection))

    def close(self, events: loop.Loop) -> None:
        """Stop accepting and remove the socket."""
        events.remove(self._socket.fileno())
        self._socket.close()
        os.unlink(self._path)

    def _accept(self, on_connection: Callable[[socket.socket], None]) -> None:
        try:
            connection, _ = self._socket.accept()
        except BlockingIOError:
            return
        except OSError:
            self._refuse_one()
            return
        on_connection(connection)

    def _refuse_one(self) -> None:
        """Out of descriptors: use the spare one to turn the caller away, else the loop would spin on it."""
        os.close(self._spare)
        try:
            self._socket.accept()[0].close()
        except OSError:
            pass  # it went away by itself
        finally:
            self._spare = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)


# pathlib would cost the keeper 1 MiB.
# ruff: noqa: PTH108, PTH116
