"""Outgoing HTTP for worker threads: blocking, with kept connections, and nothing done behind the caller's back.

No redirects, no proxies from the environment, no cookies, no decompression: the caller decides. Blocking on purpose: a
layer is received, hashed and written by one thread in pieces of 1 MiB, with the interpreter lock released in each
step; an event loop between socket and disk would copy every piece twice and wake for every 64 KiB.
"""

from __future__ import annotations

import http.client
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType

from sampan import errors

TIMEOUT_S = 30.0  # for connecting, and for each wait for bytes
SEND_BYTES = 1 << 20
IDLE_CONNECTIONS = 8  # kept for each origin

_Body = bytes | Iterator[bytes] | None


class Unreachable(errors.Unavailable):
    """The other side does not answer, or stopped in the middle. `reason` is the system's error."""

    def __init__(self, what: str, reason: Exception, *, why: str = "", remedy: str = "") -> None:
        super().__init__(what, why=why, remedy=remedy)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: what credentials and connections belong to."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """Raises `Invalid` for anything but an http(s) URL with a host and without a user name in it."""
        try:
            parts = urllib.parse.urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise errors.Invalid(f"invalid URL {url[:200]!r}", why=str(error)) from error
        if parts.scheme not in ("http", "https") or not host or parts.username is not None:
            raise errors.Invalid(f"invalid URL {url[:200]!r}", why="only http and https with a plain host")
        return cls(parts.scheme, host, port or (443 if parts.scheme == "https" else 80))


class Response:
    """A started answer. Use as a context manager; the connection is kept only if the body was read to its end."""

    def __init__(self, url: str, answer: http.client.HTTPResponse, done: Callable[[bool], None]) -> None:
        self.url = url
        self.status = answer.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in answer.getheaders()}
        self._answer = answer
        self._done = done

    def read(self, size_bytes: int) -> bytes:
        """Up to `size_bytes`, fewer only at the end or where the connection broke: compare with the announced length.

        Raises `Unreachable` if nothing at all can be read.
        """
        try:
            return self._answer.read(size_bytes)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f'Get "{self.url}": the connection broke', error, why=str(error)) from error

    def read_all(self, limit_bytes: int) -> bytes:
        """The whole body. Raises `Invalid` if it is longer than the limit, `Unreachable` if it is cut short."""
        content = self.read(limit_bytes + 1)
        if len(content) <= limit_bytes and self._answer.length:
            raise Unreachable(f'Get "{self.url}": the connection broke', EOFError(), why=f"after {len(content)} bytes")
        if len(content) > limit_bytes:
            raise errors.Invalid(f"{self.url} sent more than {limit_bytes} bytes")
        return content

    def __enter__(self) -> Response:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        reusable = error is None and self._answer.isclosed() and not self._answer.will_close
        self._answer.close()
        self._done(reusable)


class Http:
    """Connections to any number of origins. Thread-safe; each request has a connection of its own."""

    def __init__(self, contexts: Callable[[Origin], ssl.SSLContext], *, timeout_s: float = TIMEOUT_S) -> None:
        self._contexts = contexts
        self._timeout_s = timeout_s
        self._idle: dict[Origin, list[http.client.HTTPConnection]] = {}
        self._lock = threading.Lock()

    def request(self, method: str, url: str, headers: Mapping[str, str], body: _Body = None) -> Response:
        """Send and wait for the head of the answer. An iterator as body needs `Content-Length` in the headers.

        Raises `Unreachable`.
        """
        origin = Origin.of(url)
        connection = self._take(origin)
        if connection is not None and not isinstance(body, Iterator):
            try:
                return self._send(connection, origin, method, url, headers, body)
            except Unreachable:
                pass  # the kept connection was closed by the other side meanwhile: once more on a new one
        elif connection is not None:
            connection.close()  # a streamed body cannot be sent twice
        return self._send(self._connect(origin), origin, method, url, headers, body)

    def close(self) -> None:
        """Close the kept connections."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def _connect(self, origin: Origin) -> http.client.HTTPConnection:
        if origin.scheme == "https":
            return http.client.HTTPSConnection(
                origin.host, origin.port, timeout=self._timeout_s, context=self._contexts(origin), blocksize=SEND_BYTES
            )
        return http.client.HTTPConnection(origin.host, origin.port, timeout=self._timeout_s, blocksize=SEND_BYTES)

    def _send(
        self,
        connection: http.client.HTTPConnection,
        origin: Origin,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: _Body,
    ) -> Response:
        parts = urllib.parse.urlsplit(url)
        target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        try:
            connection.request(method, target, body=body, headers=dict(headers))
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _unreachable(method, url, origin, error) from error
        except BaseException:
            connection.close()
            raise
        return Response(url, answer, lambda reusable: self._give_back(origin, connection, reusable=reusable))

    def _take(self, origin: Origin) -> http.client.HTTPConnection | None:
        with self._lock:
            idle = self._idle.get(origin)
            return idle.pop() if idle else None

    def _give_back(self, origin: Origin, connection: http.client.HTTPConnection, *, reusable: bool) -> None:
        with self._lock:
            idle = self._idle.setdefault(origin, [])
            if reusable and len(idle) < IDLE_CONNECTIONS:
                idle.append(connection)
                return
        connection.close()


def _unreachable(method: str, url: str, origin: Origin, error: Exception) -> Unreachable:
    verb = method.capitalize()
    if isinstance(error, ConnectionRefusedError):
        return Unreachable(f'{verb} "{url}": dial tcp {origin.host}:{origin.port}: connect: connection refused', error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return Unreachable(
            f'{verb} "{url}": tls: failed to verify certificate: {error.verify_message}',
            error,
            remedy=f"put the authority's certificate in /etc/docker/certs.d/{origin.host}:{origin.port}/ca.crt",
        )
    if isinstance(error, TimeoutError):
        return Unreachable(f'{verb} "{url}": net/http: request canceled while waiting for connection', error)
    return Unreachable(f'{verb} "{url}": {error or type(error).__name__}', error)
