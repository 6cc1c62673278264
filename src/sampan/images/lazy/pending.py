"""One pending layer: a sparse file in place of its tar, and what is known of each chunk.

    <folder>/<digest>.tar       the file; becomes the blob when it is whole
    <folder>/<digest>.pending   a line of JSON, where it comes from; then the layer's outline

The file is read and written through a descriptor of one of the guard's events: only such a one is not stopped by the
guard itself.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from sampan import errors
from sampan.formats import outline
from sampan.formats.digest import Digest
from sampan.host import files

UNSEEN: Final = 0  # after a restart: perhaps in the file
MISSING: Final = 1
COMING: Final = 2  # a thread fetches it
HERE: Final = 3  # in the file, and checked

TAR: Final = ".tar"
RECORD: Final = ".pending"


class WrongChunk(errors.Invalid):
    """A piece of a layer is not what the layer's outline says."""


class NotHere(errors.Unavailable):
    """The content of a pending layer cannot be had."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a layer comes from: a registry's host, a repository, and the digest of the blob its manifest names."""

    host: str
    repository: str
    blob: str


class Pending:
    """One layer. Thread-safe; `changed` is notified whenever a chunk arrives or the layer comes to an end."""

    def __init__(self, folder: Path, found: outline.Outline, source: Source, *, seen: bool) -> None:
        """`seen`: the file is new, so that nothing can be in it."""
        self.diff_id = found.diff_id
        self.size_bytes = found.size_bytes
        self.hashes = found.hashes
        self.source = source
        self.path = folder / (found.diff_id.hex + TAR)
        self.record = folder / (found.diff_id.hex + RECORD)
        status = self.path.stat()
        self.inode = status.st_dev, status.st_ino
        self.states = bytearray([MISSING if seen else UNSEEN]) * found.chunks
        self.changed = threading.Condition()
        self.stopped = False  # the daemon ends
        self.over = ""  # why no more of it will come; "" while it may
        self.whole = False
        self.trouble = ""  # why it does not come now
        self._descriptor = -1
        # The guard's mark lasts while somebody has the file open: from now on until the layer is over.
        self._pin = os.open(self.path, os.O_PATH | os.O_CLOEXEC)

    # --- the file

    def lend(self, descriptor: int) -> None:
        """Give it the descriptor of an event, if it has none yet. It is duplicated."""
        with self.changed:
            if self._descriptor < 0 and not self.over and not self.whole:
                self._descriptor = os.dup(descriptor)
                self.changed.notify_all()

    def descriptor(self) -> int:
        """The file. Waits for the first event. Raises `NotHere` at the layer's end."""
        with self.changed:
            self.changed.wait_for(lambda: self._descriptor >= 0 or self.over or self.stopped)
            self.check()
            return self._descriptor

    def check(self) -> None:
        """Raises `NotHere` when no more of it will come."""
        if self.over:
            raise NotHere(f"layer {self.diff_id.short} cannot be read", why=self.over)
        if self.stopped:
            raise NotHere(f"layer {self.diff_id.short} cannot be read now", why="the daemon stops")

    def write(self, number: int, content: bytes | bytearray) -> None:
        """Take in a chunk. Raises `WrongChunk`."""
        if not outline.matches(self.hashes, number, content):
            raise WrongChunk(
                f"piece {number} of layer {self.diff_id.short} is not what its outline says",
                why=f"sent by {self.source.host}",
                remedy="remove the image and pull it again",
            )
        descriptor, (place, _) = self.descriptor(), self.span(number)
        view = memoryview(content)
        while view:
            written = os.pwrite(descriptor, view, place)
            view, place = view[written:], place + written

    def find(self, number: int) -> bool:
        """Whether the file has a chunk already, from before a restart."""
        start, stop = self.span(number)
        descriptor = self.descriptor()
        if not _has_data(descriptor, start, stop):
            return outline.is_zeros(self.hashes, number)
        return outline.matches(self.hashes, number, _read(descriptor, start, stop))

    def span(self, number: int) -> outline.Span:
        """Which bytes of the tar a chunk is."""
        return outline.chunk_span(self.size_bytes, number)

    # --- its chunks

    def here(self, first: int, count: int) -> bool:
        """Whether all these bytes can be read."""
        begin, end = self.chunks(first, count)
        return self.states.count(HERE, begin, end) == end - begin

    def chunks(self, first: int, count: int) -> tuple[int, int]:
        """The first chunk of these bytes, and the one behind the last."""
        end = min(first + count, self.size_bytes)
        begin = min(first // outline.CHUNK_BYTES, len(self.states))
        return begin, max(begin, -(-end // outline.CHUNK_BYTES))

    def mark(self, number: int, state: int) -> None:
        """Say what is known of a chunk."""
        with self.changed:
            self.states[number] = state
            if state == HERE:
                self.trouble = ""
            self.changed.notify_all()

    @property
    def arrived_bytes(self) -> int:
        """How much is here, at most a chunk too much."""
        return min(self.states.count(HERE) * outline.CHUNK_BYTES, self.size_bytes)

    # --- its end

    def end(self, why: str) -> None:
        """No more of it will come: who waits is told, and the descriptor goes with the last user."""
        with self.changed:
            self.over = self.over or why
            self.changed.notify_all()

    def close(self) -> None:
        """Nobody reads or writes it any more."""
        with self.changed:
            for descriptor in (self._descriptor, self._pin):
                if descriptor >= 0:
                    os.close(descriptor)
            self._descriptor = self._pin = -1

    def remove(self) -> None:
        """Remove its files."""
        self.record.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def create(folder: Path, content: bytes, found: outline.Outline, source: Source) -> Pending:
    """Make the files of a pending layer, durably: first the file, then the record that says what it is."""
    path = folder / (found.diff_id.hex + TAR)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        os.ftruncate(descriptor, found.size_bytes)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    files.write_durably(folder / (found.diff_id.hex + RECORD), json.dumps(asdict(source)).encode() + b"\n" + content)
    return Pending(folder, found, source, seen=True)


def load(folder: Path, diff_id: Digest) -> tuple[Pending, outline.Outline] | None:
    """A pending layer from before a restart; None if its files do not fit each other."""
    try:
        line, _, content = (folder / (diff_id.hex + RECORD)).read_bytes().partition(b"\n")
        source = Source(**json.loads(line))
        found = outline.decode(content)
        if found.diff_id != diff_id or (folder / (diff_id.hex + TAR)).stat().st_size != found.size_bytes:
            return None
        return Pending(folder, found, source, seen=False), found
    except (FileNotFoundError, ValueError, TypeError, errors.SampanError):
        return None


def _has_data(descriptor: int, start: int, stop: int) -> bool:
    try:
        return os.lseek(descriptor, start, os.SEEK_DATA) < stop
    except OSError as error:
        if error.errno == errno.ENXIO:  # nothing but holes behind here
            return False
        raise


def _read(descriptor: int, start: int, stop: int) -> bytes:
    content = bytearray()
    while start + len(content) < stop:
        piece = os.pread(descriptor, stop - start - len(content), start + len(content))
        if not piece:
            break
        content += piece
    return bytes(content)
