"""The two verbs: `save` and `load`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from sampan import errors
from sampan.events.bus import Bus
from sampan.formats import compression, oci, reference
from sampan.images import model
from sampan.images.archives import loading, saving
from sampan.images.archives.uplink import Uplink
from sampan.images.catalogue import Catalogue
from sampan.images.flights import Flights
from sampan.images.layers import Layers
from sampan.images.parallel import Report


@dataclass(slots=True)
class Archives:
    """What the room lends for it."""

    layers: Layers
    catalogue: Catalogue
    flights: Flights
    bus: Bus
    platform: oci.Platform
    limits: compression.Limits | None
    now_ns: Callable[[], int]

    @contextlib.asynccontextmanager
    async def save(self, names: Sequence[str]) -> AsyncIterator[saving.Saved]:
        """Images by tag, repository or id as one archive, which stays until the block ends. Raises `NoSuchImage`."""
        if not names:
            raise errors.Invalid("no image was named", remedy="give names=IMAGE")
        selection = saving.select(self.catalogue, names)
        prepared = saving.prepared(self.layers, selection)
        saved = await asyncio.to_thread(prepared.__enter__)
        try:
            yield saved
        finally:
            await asyncio.to_thread(prepared.__exit__, None, None, None)
        for image in selection.images.values():
            self.bus.publish("image", "save", image.id, name=image.id)

    async def load(self, chunks: AsyncIterable[bytes], *, quiet: bool = False) -> AsyncIterator[model.Progress]:
        """Take in every image of an archive, compressed or not. Raises `BadArchive` and what is wrong with an image."""
        uplink = Uplink()
        loaded: list[tuple[str, tuple[str, ...]]] = []

        def operation(report: Report) -> None:
            def say(progress: model.Progress) -> None:
                if progress.stream or not quiet:
                    report(progress)

            work = loading.Load(self.layers, self.platform, self.limits, self.now_ns, say)
            try:
                loaded.extend(work.run(uplink.pieces()))
            finally:
                uplink.enough()

        flight = self.flights.join(object(), operation)
        feeding = asyncio.ensure_future(uplink.feed(chunks))
        try:
            async for progress in flight.watch():
                yield progress
        finally:
            feeding.cancel()
            await asyncio.wait([feeding])
        for image_id, tags in loaded:
            names = [reference.parse(tag).familiar for tag in tags] or [image_id]
            for name in names:
                self.bus.publish("image", "load", image_id, name=name)
