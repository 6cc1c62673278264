"""What stands in a saved archive: its documents and members, in their order. Pure.

Equal images give equal bytes: members are sorted, have no owner and the time zero. Layers lie in it uncompressed, under
their diff ids: so the archive does not depend on how a layer came to this host, and old dockers read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sampan.formats import oci, reference, tar_write
from sampan.formats.digest import Digest
from sampan.formats.tar import EntryKind, TarEntry

BLOBS: Final = "blobs/sha256/"
LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
NAME: Final = "io.containerd.image.name"
REF_NAME: Final = "org.opencontainers.image.ref.name"


@dataclass(frozen=True, slots=True)
class SavedLayer:
    """One layer: its diff id and the size of its tar."""

    diff_id: Digest
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SavedImage:
    """One image and the tags it is saved with (full form); none if it was asked for by its id."""

    config: bytes
    layers: Sequence[SavedLayer]
    tags: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive: a small document, or a layer's tar."""

    name: str
    size_bytes: int
    content: bytes | None = None
    layer: Digest | None = None

    def header(self) -> bytes:
        """The blocks before the content."""
        return tar_write.entry_header(TarEntry(self.name.encode(), size_bytes=self.size_bytes))

    @property
    def length_bytes(self) -> int:
        """In the archive, with header and padding."""
        return len(self.header()) + self.size_bytes + len(tar_write.padding(self.size_bytes))


def folders() -> bytes:
    """The entries of the folders, which come first."""
    names = (b"blobs/", b"blobs/sha256/")
    return b"".join(tar_write.entry_header(TarEntry(name, EntryKind.DIRECTORY, 0o755)) for name in names)


def members(images: Sequence[SavedImage]) -> list[Member]:
    """Every file of the archive."""
    blobs: dict[str, Member] = {}
    manifests = []
    for image in images:
        manifest = _manifest(image)
        manifests.append(manifest)
        for content in (image.config, manifest):
            _add(blobs, Member(BLOBS + Digest.of(content).hex, len(content), content))
        for layer in image.layers:
            _add(blobs, Member(BLOBS + layer.diff_id.hex, layer.size_bytes, layer=layer.diff_id))
    documents = {
        "index.json": oci.encode(_index(images, manifests)),
        "manifest.json": oci.encode([_docker_manifest(image) for image in images]),
        "oci-layout": LAYOUT,
        "repositories": oci.encode(_repositories(images)),
    }
    return [
        *(blobs[name] for name in sorted(blobs)),
        *(Member(name, len(text), text) for name, text in documents.items()),
    ]


def _add(blobs: dict[str, Member], member: Member) -> None:
    blobs.setdefault(member.name, member)


def _manifest(image: SavedImage) -> bytes:
    layers = [oci.Descriptor(oci.OCI_LAYER, layer.diff_id, layer.size_bytes) for layer in image.layers]
    config = oci.descriptor(oci.OCI_CONFIG, image.config)
    return oci.encode(oci.Manifest(schema_version=2, media_type=oci.OCI_MANIFEST, config=config, layers=layers))


def _index(images: Sequence[SavedImage], manifests: Iterable[bytes]) -> oci.Index:
    found = []
    for image, manifest in zip(images, manifests, strict=True):
        plain = oci.descriptor(oci.OCI_MANIFEST, manifest)
        named = [
            oci.Descriptor(plain.media_type, plain.digest, plain.size, annotations=_annotations(tag))
            for tag in image.tags
        ]
        found += named or [plain]
    return oci.Index(schema_version=2, media_type=oci.OCI_INDEX, manifests=found)


def _annotations(tag: str) -> dict[str, str]:
    return {NAME: tag, REF_NAME: reference.parse(tag).tag}


def _docker_manifest(image: SavedImage) -> Mapping[str, Any]:
    sources = {
        layer.diff_id: {"mediaType": oci.OCI_LAYER, "size": layer.size_bytes, "digest": layer.diff_id}
        for layer in sorted(image.layers, key=lambda layer: layer.diff_id)
    }
    return {
        "Config": BLOBS + Digest.of(image.config).hex,
        "RepoTags": [reference.parse(tag).familiar for tag in image.tags] or None,
        "Layers": [BLOBS + layer.diff_id.hex for layer in image.layers],
        "LayerSources": {str(diff_id): source for diff_id, source in sources.items()},
    }


def _repositories(images: Sequence[SavedImage]) -> Mapping[str, Mapping[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for image in images:
        for tag in image.tags:
            parsed = reference.parse(tag)
            top = image.layers[-1].diff_id.hex if image.layers else ""
            found.setdefault(parsed.familiar_name, {})[parsed.tag] = top
    return {name: dict(sorted(tags.items())) for name, tags in sorted(found.items())}
