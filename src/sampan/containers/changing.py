"""Change a container that exists: its limits, its policy, its networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import msgspec

from sampan.containers import creating, facts, joining, ports, resources, spec, store, telling
from sampan.containers.room import Room
from sampan.containers.wanted import EndpointSettings, HostConfig, Wanted
from sampan.networks.model import EndpointWish


async def update(room: Room, reference: str, host: HostConfig) -> Sequence[str]:
    """New limits and restart policy; a field left at its default stays as it is. Returns warnings."""
    container = room.get(reference)
    default = HostConfig()
    fields = {
        name: getattr(host, name)
        for name in msgspec.structs.asdict(default)
        if getattr(host, name) != getattr(default, name)
    }
    async with room.live_of(container.id).lock:
        container = room.get(container.id)
        merged = msgspec.structs.replace(container.wanted.host, **fields)
        warnings = resources.check(merged, cpus=room.host.cpus)
        if container.alive:
            block = facts.block_devices(merged)
            limits = resources.limits(merged, (), all_devices=True, block=block)
            limits.pop("devices")
            await room.runtime(container).update(container.id, limits)
        wanted = Wanted(container.wanted.config, merged, container.wanted.networking)
        changed = dataclasses.replace(container, wanted=wanted)
        await room.database.write(lambda c: store.change(c, changed))
    room.publish(changed, "update")
    return warnings


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
