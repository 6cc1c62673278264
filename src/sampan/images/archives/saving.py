"""`save`: images of this host as one archive. What is sent is known whole before its first byte leaves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sampan.blobs.service import Blobs
from sampan.formats import reference, tar_write
from sampan.formats.digest import Digest, InvalidDigest
from sampan.images import model
from sampan.images.archives import layout
from sampan.images.catalogue import Catalogue, Filters
from sampan.images.claims import Claim
from sampan.images.layers import Layers


@dataclass(frozen=True, slots=True)
class FilePart:
    """Bytes that are a file."""

    path: Path
    size_bytes: int


Part = bytes | FilePart


@dataclass(frozen=True, slots=True)
class Saved:
    """An archive ready to be sent: its parts, one after the other."""

    parts: Sequence[Part]
    length_bytes: int


@dataclass(slots=True)
class Selection:
    """Which images, each once, with the tags that were asked for."""

    images: dict[Digest, model.Image] = field(default_factory=dict)
    tags: dict[Digest, dict[str, None]] = field(default_factory=dict)

    def add(self, image: model.Image, tags: Sequence[str] = ()) -> None:
        self.images.setdefault(image.id, image)
        self.tags.setdefault(image.id, {}).update(dict.fromkeys(tags))


def select(catalogue: Catalogue, names: Sequence[str]) -> Selection:
    """A tag saves that tag, a repository without tag all of its tags, an id the image alone. Raises `NoSuchImage`."""
    selection = Selection()
    for name in names:
        repository = _repository(name)
        tagged = _tagged(catalogue, repository) if repository else []
        if tagged:
            for image, tags in tagged:
                selection.add(image, tags)
            continue
        try:
            image, full = catalogue.find(name)
        except model.NoSuchImage as error:
            raise model.NoSuchImage(f"No such image: {name[:300]}") from error
        selection.add(image, (full,) if full is not None and "@" not in full else ())
    return selection


def _repository(name: str) -> str:
    """The full name of a repository if `name` is one without tag and digest."""
    try:
        parsed = reference.parse(name)
    except (reference.InvalidReference, InvalidDigest):
        return ""
    return "" if parsed.tag or parsed.digest else parsed.name


def _tagged(catalogue: Catalogue, repository: str) -> list[tuple[model.Image, list[str]]]:
    found = []
    for image in catalogue.images(Filters()):
        tags = [text for text in image.references if "@" not in text and text.rpartition(":")[0] == repository]
        if tags:
            found.append((image, tags))
    return found


@contextlib.contextmanager
def prepared(layers: Layers, selection: Selection) -> Iterator[Saved]:
    """The archive, whose files stay where they are until the block ends. Blocking. Waits for layers
    that are still arriving. Raises `LayerMissing`."""
    with layers.claims.claim([*selection.images]) as claim:
        images = [_image(layers.blobs, claim, layers, image, selection) for image in selection.images.values()]
        parts: list[Part] = [layout.folders()]
        for member in layout.members(images):
            parts.append(member.header())
            if member.layer is not None:
                path, size_bytes = layers.blobs.require(member.layer)
                parts.append(FilePart(path, size_bytes))
            elif member.content is not None:
                parts.append(member.content)
            parts.append(tar_write.padding(member.size_bytes))
        parts.append(tar_write.END)
        joined = _joined(parts)
        yield Saved(joined, sum(len(part) if isinstance(part, bytes) else part.size_bytes for part in joined))


def _image(blobs: Blobs, claim: Claim, layers: Layers, image: model.Image, selection: Selection) -> layout.SavedImage:
    saved = []
    layers.whole(image.layers)
    for diff_id in image.layers:
        if not claim.lease(diff_id):
            layers.restore_tar(claim, diff_id)
        saved.append(layout.SavedLayer(diff_id, blobs.require(diff_id)[1]))
    return layout.SavedImage(blobs.read(image.id), saved, tuple(selection.tags[image.id]))


def _joined(parts: Sequence[Part]) -> list[Part]:
    """Neighbours that are bytes become one."""
    found: list[Part] = []
    for part in parts:
        if isinstance(part, bytes) and found and isinstance(found[-1], bytes):
            found[-1] += part
        elif not isinstance(part, bytes) or part:
            found.append(part)
    return found
