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
from sampan.api.http import tls
from sampan.api.registry import server as registry_server
from sampan.config.options import Options
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
        harbour.engine.builder.restore()

    await asyncio.to_thread(files)
    await connect_keeper(harbour)
    await harbour.containers.restore()
    for warning in await harbour.networks.table.obstacles():
        log.warning("%s", warning.removeprefix("WARNING: "))


def doors_of(options: Options) -> doors.Doors:
    """How the engine's addresses are opened. Reads the certificates where one of them is tcp or handed over.

    Raises: CertificateInvalid, InvalidAddress.
    """
    doors.group_number(options.group)
    parsed = [doors.parse(address, tls=options.tls) for address in options.hosts]
    if not options.tls or all(address.scheme == "unix" for address in parsed):
        return doors.Doors(group=options.group)
    files = tls.Files(options.tls_cert, options.tls_key, options.tls_ca_cert if options.tls_verify else "")
    return doors.Doors(tls.context(files), options.group)


def cors_origins(options: Options) -> tuple[str, ...]:
    """Origins whose pages may use the API; `*` lets every page read. Says so in the log."""
    named = [text.strip() for text in options.api_cors_header.split(",") if text.strip()]
    if options.api_enable_cors and not named:
        named = ["*"]
    if "*" in named:
        log.warning(
            "web pages of every origin may READ this daemon's API (--api-enable-cors, --api-cors-header=*): container "
            "settings and logs with their secrets. Requests that change something are refused. Name the origins instead"
        )
    elif named:
        log.warning("web pages of %s may use this daemon's API: they are root on this host", ", ".join(named))
    return tuple(named)


@contextlib.asynccontextmanager
async def listeners(harbour: Harbour) -> AsyncIterator[None]:
    """The engine and the registry are served inside."""
    # Bodies are taken as they were sent: dockerd knows no Content-Encoding either, and tells archives by their content.
    engine = web.AppRunner(
        engine_api.application(harbour.engine, cors_origins=cors_origins(harbour.options)),
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
        opened = doors_of(harbour.options)
        for address in harbour.options.hosts:
            await doors.listen(engine, address, opened)
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
