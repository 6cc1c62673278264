"""Create a container: everything that can be wrong with a wish is found here, before anything exists."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import msgspec
from sqlalchemy import Connection

from sampan import errors
from sampan.containers import (
    defaulting,
    facts,
    joining,
    merging,
    mounting,
    mountpoints,
    names,
    spec,
    store,
    unserved,
)
from sampan.containers.links import apply as links
from sampan.containers.model import Container, Phase, State
from sampan.containers.mountpoints import MountPoint
from sampan.containers.room import Room
from sampan.containers.wanted import EndpointSettings, HostConfig, Mount, Wanted
from sampan.security import confinement, selinux


async def create(room: Room, name: str, wanted: Wanted, *, platform: str) -> tuple[Container, list[str]]:
    """One transaction: the container, and the volumes it names. Files and mounts come with the start."""
    if not wanted.config.image:
        raise errors.Invalid("no image was given", remedy="name one in the field Image")
    image = room.images.get(wanted.config.image)
    if platform and not _fits(platform, image.platform.os, image.platform.architecture):
        raise errors.NotFound(
            f"image with reference {wanted.config.image} was found but its platform "
            f"({image.platform.os}/{image.platform.architecture}) does not match the specified platform ({platform})"
        )
    joining.check(wanted)
    host = defaulting.fill(wanted.host, room.defaults.wish)
    merged = Wanted(merging.merge(wanted.config, image.config), host, wanted.networking)
    warnings = check(room, merged)
    container_id = room.new_id()
    if not merged.config.hostname and not joining.shared_with(joining.network_mode(merged)):
        hostname = container_id[:12]
        merged = Wanted(msgspec.structs.replace(merged.config, hostname=hostname), merged.host, merged.networking)
    merged = links.settle(room, _with_volumes_of_others(room, merged))
    points = mountpoints.collect(merged.host, merged.config.volumes, room.new_id)
    mounting.check_sources(points)
    if any(point.kind == "volume" for point in points):
        unserved.check_volume_driver(merged.host.volume_driver)
    merged = _with_mounts(merged, points)
    container = Container(
        id=container_id,
        name=names.check(name) if name else "",
        image_id=str(image.id),
        phase=Phase.CREATED,
        wanted=merged,
        state=State(),
        created_ns=room.now_ns(),
    )

    new_volumes: list[str] = []

    def verb(connection: Connection) -> Container:
        named = container if container.name else dataclasses.replace(container, name=_suggest(room, connection))
        store.add(connection, named)
        new_volumes[:] = [
            point.source for point in points if point.kind == "volume" and _declare(room, connection, point, named.id)
        ]
        return named

    with room.images.reserve(container.image_id):
        container = await room.database.write(verb)
    for volume in new_volumes:
        room.volumes.tell_new(volume)
    await room.volumes.ensure_all(point.source for point in points if point.kind == "volume")
    room.publish(container, "create")
    return container, warnings


def _declare(room: Room, connection: Connection, point: MountPoint, container_id: str) -> bool:
    """Whether the volume is new."""
    return room.volumes.declare(
        connection,
        point.source,
        container_id,
        anonymous=point.anonymous,
        labels=dict(point.labels),
        options=dict(point.driver_options),
    )


def check(room: Room, merged: Wanted) -> list[str]:
    """Everything about the wish alone that can be wrong. Raises kinds of `Invalid`.

    Networks and containers it names are looked for at the start, as in dockerd: to the docker CLI "not found" as the
    answer to a creation means the image, and it would go and pull it.
    """
    warnings = merging.check(merged, cpus=room.host.cpus)
    unserved.check(merged.host, realtime=room.host.realtime)
    if spec.wants_init(merged.host, by_default=room.defaults.init):
        facts.init_program(room.defaults.init_path)
    host = merged.host
    if host.runtime not in room.runtimes:
        raise errors.Invalid(
            f"unknown or invalid runtime name: {host.runtime}",
            remedy=f"use one of {sorted(filter(None, room.runtimes))}",
        )
    if room.defaults.selinux is not None:
        selinux.labels(room.defaults.selinux, host.security_opt, "", privileged=host.privileged)
    confinement.confine(
        privileged=host.privileged,
        cap_add=host.cap_add,
        cap_drop=host.cap_drop,
        security_opt=host.security_opt,
        bounding=room.host.bounding,
        machine=room.host.machine,
    )
    return warnings


def with_networks(container: Container, joins: Mapping[str, EndpointSettings]) -> Container:
    """The same with other networks wished for."""
    networking = msgspec.structs.replace(container.wanted.networking, endpoints_config=dict(joins))
    wanted = Wanted(container.wanted.config, container.wanted.host, networking)
    return dataclasses.replace(container, wanted=wanted)


def _fits(platform: str, system: str, architecture: str) -> bool:
    parts = platform.lower().split("/")
    return parts[0] == system and (len(parts) == 1 or parts[1] == architecture)


def _suggest(room: Room, connection: Connection) -> str:
    """A free name, chosen in the transaction that takes it: two creations at once never choose the same."""
    return names.suggest(room.choose, lambda name: store.find_by_name(connection, name) is not None)


def _source(room: Room, reference: str) -> Container:
    """Raises `Invalid`: to the docker CLI "not found" as the answer to a creation would mean the image."""
    try:
        return room.get(reference)
    except errors.NotFound as error:
        raise errors.Invalid(str(error), remedy="name a container in --volumes-from that exists") from error


def _with_volumes_of_others(room: Room, wanted: Wanted) -> Wanted:
    """`--volumes-from NAME[:ro]`: the binds and volumes the other has now, where the wish names nothing else."""
    if not wanted.host.volumes_from:
        return wanted
    taken = {point.destination for point in mountpoints.collect(wanted.host, (), room.new_id)}
    more: dict[str, Mount] = {}  # by destination; a later --volumes-from goes before an earlier one
    for text in wanted.host.volumes_from:
        reference, _, mode = text.partition(":")
        mode = ",".join(word for word in mode.split(",") if word not in ("z", "Z"))
        if mode not in ("", "ro", "rw"):
            raise mountpoints.MountInvalid(f"invalid mode: {mode}", why="in --volumes-from", remedy="use ro or rw")
        for point in mountpoints.of(_source(room, reference)):
            if point.kind != "tmpfs" and point.destination not in taken:
                shared = dataclasses.replace(point, read_only=point.read_only or mode == "ro")
                more[point.destination] = mountpoints.long_form(shared)
    host = msgspec.structs.replace(wanted.host, mounts=[*wanted.host.mounts, *more.values()])
    return Wanted(wanted.config, host, wanted.networking)


def _with_mounts(wanted: Wanted, points: tuple[MountPoint, ...]) -> Wanted:
    """Write the names that anonymous volumes got into the wish: the stored container always means the same volumes."""
    anonymous = [point for point in points if point.anonymous]
    if not anonymous:
        return wanted
    host = wanted.host
    replaced = {point.destination for point in anonymous}
    binds = [text for text in host.binds if ":" in text or text not in replaced]
    mounts = [mount for mount in host.mounts if not (mount.type == "volume" and not mount.source)]
    named = [mountpoints.long_form(point) for point in anonymous]
    changed: HostConfig = msgspec.structs.replace(host, binds=binds, mounts=[*mounts, *named])
    return Wanted(wanted.config, changed, wanted.networking)
