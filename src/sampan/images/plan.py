"""What a pull does for each layer, and in which form a push offers each. Pure: facts in, actions out.

A pull never fetches what this host has in any form. A push offers a layer in the form in which it came, so that a
pulled image keeps its manifest byte for byte. A layer that exists only as a tar (import, commit, build) goes plain to
our own registry, which shares the content store, and gzip-compressed to others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sampan.formats import oci
from sampan.formats.digest import Digest

Step = Literal["keep", "prepare", "inflate", "download"]
Fallback = Literal["plain", "gzip"]


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """What this host has of a layer: mountable, its tar, its blob as the manifest names it."""

    mountable: bool
    tar: bool
    blob: bool


@dataclass(frozen=True, slots=True)
class FetchLayer:
    """One layer of a pull. A layer that an image lists twice appears once."""

    descriptor: oci.Descriptor
    diff_id: Digest
    step: Step
    reason: str


@dataclass(frozen=True, slots=True)
class OfferLayer:
    """One layer of a push: the first of `candidates` that the registry has; else the first of them that is `on_disk`,
    sent; else the fallback form, made from the tar.
    """

    diff_id: Digest
    candidates: tuple[oci.Descriptor, ...]
    on_disk: frozenset[str]
    fallback: Fallback
    reason: str


def fetch(layer: oci.Descriptor, diff_id: Digest, facts: LayerFacts) -> FetchLayer:
    """How to come by one layer."""
    if facts.mountable:
        return FetchLayer(layer, diff_id, "keep", "it is prepared")
    if facts.tar:
        return FetchLayer(layer, diff_id, "prepare", "its tar is in the content store")
    if facts.blob:
        return FetchLayer(layer, diff_id, "inflate", "its blob is in the content store")
    return FetchLayer(layer, diff_id, "download", "this host has nothing of it")


def distinct(layers: Sequence[oci.Descriptor], diff_ids: Sequence[Digest]) -> list[tuple[oci.Descriptor, Digest]]:
    """Each layer once, in order."""
    return list({diff_id: (layer, diff_id) for layer, diff_id in zip(layers, diff_ids, strict=True)}.values())


def offer(
    layer: oci.Descriptor,
    diff_id: Digest,
    forms: Sequence[oci.Descriptor],
    on_disk: Collection[str],
    *,
    own: bool,
) -> OfferLayer:
    """The form for one layer of the image's manifest.

    `forms` are those that other clients saw, smallest first; `on_disk` says which digests the content store has.
    """
    fallback: Fallback = "plain" if own else "gzip"
    seen = {form.digest for form in forms}
    made_here = layer.digest == diff_id and layer.digest not in seen
    here = frozenset(on_disk)
    if layer.digest in here and (own or not made_here):
        return OfferLayer(diff_id, (layer,), here, fallback, "as the image's manifest names it")
    others = tuple(form for form in forms if form.digest not in (diff_id, layer.digest))
    candidates = others if made_here else (layer, *others)
    reason = "the registry may have a known form" if candidates else "only its tar exists"
    return OfferLayer(diff_id, candidates, here, fallback, reason)


def manifest(original: oci.Manifest, pushed: Sequence[oci.Descriptor], config: bytes) -> oci.Manifest | None:
    """The manifest for layers pushed in these forms; None if the original names exactly them and stays as it is."""
    if [layer.digest for layer in original.layers] == [layer.digest for layer in pushed]:
        return None
    types: Mapping[str, str] = {
        oci.DOCKER_LAYER_GZIP: oci.OCI_LAYER_GZIP,
        oci.DOCKER_LAYER: oci.OCI_LAYER,
    }
    return oci.Manifest(
        schema_version=2,
        media_type=oci.OCI_MANIFEST,
        config=oci.descriptor(oci.OCI_CONFIG, config),
        layers=[
            oci.Descriptor(types.get(layer.media_type, layer.media_type), layer.digest, layer.size) for layer in pushed
        ],
        annotations=original.annotations,
    )


def describe(actions: Sequence[FetchLayer | OfferLayer]) -> list[str]:
    """One line an action, for people."""
    return [
        f"{action.step if isinstance(action, FetchLayer) else 'offer'} {action.diff_id.short}: {action.reason}"
        for action in actions
    ]
