"""Which way a layer comes, and in which form it goes."""

from __future__ import annotations

import pytest

from sampan.formats import oci
from sampan.formats.digest import Digest
from sampan.images import plan

TAR = Digest.of(b"tar")
GZIP = oci.Descriptor(oci.OCI_LAYER_GZIP, Digest.of(b"gzip"), 10)
OTHER = oci.Descriptor(oci.OCI_LAYER_ZSTD, Digest.of(b"zstd"), 8)
PLAIN = oci.Descriptor(oci.OCI_LAYER, TAR, 30)


@pytest.mark.parametrize(
    ("mountable", "tar", "blob", "step"),
    [
        (True, True, True, "keep"),
        (True, False, False, "keep"),
        (False, True, True, "prepare"),
        (False, True, False, "prepare"),
        (False, False, True, "inflate"),
        (False, False, False, "download"),
    ],
)
def test_nothing_is_fetched_that_is_here_in_any_form(mountable: bool, tar: bool, blob: bool, step: str) -> None:
    assert plan.fetch(GZIP, TAR, plan.LayerFacts(mountable, tar, blob)).step == step


def test_a_layer_listed_twice_is_one_layer() -> None:
    assert plan.distinct([GZIP, OTHER, GZIP], [TAR, Digest.of(b"2"), TAR]) == [(GZIP, TAR), (OTHER, Digest.of(b"2"))]


@pytest.mark.parametrize(
    ("layer", "forms", "on_disk", "own", "candidates"),
    [
        (GZIP, [GZIP], {GZIP.digest}, False, (GZIP,)),
        (GZIP, [GZIP], {GZIP.digest}, True, (GZIP,)),
        (GZIP, [GZIP, OTHER], {OTHER.digest}, False, (GZIP, OTHER)),
        (PLAIN, [], {TAR}, True, (PLAIN,)),
        (PLAIN, [], {TAR}, False, ()),
        (PLAIN, [PLAIN], {TAR}, False, (PLAIN,)),
        (PLAIN, [GZIP], {TAR}, False, (GZIP,)),
    ],
)
def test_a_layer_goes_as_it_came_or_plain_to_our_own_registry_or_compressed(
    layer: oci.Descriptor,
    forms: list[oci.Descriptor],
    on_disk: set[str],
    own: bool,
    candidates: tuple[oci.Descriptor, ...],
) -> None:
    offer = plan.offer(layer, TAR, forms, on_disk, own=own)
    assert (offer.candidates, offer.on_disk) == (candidates, on_disk)
    assert offer.fallback == ("plain" if own else "gzip")


def test_a_manifest_stays_if_its_layers_went_as_it_names_them() -> None:
    original = oci.Manifest(2, oci.descriptor(oci.OCI_CONFIG, b"{}"), [GZIP, OTHER])
    assert plan.manifest(original, [GZIP, OTHER], b"{}") is None


def test_a_new_manifest_is_an_oci_manifest() -> None:
    docker = oci.Descriptor(oci.DOCKER_LAYER_GZIP, GZIP.digest, GZIP.size)
    original = oci.Manifest(2, oci.descriptor(oci.DOCKER_CONFIG, b"{}"), [docker, PLAIN])
    made = plan.manifest(original, [docker, OTHER], b"{}")
    assert made is not None
    assert made.layers == [GZIP, OTHER]
    assert (made.media_type, made.config.media_type) == (oci.OCI_MANIFEST, oci.OCI_CONFIG)


def test_plans_can_be_shown() -> None:
    actions = [plan.fetch(GZIP, TAR, plan.LayerFacts(False, False, False)), plan.offer(GZIP, TAR, [], [], own=True)]
    assert plan.describe(actions) == [
        f"download {TAR.short}: this host has nothing of it",
        f"offer {TAR.short}: the registry may have a known form",
    ]
