"""HTTP/1.1 as the daemon speaks it, over a connected socket: one request, one answer. Standard library only.

The standard library's own client costs 20 ms of every start (email, ssl, calendar …); this is the part that is needed:
a head, a body by length, in chunks or until the end, and a request body that may be a stream.
Source: RFC 9112, sections 2 to 7.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping
    from types import TracebackType
    from typing import IO

CHUNK_BYTES = 1 << 16
LONGEST_HEAD_BYTES = 1 << 20
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~")


class Broken(Exception):
    """The answer is no HTTP, or ends in the middle."""


class Headers:
    """Fields by name in any case."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = dict(fields)

    def get(self, name: str, default: str = "") -> str:
        """The field's value."""
        return self._fields.get(name.lower(), default)


class Response:
    """An answer whose head was read. A context manager that closes the connection."""

    def __init__(self, connected: socket.socket, *, method: str) -> None:
        """Raises: Broken, OSError."""
        self.socket = connected
        self._buffer = b""
        self.status, self.reason, self.headers = self._head()
        while self.status == 100:
            self.status, self.reason, self.headers = self._head()
        self._chunked = "chunked" in self.headers.get("transfer-encoding").lower()
        length = self.headers.get("content-length")
        self._left: int | None = int(length) if length.isdecimal() and not self._chunked else None
        if method == "HEAD" or self.status in (204, 304):
            self._left, self._chunked = 0, False
        self._ended = False
        self._spare = b""  # of the body, read but not asked for

    def __enter__(self) -> Response:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        self.socket.close()

    def early(self) -> bytes:
        """For a connection that becomes a stream: what came with the head."""
        found, self._buffer = self._buffer, b""
        return found

    # --- the body

    def read(self, amount: int = -1) -> bytes:
        """So many bytes, or all; fewer only at the end. Raises: Broken, OSError."""
        parts, have = [self._spare], len(self._spare)
        self._spare = b""
        while amount < 0 or have < amount:
            piece = self._piece()
            if not piece:
                break
            parts.append(piece)
            have += len(piece)
        found = b"".join(parts)
        if 0 <= amount < len(found):
            found, self._spare = found[:amount], found[amount:]
        return found

    def read1(self, amount: int = -1) -> bytes:
        """What is there, at least a byte; b"" at the end."""
        found = self._spare or self._piece()
        self._spare = b""
        if 0 <= amount < len(found):
            found, self._spare = found[:amount], found[amount:]
        return found

    def __iter__(self) -> Iterator[bytes]:
        """Lines, with their ends."""
        rest = b""
        while piece := self.read1():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield line + b"\n"
        if rest:
            yield rest

    # --- inside

    def _receive(self, most: int = CHUNK_BYTES) -> bytes:
        if self._buffer:
            found, self._buffer = self._buffer[:most], self._buffer[most:]
            return found
        return self.socket.recv(most)

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            data = self.socket.recv(CHUNK_BYTES)
            if not data or len(self._buffer) > LONGEST_HEAD_BYTES:
                raise Broken("the daemon closed the connection")
            self._buffer += data
        line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
        return line.rstrip(b"\r")

    def _head(self) -> tuple[int, str, Headers]:
        version, _, rest = self._line().decode("latin-1").partition(" ")
        code, _, reason = rest.partition(" ")
        if not version.startswith("HTTP/1.") or not code.isdecimal():
            raise Broken("the answer is not HTTP")
        fields: dict[str, str] = {}
        while line := self._line():
            name, _, value = line.decode("latin-1").partition(":")
            fields[name.lower()] = value.strip()
        return int(code), reason, Headers(fields)

    def _piece(self) -> bytes:
        """The next bytes of the body; b"" at its end."""
        if self._ended:
            return b""
        if self._chunked and not self._left:
            self._left = int(self._line().partition(b";")[0], 16)
            if not self._left:
                while self._line():
                    pass
                self._ended = True
                return b""
        if self._left == 0:
            self._ended = True
            return b""
        data = self._receive(CHUNK_BYTES if self._left is None else min(self._left, CHUNK_BYTES))
        if not data:
            self._ended = True
            if self._left is not None:
                raise Broken("the daemon closed the connection in the middle of an answer")
        elif self._left is not None:
            self._left -= len(data)
            if self._chunked and not self._left:
                self._line()
        return data


def send(
    connected: socket.socket,
    method: str,
    target: str,
    headers: Mapping[str, str],
    content: bytes | IO[bytes] | None,
) -> None:
    """One request. A stream goes in chunks; that the other side stops reading it is no error: its answer tells why."""
    fields = {"Host": "docker"} | dict(headers)
    if isinstance(content, bytes):
        fields["Content-Length"] = str(len(content))
    elif content is not None:
        fields["Transfer-Encoding"] = "chunked"
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    head = "\r\n".join(lines).encode("latin-1")
    if content is None or isinstance(content, bytes):
        connected.sendall(head + (content or b""))
        return
    connected.sendall(head)
    try:
        while data := content.read(CHUNK_BYTES):
            connected.sendall(b"%x\r\n%b\r\n" % (len(data), data))
        connected.sendall(b"0\r\n\r\n")
    except (BrokenPipeError, ConnectionResetError):
        return


def quote(text: str, safe: bytes = b"/:@") -> str:
    """Percent-encoding. Pure."""
    return "".join(
        chr(byte) if byte in _PLAIN or byte in safe else f"%{byte:02X}"
        for byte in text.encode(errors="surrogateescape")
    )
