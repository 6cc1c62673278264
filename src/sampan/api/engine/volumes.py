"""Handlers: volumes."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from sampan import errors
from sampan.api.engine import query, render_volume
from sampan.api.engine.call import Call, done
from sampan.api.http import bodies
from sampan.volumes.store import Volume


class InvalidVolumeRequest(errors.Invalid):
    """A body or filter that volumes do not have."""


class ClusterVolume(errors.Unsupported):
    """Sampan has no clusters."""


class VolumeCreate(msgspec.Struct, rename="pascal"):
    """The body of `POST /volumes/create`."""

    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] = {}
    labels: dict[str, str] = {}
    cluster_volume_spec: dict[str, Any] | None = None


FILTERS = frozenset({"dangling", "driver", "label", "name"})


def _shown(call: Call, volume: Volume) -> dict[str, Any]:
    return render_volume.inspect(volume, str(call.engine.volumes.path(volume.name)))


def _passes(call: Call, volume: Volume, keys: dict[str, tuple[str, ...]]) -> bool:
    if "dangling" in keys:
        wanted = query.parse_switch("dangling", keys["dangling"][0])
        if (not call.engine.volumes.users(volume.name)) != wanted:
            return False
    return (
        ("driver" not in keys or volume.driver in keys["driver"])
        and ("name" not in keys or any(part in volume.name for part in keys["name"]))
        and all(query.is_label_match(label, volume.labels) for label in keys.get("label", ()))
    )


async def list_all(call: Call) -> web.StreamResponse:
    """GET /volumes."""
    keys = call.query.filters()
    for key in keys:
        if key not in FILTERS:
            raise InvalidVolumeRequest(f"invalid filter '{key}'")
    if "dangling" in keys:
        query.parse_switch("dangling", keys["dangling"][0])  # wrong also where there is no volume
    chosen = [_shown(call, volume) for volume in call.engine.volumes.list() if _passes(call, volume, keys)]
    return bodies.answer({"Volumes": chosen, "Warnings": None})


async def create(call: Call) -> web.StreamResponse:
    """POST /volumes/create."""
    body = await call.body(optional=True)
    try:
        asked = msgspec.convert(bodies.without_nulls(body), VolumeCreate)
    except msgspec.ValidationError as error:
        raise InvalidVolumeRequest("invalid volume configuration", why=str(error)) from error
    if asked.cluster_volume_spec:
        raise ClusterVolume("cluster volumes are not supported", remedy="use volumes of the driver local")
    volume = await call.engine.volumes.create(
        asked.name, driver=asked.driver or "local", labels=asked.labels, options=asked.driver_opts
    )
    return bodies.answer(_shown(call, volume), status=201)


async def inspect(call: Call) -> web.StreamResponse:
    """GET /volumes/{name}."""
    return bodies.answer(_shown(call, call.engine.volumes.get(call.name)))


async def remove(call: Call) -> web.StreamResponse:
    """DELETE /volumes/{name}."""
    await call.engine.volumes.remove(call.name, force=call.query.switch("force"))
    return done()


async def prune(call: Call) -> web.StreamResponse:
    """POST /volumes/prune: anonymous ones only, unless `all` is filtered for (and before API 1.42)."""
    keys = call.query.filters()
    for key in keys:
        if key not in ("all", "label", "label!"):
            raise InvalidVolumeRequest(f"invalid filter '{key}'")
    everything = call.version < (1, 42) or keys.get("all", ("",))[0].lower() in ("1", "true")

    def is_chosen(volume: Volume) -> bool:
        return all(query.is_label_match(label, volume.labels) for label in keys.get("label", ())) and not any(
            query.is_label_match(label, volume.labels) for label in keys.get("label!", ())
        )

    names, freed_bytes = await call.engine.volumes.prune(all_volumes=everything, chosen=is_chosen)
    return bodies.answer({"VolumesDeleted": list(names) or None, "SpaceReclaimed": freed_bytes})
