"""The daemon's side of the guard: hears of readers that wait, and answers them.

A thread and a connection of its own to the keeper, because the event loop may itself be waiting for a file of a
container. The group outlives the daemon in the keeper, and the keeper in the daemon: only when both die at once are
files unguarded (see docs/lazy.md). The kernel knows answers by numbers that were the dead keeper's, so with a new
keeper comes a new group; the old one is kept open without marks, so that who waits there never reads a hole.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan import errors
from sampan.keeper import protocol
from sampan.kernel import fanotify, libc

log = logging.getLogger(__name__)


class GuardFailed(errors.Unavailable):
    """The keeper does not take part."""


@dataclass(frozen=True, slots=True)
class Access:
    """Somebody waits for these bytes of the file that `descriptor` is open on, for reading and writing."""

    number: int
    descriptor: int
    first: int
    count: int


class Guard:
    """`on_access` is called in the guard's thread and must not block; the descriptor is closed when it returns."""

    def __init__(self, on_access: Callable[[Access], None]) -> None:
        self._on_access = on_access
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self._group = -1
        self._stale: list[int] = []
        self._requests = 0
        self._closing = False

    @property
    def ready(self) -> bool:
        """Whether files can be guarded."""
        return self._group >= 0 and self._connection is not None

    def attach(self, path: Path) -> bool:
        """Take up the group that the keeper at `path` holds, or give it a new one. True if it had one.

        Raises `GuardFailed`, `KernelError`.
        """
        connection = _connect(path)
        try:
            group = _ask(connection, [])
            held = group >= 0
            if not held:
                group = fanotify.new_group()
                os.close(_ask(connection, [group]))
        except BaseException:
            connection.close()
            raise
        self._take_up(connection, path, group, held=held)
        return held

    def _take_up(self, connection: socket.socket, path: Path, group: int, *, held: bool) -> None:
        with self._lock:
            if self._group >= 0:
                if held:
                    os.close(self._group)
                else:
                    self._stale.append(self._group)
            self._group, self._connection = group, connection
        threading.Thread(target=self._listen, args=(connection, path), name="lazy-guard", daemon=True).start()

    def _reconnect(self, path: Path) -> None:
        """The keeper dropped a connection that did not read. Raises `GuardFailed`: it is gone, `attach` will come."""
        connection = _connect(path)
        try:
            group = _ask(connection, [])
            if group < 0:
                raise GuardFailed("the keeper guards nothing")
        except BaseException:
            connection.close()
            raise
        self._take_up(connection, path, group, held=True)

    def add(self, file: Path) -> None:
        """Guard a file, before anybody who shall wait opens it. Raises `GuardFailed`, `KernelError`."""
        if not self.ready:
            raise GuardFailed("layers that have not arrived cannot be used now", why="the keeper is away")
        fanotify.guard(self._group, file)

    def remove(self, file: Path) -> None:
        """The file is whole, or goes."""
        try:
            fanotify.release(self._group, file)
        except libc.KernelError as error:
            log.debug("%s was not guarded: %s", file, error)

    def answer(self, access: Access, error: int) -> None:
        """Let a reader go on (0) or fail with an errno."""
        message = {"do": "answer", "number": access.number, "errno": error}
        with self._lock, contextlib.suppress(OSError):  # a keeper that is gone has taken its readers along
            if self._connection is not None:
                self._requests += 1
                self._connection.send(protocol.encode({"id": self._requests, **message}))

    def retire_stale(self) -> None:
        """Every pending file has been added to the new group: new readers need not wait at groups of dead keepers."""
        with self._lock:
            for group in self._stale:
                fanotify.release_all(group)

    def let_go_of_stale(self) -> None:
        """Every layer is whole: groups of dead keepers may let their readers through."""
        with self._lock:
            stale, self._stale = self._stale, []
        for group in stale:
            os.close(group)

    def close(self) -> None:
        """End the connection; the keeper goes on guarding."""
        with self._lock:
            self._closing = True
            if self._connection is not None:
                self._connection.shutdown(socket.SHUT_RDWR)

    def _listen(self, connection: socket.socket, path: Path) -> None:
        with connection:
            while True:
                try:
                    packet, descriptors, _, _ = socket.recv_fds(
                        connection, protocol.MAX_PACKET_BYTES, 1, socket.MSG_CMSG_CLOEXEC
                    )
                except OSError:
                    packet, descriptors = b"", []
                if not packet:
                    break
                try:
                    self._take(json.loads(packet), descriptors)
                except Exception:
                    log.exception("a reader cannot be served")  # one reader's trouble must not become everyone's
                finally:
                    for descriptor in descriptors:
                        os.close(descriptor)
        with self._lock:
            if self._connection is not connection:
                return
            self._connection = None
            if self._closing:
                return
        try:
            self._reconnect(path)
        except GuardFailed as error:
            log.info("%s", error)

    def _take(self, message: dict[str, object], descriptors: list[int]) -> None:
        if message.get("event") != "access":
            if "error" in message:
                log.warning("the keeper refused an answer: %s", message["error"])
            return
        number, first, count = message["number"], message["first"], message["count"]
        assert isinstance(number, int)
        assert isinstance(first, int)
        assert isinstance(count, int)
        if descriptors:
            self._on_access(Access(number, descriptors[0], first, count))


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(str(path))
    except OSError as error:
        connection.close()
        raise GuardFailed("the keeper does not answer", why=str(error)) from error
    return connection


def _ask(connection: socket.socket, group: list[int]) -> int:
    """A descriptor of the group that the keeper holds, -1 if it holds none. Given one, it holds that from now on."""
    socket.send_fds(connection, [protocol.encode({"id": 0, "do": "guard"})], group)
    while True:
        packet, descriptors, _, _ = socket.recv_fds(connection, protocol.MAX_PACKET_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
        message: dict[str, Any] = {"id": 0, "error": {"what": "it closed the connection"}}
        if packet:
            message = json.loads(packet)
        if message.get("id") != 0:  # an exit of some container, or a reader that will be told of again
            for descriptor in descriptors:
                os.close(descriptor)
            continue
        if "error" in message:
            raise GuardFailed("the keeper cannot guard files", why=str(message["error"]["what"]))
        if message["ok"]["held"] != bool(descriptors):
            raise GuardFailed("the guard's descriptor was lost on its way", remedy="raise the limit of open files")
        return descriptors[0] if descriptors else -1
