"""A TLS connection as a plain socket whose two directions end apart.

`ssl.SSLSocket.shutdown` throws the session away, so a command that has no more input could not read the rest of its
output. Here the end of our side becomes `close_notify` and the daemon's `close_notify` the end of its side.
Source: RFC 8446 section 6.1, SSL_shutdown(3).
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PIECE_BYTES = 1 << 16


def join(context: ssl.SSLContext, connected: socket.socket, name: str) -> socket.socket:
    """Shake hands, and give a socket for the plaintext. Raises: ssl.SSLError, OSError."""
    session = _Session(context, connected, name)
    try:
        session.shake_hands()
    except OSError:  # ssl.SSLError is one
        connected.close()
        raise
    ours, theirs = socket.socketpair()
    for half in (session.send, session.receive):
        # Daemon threads: the program ends when its command has, and both have nothing to do that it does not wait for.
        threading.Thread(target=session.work, args=(half, theirs), daemon=True).start()
    return ours


class _Session:
    """Two threads share it. What is read from the daemon never waits for what is being sent."""

    def __init__(self, context: ssl.SSLContext, connected: socket.socket, name: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._socket = connected
        self._halves = 2
        self._ended = False  # the daemon has said everything
        self._reading = threading.Lock()  # what is opened is passed on before anything else is
        self._lock = threading.Lock()  # OpenSSL's object is for one thread at a time

    def shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._socket.sendall(self._outgoing.read())
                data = self._socket.recv(PIECE_BYTES)
                if not data:
                    raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the daemon closed the connection") from None
                self._incoming.write(data)
            else:
                self._socket.sendall(self._outgoing.read())
                return

    def work(self, half: Callable[[socket.socket], None], plain: socket.socket) -> None:
        """One half; the last one to end closes both sockets."""
        try:
            half(plain)
        finally:
            with self._lock:
                self._halves -= 1
                is_last = not self._halves
            if is_last:
                plain.close()
                self._socket.close()

    def send(self, plain: socket.socket) -> None:
        """From the program to the daemon, until the program ends its side."""
        try:
            while data := plain.recv(PIECE_BYTES):
                rest = memoryview(data)
                while rest:  # a record at a time
                    with self._lock:
                        rest = rest[self._tls.write(rest) :]
                        sealed = self._outgoing.read()
                    self._socket.sendall(sealed)
            self._say_end(plain)
        except OSError:
            _end(plain)  # the daemon is gone: the program sees the end

    def _say_end(self, plain: socket.socket) -> None:
        """`close_notify`. OpenSSL throws away a record that it finds then, so everything that came is taken first."""
        with self._reading:
            self._pass_on(plain)
            with self._lock:
                try:
                    self._tls.unwrap()
                except ssl.SSLError:
                    pass  # it is written; the daemon's answer comes when it has said everything
                sealed = self._outgoing.read()
        self._socket.sendall(sealed)

    def receive(self, plain: socket.socket) -> None:
        """From the daemon to the program, until either ends."""
        try:
            while not self._ended:
                data = self._socket.recv(PIECE_BYTES)
                with self._reading:
                    with self._lock:
                        if data:
                            self._incoming.write(data)
                        else:
                            self._incoming.write_eof()
                    self._pass_on(plain)
        except ssl.SSLError as error:  # an alert: with TLS 1.3 a refused certificate is told after the handshake
            sys.stderr.write(f"error during connect: TLS: {error}\n")
        except OSError:
            pass  # one of both is gone: the other learns it below
        _end(plain)

    def _pass_on(self, plain: socket.socket) -> None:
        """Everything that can be opened, in its order: the caller holds `_reading`."""
        while not self._ended:
            with self._lock:
                try:
                    data = self._tls.read(PIECE_BYTES)
                except ssl.SSLWantReadError:
                    return
                except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                    data = b""
            self._ended = not data
            plain.sendall(data)


def _end(plain: socket.socket) -> None:
    try:
        plain.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the program has closed its end
