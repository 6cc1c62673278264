"""What a pushed manifest asks for: which blobs and manifests must be there, of what size, and what it says of itself.

The reader is lenient where Go's writers are (a list may be `null`) and strict where a document could be read in two
ways: one with both `layers` and `manifests` is refused, and so is one whose `mediaType` differs from its Content-Type.
Source: OCI image-spec 1.1 manifest.md and image-index.md; Docker manifest schema 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from sampan.formats import oci
from sampan.formats.digest import Digest, InvalidDigest
from sampan.registry.model import ManifestInvalid, ManifestTooLarge

Role = Literal["config", "layer", "child"]


class _Descriptor(msgspec.Struct, rename="camel"):
    digest: str
    size: int
    media_type: str = ""
    urls: list[str] | None = None


class _Document(msgspec.Struct, rename="camel"):
    schema_version: int = 0
    media_type: str = ""
    artifact_type: str = ""
    config: _Descriptor | None = None
    layers: list[_Descriptor] | None = None
    manifests: list[_Descriptor] | None = None
    subject: _Descriptor | None = None
    annotations: dict[str, str] | None = None
    fs_layers: Any = None  # schema 1


@dataclass(frozen=True, slots=True)
class Need:
    """Something a manifest names. `may_be_elsewhere`: a layer that its publisher does not let registries distribute."""

    digest: Digest
    size_bytes: int
    role: Role
    may_be_elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or index, read. `artifact_type` is what the referrers API reports."""

    media_type: str
    needs: tuple[Need, ...]
    subject: Digest | None
    artifact_type: str
    annotations: Mapping[str, str]

    @property
    def children(self) -> list[Digest]:
        """The manifests of an index."""
        return [need.digest for need in self.needs if need.role == "child"]


def read(content: bytes, content_type: str) -> Document:
    """Read a pushed document. Raises `ManifestInvalid`, `ManifestTooLarge`."""
    if len(content) > oci.LARGEST_MANIFEST_BYTES:
        raise ManifestTooLarge(
            "the manifest is too large", why=f"{len(content)} bytes, the limit is {oci.LARGEST_MANIFEST_BYTES}"
        )
    try:
        document = oci.decode(content, _Document)
    except oci.InvalidDocument as error:
        raise ManifestInvalid("the manifest cannot be read", why=error.why) from error
    media_type = _media_type(document, content_type)
    _check_shape(document, media_type)
    try:
        needs = tuple(_needs(document))
        subject = Digest.parse(document.subject.digest) if document.subject else None
    except InvalidDigest as error:
        raise ManifestInvalid("the manifest names an invalid digest", why=str(error)) from error
    artifact_type = document.artifact_type or (document.config.media_type if document.config else "")
    return Document(media_type, needs, subject, artifact_type, document.annotations or {})


def _media_type(document: _Document, content_type: str) -> str:
    stated = content_type.partition(";")[0].strip().lower()
    if document.media_type and stated and document.media_type.lower() != stated:
        raise ManifestInvalid(
            "the manifest is not what its Content-Type says",
            why=f"mediaType is {document.media_type[:100]!r}, Content-Type is {stated[:100]!r}",
        )
    media_type = stated or document.media_type
    if media_type not in oci.MANIFESTS | oci.INDEXES:
        raise ManifestInvalid(
            f"manifests of type {media_type[:100]!r} are not kept",
            remedy="send an OCI image manifest or index, or a Docker schema 2 manifest or list",
        )
    return media_type


def _check_shape(document: _Document, media_type: str) -> None:
    if document.schema_version != 2 or document.fs_layers is not None:
        raise ManifestInvalid("the manifest has not schemaVersion 2")
    index = media_type in oci.INDEXES
    if document.manifests is not None and (document.layers is not None or document.config is not None):
        raise ManifestInvalid("the manifest can be read in two ways", why="it has both manifests and layers")
    if index and (document.layers is not None or document.config is not None):
        raise ManifestInvalid("the index has layers or a config")
    if not index and document.manifests is not None:
        raise ManifestInvalid("the image manifest has manifests")
    if not index and document.config is None:
        raise ManifestInvalid("the image manifest has no config")


def _needs(document: _Document) -> list[Need]:
    needs = [_need(child, "child") for child in document.manifests or ()]
    if document.config is not None:
        needs.append(_need(document.config, "config"))
    needs.extend(_need(layer, "layer") for layer in document.layers or ())
    if document.subject is not None and document.subject.size < 0:
        raise ManifestInvalid("the subject has a negative size")
    return needs


def _need(descriptor: _Descriptor, role: Role) -> Need:
    digest = Digest.parse(descriptor.digest)
    if descriptor.size < 0:
        raise ManifestInvalid("a descriptor has a negative size", why=f"{digest}: {descriptor.size}")
    for url in descriptor.urls or ():
        try:
            sound = urlsplit(url).scheme in ("http", "https")
        except ValueError:
            sound = False
        if not sound:
            raise ManifestInvalid("a descriptor has a URL that is not http or https", why=f"{digest}: {url[:100]!r}")
    elsewhere = role == "layer" and (
        ".nondistributable." in descriptor.media_type or ".foreign." in descriptor.media_type
    )
    return Need(digest, descriptor.size, role, elsewhere)
