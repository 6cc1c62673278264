"""The content store's verbs.

A blob *exists* when it has a row: the row is written after the file is durable and removed before the file is. Who
finds that a blob exists and means to use it leases it by `lease`, so that the collector leaves it alone until the new
holder is committed. Leases live in memory: an operation that dies with the daemon needs none.

Making, leasing and removing one digest exclude each other by a lock per digest: else a collector that has deleted the
row could unlink the file of a concurrent upload of the same content.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from sampan import errors
from sampan.blobs import files, store
from sampan.formats.digest import Digest
from sampan.state.database import Database

LOCKS = 64  # digests share them by their first digits
GRACE_S = 3600.0  # how long a blob nobody holds yet is left alone: longer than any pause between two requests of a push


class BlobUnknown(errors.NotFound):
    """No such blob."""


class Blobs:
    """One content store. Thread-safe; the methods without `async` block for a row or a rename."""

    def __init__(self, root: Path, database: Database, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self.files = files.BlobDirectory(root)
        self._database = database
        self._now_ns = now_ns
        self._leases: dict[Digest, float] = {}
        self._locks = tuple(threading.Lock() for _ in range(LOCKS))

    def size(self, digest: Digest) -> int | None:
        """Size in bytes, None if it does not exist."""
        with self._database.read() as connection:
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
            self._leases[digest] = time.monotonic() + GRACE_S
            return self.size(digest) is not None

    def put(self, content: bytes) -> Digest:
        """Store a small blob durably, leased. Blocks for a disk flush."""
        with self.files.writer() as writer:
            writer.write(content)
            return self.commit(writer)

    def commit(self, writer: files.BlobWriter, expected: Digest | None = None) -> Digest:
        """Commit a written blob: durable file, then its row, leased. Raises `DigestMismatch`."""
        digest = writer.check(expected)
        self.adopt(writer.path, digest, writer.size_bytes, flush=writer.flush)
        return digest

    def adopt(self, file: Path, digest: Digest, size_bytes: int, *, flush: Callable[[], None] | None = None) -> None:
        """Take over an already hashed file of the same file system as a blob. `flush` makes its content durable."""
        if flush is not None:
            flush()
        with self._lock(digest):
            self._leases[digest] = time.monotonic() + GRACE_S
            self.files.adopt(file, digest)
            self._database.write_blocking(
                lambda connection: store.record(connection, digest, size_bytes, self._now_ns())
            )

    def end_lease(self, digests: Iterable[Digest]) -> None:
        """The holder is committed, or the operation has failed: the collector may judge again."""
        for digest in digests:
            self._leases.pop(digest, None)

    def collect(self, candidates: Iterable[Digest] | None = None) -> int:
        """Remove blobs nobody holds: the candidates, or all older than the grace period. Returns the bytes freed."""
        if candidates is None:
            with self._database.read() as connection:
                candidates = store.unheld(connection, self._now_ns() - int(GRACE_S * 1e9))
        return sum(self._remove(digest) for digest in candidates)

    def sweep(self) -> int:
        """At start, before anything else: remove files without a row, left by a crash. Returns how many."""
        with self._database.read() as connection:
            known = store.every(connection)
        strays = [digest for digest in self.files.present() if digest not in known]
        for digest in strays:
            self.files.path(digest).unlink(missing_ok=True)
        return len(strays)

    def _remove(self, digest: Digest) -> int:
        with self._lock(digest):
            if self._leases.get(digest, 0.0) > time.monotonic():
                return 0
            self._leases.pop(digest, None)
            if not self._database.write_blocking(lambda connection: store.forget_if_unheld(connection, digest)):
                return 0
            path = self.files.path(digest)
            size_bytes = path.stat().st_size
            path.unlink()
            return size_bytes

    def _lock(self, digest: Digest) -> threading.Lock:
        return self._locks[int(digest.hex[:4], 16) % LOCKS]
