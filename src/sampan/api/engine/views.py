"""Gathers from the rooms what one answer shows of a container, a network or the disk."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sampan import errors
from sampan.api.engine import render_build, render_container, render_image, render_volume
from sampan.api.engine.context import Engine
from sampan.containers.model import Container, ContainerFilter
from sampan.volumes.service import directory_size

NOBODY: Final[Mapping[str, Sequence[str]]] = {}


def network_names(engine: Engine) -> dict[str, str]:
    """Names by id."""
    return {network.id: network.name for network in engine.networks.list()}


async def line(
    engine: Engine,
    item: Container,
    *,
    names: dict[str, str],
    with_size: bool = False,
    linked_as: Mapping[str, Sequence[str]] = NOBODY,
) -> render_container.View:
    """What `ps` shows of one container: no paths, which cost most where there are many.

    `linked_as`: what others call it by their links, by id.
    """
    attachment = engine.containers.network(item.id)
    return render_container.View(
        container=item,
        image=_image_name(engine, item),
        network_names=names,
        endpoints=attachment.endpoints if attachment else (),
        published=attachment.published if attachment else (),
        mounts=engine.containers.mounts(item.id),
        volumes_root=engine.volumes.root,
        sizes=await engine.containers.size(item.id) if with_size else None,
        linked_as=linked_as.get(item.id, ()),
        health=engine.containers.health.of(item),
    )


def _image_name(engine: Engine, item: Container) -> str:
    """ "" once the name has gone to another image, or to none."""
    name = item.wanted.config.image
    try:
        return name if engine.images.get(name).id == item.image_id else ""
    except errors.SampanError:
        return ""


async def container(engine: Engine, item: Container, *, with_size: bool = False) -> render_container.View:
    """All about one container."""
    paths = engine.containers.paths(item.id)
    return dataclasses.replace(
        await line(engine, item, names=network_names(engine), with_size=with_size),
        execs=engine.containers.execs.of(item.id),
        log_path=str(paths.log),
        hostname_path=str(paths.hostname),
        hosts_path=str(paths.hosts),
        resolv_conf_path=str(paths.resolv_conf),
        links=engine.containers.links(item),
        storage_driver=engine.facts.storage_driver,
        cgroup_version=engine.facts.cgroup_version,
    )


async def disk_usage(engine: Engine) -> dict[str, Any]:
    """The answer of `GET /system/df`."""
    names = network_names(engine)
    now_ns = time.time_ns()
    containers = []
    users: dict[str, int] = {}
    for item in engine.containers.list(ContainerFilter(all=True)):
        view = await line(engine, item, names=names, with_size=True)
        containers.append(render_container.summary(view, now_ns))
        users[item.image_id] = users.get(item.image_id, 0) + 1
    usage = engine.images.disk_usage()
    images = [
        render_image.summary(image, users.get(image.id, 0), usage.shared_bytes.get(image.id, 0))
        for image in engine.images.list()
    ]
    volumes = []
    for volume in engine.volumes.list():
        path = engine.volumes.path(volume.name)
        size_bytes = await asyncio.to_thread(directory_size, path)
        volumes.append(render_volume.inspect(volume, str(path), (size_bytes, len(engine.volumes.users(volume.name)))))
    return {
        "LayersSize": usage.layers_bytes,
        "Images": images,
        "Containers": containers,
        "Volumes": volumes,
        "BuildCache": [render_build.cache_entry(entry) for entry in engine.builder.cache()],
    }
