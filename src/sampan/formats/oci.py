"""OCI and Docker image documents: media types, descriptors, manifests, indexes.

Documents are kept as the bytes that were received (their digest is their name); these structs read them. Unknown fields
are ignored, as the specification asks. Source: OCI image-spec 1.1, Docker image manifest version 2 schema 2.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from sampan import errors
from sampan.formats.digest import Digest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
LARGEST_MANIFEST_BYTES = 4 << 20  # distribution-spec: registries should accept at least 4 MiB

T = TypeVar("T")


class InvalidDocument(errors.Invalid):
    """A manifest, index or configuration that cannot be what its media type says."""


class Platform(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a manifest of an index runs on."""

    architecture: str = ""
    os: str = ""
    variant: str = ""


class Descriptor(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A pointer to content: media type, digest, size in bytes."""

    media_type: str
    digest: str
    size: int
    urls: list[str] = []
    annotations: dict[str, str] = {}
    platform: Platform | None = None
    artifact_type: str = ""


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """An image or artifact manifest. `layers` are lowest first."""

    schema_version: int
    config: Descriptor
    layers: list[Descriptor]
    media_type: str = ""
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}


class Index(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A list of manifests, one a platform."""

    schema_version: int
    manifests: list[Descriptor]
    media_type: str = ""
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}


def decode(content: bytes, kind: type[T]) -> T:
    """Read a document. Raises `InvalidDocument`, for deep nesting too."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise InvalidDocument(f"invalid {kind.__name__.lower()}", why=str(error)) from error


def decode_object(content: bytes) -> dict[str, Any]:
    """Read a JSON object of any shape. Raises `InvalidDocument`."""
    return decode(content, dict[str, Any])


def encode(document: Any) -> bytes:
    """Compact JSON in the order of the fields."""
    return msgspec.json.encode(document, enc_hook=_plain)


def descriptor(media_type: str, content: bytes) -> Descriptor:
    """The pointer to `content`."""
    return Descriptor(media_type=media_type, digest=Digest.of(content), size=len(content))


def _plain(value: object) -> str:
    """msgspec takes `str` itself only, not the checked kind of it that digests are."""
    if isinstance(value, Digest):
        return str.__str__(value)
    raise TypeError(f"a document cannot hold {type(value).__name__}")
