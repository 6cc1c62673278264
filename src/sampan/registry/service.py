"""The registry's verbs: manifests, tags, referrers, deletion, collection. Uploads are in `uploads`.

Reads are point queries and are made in the event loop. A manifest is accepted in one transaction that checks every blob
it names and takes hold of them, so that no collector can come between.
"""

from __future__ import annotations

import functools
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import sqlalchemy

from sampan.blobs.files import DigestMismatch
from sampan.blobs.service import Blobs
from sampan.events.bus import Bus
from sampan.formats.digest import Digest
from sampan.registry import plan, rebuild, store
from sampan.registry.model import (
    Collected,
    DeletionDisabled,
    ManifestBlobUnknown,
    ManifestUnknown,
    Page,
    Pushed,
    Referrer,
    RepositoryUnknown,
    SizeMismatch,
    Stored,
    check_reference,
    check_repository,
    check_tag,
)
from sampan.registry.outlines import Outlines
from sampan.registry.uploads import Uploads, blob_unknown
from sampan.registry.work import Workshop
from sampan.state.database import Database

CACHED = 512  # manifests whose content is kept in memory
LARGEST_CACHED_BYTES = 64 << 10  # so that the cache holds 32 MiB at most


class Registry:
    """One registry. Methods are called in the event loop, `start` before it serves."""

    def __init__(
        self,
        blobs: Blobs,
        database: Database,
        *,
        events: Bus | None = None,
        now_ns: Callable[[], int] = time.time_ns,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        deletion: bool = True,
        sparse: bool = False,
    ) -> None:
        """`sparse`: accept manifests that name blobs or manifests the repository does not have."""
        self._work = Workshop(blobs, database, events=events, now_ns=now_ns)
        self._blobs = blobs
        self._database = database
        self._deletion = deletion
        self._sparse = sparse
        self.uploads = Uploads(self._work, new_id=new_id)
        self.outlines = Outlines(self._work)
        self._cached = functools.lru_cache(CACHED)(lambda digest: blobs.files.path(digest).read_bytes())

    def start(self) -> rebuild.Rebuilt | None:
        """Before serving and before `Blobs.sweep`: rebuild what a lost database knew, drop what a crash left.

        Blocks. Raises `ForeignLayout`.
        """
        rebuilt = rebuild.rebuild(self._blobs, self._database, now_ns=self._work.now_ns())
        self.uploads.recover()
        self._work.snapshot.write()
        return rebuilt

    async def close(self) -> None:
        """Finish what runs, write `index.json`."""
        await self._work.close()

    # --- pull ----------------------------------------------------------------------------------------------------

    def manifest(self, name: str, reference: str) -> Stored:
        """A manifest by tag or digest. Raises `ManifestUnknown`, `RepositoryUnknown`."""
        check_repository(name)
        wanted = check_reference(reference)
        with self._database.read() as connection:
            stored = store.manifest(connection, name, wanted)
            if stored is None:
                self._require(connection, name)
                raise ManifestUnknown(f"{name} has no manifest {reference}")
        return stored

    def content(self, stored: Stored) -> bytes:
        """The bytes of a manifest, as they were pushed."""
        if stored.size_bytes > LARGEST_CACHED_BYTES:
            return self._blobs.files.path(stored.digest).read_bytes()
        return self._cached(stored.digest)

    def blob(self, name: str, digest: Digest) -> tuple[Path, int]:
        """Path and size of a blob. Raises `RepositoryBlobUnknown`."""
        check_repository(name)
        with self._database.read() as connection:
            size_bytes = store.blob_size(connection, name, digest)
        if size_bytes is None:
            raise blob_unknown(name, digest)
        self._work.see(name, digest)
        return self._blobs.files.path(digest), size_bytes

    # --- discovery -----------------------------------------------------------------------------------------------

    def tags(self, name: str, *, limit: int | None = None, after: str = "") -> Page:
        """Tags in byte order. Raises `RepositoryUnknown`."""
        check_repository(name)
        with self._database.read() as connection:
            self._require(connection, name)
            return store.tags(connection, name, limit=limit, after=after)

    def catalogue(self, *, limit: int, after: str = "") -> Page:
        """Repositories that have a manifest, in byte order."""
        with self._database.read() as connection:
            return store.catalogue(connection, limit=limit, after=after)

    def search(self, text: str, *, limit: int, offset: int = 0) -> Page:
        """Repositories that have a manifest and `text` in their name, in byte order."""
        with self._database.read() as connection:
            return store.search(connection, text, limit=limit, offset=offset)

    def referrers(
        self, name: str, subject: Digest, *, artifact_type: str = "", limit: int = 1000, after: str = ""
    ) -> list[Referrer]:
        """Manifests whose subject this is, ordered by digest; none if there is no such repository."""
        check_repository(name)
        with self._database.read() as connection:
            return store.referrers(connection, name, subject, artifact_type=artifact_type, limit=limit, after=after)

    # --- push ----------------------------------------------------------------------------------------------------

    async def put_manifest(
        self, name: str, reference: str, content: bytes, content_type: str, *, tags: Sequence[str] = ()
    ) -> Pushed:
        """Keep a manifest under a tag or its digest, and under more `tags`; durable on return.

        Raises `ManifestInvalid`, `ManifestBlobUnknown`, `SizeMismatch`, `DigestMismatch`.
        """
        check_repository(name)
        wanted = check_reference(reference)
        every_tag = tuple(dict.fromkeys([*([] if isinstance(wanted, Digest) else [wanted]), *map(check_tag, tags)]))
        document = plan.read(content, content_type)
        digest = Digest.of(content, wanted.algorithm if isinstance(wanted, Digest) else "sha256")
        if isinstance(wanted, Digest) and digest != wanted:
            raise DigestMismatch(f"the manifest has digest {digest}, not {wanted}", remedy="send it again")
        stored = Stored(digest, document.media_type, len(content))
        now_ns = self._work.now_ns()

        def keep(tx: sqlalchemy.Connection) -> None:
            self._check_needs(tx, name, document)
            store.record_manifest(tx, name, stored, document, now_ns)
            for tag in every_tag:
                store.set_tag(tx, name, tag, digest, now_ns)

        await self._work.run(self._keep, content, digest, keep)
        for actor in [f"{name}:{tag}" for tag in every_tag] or [f"{name}@{digest}"]:
            self._work.changed("push", actor, digest=digest)
        return Pushed(digest, document.subject, every_tag)

    # --- management ----------------------------------------------------------------------------------------------

    async def delete_tag(self, name: str, tag: str) -> None:
        """Delete a tag; its manifest stays. Raises `ManifestUnknown`, `DeletionDisabled`."""
        check_repository(name)
        check_tag(tag)
        self._require_deletion()
        if not await self._work.write(lambda tx: store.delete_tag(tx, name, tag)):
            raise ManifestUnknown(f"{name} has no tag {tag}")
        self._work.changed("untag", f"{name}:{tag}")

    async def delete_manifest(self, name: str, digest: Digest) -> None:
        """Delete a manifest and its tags, and free what nobody else needs. Raises as `delete_tag`."""
        check_repository(name)
        self._require_deletion()

        def verb(tx: sqlalchemy.Connection) -> list[Digest]:
            named = store.delete_manifest(tx, name, digest)
            if named is None:
                raise ManifestUnknown(f"{name} has no manifest {digest}")
            self._hide_unnamed(tx, store.unnamed(tx, older_than_ns=self._work.grace_began_ns(), name=name, among=named))
            return named

        candidates = await self._work.write(verb)
        self._work.changed("delete", f"{name}@{digest}")
        await self._work.run(self._blobs.collect, candidates)

    async def delete_blob(self, name: str, digest: Digest) -> None:
        """Stop showing a blob, whoever else has it. Raises `RepositoryBlobUnknown`, `DeletionDisabled`."""
        check_repository(name)
        self._require_deletion()
        if not await self._work.write(lambda tx: store.hide_blob(tx, name, digest)):
            raise blob_unknown(name, digest)
        await self._work.run(self._blobs.collect, [digest])

    async def collect(self) -> Collected:
        """Drop old uploads, blobs that no manifest came to name, empty repositories; then free what nobody holds."""
        uploads = await self.uploads.expire()

        def verb(tx: sqlalchemy.Connection) -> tuple[list[Digest], int]:
            hidden = self._hide_unnamed(tx, store.unnamed(tx, older_than_ns=self._work.grace_began_ns()))
            return hidden, store.drop_empty_repositories(tx)

        hidden, repositories = await self._work.write(verb)
        freed = await self._work.run(self._blobs.collect, hidden)
        freed += await self._work.run(self._blobs.collect)
        await self._work.run(self.outlines.sweep)
        return Collected(uploads, len(hidden), repositories, freed)

    # --- steps ---------------------------------------------------------------------------------------------------

    def _keep(self, content: bytes, digest: Digest, keep: Callable[[sqlalchemy.Connection], None]) -> None:
        with self._blobs.files.writer(digest.algorithm) as writer:
            writer.write(content)
            self._blobs.commit(writer, digest, also=keep)

    def _check_needs(self, tx: sqlalchemy.Connection, name: str, document: plan.Document) -> None:
        digests = list(dict.fromkeys(need.digest for need in document.needs))
        missing, sizes = store.missing(tx, name, digests)
        for need in document.needs:
            if need.digest in missing:
                if not (need.may_be_elsewhere or self._sparse):
                    raise ManifestBlobUnknown(
                        f"{name} has no {'manifest' if need.role == 'child' else 'blob'} {need.digest}",
                        why=f"the manifest names it as {need.role}",
                        remedy="push or mount it first",
                    )
            elif sizes[need.digest] != need.size_bytes:
                raise SizeMismatch(f"{need.digest} has {sizes[need.digest]} bytes, the manifest says {need.size_bytes}")

    def _hide_unnamed(self, tx: sqlalchemy.Connection, unnamed: Sequence[tuple[str, Digest]]) -> list[Digest]:
        hidden = [(name, digest) for name, digest in unnamed if not self._work.lately_seen(name, digest)]
        for name, digest in hidden:
            store.hide_blob(tx, name, digest)
        return [digest for _, digest in hidden]

    def _require(self, connection: sqlalchemy.Connection, name: str) -> None:
        if not store.known(connection, name):
            raise RepositoryUnknown(f"no such repository: {name}")

    def _require_deletion(self) -> None:
        if not self._deletion:
            raise DeletionDisabled("this registry deletes nothing", remedy="enable deletion in its configuration")
