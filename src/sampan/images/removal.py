"""What `docker rmi` removes and what it refuses, with Docker's rules and words. Pure.

Source: the behaviour of `DELETE /images/{name}` of dockerd: a name removes that name, and the image with its last one;
an id removes the image with at most one name (all names by force). Running containers keep an image always. One
difference: where dockerd deletes an image by force below a stopped container and keeps the layers out of sight, here
the image stays without a name until the container is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sampan.formats import reference
from sampan.formats.digest import Digest
from sampan.images import model


@dataclass(frozen=True, slots=True)
class Untag:
    """Remove one reference (full form)."""

    target: str
    reason: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the image, its remaining references and the layers that no other image uses."""

    target: str
    reason: str


Action = Untag | Delete


def plan(
    image: model.Image, asked: str, by_reference: str | None, users: Sequence[model.User], *, force: bool
) -> list[Action]:
    """Actions for `rmi asked`. `by_reference` is the full reference if `asked` is one of the image's names.

    Raises `ImageInUse`.
    """
    if by_reference is None:
        return _by_id(image, users, force=force)
    return _by_reference(image, asked, by_reference, users, force=force)


def _by_reference(
    image: model.Image, asked: str, name: str, users: Sequence[model.User], *, force: bool
) -> list[Action]:
    if users and not force and is_single(image.references):
        raise model.ImageInUse(
            f'conflict: unable to remove repository reference "{asked}" (must force) - container '
            f"{users[0].container_id[:12]} is using its referenced image {image.id.short}"
        )
    actions: list[Action] = [Untag(name, "it was asked for")]
    rest = [text for text in image.references if text != name]
    if "@" not in name:
        repository = reference.parse(name).name
        same = [text for text in rest if reference.parse(text).name == repository]
        if all("@" in text for text in same):
            actions += [Untag(text, "the repository's last tag is gone") for text in same]
            rest = [text for text in rest if text not in same]
    if not rest and not users:
        actions.append(Delete(image.id, "no reference is left"))
    return actions


def _by_id(image: model.Image, users: Sequence[model.User], *, force: bool) -> list[Action]:
    for user in users:
        if user.running:
            raise _conflict(
                image, "cannot be forced", f"image is being used by running container {user.container_id[:12]}"
            )
    if not force and not is_single(image.references):
        raise _conflict(image, "must be forced", "image is referenced in multiple repositories")
    if not force and users:
        raise _conflict(
            image, "must be forced", f"image is being used by stopped container {users[0].container_id[:12]}"
        )
    untags, delete = everything(image)[:-1], everything(image)[-1:]
    # A stopped container can be started again only while its layers are there; it goes with a later prune.
    return untags if users else [*untags, *delete]


def everything(image: model.Image) -> list[Action]:
    """Actions for an image that nobody uses and that shall go with all its names."""
    untags: list[Action] = [Untag(text, "the image goes") for text in image.references]
    return [*untags, Delete(image.id, "nobody uses it")]


def chain_ids(layers: Sequence[Digest]) -> dict[Digest, str]:
    """The names under which Docker reports removed layers: each stands for a layer and all below it.

    Source: OCI image-spec 1.1, config.md, "Layer ChainID".
    """
    chain: dict[Digest, str] = {}
    above = ""
    for diff_id in layers:
        above = Digest.of(f"{above} {diff_id}".encode()) if above else diff_id
        chain[diff_id] = above
    return chain


def is_single(references: Sequence[str]) -> bool:
    """Whether there is at most one tag, and every digest reference is of its repository."""
    if len(references) <= 1:
        return True
    tags = [text for text in references if "@" not in text]
    repositories = {reference.parse(text).name for text in references}
    return len(tags) <= 1 and len(repositories) == 1


def _conflict(image: model.Image, force: str, why: str) -> model.ImageInUse:
    return model.ImageInUse(f"conflict: unable to delete {image.id.short} ({force}) - {why}")


def describe(actions: Sequence[Action]) -> list[str]:
    """One line an action, for people."""
    return [f"{type(action).__name__.lower()} {action.target}: {action.reason}" for action in actions]
