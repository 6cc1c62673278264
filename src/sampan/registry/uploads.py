"""Verbs of blobs on their way in: start, append, finish, cancel; and mounting a blob that is there already."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy

from sampan.blobs import uploads as upload_files
from sampan.blobs.files import DigestMismatch
from sampan.formats.digest import ALGORITHMS, Digest, InvalidDigest
from sampan.registry import store
from sampan.registry.model import (
    OutOfOrder,
    RepositoryBlobUnknown,
    UploadBusy,
    UploadStatus,
    UploadUnknown,
    check_repository,
)
from sampan.registry.work import Workshop

EXPIRY_S = 24 * 3600.0  # an upload nobody has written to for so long is dropped


class Incoming:
    """An upload while one request sends to it. Made by `Uploads.receive`."""

    def __init__(self, work: Workshop, upload: upload_files.Upload) -> None:
        self._work = work
        self._upload = upload

    @property
    def size_bytes(self) -> int:
        """What has arrived."""
        return self._upload.size_bytes

    async def write(self, pieces: Sequence[bytes]) -> None:
        """Append the pieces, hashed and written in a thread."""
        await self._work.run(self._upload.write, pieces)


class Uploads:
    """The uploads of one registry. All methods are called in the event loop."""

    def __init__(self, work: Workshop, *, new_id: Callable[[], str]) -> None:
        self._work = work
        self._new_id = new_id
        self._files = upload_files.Uploads(work.blobs.files.uploads)

    async def start(self, name: str, algorithm: str = "sha256") -> UploadStatus:
        """Begin an upload. `algorithm` is the one the blob will be named by, as far as the client says."""
        check_repository(name)
        if algorithm not in ALGORITHMS:
            raise InvalidDigest(f"unknown digest algorithm {algorithm[:40]!r}", remedy=f"use {', '.join(ALGORITHMS)}")
        upload_id = self._new_id()
        now_ns = self._work.now_ns()
        await self._work.run(self._files.create, upload_id, algorithm)
        await self._work.write(lambda tx: store.add_upload(tx, upload_id, name, algorithm, now_ns))
        return UploadStatus(upload_id, name, 0)

    def status(self, name: str, upload_id: str) -> UploadStatus:
        """How much has arrived. Raises `UploadUnknown`."""
        return UploadStatus(upload_id, name, self._open(name, upload_id).size_bytes)

    @contextmanager
    def receive(
        self, name: str, upload_id: str, *, start: int | None, algorithm: str | None = None
    ) -> Iterator[Incoming]:
        """Send to an upload, from offset `start` on, or at its end where that is None.

        Raises `UploadUnknown`, `UploadBusy`, `OutOfOrder`. What arrived stays when the block fails.
        """
        upload = self._open(name, upload_id)
        if upload.busy:
            raise UploadBusy("another request is sending to this upload", remedy="wait for it, then ask for the offset")
        if start is not None and start != upload.size_bytes:
            raise OutOfOrder(
                f"the chunk begins at {start}, the upload ends at {upload.size_bytes}",
                remedy="ask for the upload's status and go on from there",
            )
        if algorithm is not None:
            upload.expect(algorithm)
        upload.busy = True
        try:
            yield Incoming(self._work, upload)
        finally:
            upload.busy = False

    async def finish(self, name: str, upload_id: str, digest: Digest) -> int:
        """Make the upload a blob of the repository; durable on return. Returns its size.

        Raises `DigestMismatch`, after which the upload is gone.
        """
        with self.receive(name, upload_id, start=None):
            upload = self._open(name, upload_id)
            try:
                await self._finish(name, upload_id, upload, digest)
            except DigestMismatch:
                await self._drop([upload_id])
                raise
        self._work.see(name, digest)
        return upload.size_bytes

    async def cancel(self, name: str, upload_id: str) -> None:
        """Drop an upload. Raises `UploadUnknown`, `UploadBusy`."""
        with self.receive(name, upload_id, start=None):
            await self._drop([upload_id])

    async def drop(self, upload_id: str) -> None:
        """Drop an upload that only the caller knows of."""
        await self._drop([upload_id])

    async def mount(self, name: str, digest: Digest, *, source: str | None) -> bool:
        """Show a blob of the repository `source`, or of anything in the store where that is None. False if it is not
        there. The caller has checked that the client may read the source, or the whole store.
        """
        check_repository(name)
        now_ns = self._work.now_ns()

        def verb(tx: sqlalchemy.Connection) -> bool:
            if store.blob_size(tx, name, digest) is None and source is not None:
                if store.blob_size(tx, source, digest) is None:
                    return False
            elif source is None and self._work.blobs.size_in(tx, digest) is None:
                return False
            store.show_blob(tx, name, digest, now_ns)
            return True

        mounted = await self._work.write(verb)
        if mounted:
            self._work.see(name, digest)
        return mounted

    def has(self, name: str, digest: Digest) -> bool:
        """Whether the repository shows the blob already."""
        with self._work.database.read() as connection:
            return store.blob_size(connection, name, digest) is not None

    async def expire(self) -> int:
        """Drop uploads nobody has written to for long. Returns how many."""
        limit_ns = self._work.now_ns() - int(EXPIRY_S * 1e9)
        old = [
            name for name, written_ns in self._files.present() if written_ns < limit_ns and not self._files.busy(name)
        ]
        await self._drop(old)
        return len(old)

    def recover(self) -> None:
        """At start: drop files without a row and rows without a file, left by a crash. Blocks."""
        with self._work.database.read() as connection:
            known = store.upload_ids(connection)
        present = {name for name, _ in self._files.present()}
        for name in present - known:
            self._files.forget(name)
        if known - present:
            self._work.database.write_blocking(lambda tx: store.delete_uploads(tx, known - present))

    def _open(self, name: str, upload_id: str) -> upload_files.Upload:
        check_repository(name)
        with self._work.database.read() as connection:
            row = store.upload_row(connection, upload_id)
        unknown = UploadUnknown(f"no such upload in {name}: {upload_id[:80]}", remedy="start it again")
        if row is None or row[0] != name:
            raise unknown
        try:
            return self._files.open(upload_id, row[1])
        except upload_files.UploadFileUnknown:
            raise unknown from None

    async def _finish(self, name: str, upload_id: str, upload: upload_files.Upload, digest: Digest) -> None:
        now_ns = self._work.now_ns()

        def show(tx: sqlalchemy.Connection) -> None:
            store.show_blob(tx, name, digest, now_ns)
            store.delete_uploads(tx, [upload_id])

        def adopt() -> None:
            actual = upload.digest(digest.algorithm)
            if actual != digest:
                raise DigestMismatch(f"the content has digest {actual}, not {digest}", remedy="send it again")
            self._work.blobs.adopt(upload.path, digest, upload.size_bytes, flush=upload.flush, also=show)

        await asyncio.shield(asyncio.ensure_future(self._work.run(adopt)))
        self._files.forget(upload_id)

    async def _drop(self, upload_ids: Sequence[str]) -> None:
        for upload_id in upload_ids:
            self._files.forget(upload_id)
        if upload_ids:
            await self._work.write(lambda tx: store.delete_uploads(tx, upload_ids))


def blob_unknown(name: str, digest: Digest) -> RepositoryBlobUnknown:
    """The error for a blob that a repository does not show."""
    return RepositoryBlobUnknown(f"{name} has no blob {digest}")
