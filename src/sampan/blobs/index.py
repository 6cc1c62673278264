"""`index.json` of the store's OCI layout: a derived snapshot of all repositories, for other tools and for a rescue.

One entry a tag, named `repository:tag`, so that `skopeo inspect oci:DIR:repository:tag` reads the store; one entry for
a manifest without a tag, whose repository is an annotation. Nothing in the daemon reads it while the database is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sampan.formats import digest, oci, reference
from sampan.formats.digest import Digest
from sampan.host import files

NAME = "index.json"
REFERENCE = "org.opencontainers.image.ref.name"
REPOSITORY = "io.sampan.repository"


@dataclass(frozen=True, slots=True)
class Entry:
    """One tag of a repository, or one manifest without a tag (`tag` is empty)."""

    repository: str
    tag: str
    media_type: str
    digest: Digest
    size_bytes: int


def render(entries: Iterable[Entry]) -> bytes:
    """The document, entries in the order given."""
    manifests = [
        {
            "mediaType": entry.media_type,
            "digest": entry.digest,
            "size": entry.size_bytes,
            "annotations": {REFERENCE: f"{entry.repository}:{entry.tag}"}
            if entry.tag
            else {REPOSITORY: entry.repository},
        }
        for entry in entries
    ]
    document = {"schemaVersion": 2, "mediaType": oci.OCI_INDEX, "manifests": manifests}
    return json.dumps(document, separators=(",", ":")).encode()


def parse(content: bytes) -> list[Entry]:
    """What a document of `render` says. Entries of other tools that name no repository are left out."""
    entries = []
    for item in oci.decode(content, oci.Index).manifests:
        repository, _, tag = item.annotations.get(REFERENCE, "").rpartition(":")
        if not repository:
            repository, tag = item.annotations.get(REPOSITORY, ""), ""
        if not reference.is_repository(repository) or (tag and not reference.is_tag(tag)):
            continue
        try:
            entries.append(Entry(repository, tag, item.media_type, Digest.parse(item.digest), item.size))
        except digest.InvalidDigest:
            continue  # an algorithm this Sampan has no files for
    return entries


def write(root: Path, entries: Iterable[Entry]) -> None:
    """Replace the snapshot of the store at `root`."""
    files.write_durably(root / NAME, render(entries))


def present(root: Path) -> bool:
    """Whether the layout at `root` names any manifest, by whatever program."""
    path = root / NAME
    return path.exists() and bool(oci.decode(path.read_bytes(), oci.Index).manifests)


def read(root: Path) -> list[Entry]:
    """The snapshot of the store at `root`; empty if there is none. Raises `InvalidDocument`."""
    path = root / NAME
    return parse(path.read_bytes()) if path.exists() else []
