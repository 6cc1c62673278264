"""`docker commit`: what a container changed becomes a layer on its image, and its configuration the new image's."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from sampan import errors
from sampan.containers import merging
from sampan.containers.files import streaming, view
from sampan.containers.model import Container, Phase
from sampan.containers.room import Room
from sampan.containers.wanted import Config
from sampan.formats import reference, tar_write
from sampan.images import changes, upper
from sampan.images import model as images

Freeze = Callable[[str], Awaitable[None]]

# What an image keeps of a container's configuration; the rest (its host name, its streams) is about that one container.
KEPT = (
    "User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Healthcheck", "ArgsEscaped", "Image", "Volumes", "WorkingDir",
    "NetworkDisabled", "OnBuild", "Labels", "StopSignal", "StopTimeout", "Shell",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for. `config` replaces the container's; what it leaves out comes from there."""

    repository: str = ""
    tag: str = ""
    comment: str = ""
    author: str = ""
    pause: bool = True
    changes: Sequence[str] = ()
    config: Config | None = None


async def commit(room: Room, name: str, wish: Wish, *, pause: Freeze, unpause: Freeze) -> str:
    """The new image's id. Raises `ContainerUnknown`, `InvalidReference`, `InvalidChange`, `NotForALayer`."""
    container = room.get(name)
    target = _target(wish)
    config = configuration(container.wanted.config, wish)
    frozen = wish.pause and container.phase is Phase.RUNNING
    if frozen:
        with contextlib.suppress(errors.Conflict):  # it ended, or is frozen already
            await pause(container.id)
    try:
        pieces = _layer(room, container)
        async with contextlib.aclosing(pieces):
            made = await room.images.commit(
                container.image_id,
                pieces,
                name=target,
                config=config,
                comment=wish.comment,
                author=wish.author,
                created_by=" ".join(container.wanted.config.cmd),
            )
    finally:
        if frozen:
            with contextlib.suppress(errors.Conflict, errors.NotFound):  # ended or removed meanwhile
                await unpause(container.id)
    shown = reference.parse(target).familiar if target else ""
    room.publish(container, "commit", comment=wish.comment, imageID=made.id, imageRef=shown)
    return made.id


def configuration(own: Config, wish: Wish) -> Mapping[str, Any]:
    """The new image's, in Docker's names: the asked one with its changes, filled up from the container's."""
    asked = _document(own if wish.config is None else wish.config)
    changed = changes.apply(wish.changes, asked)
    if wish.config is not None:
        merged = merging.merge(
            msgspec.convert(changed, Config, strict=False), images.parse_config({"config": _document(own)})
        )
        changed = _document(merged)
    return {name: value for name, value in changed.items() if value not in (None, "", False)}


def _document(config: Config) -> dict[str, Any]:
    every = msgspec.to_builtins(config)
    return {name: every[name] for name in KEPT if every.get(name) not in (None, "", False, [], {})}


def _target(wish: Wish) -> str:
    if not wish.repository:
        return ""
    name = reference.parse(f"{wish.repository}:{wish.tag}" if wish.tag else wish.repository).with_default_tag()
    if name.digest is not None:
        raise errors.Invalid("refusing to create a tag with a digest reference")
    return str(name)


async def _layer(room: Room, container: Container) -> streaming.Pieces:
    place = room.paths(container.id)

    def produce(write: Callable[[bytes], object]) -> None:
        if place.upper.exists():
            upper.write_layer(place.upper, write, omit=view.runtime_leftovers(place))
        else:
            write(tar_write.END)  # never started

    pieces = streaming.pieces(produce)
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            yield piece
    view.still_there(room, container)
