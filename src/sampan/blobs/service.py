"""The content store's verbs.

A blob *exists* when it has a row: the row is written after the file is durable and removed before the file is. Who
finds that a blob exists and means to use it leases it by `lease`, so that the collector leaves it alone until the new
holder is committed. Leases are counted (two operations may rely on one blob) and live in memory: an operation that dies
with the daemon needs none.

Making, leasing and removing one digest exclude each other by a lock per digest: else a collector that has deleted the
row could unlink the file of a concurrent upload of the same content.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy

from sampan import errors
from sampan.blobs import files, index, store
from sampan.formats.digest import Digest
from sampan.state.database import Database

LOCKS = 64  # digests share them by their first digits
GRACE_S = 3600.0  # how long a blob nobody holds yet is left alone: longer than any pause between two requests of a push


class BlobUnknown(errors.NotFound):
    """No such blob."""


@dataclass(slots=True)
class _Lease:
    """How many operations rely on a blob, and when the last of them is taken for dead."""

    count: int
    deadline_s: float


class Blobs:
    """One content store. Thread-safe; the methods without `async` block for a row or a rename."""

    def __init__(self, root: Path, database: Database, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self.files = files.BlobDirectory(root)
        self._database = database
        self._now_ns = now_ns
        self._leases: dict[Digest, _Lease] = {}
        self._locks = tuple(threading.Lock() for _ in range(LOCKS))

    def size(self, digest: Digest) -> int | None:
        """Size in bytes, None if it does not exist."""
        with self._database.read() as connection:
            return store.size(connection, digest)

    def size_in(self, connection: sqlalchemy.Connection, digest: Digest) -> int | None:
        """`size`, inside a verb of the caller: the blob cannot go before that verb is done."""
        return store.size(connection, digest)

    def require(self, digest: Digest) -> tuple[Path, int]:
        """Path and size. Raises `BlobUnknown`."""
        size_bytes = self.size(digest)
        if size_bytes is None:
            raise BlobUnknown(f"no such blob: {digest}")
        return self.files.path(digest), size_bytes

    def read(self, digest: Digest, *, limit_bytes: int = 16 << 20) -> bytes:
        """The content of a small blob: a manifest, a configuration. Raises `BlobUnknown`, `Invalid` over the limit."""
        path, size_bytes = self.require(digest)
        if size_bytes > limit_bytes:
            raise errors.Invalid(f"blob {digest} has {size_bytes} bytes", why=f"more than {limit_bytes} for this use")
        return path.read_bytes()

    def lease(self, digest: Digest) -> bool:
        """Protect the blob from collection for the grace period. False if it does not exist."""
        with self._lock(digest):
            self._protect(digest)
            return self.size(digest) is not None

    def put(self, content: bytes) -> Digest:
        """Store a small blob durably, leased. Blocks for a disk flush."""
        with self.files.writer() as writer:
            writer.write(content)
            return self.commit(writer)

    def commit(
        self,
        writer: files.BlobWriter,
        expected: Digest | None = None,
        *,
        also: Callable[[sqlalchemy.Connection], None] | None = None,
    ) -> Digest:
        """Commit a written blob: durable file, then its row. Raises `DigestMismatch`. `also` as for `adopt`."""
        digest = writer.check(expected)
        self.adopt(writer.path, digest, writer.size_bytes, flush=writer.flush, also=also)
        return digest

    def adopt(
        self,
        file: Path,
        digest: Digest,
        size_bytes: int,
        *,
        flush: Callable[[], None] | None = None,
        also: Callable[[sqlalchemy.Connection], None] | None = None,
    ) -> None:
        """Take over an already hashed file of the same file system as a blob. `flush` makes its content durable.

        `also` is a verb of the same transaction that lets somebody hold the blob; if it raises there is no new blob.
        Without it the blob is leased.
        """
        if flush is not None:
            flush()
        with self._lock(digest):
            self.files.adopt(file, digest)
            try:
                self._database.write_blocking(lambda connection: self._record(connection, digest, size_bytes, also))
            except BaseException:
                if self.size(digest) is None:
                    self.files.path(digest).unlink(missing_ok=True)
                raise
            if also is None:
                self._protect(digest)

    def end_lease(self, digests: Iterable[Digest]) -> None:
        """The holder is committed, or the operation has failed: the collector may judge again."""
        for digest in digests:
            with self._lock(digest):
                lease = self._leases.get(digest)
                if lease is not None:
                    lease.count -= 1
                    if lease.count <= 0:
                        del self._leases[digest]

    def collect(self, candidates: Iterable[Digest] | None = None) -> int:
        """Remove blobs nobody holds: the candidates, or all older than the grace period. Returns the bytes freed."""
        if candidates is None:
            with self._database.read() as connection:
                candidates = store.unheld(connection, self._now_ns() - int(GRACE_S * 1e9))
        return sum(self._remove(digest) for digest in candidates)

    def sweep(self) -> int:
        """At start, before anything else: remove files without a row, left by a crash. Returns how many.

        A database that knows no blob at all beside a folder whose index names manifests is a lost database, not a
        folder of strays: then nothing is removed. What is worth keeping is recorded by the registry's `rebuild`.
        """
        with self._database.read() as connection:
            known = store.every(connection)
        if not known and index.present(self.files.root):
            return 0
        strays = [digest for digest in self.files.present() if digest not in known]
        for digest in strays:
            self.files.path(digest).unlink(missing_ok=True)
        return len(strays)

    def _remove(self, digest: Digest) -> int:
        with self._lock(digest):
            lease = self._leases.get(digest)
            if lease is not None and lease.deadline_s > time.monotonic():
                return 0
            self._leases.pop(digest, None)
            if not self._database.write_blocking(lambda connection: store.forget_if_unheld(connection, digest)):
                return 0
            path = self.files.path(digest)
            try:
                size_bytes = path.stat().st_size
                path.unlink()
            except FileNotFoundError:
                return 0  # somebody removed the file by hand: what was asked for is so
            return size_bytes

    def _record(
        self,
        connection: sqlalchemy.Connection,
        digest: Digest,
        size_bytes: int,
        also: Callable[[sqlalchemy.Connection], None] | None,
    ) -> None:
        store.record(connection, digest, size_bytes, self._now_ns())
        if also is not None:
            also(connection)

    def _protect(self, digest: Digest) -> None:
        lease = self._leases.setdefault(digest, _Lease(0, 0.0))
        lease.count += 1
        lease.deadline_s = time.monotonic() + GRACE_S

    def _lock(self, digest: Digest) -> threading.Lock:
        return self._locks[int(digest.hex[:4], 16) % LOCKS]
