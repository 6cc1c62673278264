"""An image's files as one directory, for reading: what a build writes to its client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from sampan.images.service import Images
from sampan.kernel import mounts


@contextlib.asynccontextmanager
async def mounted(images: Images, image_id: str, place: Path) -> AsyncIterator[Path]:
    """The image's root directory, read-only at `place` (which is made) until the block ends."""
    with images.reserve(image_id):
        lowers = await images.lowers(image_id)
        place.mkdir(mode=0o700, parents=True)
        try:
            if lowers:
                await asyncio.to_thread(mounts.overlay, place, lowers)
            yield place
        finally:
            await asyncio.shield(asyncio.to_thread(_take_down, place))


def _take_down(place: Path) -> None:
    if mounts.is_mount_point(place):
        mounts.unmount(place, detach=True)
    place.rmdir()
