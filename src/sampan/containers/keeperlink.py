"""The connection to the keeper: requests out, replies and their descriptors in, events to whoever listens.

`keeping.Keeper` puts names and types on what goes through here. SOCK_SEQPACKET with descriptors is nothing asyncio's
streams know, so this stands on the loop's reader and writer callbacks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan import errors
from sampan.keeper import protocol

# What the keeper calls a kind of error is its class name.
_KINDS: dict[str, type[errors.SampanError]] = {kind.__name__: kind for kind in errors.KINDS}


class KeeperGone(errors.Unavailable):
    """The connection to the keeper has ended."""

    def again(self) -> KeeperGone:
        """The same news for another caller: an exception that is raised twice carries the first one's traceback."""
        return KeeperGone(self.what, why=self.why, remedy=self.remedy)


class RuntimeFailed(errors.Broken):
    """The OCI runtime failed; nothing was started. `message` is the runtime's own last error."""

    def __init__(self, what: str, *, why: str, exit_code: int, stderr: str, runtime_log: str) -> None:
        self.message = _runtime_message(runtime_log) or stderr.strip()
        super().__init__(what, why="; ".join(part for part in (why, self.message) if part))
        self.exit_code = exit_code
        self.stderr = stderr
        self.runtime_log = runtime_log


def connect(path: Path) -> socket.socket:
    """A connection to the keeper that listens at `path`. Raises: ConnectionRefusedError, FileNotFoundError, OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(str(path))
    except BaseException:
        connection.close()
        raise
    connection.setblocking(False)
    return connection


class Link:
    """One connection. `on_gone` is called when it ends by itself; then and after `close`, asking raises KeeperGone."""

    def __init__(
        self,
        connection: socket.socket,
        *,
        on_event: Callable[[dict[str, Any]], None],
        on_gone: Callable[[KeeperGone], None],
    ) -> None:
        self.on_gone = on_gone
        self._socket = connection
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._number = 0
        self._pending: dict[int, asyncio.Queue[Reply]] = {}
        self._outgoing: deque[bytes] = deque()
        self._gone: KeeperGone | None = None
        self._loop.add_reader(connection.fileno(), self._on_readable)

    def close(self) -> None:
        """End the connection."""
        self._end(KeeperGone("the connection to the keeper was closed"))

    async def ask(self, verb: str, **fields: object) -> Reply:
        """The one reply to a request. Raises: what the keeper answers, KeeperGone."""
        async with self.asking(verb, **fields) as replies:
            reply = await replies.get()
            reply.ok()
            return reply

    @contextlib.asynccontextmanager
    async def asking(self, verb: str, **fields: object) -> AsyncIterator[asyncio.Queue[Reply]]:
        """Send a request; its replies arrive in the queue. Descriptors nobody took are closed."""
        if self._gone is not None:
            raise self._gone.again()
        self._number += 1
        number = self._number
        replies: asyncio.Queue[Reply] = asyncio.Queue()
        self._pending[number] = replies
        try:
            self._send(protocol.encode({"id": number, "do": verb, **fields}))
            yield replies
        finally:
            self._pending.pop(number, None)
            while not replies.empty():
                replies.get_nowait().close()

    def _send(self, packet: bytes) -> None:
        if len(packet) > protocol.MAX_PACKET_BYTES:
            raise errors.Invalid(f"a request of {len(packet)} bytes is too long for the keeper")
        self._outgoing.append(packet)
        self._on_writable()

    def _on_writable(self) -> None:
        while self._outgoing and self._gone is None:
            try:
                self._socket.send(self._outgoing[0])
            except BlockingIOError:
                self._loop.add_writer(self._socket.fileno(), self._on_writable)
                return
            except OSError as error:
                self._end(KeeperGone("the keeper is gone", why=str(error)), tell=True)
                return
            self._outgoing.popleft()
        if self._gone is None:
            self._loop.remove_writer(self._socket.fileno())

    def _on_readable(self) -> None:
        try:
            packet, descriptors, _, _ = socket.recv_fds(
                self._socket, protocol.MAX_PACKET_BYTES, protocol.MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError as error:
            self._end(KeeperGone("the keeper is gone", why=str(error)), tell=True)
            return
        if not packet:
            self._end(KeeperGone("the keeper is gone", why="it closed the connection"), tell=True)
            return
        self._take(json.loads(packet), descriptors)

    def _take(self, message: dict[str, Any], descriptors: list[int]) -> None:
        if "event" in message:
            self._on_event(message)
            return
        reply = Reply(message, descriptors)
        replies = self._pending.get(message["id"])
        if replies is None:
            reply.close()  # who asked was cancelled
        else:
            replies.put_nowait(reply)

    def _end(self, gone: KeeperGone, *, tell: bool = False) -> None:
        """`tell` is for an end nobody here asked for."""
        if self._gone is not None:
            return
        self._gone = gone
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        for replies in self._pending.values():
            replies.put_nowait(Reply({}, [], gone))
        if tell:
            self.on_gone(gone)


@dataclass(frozen=True, slots=True)
class Reply:
    """One packet that answers a request, or the news that none will come."""

    message: dict[str, Any]
    descriptors: list[int]
    gone: KeeperGone | None = None

    def ok(self) -> dict[str, Any]:
        """The answer. Raises: the error it holds."""
        if self.gone is not None:
            raise self.gone.again()
        error = self.message.get("error")
        if error is None:
            ok: dict[str, Any] = self.message["ok"]
            return ok
        if "runtime_log" in error:
            raise RuntimeFailed(
                error["what"],
                why=error["why"],
                exit_code=error["exit_code"],
                stderr=error["stderr"],
                runtime_log=error["runtime_log"],
            )
        raise _KINDS.get(error["kind"], errors.Broken)(error["what"], why=error["why"])

    def close(self) -> None:
        """Close descriptors nobody will take."""
        for descriptor in self.descriptors:
            os.close(descriptor)


def _runtime_message(runtime_log: str) -> str:
    """The last error in a runtime's JSON log; "" when there is none."""
    for line in reversed(runtime_log.splitlines()):
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("level") in ("error", "fatal"):
                return str(entry.get("msg", "")).strip()
    return ""
