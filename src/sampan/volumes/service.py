"""The verbs on volumes.

A volume is its row and the directory `<root>/<name>/_data`. The row goes first when it is removed; a directory without
a row is swept at the next start, so that a crash leaves no half volume that looks whole.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import sqlalchemy

from sampan import errors
from sampan.events.bus import Bus
from sampan.host import files
from sampan.state.database import Database
from sampan.volumes import holding, store
from sampan.volumes.options import check as check_options
from sampan.volumes.store import Volume

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z")


class VolumeUnknown(errors.NotFound):
    """No such volume."""


class VolumeInUse(errors.Conflict):
    """A container uses the volume."""


class VolumeInvalid(errors.Invalid):
    """A name or driver that cannot be."""


class Volumes:
    """All volumes of one data root."""

    def __init__(
        self, root: Path, database: Database, bus: Bus, *, now_ns: Callable[[], int], new_id: Callable[[], str]
    ) -> None:
        self.root = str(root)  # every volume's directory is below
        self._root = root
        self._database = database
        self._bus = bus
        self._now_ns = now_ns
        self._new_id = new_id
        self._holders = holding.Holders()
        self._changing = asyncio.Lock()  # a removal's directory must be gone before the name is made again

    def restore(self) -> None:
        """At start: make the root, remove directories whose row is gone."""
        files.make_directories(self._root, mode=0o711)
        known = {item.name for item in self.list()}
        for entry in os.scandir(self._root):
            if entry.name not in known:
                holding.unmount(self.path(entry.name))
                shutil.rmtree(entry.path)

    def path(self, name: str) -> Path:
        """Where the content is."""
        return self._root / name / "_data"

    def list(self) -> tuple[Volume, ...]:
        """All, by name."""
        with self._database.read() as connection:
            return tuple(store.every(connection))

    def get(self, name: str) -> Volume:
        """Raises `VolumeUnknown`."""
        with self._database.read() as connection:
            found = store.find(connection, name)
        if found is None:
            raise VolumeUnknown(f"get {name}: no such volume")
        return found

    async def create(
        self,
        name: str = "",
        *,
        driver: str = "local",
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Volume:
        """Make a volume, or return the one of that name. Raises `VolumeInvalid`."""
        if driver not in ("", "local"):
            raise VolumeInvalid(
                f"error looking up volume plugin {driver}: plugin {driver!r} not found", remedy="use the driver local"
            )
        check_options(options or {})
        if name and (not NAME.match(name) or len(name) > 255):
            raise VolumeInvalid(
                f"create {name[:300]}: {name[:300]!r} includes invalid characters for a local volume name",
                remedy='only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed',
            )
        item = Volume(
            name or self._new_id(),
            labels=labels or {},
            options=options or {},
            anonymous=not name,
            created_ns=self._now_ns(),
        )
        async with self._changing:
            is_new = await self._database.write(lambda connection: store.add(connection, item))
            await asyncio.to_thread(self.ensure, item.name)
        if is_new:
            self._bus.publish("volume", "create", item.name, driver="local")
        return self.get(item.name)

    def declare(
        self,
        connection: sqlalchemy.Connection,
        name: str,
        container_id: str,
        *,
        anonymous: bool,
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> bool:
        """Part of a container's creation, in its transaction: the volume exists from now on and is in use.

        Whether it is new; the caller tells so (`tell_new`) when that is on disk.
        """
        is_new = store.add(
            connection,
            Volume(name, labels=labels or {}, options=options or {}, anonymous=anonymous, created_ns=self._now_ns()),
        )
        store.use(connection, name, container_id)
        return is_new

    def tell_new(self, name: str) -> None:
        """A volume that came with a container."""
        self._bus.publish("volume", "create", name, driver="local")

    def release(self, connection: sqlalchemy.Connection, container_id: str, *, with_anonymous: bool) -> tuple[str, ...]:
        """Part of a container's removal. Returns volumes whose directories the caller passes to `discard`."""
        unused = store.release(connection, container_id)
        gone = tuple(item.name for item in unused if item.anonymous and with_anonymous)
        for name in gone:
            store.remove(connection, name)
        return gone

    def hold(self, name: str, container_id: str) -> Path:
        """The content directory for a container that starts, with what its options mount. Blocks. Raises `Invalid`."""
        path = self.ensure(name)
        self._holders.hold(self.get(name), path, container_id)
        return path

    def adopt(self, name: str, container_id: str) -> None:
        """A container that runs already uses it."""
        if self.get(name).options:
            self._holders.adopt(name, container_id)

    def let_go(self, name: str, container_id: str) -> None:
        """A container that held it has ended. Blocks where something is to be unmounted."""
        with self._database.read() as connection:
            found = store.find(connection, name)
        if found is not None and found.options:
            self._holders.let_go(name, self.path(name), container_id)

    def ensure(self, name: str) -> Path:
        """The content directory, made if it is missing. Blocks."""
        path = self.path(name)
        if not path.exists():
            files.make_directories(path.parent, mode=0o755)
            files.make_directories(path, mode=0o755)
        return path

    async def ensure_all(self, names: Iterable[str]) -> None:
        """The same for several, off the event loop, and not even asked for where all are there."""
        missing = [name for name in names if not self.path(name).exists()]
        if missing:
            await asyncio.to_thread(lambda: [self.ensure(name) for name in missing])

    async def discard(self, name: str) -> None:
        """Delete the directory of a volume whose row is gone. One that no container was started with has none."""
        if (self._root / name).exists():
            await asyncio.to_thread(holding.unmount, self.path(name))
            await asyncio.to_thread(shutil.rmtree, self._root / name)
        self._bus.publish("volume", "destroy", name, driver="local")

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Raises `VolumeUnknown` (not with `force`), `VolumeInUse`."""

        def verb(connection: sqlalchemy.Connection) -> bool:
            if store.find(connection, name) is None:
                if force:
                    return False
                raise VolumeUnknown(f"get {name}: no such volume")
            if users := store.users(connection, name):
                raise VolumeInUse(f"remove {name}: volume is in use - [{', '.join(users)}]")
            store.remove(connection, name)
            return True

        async with self._changing:
            if await self._database.write(verb):
                await self.discard(name)

    async def prune(
        self, *, all_volumes: bool = False, chosen: Callable[[Volume], bool] = lambda item: True
    ) -> tuple[tuple[str, ...], int]:
        """Remove unused anonymous volumes, or all unused ones, that `chosen` agrees to. Returns names and bytes."""
        names = []
        freed_bytes = 0
        for item in self.list():
            if not (all_volumes or item.anonymous) or self.users(item.name) or not chosen(item):
                continue
            size_bytes = await asyncio.to_thread(directory_size, self.path(item.name))
            try:
                await self.remove(item.name)
            except VolumeInUse:
                continue
            names.append(item.name)
            freed_bytes += size_bytes
        self._bus.publish("volume", "prune", "", reclaimed=str(freed_bytes))
        return tuple(names), freed_bytes

    def users(self, name: str) -> tuple[str, ...]:
        """Ids of the containers that use it."""
        with self._database.read() as connection:
            return tuple(store.users(connection, name))


def directory_size(path: Path) -> int:
    """Bytes of all files below as `ls` shows them, hard links once, directories not at all: dockerd's count. Blocks."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for directory, _, names in os.walk(path):
        for name in names:
            status = Path(directory, name).lstat()
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                total += status.st_size
    return total
