"""Talks to the daemon: JSON, lines of JSON, raw bodies, and connections that become streams."""

from __future__ import annotations

import json

from sampan.cli import failures, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping
    from typing import IO, Any

    Query = Mapping[str, str | int | bool | list[str] | None]
    Connect = Callable[[], socket.socket]

API_VERSION = "1.47"
CHUNK_BYTES = wire.CHUNK_BYTES
_TOO_NEW = "Maximum supported API version is "


class Stream:
    """A connection after its upgrade."""

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
    """One daemon. Every call is a connection of its own: commands make few, and streams stay open beside them.

    `version` is the API's; unless it is `fixed`, a daemon that knows only older ones is spoken to in its newest.
    """

    def __init__(
        self,
        address: str,
        connect: Connect,
        *,
        headers: Mapping[str, str] | None = None,
        version: str = API_VERSION,
        fixed: bool = False,
    ) -> None:
        self.address, self._connect, self._headers = address, connect, dict(headers or {})
        self.version, self._is_settled = version, fixed

    # --- calls ---------------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, *, query: Query | None = None, body: Any = None) -> Any:
        """JSON in, JSON out; None for an empty answer. Raises: DaemonError, NoDaemon."""
        with self.open(method, path, query=query, body=body) as response:
            content = self._whole(response)
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
    ) -> wire.Response:
        """The answer with its head read. Raises: DaemonError, NoDaemon."""
        sent = self._headers | dict(headers or {})
        content: bytes | IO[bytes] | None = upload
        if upload is not None:
            self._settle()
            sent = {"Content-Type": "application/x-tar"} | sent
        elif body is not None:
            content = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        elif method == "POST":
            content = b""
        response = self._exchange(method, path, query, sent, content)
        if response.status < 400:
            return response
        text = self._failure(response)
        if upload is None and self._understands(response.status, text):
            return self.open(method, path, query=query, body=body, headers=headers)
        raise failures.DaemonError(response.status, text)

    def upgrade(self, path: str, *, query: Query | None = None, body: Any = None) -> Stream:
        """A POST after which the connection is a stream. Raises: DaemonError, NoDaemon."""
        content = b"" if body is None else json.dumps(body).encode()
        sent = self._headers | {"Connection": "Upgrade", "Upgrade": "tcp", "Content-Type": "application/json"}
        response = self._exchange("POST", path, query, sent, content)
        if response.status in (101, 200):
            return Stream(response.socket, response.early(), response.headers.get("content-type"))
        text = self._failure(response)
        if self._understands(response.status, text):
            return self.upgrade(path, query=query, body=body)
        raise failures.DaemonError(response.status, text)

    def dial(self) -> socket.socket:
        """A bare connection, for who speaks HTTP by itself. Raises: NoDaemon."""
        try:
            return self._connect()
        except OSError as error:
            raise self._unreachable(error) from error

    # --- inside --------------------------------------------------------------------------------------------------

    def _exchange(
        self,
        method: str,
        path: str,
        query: Query | None,
        headers: Mapping[str, str],
        content: bytes | IO[bytes] | None,
    ) -> wire.Response:
        connected = self.dial()
        try:
            wire.send(connected, method, target(path, query, self.version), headers, content)
            return wire.Response(connected, method=method)
        except (OSError, wire.Broken) as error:
            connected.close()
            raise self._unreachable(error) from error

    def _whole(self, response: wire.Response) -> bytes:
        try:
            return response.read()
        except (OSError, wire.Broken) as error:
            raise self._unreachable(error) from error

    def _failure(self, response: wire.Response) -> str:
        with response:
            return message(self._whole(response), response.reason)

    def _understands(self, status: int, text: str) -> bool:
        """Whether the daemon said that it knows only older versions, and which: then ask again in that one."""
        if self._is_settled or status != 400 or _TOO_NEW not in text:
            return False
        self.version, self._is_settled = text.partition(_TOO_NEW)[2].split()[0].strip(",."), True
        return True

    def _settle(self) -> None:
        """Before a body that can be sent only once."""
        if not self._is_settled:
            self.get("/version")
            self._is_settled = True

    def _unreachable(self, error: Exception) -> failures.NoDaemon:
        if isinstance(error, PermissionError):
            return failures.NoDaemon(f"permission denied while trying to connect to the daemon at {self.address}")
        text = f"Cannot connect to the Sampan daemon at {self.address}. Is the daemon running?"
        return failures.NoDaemon(f"{text} ({error})")


def target(path: str, query: Query | None, version: str = API_VERSION) -> str:
    """The request target: API version, path with its names quoted, query without what is None, False or empty."""
    pairs: list[tuple[str, str]] = []
    for key, value in (query or {}).items():
        if isinstance(value, list):
            pairs += [(key, item) for item in value]
        elif value is True:
            pairs.append((key, "1"))
        elif value is not None and value is not False and value != "":
            pairs.append((key, str(value)))
    written = "&".join(f"{wire.quote(key, b'')}={wire.quote(value, b'')}" for key, value in pairs)
    return f"/v{version}{wire.quote(path)}{'?' if written else ''}{written}"


def message(content: bytes, fallback: str) -> str:
    """The text of a failure's body."""
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace").strip() or fallback
