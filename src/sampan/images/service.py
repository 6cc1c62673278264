"""The images room's verbs: pull, push, import, tag, remove, and the directories that containers are mounted from.

Everything that touches the network, disk or long computations runs in worker threads; the methods without `async` read
a few rows. Pull and push give their progress as an async iterator: `async for progress in images.pull(…)`. A client
that leaves closes the iterator, which ends the operation unless others watch it.
"""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sampan import errors
from sampan.blobs.service import Blobs
from sampan.events.bus import Bus
from sampan.formats import compression, oci, reference
from sampan.formats.digest import Digest
from sampan.images import (
    client,
    endpoints,
    importing,
    mirrors,
    model,
    platforms,
    pulling,
    pushing,
    remote,
    removal,
    searching,
    store,
)
from sampan.images.archives.service import Archives
from sampan.images.assembly import Assembly
from sampan.images.catalogue import Catalogue, Filters
from sampan.images.drivers.model import LayerDriver
from sampan.images.flights import Flights
from sampan.images.layers import PIECE_BYTES, Intake, Layers
from sampan.images.parallel import Report
from sampan.kernel import libc
from sampan.state.database import Database

if TYPE_CHECKING:  # loaded only where lazy start is on
    from sampan.images.lazy.service import Lazy

LAYER_THREADS = 6  # two cores saturate at three layers; the others hide those that wait for a slow network
OPERATIONS = 16  # pulls and pushes at the same time; further ones wait
WORKERS = 8  # for everything that needs no network: a slow registry must not keep a container from starting

T = TypeVar("T")
Removals = list[model.Removal]
UsedBy = Callable[[str], Sequence[model.User]]


class Images:
    """All images of one host. `used_by` tells which containers use an image; it is asked in the event loop."""

    def __init__(
        self,
        blobs: Blobs,
        database: Database,
        driver: LayerDriver,
        bus: Bus,
        *,
        settings: endpoints.Settings | None = None,
        downloads: int = LAYER_THREADS,
        uploads: int = LAYER_THREADS,
        used_by: UsedBy = lambda image_id: (),
        platform: oci.Platform | None = None,
        limits: compression.Limits | None = None,
        now_ns: Callable[[], int] = time.time_ns,
        lazy: Lazy | None = None,
    ) -> None:
        self.catalogue = Catalogue(database)
        self.used_by = used_by
        self.platform = platform or platforms.of_machine(os.uname().machine)
        self._layers = Layers(blobs, database, driver, limits=limits, lazy=lazy)
        self.lazy = lazy
        self._database = database
        self._bus = bus
        self.settings = settings or endpoints.Settings()  # replaced when the daemon reads its settings again
        self._now_ns = now_ns
        self._layer_threads = ThreadPoolExecutor(downloads, thread_name_prefix="layer")
        self._upload_threads = ThreadPoolExecutor(uploads, thread_name_prefix="upload")
        self._operations = ThreadPoolExecutor(OPERATIONS, thread_name_prefix="image")
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="image-work")
        self._flights = Flights(self._operations)
        self.archives = Archives(self._layers, self.catalogue, self._flights, bus, self.platform, limits, now_ns)

    @property
    def driver_name(self) -> str:
        """How layers are mounted: erofs or overlay2."""
        return self._layers.driver.name

    def restore(self) -> int:
        """At start: remove what a crash left and layers no image uses. Returns how many layers went. Blocks."""
        with self._database.read() as connection:
            rows = store.every_layer(connection)
            used = store.layer_uses(connection).keys() | store.cached_layers(connection)
        unused = [row.diff_id for row in rows if row.diff_id not in used]
        names = {diff_id.partition(":")[2] for diff_id in used}
        self._layers.driver.sweep(names)
        if self.lazy is not None:
            self.lazy.restore(names)
        removed, _ = self._layers.discard(unused)
        return len(removed)

    async def close(self) -> None:
        """End the operations under way and wait for them."""
        await self._flights.close()
        if self.lazy is not None:
            await asyncio.to_thread(self.lazy.close)
        self._operations.shutdown()
        self._layer_threads.shutdown()
        self._upload_threads.shutdown()
        self._workers.shutdown()
        self._layers.close()

    # --- what there is ------------------------------------------------------------------------------------------

    def get(self, name: str) -> model.Image:
        """By reference, id or shortened id. Raises `NoSuchImage`, `AmbiguousId`."""
        return self.catalogue.get(name)

    def list(self, filters: Filters | None = None) -> tuple[model.Image, ...]:
        """Images that pass every filter, newest first."""
        return self.catalogue.images(filters)

    def history(self, image: model.Image) -> tuple[model.HistoryItem, ...]:
        """How it was made, newest step first."""
        return self.catalogue.history(image)

    def disk_usage(self) -> model.DiskUsage:
        """Sizes of all layers and of each image."""
        return self.catalogue.disk_usage()

    @contextmanager
    def reserve(self, image_id: str) -> Iterator[None]:
        """Keep an image from removal while a container of it is being made and has no row yet."""
        with self._layers.claims.claim([image_id]):
            self.get(image_id)
            yield

    async def lowers(self, image_id: str) -> tuple[Path, ...]:
        """The layers' directories, topmost first, as overlay's `lowerdir` wants them; each once."""
        image = self.get(image_id)
        distinct = dict.fromkeys(reversed(image.layers))
        return await self._in_thread(lambda: tuple(self._lower(diff_id) for diff_id in distinct))

    # --- registries ---------------------------------------------------------------------------------------------

    async def search(
        self, wanted: searching.Search, credentials: model.Credentials | None
    ) -> Sequence[searching.Result]:
        """Ask a registry for repositories. Raises `LoginNeeded`, `Unreachable`."""
        with closing(client.RegistryClient(wanted.host, self.settings, credentials)) as registry:
            return await asyncio.get_running_loop().run_in_executor(self._operations, searching.run, registry, wanted)

    @property
    def own_registries(self) -> Collection[str]:
        """The addresses of this daemon's own registry."""
        return self.settings.own_registry.keys()

    async def login(self, host: str, credentials: model.Credentials) -> None:
        """Check a login. Raises `LoginNeeded`, `Unreachable`."""
        registry = client.RegistryClient(endpoints.host_of(host), self.settings, credentials)
        try:
            await asyncio.get_running_loop().run_in_executor(self._operations, registry.ping)
        finally:
            registry.close()

    async def distribution(self, name: str, *, credentials: model.Credentials | None = None) -> remote.Remote:
        """What the registry has under this name. Raises `PullDenied`, `NotInRegistry`, `Unreachable`."""
        wanted = reference.parse(name).with_default_tag()
        registry = client.RegistryClient(wanted.host, self.settings, credentials)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._operations, remote.describe, registry, wanted)
        finally:
            registry.close()

    async def pull(
        self, name: str, *, platform: str = "", credentials: model.Credentials | None = None
    ) -> AsyncIterator[model.Progress]:
        """Fetch an image. Clients that ask for the same at the same time share one transfer."""
        wanted = reference.parse(name).with_default_tag()
        system = platforms.parse(platform) if platform else None

        def operation(report: Report) -> None:
            lazily = self.lazy is not None and self.lazy.takes(wanted, credentials)

            def attempt(registry: client.RegistryClient) -> None:
                pulling.Pull(
                    layers=self._layers,
                    registry=registry,
                    reference=wanted,
                    platform=system,
                    host_platform=self.platform,
                    report=report,
                    executor=self._layer_threads,
                    now_ns=self._now_ns,
                    lazily=lazily,
                ).run()

            try:
                mirrors.ask(wanted, self.settings, credentials, attempt)
            finally:
                libc.give_back_memory()  # the pieces it came in

        async for progress in self._flights.join(("pull", wanted, system, credentials), operation).watch():
            yield progress
        self._bus.publish("image", "pull", wanted.familiar, name=wanted.familiar_name)

    async def push(
        self, name: str, *, credentials: model.Credentials | None = None, all_tags: bool = False
    ) -> AsyncIterator[model.Progress]:
        """Send an image to the registry its name names; with `all_tags` every tag of that repository."""
        asked = reference.parse(name)
        if asked.digest is not None:
            raise errors.Invalid("cannot push a digest reference", remedy="give the image a tag and push that")
        wanted = self._tags_of(asked) if all_tags else (asked.with_default_tag(),)
        found = [(each, self._tagged(each)) for each in wanted]

        def operation(report: Report) -> None:
            report(model.Progress(f"The push refers to repository [{asked.name}]"))
            registry = client.RegistryClient(asked.host, self.settings, credentials)
            try:
                for each, image in found:
                    self._push(registry, each, image, report)
            finally:
                registry.close()

        async for progress in self._flights.join(("push", wanted, credentials), operation).watch():
            yield progress
        for each in wanted:
            self._bus.publish("image", "push", each.familiar, name=each.familiar_name)

    # --- images made here ---------------------------------------------------------------------------------------

    async def import_(
        self,
        chunks: AsyncIterable[bytes],
        *,
        name: str = "",
        changes: Sequence[str] = (),
        message: str = "Imported from -",
        platform: str = "",
        created_ns: int | None = None,
    ) -> model.Image:
        """One layer from a tar, plain or compressed. Without a name the image is dangling."""
        recipe = importing.Recipe(
            created_ns=self._now_ns() if created_ns is None else created_ns,
            platform=platforms.parse(platform) if platform else self.platform,
            changes=changes,
            comment=message,
        )
        return await self._compose(chunks, recipe, name, None, action="import")

    async def commit(
        self,
        base_id: str,
        chunks: AsyncIterable[bytes],
        *,
        name: str = "",
        config: Mapping[str, Any] | None = None,
        changes: Sequence[str] = (),
        comment: str = "",
        author: str = "",
        created_by: str = "",
    ) -> model.Image:
        """A new layer (a tar) on top of an image. `config`, with Docker's field names, replaces the base's."""
        recipe = importing.Recipe(
            self._now_ns(), self.platform, changes, config, comment=comment, author=author, created_by=created_by
        )
        with self.reserve(base_id):
            return await self._compose(chunks, recipe, name, self.get(base_id), action="commit")

    @contextmanager
    def assembly(self) -> Iterator[Assembly]:
        """For a build: layers made one by one, and images of them. What it uses stays while the context is open."""
        made: list[Digest] = []
        try:
            with self._layers.claims.claim() as claim:
                yield Assembly(self._layers, claim, made, lower=self._lower, now_ns=self._now_ns)
        except BaseException:
            self._layers.discard(made)  # those that nothing recorded
            raise

    def discard_layers(self, diff_ids: Collection[Digest]) -> int:
        """Remove those of the layers that neither an image nor the cache uses. Returns the freed bytes. Blocks."""
        return self._layers.discard(diff_ids)[1]

    # --- names and removal --------------------------------------------------------------------------------------

    async def tag(self, source: str, target: str) -> model.Image:
        """Give an image one more name; the name leaves the image that had it."""
        image = self.get(source)
        name = reference.parse(target).with_default_tag()
        if name.digest is not None:
            raise errors.Invalid("refusing to create a tag with a digest reference")
        now_ns = self._now_ns()
        await self._database.write(lambda connection: store.set_reference(connection, str(name), image.id, now_ns))
        self._bus.publish("image", "tag", image.id, name=name.familiar)
        return self.get(image.id)

    async def remove(self, name: str, *, force: bool = False, prune: bool = True) -> Removals:
        """Docker's `rmi`. `prune` is taken for compatibility: there are no intermediate images to prune.

        Raises `NoSuchImage`, `ImageInUse`.
        """
        image, by_reference = self.catalogue.find(name)
        actions = removal.plan(image, name, by_reference, self.used_by(image.id), force=force)
        done, _ = await self._in_thread(lambda: self._remove(image, actions))
        self._announce(image, done)
        return done

    async def prune(self, filters: Filters | None = None) -> tuple[Removals, int]:
        """Remove images that no container uses: those that pass the filters. Returns what went and the freed bytes."""
        done: Removals = []
        freed_bytes = 0
        for image in self.list(filters or Filters(dangling=True)):
            if self.used_by(image.id) or self._layers.claims.claimed(image.id):
                continue
            actions = removal.everything(image)
            removed, freed = await self._in_thread(functools.partial(self._remove, image, actions))
            self._announce(image, removed)
            done += removed
            freed_bytes += freed
        return done, freed_bytes

    # --- in worker threads --------------------------------------------------------------------------------------

    def _push(
        self, registry: client.RegistryClient, wanted: reference.Reference, image: model.Image, report: Report
    ) -> None:
        self._layers.whole(
            image.layers,
            lambda layer: report(
                model.Progress("Waiting for the rest", layer.diff_id.short, layer.arrived_bytes, layer.size_bytes)
            ),
        )
        pushing.Push(
            layers=self._layers,
            registry=registry,
            image=image,
            reference=wanted,
            own=wanted.host in self.settings.own_registry,
            report=report,
            executor=self._upload_threads,
            now_ns=self._now_ns,
        ).run()

    def _lower(self, diff_id: Digest) -> Path:
        if not self._layers.driver.has(diff_id.hex):
            self._layers.remake(diff_id)
        return self._layers.driver.lower(diff_id.hex)

    def _remove(self, image: model.Image, actions: Sequence[removal.Action]) -> tuple[Removals, int]:
        untags = [action.target for action in actions if isinstance(action, removal.Untag)]
        delete = any(isinstance(action, removal.Delete) for action in actions)
        with self._layers.claims.lock:
            if delete and self._layers.claims.claimed(image.id):
                raise model.ImageInUse(
                    f"conflict: unable to delete {image.id.short} - image is being pulled, pushed or started",
                    remedy="try again when that is done",
                )
            untagged, freed = self._database.write_blocking(
                lambda connection: store.untag_and_delete(connection, image.id, untags, delete=delete)
            )
        done = [model.Removal("Untagged", reference.parse(text).familiar) for text in untagged]
        if freed is None:
            return done, 0
        layers, freed_bytes = self._layers.discard([*reversed(image.layers), *freed])
        chain = removal.chain_ids(image.layers)
        done.append(model.Removal("Deleted", image.id))
        done += [model.Removal("Deleted", chain[diff_id]) for diff_id in layers]
        return done, freed_bytes

    def _finish(
        self, intake: Intake, recipe: importing.Recipe, names: Collection[str], base: model.Image | None
    ) -> Digest:
        """Prepare the new layer and commit the image in one transaction."""
        diff_id, layer = intake.finish()
        blobs = self._layers.blobs
        with self._layers.claims.claim([diff_id]) as claim:
            self._layers.settle(claim, diff_id)
            below = None
            if base is not None:
                manifest = oci.decode(blobs.read(base.manifest_digest), oci.Manifest)
                below = importing.Base(base.document, manifest.layers)
            held = self._layers.held_with(base.id) if base is not None else []
            made = importing.compose(recipe, diff_id, layer.tar_size_bytes, below)
            config, manifest_digest = claim.put(made.config), claim.put(made.manifest)
            new = store.NewImage(
                id=config,
                manifest_digest=manifest_digest,
                manifest_media_type=oci.OCI_MANIFEST,
                config=made.config,
                layers=(*self._layers.rows(base.layers if base is not None else ()), layer),
                holds=(
                    config,
                    manifest_digest,
                    diff_id,
                    *held,
                ),
                references=tuple(names),
                parent_id=base.id if base is not None else "",
            )
            self._database.write_blocking(lambda connection: store.add_image(connection, new, self._now_ns()))
        return config

    # --- small parts --------------------------------------------------------------------------------------------

    async def _compose(
        self,
        chunks: AsyncIterable[bytes],
        recipe: importing.Recipe,
        name: str,
        base: model.Image | None,
        *,
        action: str,
    ) -> model.Image:
        names = [str(reference.parse(name).with_default_tag())] if name else []
        importing.compose(recipe, Digest.of(b""), 0)  # refuses bad changes before the upload is read
        with self._layers.claims.claim() as claim, self._layers.intake(claim) as intake:
            waiting = bytearray()
            async for chunk in chunks:
                waiting += chunk
                if len(waiting) >= PIECE_BYTES:
                    piece, waiting = bytes(waiting), bytearray()
                    await self._in_thread(functools.partial(intake.feed, piece))
            await self._in_thread(lambda: intake.feed(bytes(waiting)))
            image_id = await self._in_thread(lambda: self._finish(intake, recipe, names, base))
        await self._in_thread(libc.give_back_memory)  # the pieces it came in
        image = self.get(image_id)
        self._bus.publish("image", action, image.id, name=name or image.id)
        return image

    def _tags_of(self, repository: reference.Reference) -> tuple[reference.Reference, ...]:
        parsed = (reference.parse(text) for image in self.list() for text in image.references if "@" not in text)
        found = tuple(sorted((each for each in parsed if each.name == repository.name), key=str))
        if not found:
            raise model.NoSuchImage(f"An image does not exist locally with the tag: {repository.familiar_name}")
        return found

    def _tagged(self, wanted: reference.Reference) -> model.Image:
        try:
            return self.get(str(wanted))
        except model.NoSuchImage as error:
            raise model.NoSuchImage(f"An image does not exist locally with the tag: {wanted.familiar_name}") from error

    def _announce(self, image: model.Image, done: Sequence[model.Removal]) -> None:
        for item in done:
            if item.action == "Untagged":
                self._bus.publish("image", "untag", image.id, name=item.target)
            elif item.target == image.id:
                self._bus.publish("image", "delete", image.id, name=image.id)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run in a worker thread; a cancelled caller still waits for it, since it owns open files."""
        future = asyncio.get_running_loop().run_in_executor(self._workers, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise
