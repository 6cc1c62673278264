"""TLS in front of a protocol that takes connections over: the client's end of stream stays a half-close.

asyncio's own TLS drops what is still to be sent once the client ends its side, which is what `docker exec -i` does.
Here an `ssl.SSLObject` over two memory buffers stands between the socket and the protocol: `close_notify` from the
client becomes `eof_received`, our `write_eof` becomes `close_notify`, and both directions end apart.

Relied upon: OpenSSL writes after a received `close_notify`, and reads after a sent one. Source: SSL_shutdown(3),
RFC 8446 section 6.1.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from sampan import errors

log = logging.getLogger(__name__)

HANDSHAKE_LIMIT_S: Final = 20.0
PIECE_BYTES: Final = 256 << 10
_PLAIN: Final = (b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"PRI ")
_HINT: Final = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"

Factory = Callable[[], asyncio.Protocol]


class CertificateInvalid(errors.Invalid):
    """A certificate, key or authority that cannot be used."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where the daemon's certificate is. `authority`: who must have signed the clients'; "" asks for none."""

    certificate: str
    key: str
    authority: str = ""


def context(files: Files) -> ssl.SSLContext:
    """What listeners need. Raises `CertificateInvalid`, naming the option and the file."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        made.load_cert_chain(files.certificate, files.key)
    except (OSError, ssl.SSLError) as error:
        raise CertificateInvalid(
            f"cannot load the certificate {files.certificate} with the key {files.key}",
            why=str(error),
            remedy="name both by --tlscert and --tlskey",
        ) from error
    if files.authority:
        try:
            made.load_verify_locations(files.authority)
        except (OSError, ssl.SSLError) as error:
            raise CertificateInvalid(
                f"cannot load the authority {files.authority}", why=str(error), remedy="name it by --tlscacert"
            ) from error
        made.verify_mode = ssl.CERT_REQUIRED
    return made


def front(made: ssl.SSLContext, factory: Factory) -> Factory:
    """A protocol factory for `loop.create_server` that puts TLS before what `factory` makes."""

    def make() -> Front:
        return Front(made, factory)

    return make


class Front(asyncio.Protocol):
    """One connection: ciphertext on the socket's side, plaintext on the inner protocol's."""

    def __init__(self, made: ssl.SSLContext, factory: Factory) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = made.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._context = made
        self._factory = factory
        self._raw: asyncio.Transport | None = None
        self._inner: Inner | None = None
        self._limit: asyncio.TimerHandle | None = None
        self._first = b""  # the beginning of what came before the handshake

    # --- called by the socket's transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client is there; it speaks first."""
        assert isinstance(transport, asyncio.Transport)
        self._raw = transport
        self._limit = asyncio.get_running_loop().call_later(HANDSHAKE_LIMIT_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Ciphertext."""
        self._incoming.write(data)
        if self._inner is None:
            self._first = (self._first + data)[:4]
            self._shake_hands()
        if self._inner is not None:
            self._inner.pump()

    def eof_received(self) -> bool:
        """The client's socket is at its end, with or without `close_notify` before."""
        if self._inner is None:
            return False
        self._incoming.write_eof()
        return self._inner.end_of_input()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._cancel_limit()
        if self._inner is not None:
            self._inner.lost(exc)

    def pause_writing(self) -> None:
        """The socket is slow."""
        if self._inner is not None:
            self._inner.protocol.pause_writing()

    def resume_writing(self) -> None:
        """The socket has caught up."""
        if self._inner is not None:
            self._inner.protocol.resume_writing()

    # --- the handshake

    def _shake_hands(self) -> None:
        raw = self._raw
        assert raw is not None, "a connection was made"
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            raw.write(self._outgoing.read())
            return
        except (ssl.SSLError, OSError) as error:
            alert = self._outgoing.read()
            raw.write(_HINT if self._first.startswith(_PLAIN) else alert)
            log.warning("TLS handshake with %s failed: %s", raw.get_extra_info("peername"), error)
            raw.close()
            return
        raw.write(self._outgoing.read())
        self._cancel_limit()
        self._inner = Inner(raw, self._object, self._incoming, self._outgoing, self._context, self._factory())
        self._inner.protocol.connection_made(self._inner)

    def _cancel_limit(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None


class Inner(asyncio.Transport):
    """The transport that the inner protocol sees: plaintext in, plaintext out."""

    def __init__(
        self,
        raw: asyncio.Transport,
        tls: ssl.SSLObject,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        made: ssl.SSLContext,
        protocol: asyncio.Protocol,
    ) -> None:
        super().__init__({"sslcontext": made, "ssl_object": tls})
        self.protocol = protocol
        self._raw = raw
        self._tls = tls
        self._incoming = incoming
        self._outgoing = outgoing
        self._paused = False
        self._input_ended = False
        self._ended = False  # we sent close_notify
        self._is_lost = False

    # --- from the client

    def pump(self) -> None:
        """Hand over what can be decrypted, until there is no more or the protocol wants a pause."""
        while not self._paused and not self._is_lost and not self._input_ended:
            try:
                data = self._tls.read(PIECE_BYTES)
            except ssl.SSLWantReadError:
                break
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                data = b""
            except (ssl.SSLError, OSError) as error:
                log.warning("TLS from %s failed: %s", self._raw.get_extra_info("peername"), error)
                self.abort()
                return
            if not data:
                self._end_input()
                break
            self.protocol.data_received(data)
        self._flush()  # a key update is answered

    def end_of_input(self) -> bool:
        """The socket ended: what is left is decrypted first. Whether to keep the connection for writing."""
        if self._paused:
            return True  # the rest follows when the protocol reads on
        self.pump()
        return not self._raw.is_closing()

    def _end_input(self) -> None:
        self._input_ended = True
        if not self.protocol.eof_received():
            self.close()

    def lost(self, exc: Exception | None) -> None:
        """The socket is gone; plaintext that waited goes with it."""
        self._is_lost = True
        self.protocol.connection_lost(exc)

    def pause_reading(self) -> None:
        """Keep what the client sends in the kernel."""
        if not self._paused:
            self._paused = True
            if not self._raw.is_closing():
                self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Go on, first with what is here already."""
        if self._paused:
            self._paused = False
            if not self._raw.is_closing():
                self._raw.resume_reading()
            asyncio.get_running_loop().call_soon(self.pump)

    def is_reading(self) -> bool:
        """Whether the protocol takes data."""
        return not self._paused and not self._input_ended

    # --- to the client

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Encrypt and send."""
        if self._is_lost or self._ended or not data:
            return
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._tls.write(rest) :]
                self._flush()
        except (ssl.SSLError, OSError) as error:
            log.warning("TLS to %s failed: %s", self._raw.get_extra_info("peername"), error)
            self.abort()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        """Encrypt and send all."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """`close_notify` ends our side alone."""
        return True

    def write_eof(self) -> None:
        """Send `close_notify`; the client may go on."""
        if self._ended or self._is_lost:
            return
        if not self._paused:
            self.pump()  # OpenSSL throws away a record that it finds while it says the end
        self._ended = True
        try:
            self._tls.unwrap()
        except ssl.SSLError as error:  # it was sent; that the client has not answered yet is the point
            log.debug("close_notify: %s", error)
        self._flush()

    def close(self) -> None:
        """Close once everything has left."""
        self.write_eof()
        self._raw.close()

    def abort(self) -> None:
        """Close at once."""
        self._raw.abort()

    def _flush(self) -> None:
        if self._outgoing.pending and not self._raw.is_closing():
            self._raw.write(self._outgoing.read())

    # --- what transports tell

    def is_closing(self) -> bool:
        """Whether the socket is being closed."""
        return self._raw.is_closing()

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who takes the plaintext."""
        return self.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Another one takes over."""
        assert isinstance(protocol, asyncio.Protocol)
        self.protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Ours, else the socket's."""
        own = super().get_extra_info(name)
        return own if own is not None else self._raw.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Bytes of ciphertext that wait."""
        return self._raw.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """As the socket's transport has them."""
        return self._raw.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Pass on."""
        self._raw.set_write_buffer_limits(high, low)
