"""Lazy start, as far as this host can: put together from the settings."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, cast

from sampan import errors
from sampan.blobs.service import Blobs
from sampan.config import values
from sampan.config.options import Options
from sampan.containers.room import Room
from sampan.containers.service import Containers
from sampan.images import endpoints

if TYPE_CHECKING:
    from sampan.images.lazy.service import Lazy

log = logging.getLogger(__name__)


def make(options: Options, blobs: Blobs, settings: endpoints.Settings) -> Lazy | None:
    """None when it is not wanted and nothing is left of it, or not possible. Raises `Unsupported` for `on`."""
    pending = blobs.files.pending
    left = pending.exists() and any(pending.iterdir())
    if options.lazy_pull == "off" and not left:
        return None
    from sampan.images.lazy import probe, service  # a MiB that only who wants lazy start pays for

    why = probe.probe(pending)
    if why and options.lazy_pull == "on":
        raise errors.Unsupported(
            "lazy start does not work here",
            why=why,
            remedy="use Linux 6.14 or later with a data root on ext4, xfs or btrfs, or --lazy-pull auto",
        )
    if why:
        log.warning("images are pulled as a whole: %s", why)
    speed = values.size_bytes(options.lazy_bandwidth, "--lazy-bandwidth") if options.lazy_bandwidth else 0
    mode = cast(Literal["off", "auto", "on"], options.lazy_pull)  # checked with the other settings
    limits = service.Limits(mode, float(options.lazy_timeout), speed)
    return service.Lazy(blobs, settings, limits, capable=not why) if left or not why else None


def tell(lazy: Lazy, room: Room, containers: Containers) -> None:
    """Events of pending layers; and the containers of a forged image end, for nobody knows what they run."""
    from sampan.images.lazy.telling import Telling

    def kill(image_id: str) -> None:
        for user in containers.using_image(image_id):
            if user.running:
                log.error("container %s is killed: its image is forged", user.container_id[:12])
                room.spawn(containers.kill(user.container_id))

    lazy.tell = Telling(room.bus, room.images.list, kill)
