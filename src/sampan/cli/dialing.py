"""`system dial-stdio`: standard input and output become a connection to the daemon, for `ssh://` addresses.

Source: what `docker -H ssh://…` starts on the other machine, and waits for: bytes both ways, each direction closed by
itself.
"""

from __future__ import annotations

import os
import threading

from sampan.cli.common import daemon
from sampan.cli.line import declare

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

CHUNK_BYTES = 1 << 16


@declare.command()
def dial_stdio() -> int:
    """Connect standard input and output to the daemon."""
    connected = daemon().dial()
    threading.Thread(target=_send, args=(connected,), daemon=True).start()
    with connected:
        while data := connected.recv(CHUNK_BYTES):
            view = memoryview(data)
            while view:
                view = view[os.write(1, view) :]
    return 0


def _send(connected: socket.socket) -> None:
    """Our input; its end closes our half."""
    import socket

    try:
        while data := os.read(0, CHUNK_BYTES):
            connected.sendall(data)
        connected.shutdown(socket.SHUT_WR)
    except OSError:
        return  # the daemon has ended the conversation; its answer says why
