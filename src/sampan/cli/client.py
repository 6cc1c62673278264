"""Talks to the daemon: JSON, lines of JSON, raw bodies, and connections that become streams. Standard library only."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlencode

from sampan.cli import failures

API = "/v1.47"
SOCKETS = ("/run/sampan/sampan.sock", "/var/run/docker.sock")
CHUNK_BYTES = 1 << 16

Query = Mapping[str, str | int | bool | list[str] | None]


def choose_address(given: str | None, environment: Mapping[str, str]) -> str:
    """`-H`, SAMPAN_HOST, DOCKER_HOST, or the first socket that exists."""
    for value in (given, environment.get("SAMPAN_HOST"), environment.get("DOCKER_HOST")):
        if value:
            return value
    return f"unix://{next((path for path in SOCKETS if Path(path).exists()), SOCKETS[0])}"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("docker")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


class Stream:
    """A connection after its upgrade. `early` are bytes that came with the head."""

    def __init__(self, connected: socket.socket, early: bytes, content_type: str) -> None:
        self.socket = connected
        self.multiplexed = "multiplexed" in content_type
        self._early = early

    def receive(self) -> bytes:
        """b"" at the end."""
        if self._early:
            early, self._early = self._early, b""
            return early
        try:
            return self.socket.recv(CHUNK_BYTES)
        except ConnectionResetError:
            return b""

    def close(self) -> None:
        """End both directions."""
        self.socket.close()


class Client:
    """One daemon. Every call is a connection of its own: commands make few, and streams stay open beside them."""

    def __init__(self, address: str) -> None:
        self.address = address
        scheme, separator, rest = address.partition("://")
        if not separator:
            scheme, rest = ("unix", address) if address.startswith("/") else ("tcp", address)
        if scheme not in ("unix", "tcp", "http"):
            raise failures.BadUsage(f"unable to parse docker host {address!r}: use unix:// or tcp://")
        self._scheme, self._rest = scheme, rest

    # --- calls ---------------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, *, query: Query | None = None, body: Any = None) -> Any:
        """JSON in, JSON out; None for an empty answer. Raises: DaemonError, NoDaemon."""
        with self.open(method, path, query=query, body=body) as response:
            content = response.read()
        return json.loads(content) if content.strip() else None

    def get(self, path: str, query: Query | None = None) -> Any:
        """GET."""
        return self.call("GET", path, query=query)

    def post(self, path: str, query: Query | None = None, body: Any = None) -> Any:
        """POST."""
        return self.call("POST", path, query=query, body=body)

    def delete(self, path: str, query: Query | None = None) -> Any:
        """DELETE."""
        return self.call("DELETE", path, query=query)

    def lines(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        upload: IO[bytes] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """JSON documents, a line each, as they come."""
        with self.open(method, path, query=query, headers=headers, upload=upload) as response:
            for line in response:
                if line.strip():
                    yield json.loads(line)

    def open(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        upload: IO[bytes] | None = None,
    ) -> http.client.HTTPResponse:
        """The answer with its head read. Raises: DaemonError, NoDaemon."""
        connection = self._connection()
        sent = dict(headers or {})
        content: bytes | IO[bytes] | None = upload
        if upload is not None:
            sent |= {"Content-Type": "application/x-tar", "Transfer-Encoding": "chunked"}
        elif body is not None:
            content = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        elif method == "POST":
            content = b""
        try:
            connection.request(method, target(path, query), content, sent, encode_chunked=upload is not None)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._unreachable(error) from error
        if response.status >= 400:
            content = response.read()
            connection.close()
            raise failures.DaemonError(response.status, message(content, response.reason))
        return response

    def upgrade(self, path: str, *, query: Query | None = None, body: Any = None) -> Stream:
        """A POST after which the connection is a stream. Raises: DaemonError, NoDaemon."""
        connection = self._connection()
        try:
            connection.connect()
        except OSError as error:
            raise self._unreachable(error) from error
        connected: socket.socket = connection.sock
        content = b"" if body is None else json.dumps(body).encode()
        head = (
            f"POST {target(path, query)} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        connected.sendall(head.encode() + content)
        return _upgraded(connected)

    # --- inside --------------------------------------------------------------------------------------------------

    def _connection(self) -> http.client.HTTPConnection:
        if self._scheme == "unix":
            return _UnixConnection(self._rest)
        host, _, port = self._rest.rstrip("/").rpartition(":")
        return http.client.HTTPConnection(host.strip("[]") or self._rest, int(port) if port.isdecimal() else 2375)

    def _unreachable(self, error: Exception) -> failures.NoDaemon:
        text = f"Cannot connect to the Sampan daemon at {self.address}. Is the daemon running?"
        if isinstance(error, PermissionError):
            text = f"permission denied while trying to connect to the daemon socket at {self.address}"
        return failures.NoDaemon(f"{text} ({error})")


def _upgraded(connected: socket.socket) -> Stream:
    buffer = b""
    while (end := buffer.find(b"\r\n\r\n")) < 0:
        data = connected.recv(CHUNK_BYTES)
        if not data:
            connected.close()
            raise failures.NoDaemon("the daemon closed the connection")
        buffer += data
    first, _, rest = buffer[:end].decode("latin-1").partition("\r\n")
    fields = dict(line.lower().split(":", 1) for line in rest.split("\r\n") if ":" in line)
    status = int(first.split(" ", 2)[1])
    body = buffer[end + 4 :]
    if status in (101, 200):
        return Stream(connected, body, fields.get("content-type", ""))
    length = int(fields.get("content-length", "0"))
    while len(body) < length and (data := connected.recv(CHUNK_BYTES)):
        body += data
    connected.close()
    raise failures.DaemonError(status, message(body, first))


def target(path: str, query: Query | None) -> str:
    """The request target: API version, path with its names quoted, query without what is None, False or empty."""
    pairs: list[tuple[str, str]] = []
    for key, value in (query or {}).items():
        if isinstance(value, list):
            pairs += [(key, item) for item in value]
        elif value is True:
            pairs.append((key, "1"))
        elif value is not None and value is not False and value != "":
            pairs.append((key, str(value)))
    return API + quote(path, safe="/:@") + (f"?{urlencode(pairs)}" if pairs else "")


def message(content: bytes, fallback: str) -> str:
    """The text of a failure's body."""
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace").strip() or fallback


def from_environment(given: str | None) -> Client:
    """The client for this run of the program."""
    return Client(choose_address(given, os.environ))
