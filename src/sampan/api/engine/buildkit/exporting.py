"""`--output type=local` and `type=tar`: a result's files go to the client, over its session.

Source: moby/buildkit, exporter/local and exporter/tar; tonistiigi/fsutil, send.go.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from sampan import errors
from sampan.api.engine.buildkit import requests, session_messages
from sampan.api.engine.buildkit.messages import Exporter
from sampan.api.engine.buildkit.progress import Counter, Progress
from sampan.api.engine.buildkit.session_messages import Packet, PacketType, Piece
from sampan.api.engine.buildkit.sessions import Session
from sampan.api.engine.buildkit.walking import Walk
from sampan.api.grpc.client import ClientCall
from sampan.host import packing

PIECE_BYTES = 256 << 10
IMAGES = ("moby", "image", "")  # exporters whose result is an image of this daemon
_METADATA = [("buildkit-attachable-exporter-id", "0")]


class ExportFailed(errors.Unavailable):
    """The client does not take the result."""


def check(exporter: Exporter) -> None:
    """Raises `UnsupportedBuild` for an output that is not made here, before anything is built."""
    if exporter.type in (*IMAGES, "local", "tar"):
        return
    raise requests.UnsupportedBuild(
        f"the output {exporter.type[:50]!r} is not made here",
        remedy="build an image and use docker save, or --output type=local or type=tar",
    )


async def export(exporter: Exporter, session: Session, root: Path, progress: Progress) -> None:
    """Send what is below `root`. Raises: ExportFailed, CallFailed, ConnectionEnded."""
    if not session.serves(session_messages.SEND_FILES):
        raise ExportFailed("the client takes no files", remedy="name a destination: --output type=local,dest=…")
    if exporter.type == "tar":
        title, what = "exporting to client tarball", "sending tarball"
    else:
        title, what = "exporting to client directory", "copying files"
    with progress.vertex(title) as vertex, progress.counting(vertex, what) as line:
        async with session.client.calling(session_messages.SEND_FILES, _METADATA) as call:
            if exporter.type == "tar":
                await _send_tar(call, root)
            else:
                await _Sender(call, root, line).run()


async def _send_tar(call: ClientCall, root: Path) -> None:
    """Packed in a thread, which waits for each piece to leave."""
    loop = asyncio.get_running_loop()

    def write(content: bytes) -> None:
        for start in range(0, len(content), PIECE_BYTES):
            piece = Piece(content[start : start + PIECE_BYTES])
            asyncio.run_coroutine_threadsafe(call.send(piece), loop).result()

    def pack() -> None:
        directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            packer = packing.Packer(write)
            packer.add_children(directory)
            packer.finish()
        finally:
            os.close(directory)

    await asyncio.to_thread(pack)
    await call.end()
    while await call.receive(Piece) is not None:
        pass


class _Sender:
    """fsutil's sending side: the tree is told, contents follow when they are asked for."""

    def __init__(self, call: ClientCall, root: Path, line: Counter) -> None:
        self._call = call
        self._walk = Walk(root)
        self._line = line
        self._wanted: asyncio.Queue[int | None] = asyncio.Queue()

    async def run(self) -> None:
        """Until the client has everything it wants."""
        tasks = [asyncio.create_task(work()) for work in (self._tell, self._answer, self._listen)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(self._walk.close)

    async def _tell(self) -> None:
        while stats := await asyncio.to_thread(self._walk.next):
            for stat in stats:
                await self._call.send(Packet(type=PacketType.STAT, stat=stat))
        await self._call.send(Packet(type=PacketType.STAT))

    async def _listen(self) -> None:
        """Requests are only queued here: the client must never wait for us to listen."""
        while (packet := await self._call.receive(Packet)) is not None:
            match packet.type:
                case PacketType.REQUEST:
                    self._wanted.put_nowait(packet.id)
                case PacketType.FINISH:
                    self._wanted.put_nowait(None)
                case PacketType.ERROR:
                    raise ExportFailed(f"error from receiver: {packet.data[:1000].decode('utf-8', 'replace')}")
                case _:
                    raise ExportFailed("the client breaks the protocol of files", why=f"packet of type {packet.type}")

    async def _answer(self) -> None:
        while (number := await self._wanted.get()) is not None:
            offset = 0
            while content := await asyncio.to_thread(self._walk.read, number, offset, PIECE_BYTES):
                await self._call.send(Packet(type=PacketType.DATA, id=number, data=content))
                offset += len(content)
                self._line.to(self._line.count + len(content))
            await self._call.send(Packet(type=PacketType.DATA, id=number))
        await self._call.send(Packet(type=PacketType.FINISH))
        await self._call.end()
