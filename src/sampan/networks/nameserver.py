"""The name server: answers containers on sockets inside their namespaces, asks the host's resolvers from the host.

One per daemon; every container has two sockets in it. What it knows comes from `answers`; this file moves messages.
Questions over UDP are passed on over UDP and a truncated answer is handed back as it is: the client asks again over
TCP, which is passed on over TCP.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import struct
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from sampan.networks.directory import Lookup, Reverse
from sampan.networks.host import NameSockets

log = logging.getLogger(__name__)

ASK_S: Final = 2.0  # seconds for one resolver; a client waits five for its answer (resolv.conf(5))
IDLE_S: Final = 10.0  # seconds that a TCP connection may be silent
QUESTIONS: Final = 256  # of one container under way at a time; more are dropped, as a full queue would
PORT: Final = 53
_READS: Final = 32  # datagrams taken at a time from one container before others have their turn
_LARGEST: Final = 65535


@dataclass(frozen=True)
class Knowledge:
    """What one container may know. `upstreams` is empty for one that is only on internal networks."""

    lookup: Lookup
    reverse: Reverse
    upstreams: Callable[[], tuple[str, ...]]


@dataclass
class _Door:
    sockets: NameSockets
    knowledge: Knowledge
    server: asyncio.Server | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    turn: int = 0


class NameServer:
    """Opens and closes the doors of containers. Call it from the event loop."""

    def __init__(self, *, upstream_port: int = PORT) -> None:
        self._doors: dict[str, _Door] = {}
        self._upstream_port = upstream_port

    def is_open(self, container_id: str) -> bool:
        return container_id in self._doors

    async def open(self, container_id: str, sockets: NameSockets, knowledge: Knowledge) -> None:
        """Answer on `sockets`, which are the server's from here on."""
        self.close(container_id)
        door = self._doors[container_id] = _Door(sockets, knowledge)
        loop = asyncio.get_running_loop()
        loop.add_reader(sockets.udp, self._read_datagrams, door)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve_stream(door, reader, writer)

        door.server = await asyncio.start_server(serve, sock=sockets.tcp)

    def close(self, container_id: str) -> None:
        door = self._doors.pop(container_id, None)
        if door is None:
            return
        asyncio.get_running_loop().remove_reader(door.sockets.udp)
        if door.server is not None:
            door.server.close()
        for task in door.tasks:
            task.cancel()
        door.sockets.close()

    def close_all(self) -> None:
        for container_id in tuple(self._doors):
            self.close(container_id)

    # --- datagrams

    def _read_datagrams(self, door: _Door) -> None:
        for _ in range(_READS):
            try:
                wire, client = door.sockets.udp.recvfrom(_LARGEST)
            except BlockingIOError:
                return
            except OSError as error:  # an ICMP error of an earlier answer surfaces here; the socket stays good
                log.debug("name server: %s", error)
                return
            query = _read(wire)
            if query is None:
                continue
            response = self._answer(door, query)
            if response is not None:
                _send(door, response, client)
            elif len(door.tasks) < QUESTIONS:
                self._start(door, self._pass_on_datagram(door, wire, client))

    def _start(self, door: _Door, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        door.tasks.add(task)
        task.add_done_callback(door.tasks.discard)

    async def _pass_on_datagram(self, door: _Door, wire: bytes, client: tuple[str, int]) -> None:
        for server in door.knowledge.upstreams():
            try:
                response = await asyncio.wait_for(self._ask_datagram(server, wire), ASK_S)
            except (OSError, TimeoutError) as error:
                log.debug("name server: %s did not answer: %r", server, error)
                continue
            _send(door, response, client)
            return
        _send(door, _failure(wire), client)

    async def _ask_datagram(self, server: str, wire: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        with socket.socket(_family(server), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as upstream:
            await loop.sock_connect(upstream, (server, self._upstream_port))
            await loop.sock_sendall(upstream, wire)
            while True:
                response = await loop.sock_recv(upstream, _LARGEST)
                if response[:2] == wire[:2]:  # the same question's number
                    return response

    # --- streams

    async def _serve_stream(self, door: _Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "asyncio runs a connection in a task"
        door.tasks.add(task)
        task.add_done_callback(door.tasks.discard)
        try:
            while True:
                wire = await asyncio.wait_for(_read_message(reader), IDLE_S)
                query = _read(wire)
                if query is None:
                    return
                response = self._answer(door, query) or await self._pass_on_stream(door, wire)
                writer.write(struct.pack("!H", len(response)) + response)
                await writer.drain()
        except (OSError, EOFError, TimeoutError) as error:  # the client went, or fell silent
            log.debug("name server: connection ended: %r", error)
        finally:
            writer.close()

    async def _pass_on_stream(self, door: _Door, wire: bytes) -> bytes:
        for server in door.knowledge.upstreams():
            try:
                return await asyncio.wait_for(self._ask_stream(server, wire), ASK_S)
            except (OSError, EOFError, TimeoutError) as error:
                log.debug("name server: %s did not answer: %r", server, error)
        return _failure(wire)

    async def _ask_stream(self, server: str, wire: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(server, self._upstream_port)
        try:
            writer.write(struct.pack("!H", len(wire)) + wire)
            await writer.drain()
            return await _read_message(reader)
        finally:
            writer.close()
            with contextlib.suppress(OSError):  # the peer may have reset what we no longer need
                await writer.wait_closed()

    def _answer(self, door: _Door, query: Any) -> bytes | None:
        from sampan.networks import answers  # as in `_read`

        door.turn += 1
        known = door.knowledge
        response = answers.answer(query, lookup=known.lookup, reverse=known.reverse, turn=door.turn)
        return response.to_wire() if response is not None else None


def _send(door: _Door, response: bytes, client: tuple[str, int]) -> None:
    try:
        door.sockets.udp.sendto(response, client)
    except OSError as error:  # a full buffer or a client that is gone: it will ask again
        log.debug("name server: answer to %s lost: %s", client, error)


def _read(wire: bytes) -> Any:
    from sampan.networks import answers  # the library behind it takes 2 MiB: many a host has no network with names

    return answers.read(wire)


def _failure(wire: bytes) -> bytes:
    from sampan.networks import answers

    query = answers.read(wire)
    assert query is not None, "only questions that were read are passed on"
    return bytes(answers.failure(query).to_wire())


async def _read_message(reader: asyncio.StreamReader) -> bytes:
    (length,) = struct.unpack("!H", await reader.readexactly(2))
    return await reader.readexactly(length)


def _family(server: str) -> socket.AddressFamily:
    is_six = ipaddress.ip_address(server.split("%", 1)[0]).version == 6
    return socket.AF_INET6 if is_six else socket.AF_INET
