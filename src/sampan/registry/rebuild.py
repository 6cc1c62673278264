"""Repositories from the folder alone, when the database was lost and `index.json` survived.

Manifests are read and their digests checked; a blob is taken for what its name says if its size is the one a manifest
names (reading all of them would take many minutes a terabyte; a client checks every blob it pulls). What is missing or
damaged is left out and reported.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

import sqlalchemy

from sampan import errors
from sampan.blobs import index
from sampan.blobs import store as blob_store
from sampan.blobs.service import Blobs
from sampan.formats import oci
from sampan.formats.digest import Digest
from sampan.registry import plan, store
from sampan.registry.model import Stored
from sampan.state.database import Database

log = logging.getLogger(__name__)


class ForeignLayout(errors.Conflict):
    """The folder is an OCI layout that no Sampan wrote."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was found. `left_out` says what was not, a line each."""

    manifests: int
    tags: int
    blobs: int
    left_out: tuple[str, ...]


@dataclass(slots=True)
class _Found:
    manifests: dict[tuple[str, Digest], tuple[Stored, plan.Document]] = field(default_factory=dict)
    tags: list[tuple[str, str, Digest]] = field(default_factory=list)
    sizes: dict[Digest, int] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def rebuild(blobs: Blobs, database: Database, *, now_ns: int) -> Rebuilt | None:
    """Rebuild if the database knows no repository and the folder has a snapshot; else None. Blocks.

    Raises `ForeignLayout`: a folder that is somebody else's must not be swept.
    """
    with database.read() as connection:
        if store.any_repository(connection):
            return None
    entries = index.read(blobs.files.root)
    if not entries and index.present(blobs.files.root):
        raise ForeignLayout(
            f"{blobs.files.root} holds images of another program",
            why="its index.json names manifests, but no repositories",
            remedy="choose an empty folder, and copy the images in with: skopeo copy oci:DIR:NAME docker://HOST:PORT/NAME",
        )
    if not entries:
        return None
    found = _look(blobs, entries)
    database.write_blocking(lambda tx: _record(tx, found, now_ns))
    for line in found.left_out:
        log.warning("rebuilding the registry: %s", line)
    return Rebuilt(len(found.manifests), len(found.tags), len(found.sizes), tuple(found.left_out))


def _look(blobs: Blobs, entries: Iterable[index.Entry]) -> _Found:
    found = _Found()
    for entry in entries:
        try:
            _look_at(blobs, found, entry.repository, entry.digest, entry.media_type)
        except (errors.Invalid, OSError) as error:
            found.left_out.append(f"{entry.repository}:{entry.tag or entry.digest}: {error}")
            continue
        if entry.tag:
            found.tags.append((entry.repository, entry.tag, entry.digest))
    return found


def _look_at(blobs: Blobs, found: _Found, name: str, digest: Digest, media_type: str) -> None:
    if (name, digest) in found.manifests:
        return
    path = blobs.files.path(digest)
    if path.stat().st_size > oci.LARGEST_MANIFEST_BYTES:
        raise errors.Invalid(f"{digest} is too large for a manifest")
    content = path.read_bytes()
    if Digest.of(content, digest.algorithm) != digest:
        raise errors.Invalid(f"{digest} is damaged")
    document = plan.read(content, media_type)
    sizes = {digest: len(content)}
    for need in document.needs:
        if need.role == "child":
            continue
        try:
            size_bytes = blobs.files.path(need.digest).stat().st_size
        except FileNotFoundError:
            if need.may_be_elsewhere:
                continue
            raise
        if size_bytes != need.size_bytes:
            raise errors.Invalid(f"{need.digest} has {size_bytes} bytes, its manifest says {need.size_bytes}")
        sizes[need.digest] = size_bytes
    found.manifests[name, digest] = (Stored(digest, document.media_type, len(content)), document)
    found.sizes.update(sizes)


def _record(tx: sqlalchemy.Connection, found: _Found, now_ns: int) -> None:
    for digest, size_bytes in found.sizes.items():
        blob_store.record(tx, digest, size_bytes, now_ns)
    for (name, _), (stored, document) in found.manifests.items():
        store.record_manifest(tx, name, stored, document, now_ns)
        for need in document.needs:
            if need.role != "child" and need.digest in found.sizes:
                store.show_blob(tx, name, need.digest, now_ns)
    for name, tag, digest in found.tags:
        store.set_tag(tx, name, tag, digest, now_ns)
