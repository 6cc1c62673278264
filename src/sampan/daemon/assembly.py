"""Put the rooms together. Pure wiring: what depends on what is to be read here."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sampan import errors
from sampan.api.engine.context import Engine
from sampan.blobs.service import Blobs
from sampan.build.service import Builder
from sampan.build.workplace import Workplace
from sampan.config.options import Options
from sampan.containers import facts, keeping
from sampan.containers.layout import Layout
from sampan.containers.room import Room
from sampan.containers.service import Containers
from sampan.daemon import hostfacts, lazystart, settings
from sampan.events.bus import Bus
from sampan.formats.digest import Digest
from sampan.host import files
from sampan.images.drivers import choose
from sampan.images.drivers.erofs import ErofsDriver
from sampan.images.drivers.model import LayerDriver
from sampan.images.drivers.overlay2 import Overlay2Driver
from sampan.images.service import Images
from sampan.kernel import inotify
from sampan.networks.service import Networks
from sampan.registry.service import Registry
from sampan.state.database import Database
from sampan.volumes.service import Volumes

if TYPE_CHECKING:  # loaded only where lazy start is on
    from sampan.images.lazy.service import Lazy

log = logging.getLogger(__name__)
BERTHS = 2  # namespaces kept ready: the second covers a start that comes before the first is replaced


@dataclass(slots=True)
class Harbour:
    """Everything that runs in one daemon."""

    options: Options
    database: Database
    bus: Bus
    blobs: Blobs
    images: Images
    networks: Networks
    volumes: Volumes
    containers: Containers
    registry: Registry
    room: Room
    engine: Engine
    secret: str  # what the engine shows to its own registry


def new_id() -> str:
    """64 hexadecimal digits that do not look like a number: tools take an all-digit short id for a pid or a port."""
    while True:
        text = secrets.token_hex(32)
        if not text[:12].isdigit():
            return text


def assemble(options: Options) -> Harbour:
    """Open the database and make every room; nothing is restored yet and nothing listens. Blocks."""
    for directory, mode in ((options.data_root, 0o711), (options.run_root, 0o711)):
        files.make_directories(directory, mode=mode)
    database = Database.open(options.data_root / "state.db")
    bus = Bus(time.time_ns)
    content = Path(options.registry_root) if options.registry_root else options.data_root / "content"
    blobs = Blobs(content, database)
    secret = secrets.token_hex(32)
    images = _images(options, blobs, database, bus, secret)
    networks = Networks(
        database, settings.networks(options), options.run_root, clock=time.time_ns, ids=new_id, berths=BERTHS, bus=bus
    )
    volumes = Volumes(options.data_root / "volumes", database, bus, now_ns=time.time_ns, new_id=new_id)
    runtimes = settings.runtimes(options)
    room = Room(
        database=database,
        images=images,
        networks=networks,
        volumes=volumes,
        bus=bus,
        runtimes=runtimes,
        layout=Layout(options.data_root / "containers", options.run_root / "containers", options.run_root / "runtime"),
        host=facts.read(cgroup_parent=settings.cgroup_parent(options)),
        defaults=settings.defaults(options),
        watches=inotify.Watches(),
        now_ns=time.time_ns,
        new_id=new_id,
        choose=random.choice,
    )
    containers = Containers(room)
    images.used_by = containers.using_image
    if images.lazy is not None:
        lazystart.tell(images.lazy, room, containers)
    told = hostfacts.gather(
        options,
        driver=images.driver_name,
        hierarchy=room.host.hierarchy,
        runtimes=runtimes,
        selinux=room.defaults.selinux is not None,
    )
    builder = Builder(room, Workplace(options.data_root / "builds", options.run_root / "builds"))
    engine = Engine(
        containers=containers,
        images=images,
        networks=networks,
        volumes=volumes,
        builder=builder,
        bus=bus,
        facts=told,
    )
    registry = Registry(blobs, database, events=bus)
    return Harbour(options, database, bus, blobs, images, networks, volumes, containers, registry, room, engine, secret)


def _images(options: Options, blobs: Blobs, database: Database, bus: Bus, secret: str) -> Images:
    registries = settings.registries(options, secret)
    lazy = lazystart.make(options, blobs, registries)
    driver = layer_driver(options, blobs, lazy)
    return Images(
        blobs,
        database,
        driver,
        bus,
        settings=registries,
        lazy=lazy if driver.name == "erofs" else None,
        downloads=options.max_concurrent_downloads,
        uploads=options.max_concurrent_uploads,
    )


def layer_driver(options: Options, blobs: Blobs, lazy: Lazy | None = None) -> LayerDriver:
    """The storage driver asked for, or the best that works here. Raises `Unsupported`."""
    layers = options.data_root / "layers"
    name = choose.choose(options.storage_driver or None, lambda: choose.probe_erofs(layers))
    if name == "overlay2":
        return Overlay2Driver(layers / "overlay2")

    def tar(diff_id: str) -> Path:
        pending = lazy.path(diff_id) if lazy is not None else None
        return pending or blobs.files.path(Digest(f"sha256:{diff_id}"))

    driver = ErofsDriver(layers / "erofs", options.run_root / "layers", tar)
    if lazy is not None:
        lazy.driver = driver
    return driver


async def connect_keeper(harbour: Harbour) -> None:
    """Find or start the keeper; when it dies, start another and settle what it held."""
    room = harbour.room

    def gone(error: keeping.KeeperGone) -> None:
        room.keeper_or_none = None
        if not room.stopping:
            log.error("the keeper is gone (%s); containers it held are lost", error)
            room.spawn(_replace_keeper(harbour))

    room.keeper_or_none = await keeping.ensure(
        harbour.options.run_root / "keeper.sock", on_exit=harbour.containers.hear_exit, on_gone=gone
    )
    if harbour.images.lazy is not None:
        try:
            await asyncio.to_thread(harbour.images.lazy.attach, harbour.options.run_root / "keeper.sock")
        except errors.SampanError as error:
            log.error("layers that have not arrived cannot be used: %s", error)


async def _replace_keeper(harbour: Harbour) -> None:
    await connect_keeper(harbour)
    await harbour.containers.restore()
