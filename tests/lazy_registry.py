"""A registry of its own beside a harbour's daemon, which a test can hold up, damage and end: a program.

    python tests/lazy_registry.py FOLDER PORT

`FOLDER/mode` says what becomes of requests for parts of blobs: `go`, `slow`, `hold` (they wait for another mode),
`damage` (the first byte of each MiB but the first is another one) or `forge` (so it is, and outlines agree with it).
`FOLDER/parts` gets a line for each such request: digest, first, last.
"""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import socket
import sys
from pathlib import Path

from aiohttp import hdrs, web

from sampan.api.registry import application, server
from sampan.blobs.service import Blobs
from sampan.formats import outline
from sampan.formats.digest import Digest
from sampan.registry.service import Registry
from sampan.state.database import Database


async def main(folder: Path, port: int) -> None:
    database = Database.open(folder / "state.db")
    blobs = Blobs(folder / "content", database)
    blobs.files.prepare()
    registry = Registry(blobs, database)
    await asyncio.to_thread(registry.start)
    answer = application.handler(registry)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        asked = request.headers.get(hdrs.RANGE, "").removeprefix("bytes=")
        if "/_sampan/outlines/" in request.path and mode(folder) == "forge":
            response = await answer(request)
            return response if request.method == "HEAD" else web.Response(body=forged(blobs, request))
        if not asked or "/blobs/" not in request.path:
            return await answer(request)
        with (folder / "parts").open("a") as parts:
            parts.write(f"{request.path.rpartition('/')[2]} {asked.replace('-', ' ')}\n")
        while mode(folder) == "hold":
            await asyncio.sleep(0.01)
        if mode(folder) == "slow":
            await asyncio.sleep(0.3)
        if mode(folder) in ("damage", "forge"):
            return damaged(blobs, request, asked)
        return await answer(request)

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    await server.Site(runner, listening).start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await runner.cleanup()
    await registry.close()
    database.close()


def mode(folder: Path) -> str:
    """What the test wants now."""
    return (folder / "mode").read_text().strip()


def other(content: bytes) -> bytes:
    """A tar with the first byte of each MiB but the first changed."""
    changed = bytearray(content)
    for place in range(outline.CHUNK_BYTES, len(changed), outline.CHUNK_BYTES):
        changed[place] ^= 1
    return bytes(changed)


def damaged(blobs: Blobs, request: web.BaseRequest, asked: str) -> web.Response:
    """The part that was asked for, of another tar."""
    content = blobs.files.path(Digest(request.path.rpartition("/")[2])).read_bytes()
    first, last = map(int, asked.split("-"))
    headers = {hdrs.CONTENT_RANGE: f"bytes {first}-{last}/{len(content)}"}
    return web.Response(body=other(content)[first : last + 1], status=206, headers=headers)


def forged(blobs: Blobs, request: web.BaseRequest) -> bytes:
    """The outline of a layer with the hashes of another tar."""
    path = blobs.files.root / "outlines" / request.path.rpartition(":")[2]
    true = outline.decode(path.read_bytes())
    content = other(blobs.files.path(true.diff_id).read_bytes())
    return outline.encode(dataclasses.replace(true, hashes=outline.record(content, ()).hashes))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
