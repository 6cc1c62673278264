"""Documents from strangers that must not be taken for an image."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sampan import errors
from sampan.formats import oci
from sampan.formats.digest import Digest
from sampan.images import documents, model
from sampan.images.documents import NotAnImage, RefusedImage

DIGEST = Digest.of(b"")
CONFIG = {"mediaType": oci.OCI_CONFIG, "digest": DIGEST, "size": 2}
LAYER = {"mediaType": oci.OCI_LAYER_GZIP, "digest": DIGEST, "size": 2}


def manifest(**changes: Any) -> bytes:
    document = {"schemaVersion": 2, "mediaType": oci.OCI_MANIFEST, "config": CONFIG, "layers": [LAYER], **changes}
    return json.dumps({name: value for name, value in document.items() if value is not None}).encode()


def test_a_manifest_and_an_index_are_read() -> None:
    assert isinstance(documents.read(manifest(), oci.OCI_MANIFEST), oci.Manifest)
    assert isinstance(documents.read(manifest(mediaType=None), oci.OCI_MANIFEST), oci.Manifest)
    index = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
    assert isinstance(documents.read(index, oci.OCI_INDEX), oci.Index)


@pytest.mark.parametrize(
    ("content", "media_type", "error"),
    [
        (manifest(mediaType=oci.DOCKER_MANIFEST), oci.OCI_MANIFEST, RefusedImage),
        (manifest(), oci.OCI_INDEX, RefusedImage),
        (manifest(mediaType=None, manifests=[]), oci.OCI_INDEX, RefusedImage),
        (manifest(manifests=[]), oci.OCI_MANIFEST, RefusedImage),
        (manifest(fsLayers=[]), oci.OCI_MANIFEST, RefusedImage),
        (manifest(schemaVersion=1), oci.OCI_MANIFEST, RefusedImage),
        (manifest(), "application/json", RefusedImage),
        (manifest(mediaType=None), "text/html", NotAnImage),
        (manifest(mediaType=None), "", NotAnImage),
        (manifest(), "application/vnd.docker.distribution.manifest.v1+prettyjws", NotAnImage),
        (manifest(layers=[LAYER] * (model.MOST_LAYERS + 1)), oci.OCI_MANIFEST, RefusedImage),
        (
            manifest(config={**CONFIG, "mediaType": "application/vnd.cncf.helm.config.v1+json"}),
            oci.OCI_MANIFEST,
            NotAnImage,
        ),
        (manifest(config={**CONFIG, "size": 9 << 20}), oci.OCI_MANIFEST, RefusedImage),
        (manifest(config={**CONFIG, "size": -1}), oci.OCI_MANIFEST, RefusedImage),
        (manifest(layers=[{**LAYER, "size": -1}]), oci.OCI_MANIFEST, RefusedImage),
        (manifest(layers=[{**LAYER, "digest": "sha256:../../etc/passwd"}]), oci.OCI_MANIFEST, errors.Invalid),
        (manifest(layers=[{**LAYER, "mediaType": "application/x-sh"}]), oci.OCI_MANIFEST, NotAnImage),
        (manifest(layers={}), oci.OCI_MANIFEST, errors.Invalid),
        (b"[" * 100_000, oci.OCI_MANIFEST, errors.Invalid),
        (b"{}", oci.OCI_MANIFEST, errors.Invalid),
        (b"", oci.OCI_MANIFEST, errors.Invalid),
        (b"<html>", oci.OCI_MANIFEST, errors.Invalid),
        (manifest() + b" " * (4 << 20), oci.OCI_MANIFEST, RefusedImage),
    ],
)
def test_a_document_that_is_no_sound_image_is_refused(content: bytes, media_type: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        documents.read(content, media_type)


def test_urls_of_a_foreign_layer_are_read_over() -> None:
    layer = {**LAYER, "urls": ["http://169.254.169.254/latest"]}
    read = documents.read(manifest(layers=[layer]), oci.OCI_MANIFEST)
    assert isinstance(read, oci.Manifest)


def config(**changes: Any) -> bytes:
    return json.dumps({"rootfs": {"type": "layers", "diff_ids": [DIGEST]}, **changes}).encode()


def test_a_configuration_gives_its_layers() -> None:
    assert documents.read_config(config(), 1).diff_ids == (DIGEST,)
    assert documents.read_config(config(rootfs={"type": "layers", "diff_ids": None}), 0).diff_ids == ()


@pytest.mark.parametrize(
    ("content", "layer_count"),
    [
        (config(), 0),
        (config(), 2),
        (config(rootfs=None), 1),
        (config(rootfs=[]), 1),
        (config(rootfs={"diff_ids": "x"}), 1),
        (config(rootfs={"diff_ids": [1]}), 1),
        (config(rootfs={"diff_ids": ["sha256:../x"]}), 1),
        (config(rootfs={"diff_ids": [Digest.of(b"", "sha512")]}), 1),
        (b"{}", 0),
        (b"[]", 0),
        (b'{"a":' * 900 + b"1" + b"}" * 900, 0),
        (b"\xff\xfe", 0),
    ],
)
def test_a_configuration_that_contradicts_the_manifest_is_refused(content: bytes, layer_count: int) -> None:
    with pytest.raises(errors.SampanError):
        documents.read_config(content, layer_count)


def test_the_parts_a_container_takes_over_are_read_whatever_their_types() -> None:
    parsed = model.parse_config(
        {
            "config": {
                "Entrypoint": "/one",
                "Cmd": None,
                "Env": ["A=1"],
                "ExposedPorts": {"80/tcp": {}},
                "Volumes": [],
                "Labels": {"a": 1},
                "Healthcheck": {"Test": ["CMD", "x"], "Interval": 5, "Retries": "no"},
            }
        }
    )
    assert parsed.entrypoint == ("/one",)
    assert (parsed.cmd, parsed.env, parsed.exposed_ports) == ((), ("A=1",), ("80/tcp",))
    assert (parsed.volumes, parsed.labels) == ((), {"a": "1"})
    assert parsed.healthcheck == model.Healthcheck(("CMD", "x"), interval_ns=5)
    assert model.parse_config({}) == model.parse_config({"config": None}) == model.Config()
