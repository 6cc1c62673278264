"""What becomes of pending layers, told to whom it concerns: events for people, forged images for the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from sampan.events.bus import Bus
from sampan.formats.digest import Digest
from sampan.images import model

FORGED = "lazy-forged"


class Telling:
    """Called in any thread; works in the event loop that made it."""

    def __init__(self, bus: Bus, images: Callable[[], Sequence[model.Image]], on_forged: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._bus = bus
        self._images = images
        self._on_forged = on_forged

    def __call__(self, what: str, diff_id: Digest, why: str) -> None:
        """Something happened to a pending layer."""
        self._loop.call_soon_threadsafe(self._tell, what, diff_id, why)

    def _tell(self, what: str, diff_id: Digest, why: str) -> None:
        for image in self._images():
            if diff_id in image.layers:
                said = {"layer": diff_id, **({"reason": why} if why else {})}
                self._bus.publish("image", what, image.id, **said)
                if what == FORGED:
                    self._on_forged(image.id)
