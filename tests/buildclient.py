"""BuildKit's client, as far as tests need one: a wire in memory, a session that serves files, secrets and an agent.

The sending side of fsutil is written here from the protocol's description, so that hostile clients can be made of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

from sampan.api.engine.buildkit import session_messages
from sampan.api.engine.buildkit.session_messages import Packet, PacketType, Stat
from sampan.api.engine.buildkit.sessions import Session
from sampan.api.engine.buildkit.walking import Walk
from sampan.api.grpc import h2
from sampan.api.grpc.client import Client
from sampan.api.grpc.server import Call, Method, Server

LIMIT_S = 30.0


class Wire:
    """One end of a connection in memory."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[bytes] = asyncio.Queue()
        self.peer: Wire | None = None
        self.closed = False
        self.written = 0

    async def read(self) -> bytes:
        data = await self.inbox.get()
        if not data:
            self.inbox.put_nowait(b"")
        return data

    async def write(self, data: bytes) -> None:
        assert self.peer is not None
        if self.closed or self.peer.closed:
            raise ConnectionResetError("closed")
        self.written += len(data)
        self.peer.inbox.put_nowait(data)

    def close(self) -> None:
        self.closed = True
        self.inbox.put_nowait(b"")
        if self.peer is not None:
            self.peer.inbox.put_nowait(b"")

    abort = close


def wires() -> tuple[Wire, Wire]:
    one, other = Wire(), Wire()
    one.peer, other.peer = other, one
    return one, other


@contextlib.asynccontextmanager
async def session(methods: Mapping[str, Method], *, shared_key: str = "") -> AsyncIterator[Session]:
    """The daemon's end of a session whose client answers these methods."""
    near, far = wires()
    serving = asyncio.create_task(h2.Connection(far, client=False, serve=Server(methods).serve).run())
    connection = h2.Connection(near, client=True)
    calling = asyncio.create_task(connection.run())
    try:
        served = frozenset(name.lower() for name in methods)
        yield Session("s1", "test", shared_key, served, Client(connection))
    finally:
        await connection.close()
        await asyncio.wait_for(asyncio.gather(serving, calling), LIMIT_S)


Sender = Callable[[Call], Awaitable[None]]


def sending(
    directories: Mapping[str, Path],
    asked: list[Mapping[str, str]] | None = None,
    requested: list[str] | None = None,
) -> Sender:
    """FileSync.DiffCopy: what lies in these directories. Patterns are kept, `followpaths` obeyed but for links."""

    async def answer(call: Call) -> None:
        if asked is not None:
            asked.append(call.metadata)
        await call.start()
        directory = directories[call.metadata["dir-name"]]
        follow = [value for name, value in call.exchange.headers if name == "followpaths"]
        walk = Walk(directory)
        try:
            sent: list[Stat] = []
            numbers: dict[int, int] = {}
            found = 0
            while stats := walk.next():
                for stat in stats:
                    if not follow or _followed(stat.path, follow):
                        numbers[len(sent)] = found
                        sent.append(stat)
                        await call.send(Packet(type=PacketType.STAT, stat=stat))
                    found += 1
            await call.send(Packet(type=PacketType.STAT))
            while (content := await call.messages.next()) is not None:
                packet = Packet.decode(content)
                if packet.type == PacketType.FINISH:
                    await call.send(Packet(type=PacketType.FINISH))
                    return
                assert packet.type == PacketType.REQUEST, packet
                if requested is not None:
                    requested.append(sent[packet.id].path)
                offset = 0
                while data := walk.read(numbers[packet.id], offset, 32 << 10):
                    await call.send(Packet(type=PacketType.DATA, id=packet.id, data=data))
                    offset += len(data)
                await call.send(Packet(type=PacketType.DATA, id=packet.id))
        finally:
            walk.close()

    return answer


def _followed(path: str, follow: list[str]) -> bool:
    """Named, below what is named, or above it."""
    parts = path.split("/")
    for wanted in (name.split("/") for name in follow):
        if all(fnmatch.fnmatchcase(part, pattern) for part, pattern in zip(parts, wanted, strict=False)):
            return True
    return False


def saying(*packets: Packet) -> Sender:
    """A client that sends exactly this, whatever it is asked."""

    async def answer(call: Call) -> None:
        await call.start()
        for packet in packets:
            await call.send(packet)
        while await call.messages.next() is not None:
            pass

    return answer


FILES = session_messages.DIFF_COPY
