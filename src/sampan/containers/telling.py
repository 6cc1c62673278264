"""Events beside a container's own: the networks it joins and leaves, the volumes it mounts.

Actions, attributes and their order are dockerd's: what a container joins is told before its start, what it leaves
before its `die`. Source: the events of dockerd 26.1, recorded (`tests/clients/test_event_sequences.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sampan import errors
from sampan.containers import joining, mountpoints
from sampan.containers.model import Container
from sampan.containers.room import Room
from sampan.networks.model import Network

LONE_MODES = ("host", "none")


def joined(room: Room, container: Container) -> None:
    """It is about to be told to have started."""
    for network in _networks(room, container):
        network_event(room, "connect", network, container.id)
    for point in mountpoints.of(container):
        if point.kind == "volume":
            attributes = {
                "container": container.id,
                "destination": point.destination,
                "driver": "local",
                "propagation": point.propagation,
                "read/write": str(not point.read_only).lower(),
            }
            room.bus.publish("volume", "mount", point.source, **attributes)


def left(room: Room, container: Container) -> None:
    """It is about to be told to have died."""
    for network in _networks(room, container):
        network_event(room, "disconnect", network, container.id)
    for point in mountpoints.of(container):
        if point.kind == "volume":
            room.bus.publish("volume", "unmount", point.source, container=container.id, driver="local")


def network_event(room: Room, action: str, network: Network, container_id: str) -> None:
    """A container at a network."""
    room.bus.publish("network", action, network.id, container=container_id, name=network.name, type=network.driver)


def _networks(room: Room, container: Container) -> Iterator[Network]:
    mode = joining.network_mode(container.wanted)
    if mode in LONE_MODES:
        with contextlib.suppress(errors.NotFound):
            yield room.networks.get(mode)
        return
    attachment = room.networks.attachment(container.id)
    for endpoint in attachment.endpoints if attachment else ():
        with contextlib.suppress(errors.NotFound):
            yield room.networks.get(endpoint.network_id)
