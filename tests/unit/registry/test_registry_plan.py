"""What a manifest asks for, without a registry."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan import errors
from sampan.formats import oci
from sampan.formats.digest import Digest
from sampan.registry import plan
from sampan.registry.model import ManifestInvalid, ManifestTooLarge, check_reference

CONFIG = {"mediaType": oci.OCI_CONFIG, "digest": str(Digest.of(b"{}")), "size": 2}
LAYER = {"mediaType": oci.OCI_LAYER, "digest": str(Digest.of(b"x")), "size": 1}


def image(**fields):
    return json.dumps({"schemaVersion": 2, "config": CONFIG, "layers": [LAYER], **fields}).encode()


def test_an_image_needs_its_configuration_and_its_layers():
    document = plan.read(image(), oci.OCI_MANIFEST)
    assert [(need.role, need.size_bytes) for need in document.needs] == [("config", 2), ("layer", 1)]
    assert document.children == []
    assert document.subject is None
    assert document.artifact_type == oci.OCI_CONFIG


def test_an_index_needs_its_manifests():
    content = json.dumps({"schemaVersion": 2, "manifests": [LAYER, CONFIG]}).encode()
    document = plan.read(content, oci.OCI_INDEX)
    assert document.children == [LAYER["digest"], CONFIG["digest"]]
    assert document.artifact_type == ""


def test_the_artifact_type_goes_before_the_type_of_the_configuration():
    document = plan.read(image(artifactType="a/b", subject=LAYER, annotations={"k": "v"}), oci.OCI_MANIFEST)
    assert (document.artifact_type, document.subject) == ("a/b", LAYER["digest"])
    assert document.annotations == {"k": "v"}


def test_the_media_type_of_the_document_serves_where_the_client_names_none():
    assert plan.read(image(mediaType=oci.OCI_MANIFEST), "").media_type == oci.OCI_MANIFEST


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ],
)
def test_foreign_layers_may_be_elsewhere_but_not_a_foreign_configuration(media_type):
    foreign = {**LAYER, "mediaType": media_type, "urls": ["https://example.com/x"]}
    document = plan.read(image(layers=[foreign], config={**CONFIG, "mediaType": media_type}), oci.OCI_MANIFEST)
    assert [need.may_be_elsewhere for need in document.needs] == [False, True]


def test_a_manifest_over_the_limit_is_refused_before_it_is_read():
    with pytest.raises(ManifestTooLarge):
        plan.read(b"[" * (oci.LARGEST_MANIFEST_BYTES + 1), oci.OCI_MANIFEST)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["schemaVersion", "mediaType", "config", "layers", "manifests", "subject", "annotations"]),
        st.just(2) | st.just(CONFIG) | st.just([LAYER]) | json_values,
    ),
    st.sampled_from([oci.OCI_MANIFEST, oci.OCI_INDEX, ""]),
)
def test_any_document_is_read_or_refused(fields, content_type):
    try:
        document = plan.read(json.dumps(fields).encode(), content_type)
    except ManifestInvalid:
        return
    assert document.media_type in oci.MANIFESTS | oci.INDEXES
    assert all(need.size_bytes >= 0 for need in document.needs)


@given(st.text(max_size=80))
def test_a_reference_is_a_digest_a_tag_or_refused(text):
    try:
        reference = check_reference(text)
    except errors.Invalid:
        return
    assert reference == text
    assert isinstance(reference, Digest) is (":" in text)
    assert "/" not in text
