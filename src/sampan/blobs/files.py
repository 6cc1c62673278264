"""Blobs as files: `<root>/blobs/<algorithm>/<hex>`, written under `<root>/ingest` while they are hashed.

What is in `ingest` belongs to one running operation and is dropped at the next start; what a client may resume after a
restart is in `<root>/uploads` (see `uploads`). Crash rule: temporary file, hash while writing, fdatasync, rename,
directory fsync; the row follows (see `service`).
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from sampan import errors
from sampan.formats.digest import ALGORITHMS, Digest
from sampan.host import files

LAYOUT = json.dumps({"imageLayoutVersion": "1.0.0"}).encode()
COPY_BYTES = 1 << 20


class DigestMismatch(errors.Invalid):
    """The content is not what the digest says."""


class BlobDirectory:
    """The folder. All methods block; call them from worker threads when the content is large."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ingest = root / "ingest"
        self.uploads = root / "uploads"
        self.pending = root / "pending"  # blobs to be, that the images room fills; made where it is used

    def prepare(self) -> None:
        """Make the folders and the `oci-layout` file if they are missing; drop what a crash left in `ingest`."""
        for algorithm in ALGORITHMS:
            files.make_directories(self.root / "blobs" / algorithm)
        files.make_directories(self.ingest, mode=0o700)
        files.make_directories(self.uploads, mode=0o700)
        for leftover in (*self.ingest.iterdir(), *self.root.glob(f"{files.TEMPORARY}*")):
            leftover.unlink()
        if not (self.root / "oci-layout").exists():
            files.write_durably(self.root / "oci-layout", LAYOUT)

    def path(self, digest: Digest) -> Path:
        """Where the blob is, or would be."""
        return self.root / "blobs" / digest.algorithm / digest.hex

    def present(self) -> Iterator[Digest]:
        """Every digest that has a file."""
        for algorithm, length in ALGORITHMS.items():
            with os.scandir(self.root / "blobs" / algorithm) as entries:
                for entry in entries:
                    if len(entry.name) == length:
                        yield Digest(f"{algorithm}:{entry.name}")

    def writer(self, algorithm: str = "sha256") -> BlobWriter:
        """A new blob of yet unknown digest."""
        return BlobWriter(self, algorithm)

    def adopt(self, file: Path, digest: Digest) -> None:
        """Give an already hashed and flushed file of the same file system its name. Idempotent."""
        target = self.path(digest)
        file.rename(target)
        files.sync_directory(target.parent)


class BlobWriter:
    """Hashes what it writes. Use as a context manager: without `commit` nothing is left behind."""

    def __init__(self, directory: BlobDirectory, algorithm: str) -> None:
        self._directory = directory
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)
        self.path = directory.ingest / secrets.token_hex(16)
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self.size_bytes = 0

    def fileno(self) -> int:
        """The open file, for reading back what was written."""
        return self._descriptor

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append; hashing and writing release the interpreter lock."""
        self._hash.update(chunk)
        view = memoryview(chunk)
        while view:
            written = os.write(self._descriptor, view)
            view = view[written:]
        self.size_bytes += len(chunk)

    @property
    def digest(self) -> Digest:
        """Of all that was written so far."""
        return Digest(f"{self._algorithm}:{self._hash.hexdigest()}")

    def check(self, expected: Digest | None) -> Digest:
        """The digest, if it is the expected one. Raises `DigestMismatch`."""
        digest = self.digest
        if expected is not None and expected != digest:
            raise DigestMismatch(
                f"the content has digest {digest}, not {expected}",
                remedy="fetch or send it again; if it repeats, the source is damaged",
            )
        return digest

    def flush(self) -> None:
        """Wait until the content is on disk."""
        os.fdatasync(self._descriptor)

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
        self.path.unlink(missing_ok=True)
