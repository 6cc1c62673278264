"""Resumable uploads as files `<root>/uploads/<id>`: the offset is the file's size, nothing else needs to survive.

The hash of what was written is kept in memory while a client sends; after a restart, or when very many uploads are
open, it is made again by reading the file. No descriptor stays open between two requests, so that idle uploads cost a
file each and nothing more. All methods block: call them from worker threads.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

from sampan import errors
from sampan.blobs.files import COPY_BYTES
from sampan.formats.digest import Digest

REMEMBERED = 1024  # hash states kept in memory; an older upload is read again when it goes on


class UploadFileUnknown(errors.NotFound):
    """No such upload file."""


class Upload:
    """One upload. It may be used by one request at a time; who uses it sets `busy`."""

    def __init__(self, path: Path, algorithm: str) -> None:
        self.path = path
        self.busy = False
        self._algorithm = algorithm
        self._hash: hashlib._Hash | None = None
        self.size_bytes = path.stat().st_size

    def expect(self, algorithm: str) -> None:
        """The blob will be named by this algorithm. Of use as long as nothing has arrived."""
        if self.size_bytes == 0:
            self._algorithm, self._hash = algorithm, None

    def write(self, pieces: Sequence[bytes]) -> None:
        """Append the pieces. If that fails, the file keeps what was written of them and the hash is made again."""
        state = self._state(self._algorithm)
        self._hash = None  # until hash and file are known to agree again
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            for piece in pieces:
                state.update(piece)
            _write_all(descriptor, pieces)
        finally:
            self.size_bytes = os.fstat(descriptor).st_size
            os.close(descriptor)
        self._hash = state

    def digest(self, algorithm: str) -> Digest:
        """Of all that was written so far. Reads the file if another algorithm was foreseen."""
        return Digest(f"{algorithm}:{self._state(algorithm).hexdigest()}")

    def flush(self) -> None:
        """Wait until the content is on disk."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def _state(self, algorithm: str) -> hashlib._Hash:
        if self._hash is None or algorithm != self._algorithm:
            self._algorithm = algorithm
            self._hash = _hash_file(self.path, algorithm)
        return self._hash


class Uploads:
    """All uploads of one store. The callers see to it that ids hold no path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._live: OrderedDict[str, Upload] = OrderedDict()

    def create(self, upload_id: str, algorithm: str) -> Upload:
        """A new, empty upload."""
        path = self._folder / upload_id
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        return self._remember(upload_id, Upload(path, algorithm))

    def open(self, upload_id: str, algorithm: str) -> Upload:
        """An upload that was begun, in this process or an earlier one. Raises `UploadFileUnknown`."""
        upload = self._live.get(upload_id)
        if upload is not None:
            self._live.move_to_end(upload_id)
            return upload
        try:
            return self._remember(upload_id, Upload(self._folder / upload_id, algorithm))
        except FileNotFoundError as error:
            raise UploadFileUnknown(f"no such upload: {upload_id}", remedy="start it again") from error

    def forget(self, upload_id: str) -> None:
        """Drop the upload and its file, if it still has one."""
        self._live.pop(upload_id, None)
        (self._folder / upload_id).unlink(missing_ok=True)

    def present(self) -> Iterator[tuple[str, int]]:
        """Every upload file: its id, and when it was last written (nanoseconds since the epoch)."""
        with os.scandir(self._folder) as entries:
            for entry in entries:
                try:
                    written_ns = entry.stat().st_mtime_ns
                except FileNotFoundError:
                    continue  # finished since the folder was read
                yield entry.name, written_ns

    def busy(self, upload_id: str) -> bool:
        """Whether a request is using it now."""
        upload = self._live.get(upload_id)
        return upload is not None and upload.busy

    def _remember(self, upload_id: str, upload: Upload) -> Upload:
        self._live[upload_id] = upload
        if len(self._live) > REMEMBERED:
            idle = next((name for name, known in self._live.items() if not known.busy and name != upload_id), None)
            if idle is not None:
                del self._live[idle]
        return upload


def _write_all(descriptor: int, pieces: Sequence[bytes]) -> None:
    rest = list(pieces)
    while rest:
        batch = rest[: os.sysconf("SC_IOV_MAX")]
        written = os.writev(descriptor, batch)
        done = 0
        while done < len(batch) and written >= len(batch[done]):
            written -= len(batch[done])
            done += 1
        del rest[:done]
        if written:
            rest[0] = rest[0][written:]


def _hash_file(path: Path, algorithm: str) -> hashlib._Hash:
    state = hashlib.new(algorithm)
    buffer = memoryview(bytearray(COPY_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            state.update(buffer[:count])
    return state
