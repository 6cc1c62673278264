"""Documents of images made here."""

from __future__ import annotations

import pytest

from sampan.formats import oci
from sampan.formats.digest import Digest
from sampan.images import documents, importing, model

RECIPE = importing.Recipe(1_700_000_000_123_456_789, oci.Platform("arm64", "linux", "v8"), ["USER me"], comment="note")


def test_an_import_makes_documents_that_a_pull_would_take() -> None:
    made = importing.compose(RECIPE, Digest.of(b"tar"), 3)
    manifest = documents.read(made.manifest, oci.OCI_MANIFEST)
    assert isinstance(manifest, oci.Manifest)
    assert manifest.config == oci.descriptor(oci.OCI_CONFIG, made.config)
    config = documents.read_config(made.config, len(manifest.layers))
    assert config.diff_ids == (Digest.of(b"tar"),)
    assert config.document["created"] == "2023-11-14T22:13:20.123456789Z"
    assert config.document["variant"] == "v8"
    assert model.parse_config(config.document).user == "me"


def test_the_same_recipe_makes_the_same_image() -> None:
    assert importing.compose(RECIPE, Digest.of(b"tar"), 3) == importing.compose(RECIPE, Digest.of(b"tar"), 3)


def test_a_layer_on_a_base_keeps_what_the_base_says() -> None:
    below = importing.compose(importing.Recipe(0, oci.Platform("amd64", "linux"), ["CMD x"]), Digest.of(b"low"), 3)
    manifest = oci.decode(below.manifest, oci.Manifest)
    base = importing.Base(oci.decode_object(below.config), manifest.layers)
    made = importing.compose(RECIPE, Digest.of(b"high"), 4, base)
    config = documents.read_config(made.config, 2)
    assert config.diff_ids == (Digest.of(b"low"), Digest.of(b"high"))
    assert config.document["architecture"] == "amd64"
    assert len(config.document["history"]) == 2
    assert config.document["config"] == {"Cmd": ["/bin/sh", "-c", "x"], "User": "me"}


def test_an_image_deeper_than_the_limit_is_refused() -> None:
    layers = [oci.Descriptor(oci.OCI_LAYER, Digest.of(b"x"), 1)] * model.MOST_LAYERS
    with pytest.raises(documents.RefusedImage, match="max depth exceeded"):
        importing.compose(RECIPE, Digest.of(b"y"), 1, importing.Base({"rootfs": {}}, layers))
