"""What a loaded archive says: which images, in which members. Pure, and wary: an archive comes from strangers.

docker-archives (`manifest.json`) of every docker since 1.10, and OCI layouts (`index.json`); where both are there the
former is read, as docker does. Members are named by strings that mean nothing outside the archive.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from sampan import errors
from sampan.formats import oci, reference
from sampan.formats.digest import Digest, InvalidDigest
from sampan.images import documents, model, platforms
from sampan.images.archives import layout

MOST_IMAGES: Final = 1000
MOST_LINKS: Final = 8  # symbolic links from one name to another, as old dockers wrote for layers that images share
LARGEST_DOCUMENT_BYTES: Final = 8 << 20

Read = Callable[[str], bytes]  # the content of a small member; raises `BadArchive`


class BadArchive(errors.Invalid):
    """No archive of images, or one that contradicts itself."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One image of the archive. `layers` are member names, lowest first; `tags` full references.

    `manifest` are the bytes of its OCI manifest if the archive has one that names `layers` as they are.
    """

    config: documents.ImageConfig
    layers: Sequence[str]
    tags: Sequence[str] = ()
    manifest: bytes = b""
    manifest_media_type: str = ""


class _DockerManifest(msgspec.Struct, rename="pascal"):
    """One item of manifest.json."""

    config: str
    layers: list[str] | None = None
    repo_tags: list[str] | None = None


def images(names: Mapping[str, str | None], read: Read, host: oci.Platform) -> list[Wanted]:
    """All images. `names` has every member, with its target if it is a link. Raises `BadArchive`, `RefusedImage`."""
    if "manifest.json" in names:
        found = _docker_archive(read)
    elif "index.json" in names:
        found = _oci_layout(read, host)
    else:
        raise BadArchive(
            "invalid archive: does not contain a manifest.json",
            why="it has no index.json either" if names else "it is empty",
            remedy="load what docker save, podman save or skopeo wrote; a root file system is imported",
        )
    for image in found:
        for name in image.layers:
            resolve(names, name)
    return found


def resolve(names: Mapping[str, str | None], name: str) -> str:
    """The member that a name means: links are followed inside the archive. Raises `BadArchive`."""
    wanted = normal(name)
    for _ in range(MOST_LINKS):
        if wanted not in names:
            raise BadArchive(f"invalid archive: it has no {name[:200]!r}")
        target = names[wanted]
        if target is None:
            return wanted
        wanted = normal(target if target.startswith("/") else f"{posixpath.dirname(wanted)}/{target}")
    raise BadArchive(f"invalid archive: {name[:200]!r} is a link to links")


def normal(name: str) -> str:
    """A member's name as it is looked up: without leading slash, dots resolved. `..` ends at the archive's top."""
    return posixpath.normpath("/" + name).lstrip("/")


def _docker_archive(read: Read) -> list[Wanted]:
    items = oci.decode(read("manifest.json"), list[_DockerManifest])
    _check_count(len(items))
    found = []
    for item in items:
        layers = item.layers or []
        if len(layers) > model.MOST_LAYERS:
            raise documents.RefusedImage("max depth exceeded", why=f"{len(layers)} layers, at most {model.MOST_LAYERS}")
        config = documents.read_config(read(item.config), len(layers))
        tags = [_tag(text) for text in item.repo_tags or []]
        found.append(Wanted(config, layers, tags))
    return found


def _oci_layout(read: Read, host: oci.Platform) -> list[Wanted]:
    index = oci.decode(read("index.json"), oci.Index)
    _check_count(len(index.manifests))
    found: dict[str, Wanted] = {}
    for entry in index.manifests:
        image = _oci_image(read, entry, host)
        tags = [*(found[image.config_id].tags if image.config_id in found else ()), *_names(entry.annotations)]
        found[image.config_id] = Wanted(
            image.wanted.config, image.wanted.layers, tuple(dict.fromkeys(tags)), image.wanted.manifest,
            image.wanted.manifest_media_type,
        )  # fmt: skip
    return list(found.values())


@dataclass(frozen=True, slots=True)
class _OciImage:
    config_id: str
    wanted: Wanted


def _oci_image(read: Read, entry: oci.Descriptor, host: oci.Platform) -> _OciImage:
    document = documents.read(_blob(read, entry), entry.media_type)
    if isinstance(document, oci.Index):
        chosen = platforms.choose(document.manifests, host)
        document = documents.read(content := _blob(read, chosen), chosen.media_type)
        media_type = chosen.media_type
    else:
        content, media_type = _blob(read, entry), entry.media_type
    if isinstance(document, oci.Index):
        raise documents.NotAnImage("the manifest list names another list", why=entry.digest)
    config = documents.read_config(_blob(read, document.config), len(document.layers))
    layers = [_blob_name(layer.digest) for layer in document.layers]
    return _OciImage(document.config.digest, Wanted(config, layers, (), content, media_type))


def _blob(read: Read, entry: oci.Descriptor) -> bytes:
    content = read(_blob_name(entry.digest))
    if Digest.of(content) != entry.digest:
        raise BadArchive(f"invalid archive: {entry.digest} has other content than its name says")
    return content


def _blob_name(digest: str) -> str:
    checked = Digest.parse(digest)
    return f"blobs/{checked.algorithm}/{checked.hex}"


def _names(annotations: Mapping[str, str]) -> list[str]:
    """The full reference that an index gives an image: containerd's annotation, or a ref name that is a whole one."""
    for key in (layout.NAME, layout.REF_NAME):
        text = annotations.get(key, "")
        if text and (key == layout.NAME or ":" in text or "/" in text):
            return [_tag(text)]
    return []


def _tag(text: str) -> str:
    try:
        parsed = reference.parse(text)
    except (reference.InvalidReference, InvalidDigest) as error:
        raise BadArchive(f"invalid archive: {text[:200]!r} is no tag", why=str(error)) from error
    if parsed.digest is not None or not parsed.tag:
        raise BadArchive(f"invalid archive: invalid tag {text[:200]!r}")
    return str(parsed)


def _check_count(count: int) -> None:
    if count > MOST_IMAGES:
        raise BadArchive(f"the archive has {count} images", why=f"at most {MOST_IMAGES}")
