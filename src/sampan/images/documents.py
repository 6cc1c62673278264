"""Manifests, indexes and configurations from strangers: what they must be before anything is fetched for them. Pure.

A document is pinned to the type it was served with: one that could be read as a manifest and as an index, or that names
another type than its header, is refused (CVE-2021-41190). A layer's `urls` are never followed: content comes from
the registry that was asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sampan import errors
from sampan.formats import oci
from sampan.formats.digest import Digest
from sampan.images import model

ACCEPT = (oci.OCI_MANIFEST, oci.DOCKER_MANIFEST, oci.OCI_INDEX, oci.DOCKER_LIST)
_SCHEMA_1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
_CONFIGS = frozenset({oci.OCI_CONFIG, oci.DOCKER_CONFIG})
_LAYERS = frozenset(
    {
        oci.OCI_LAYER,
        oci.OCI_LAYER_GZIP,
        oci.OCI_LAYER_ZSTD,
        oci.DOCKER_LAYER,
        oci.DOCKER_LAYER_GZIP,
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    }
)


class RefusedImage(errors.Invalid):
    """The image's documents contradict each other or go beyond the limits."""


class NotAnImage(errors.Unsupported):
    """The reference names something else: an artifact, or a form that Sampan does not read."""


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """A checked configuration: its content, its layers (lowest first) and the parsed JSON."""

    content: bytes
    diff_ids: tuple[Digest, ...]
    document: Mapping[str, Any]


def read(content: bytes, media_type: str) -> oci.Manifest | oci.Index:
    """A manifest or index served as `media_type`. Raises `RefusedImage`, `NotAnImage`, `InvalidDocument`."""
    if media_type in _SCHEMA_1:
        raise NotAnImage("image manifest schema 1 is not supported", remedy="push the image again with a newer client")
    if len(content) > oci.LARGEST_MANIFEST_BYTES:
        raise RefusedImage(f"the manifest has more than {oci.LARGEST_MANIFEST_BYTES} bytes")
    document = oci.decode_object(content)
    named = document.get("mediaType", media_type)
    if named != media_type:
        raise RefusedImage("the manifest names another media type than its registry", why=f"{named!r}, {media_type!r}")
    if media_type in oci.INDEXES:
        if "layers" in document or "config" in document:
            raise RefusedImage("the manifest list has layers", why="it could be read in two ways")
        return oci.decode(content, oci.Index)
    if media_type not in oci.MANIFESTS:
        raise NotAnImage(f"unsupported manifest media type {media_type!r}")
    if "manifests" in document or "fsLayers" in document:
        raise RefusedImage("the manifest has manifests", why="it could be read in two ways")
    manifest = oci.decode(content, oci.Manifest)
    check_manifest(manifest)
    return manifest


def check_manifest(manifest: oci.Manifest) -> None:
    """Raises if this is no image manifest, or one beyond the limits."""
    if manifest.schema_version != 2:
        raise RefusedImage(f"manifest schema version {manifest.schema_version} is not 2")
    if manifest.config.media_type not in _CONFIGS:
        raise NotAnImage(
            f"unsupported config media type {manifest.config.media_type!r}",
            why="the reference names an artifact, no image",
        )
    if len(manifest.layers) > model.MOST_LAYERS:
        raise RefusedImage("max depth exceeded", why=f"{len(manifest.layers)} layers, at most {model.MOST_LAYERS}")
    if not 0 < manifest.config.size <= model.LARGEST_CONFIG_BYTES:
        raise RefusedImage(
            f"a configuration of {manifest.config.size} bytes", why=f"at most {model.LARGEST_CONFIG_BYTES}"
        )
    Digest.parse(manifest.config.digest)
    for layer in manifest.layers:
        Digest.parse(layer.digest)
        if layer.media_type not in _LAYERS:
            raise NotAnImage(f"unsupported layer media type {layer.media_type!r}")
        if layer.size < 0:
            raise RefusedImage(f"layer {layer.digest} has size {layer.size}")


def read_config(content: bytes, layer_count: int) -> ImageConfig:
    """A configuration for a manifest of `layer_count` layers. Raises `RefusedImage` if they disagree."""
    if len(content) > model.LARGEST_CONFIG_BYTES:
        raise RefusedImage(f"the configuration has more than {model.LARGEST_CONFIG_BYTES} bytes")
    document = oci.decode_object(content)
    rootfs = document.get("rootfs")
    if not isinstance(rootfs, dict) or not isinstance(rootfs.get("diff_ids"), list | None):
        raise RefusedImage("the configuration has no rootfs")
    diff_ids = rootfs.get("diff_ids") or []
    if len(diff_ids) != layer_count:
        raise RefusedImage(
            f"the configuration names {len(diff_ids)} layers, the manifest {layer_count}",
            remedy="the image is damaged; push it again",
        )
    checked = tuple(Digest.parse(str(item)) for item in diff_ids)
    if any(diff_id.algorithm != "sha256" for diff_id in checked):
        raise RefusedImage("the configuration names layers by another algorithm than sha256")
    return ImageConfig(content, checked, document)
