"""From assembled rooms to open doors, and back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator

from aiohttp import web

from sampan import errors
from sampan.api.engine import app as engine_api
from sampan.api.http import listeners as doors
from sampan.api.registry import server as registry_server
from sampan.daemon.assembly import Harbour, connect_keeper

log = logging.getLogger("sampan")
SWEEP_EVERY_S = 600.0
LONGEST_HEADER_BYTES = 1 << 20  # Go's http.DefaultMaxHeaderBytes: arguments and logins of builds travel in them


async def restore(harbour: Harbour) -> None:
    """Make disk, rows and kernel agree, the lowest room first. Nobody is served yet."""

    def files() -> None:
        harbour.blobs.files.prepare()
        rebuilt = harbour.registry.start()
        if rebuilt is not None:
            log.info("the registry's folder was found without a database and read in: %s", rebuilt)
        strays = harbour.blobs.sweep()
        layers = harbour.images.restore()
        if strays or layers:
            log.info("removed what a crash left: %d blobs, %d layers", strays, layers)
        harbour.volumes.restore()

    await asyncio.to_thread(files)
    await connect_keeper(harbour)
    await harbour.containers.restore()


@contextlib.asynccontextmanager
async def listeners(harbour: Harbour) -> AsyncIterator[None]:
    """The engine and the registry are served inside."""
    # Bodies are taken as they were sent: dockerd knows no Content-Encoding either, and tells archives by their content.
    engine = web.AppRunner(
        engine_api.application(harbour.engine),
        access_log=None,
        handle_signals=False,
        auto_decompress=False,
        max_line_size=LONGEST_HEADER_BYTES,
        max_field_size=LONGEST_HEADER_BYTES,
    )
    registry = registry_server.make_runner(harbour.registry, secret=harbour.secret)
    collector = asyncio.create_task(_collect(harbour))
    try:
        await registry.setup()
        for address in harbour.options.registry:
            if address != "none":
                await registry_server.Site(registry, _bind(address)).start()
                log.info("the registry listens on %s", address)
        await engine.setup()
        for address in harbour.options.hosts:
            await doors.listen(engine, address)
        yield
    finally:
        collector.cancel()
        harbour.bus.close()
        await engine.cleanup()
        await registry.cleanup()


async def close(harbour: Harbour) -> None:
    """Finish what is under way and let go of everything but the containers."""
    await harbour.containers.drain()
    await harbour.images.close()
    await harbour.registry.close()
    await harbour.networks.shutdown()
    if harbour.room.keeper_or_none is not None:
        harbour.room.keeper_or_none.close()
    harbour.room.watches.close()
    await asyncio.to_thread(harbour.database.close)


def _bind(address: str) -> socket.socket:
    parsed = doors.parse(address)
    if parsed.scheme != "tcp":
        raise errors.Invalid(f"invalid registry address {address!r}", remedy="use tcp://host:port")
    return doors.tcp_socket(parsed)


async def _collect(harbour: Harbour) -> None:
    """Uploads, blobs and repositories that nobody needs go after their grace period."""
    while True:
        await asyncio.sleep(SWEEP_EVERY_S)
        try:
            collected = await harbour.registry.collect()
        except errors.SampanError as error:  # a full or failing disk: the next round may do better
            log.error("collecting what nobody holds: %s", error)
        else:
            if collected.bytes_freed:
                log.info("collected %d bytes", collected.bytes_freed)
