"""Change a container that exists: its limits, its policy, its networks."""

from __future__ import annotations

from sampan.containers import creating, joining, ports, spec, store, telling
from sampan.containers.links import apply as links
from sampan.containers.room import Room
from sampan.containers.wanted import EndpointSettings
from sampan.networks.model import EndpointWish


async def connect(room: Room, network: str, reference: str, settings: EndpointSettings) -> None:
    """Join one more network, now if it runs, else at its start."""
    container = room.get(reference)
    async with room.live_of(container.id).lock:
        container = room.get(container.id)
        found = room.networks.get(network)
        name = found.name
        joins = {**container.wanted.networking.endpoints_config, name: settings}
        changed = creating.with_networks(container, joins)
        joining.check(changed.wanted)
        # The wish first: after a crash the same request once more finishes it.
        await room.database.write(lambda c: store.change(c, changed))
        if container.alive:
            wish = EndpointWish(
                name,
                address=settings.ipam_config.ipv4_address if settings.ipam_config else "",
                mac=settings.mac_address,
                aliases=tuple(settings.aliases),
            )
            wishes = tuple(ports.wishes(container.wanted.config, container.wanted.host))
            hostname = spec.hostname(container)
            try:
                await room.networks.connect(
                    container.id, name=container.name, wish=wish, hostname=hostname, ports=wishes
                )
            except BaseException:
                await room.database.write(lambda c: store.change(c, container))
                raise
            if links.has_links(changed):
                await links.refresh(room, changed)
    telling.network_event(room, "connect", found, container.id)


async def disconnect(room: Room, network: str, reference: str) -> None:
    """Leave a network, now if it runs."""
    container = room.get(reference)
    async with room.live_of(container.id).lock:
        container = room.get(container.id)
        found = room.networks.get(network)
        name = found.name
        joins = {k: v for k, v in container.wanted.networking.endpoints_config.items() if k != name}
        changed = creating.with_networks(container, joins)
        await room.database.write(lambda c: store.change(c, changed))  # first, as above
        if container.alive:
            await room.networks.disconnect(container.id, name)
    telling.network_event(room, "disconnect", found, container.id)
