"""Layers of this host: taking them in from a stream, preparing them for mounting, removing them.

A layer's uncompressed tar is a blob under its diff id, beside the compressed blob that other clients saw. Taking one
in is a pipeline of two threads: the first receives, hashes and writes the compressed bytes; the second inflates,
hashes and writes the tar. Hashing, inflating and writing release the interpreter lock, so both cores work. The driver
reads the tar while its content is flushed to disk.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sampan import errors
from sampan.blobs import files as blob_files
from sampan.blobs.service import Blobs
from sampan.formats import compression, outline
from sampan.formats.digest import Digest
from sampan.images import store
from sampan.images.claims import Claim, Claims
from sampan.images.drivers.model import LayerDriver, LayerMissing
from sampan.state.database import Database

if TYPE_CHECKING:  # loaded only where lazy start is on
    from sampan.images.lazy.pending import Pending, Source
    from sampan.images.lazy.service import Lazy

PIECE_BYTES = 1 << 20
FLUSHERS = 8  # threads that wait for the disk
PIECES_AHEAD = 8  # received but not yet inflated
UNPACKING_DRIVERS = frozenset({"overlay2"})  # need no tar once a layer is prepared


class WrongLayer(errors.Invalid):
    """A layer's content is not what the image's configuration says."""


class Layers:
    """The layers and the blobs behind them. Thread-safe; every method may block."""

    def __init__(
        self,
        blobs: Blobs,
        database: Database,
        driver: LayerDriver,
        *,
        limits: compression.Limits | None = None,
        lazy: Lazy | None = None,
    ) -> None:
        self.blobs = blobs
        self.database = database
        self.driver = driver
        self.claims = Claims(blobs)
        self.reads_tar = driver.name not in UNPACKING_DRIVERS
        self.lazy = lazy
        self._limits = limits
        self._flushers = ThreadPoolExecutor(FLUSHERS, thread_name_prefix="layer-flush")

    def close(self) -> None:
        """Wait for flushes under way."""
        self._flushers.shutdown()

    def find(self, claim: Claim, diff_id: Digest, *, pending: bool = False) -> store.Layer | None:
        """The layer if it can be mounted now; with `pending` also one whose content is still to come."""
        with self.database.read() as connection:
            row = store.find_layer(connection, diff_id)
        if row is None or not self.driver.has(diff_id.hex):
            return None
        coming = pending and self.lazy is not None and self.lazy.has(diff_id.hex)
        return row if coming or not self.reads_tar or claim.lease(diff_id) else None

    def take_outline(self, content: bytes, found: outline.Outline, source: Source) -> store.Layer:
        """Make a layer mountable before its tar is here. Needs `lazy`."""
        assert self.lazy is not None
        facts = self.lazy.begin(content, found, source)
        return store.Layer(found.diff_id, self.driver.name, found.size_bytes, facts.content_bytes)

    def whole(self, diff_ids: Iterable[Digest], say: Callable[[Pending], None] = lambda _: None) -> None:
        """Wait until nothing of these layers is pending: for who reads tars. `say` may raise. Raises `NotHere`."""
        if self.lazy is not None:
            self.lazy.wait([diff_id.hex for diff_id in diff_ids], say)

    def prepare(self, diff_id: Digest) -> store.Layer:
        """Make a layer mountable from its tar, which is in the content store."""
        path, size_bytes = self.blobs.require(diff_id)
        return self._prepared(diff_id, path, size_bytes)

    def settle(self, claim: Claim, diff_id: Digest) -> None:
        """Make sure of a layer just taken in, now that it is claimed: another image's removal may have come between."""
        if not claim.lease(diff_id):
            raise errors.Unavailable(f"layer {diff_id} was removed meanwhile", remedy="send it again")
        if not self.driver.has(diff_id.hex):
            self.prepare(diff_id)

    def remake(self, diff_id: Digest) -> None:
        """Prepare a known layer again from whatever the content store has: its tar, or a compressed form.

        For layers that another driver prepared, or whose derived files were removed. Raises `LayerMissing`.
        """
        with self.claims.claim([diff_id]) as claim, self.claims.turn(diff_id):
            if claim.lease(diff_id):
                self.prepare(diff_id)
                return
            with self.database.read() as connection:
                known = store.forms(connection, diff_id)
            form = next((form for form in known if claim.lease(form.digest)), None)
            if form is None:
                raise LayerMissing(diff_id.hex)
            self.take_blob(claim, form.digest, diff_id)

    def restore_tar(self, claim: Claim, diff_id: Digest) -> None:
        """Make a layer's tar again from a compressed form, where the driver needs none and none was kept.

        Raises `LayerMissing`.
        """
        with self.database.read() as connection:
            known = store.forms(connection, diff_id)
        form = next((form for form in known if claim.lease(form.digest)), None)
        if form is None:
            raise LayerMissing(diff_id.hex)
        with self.claims.turn(diff_id):
            self.take_blob(claim, form.digest, diff_id)

    def take_written(self, claim: Claim, written: blob_files.BlobWriter, diff_id: Digest) -> store.Layer:
        """Make a layer from a file that is on this host already, compressed or not. Raises `WrongLayer`."""
        if written.digest == diff_id or compression.detect(os.pread(written.fileno(), 6, 0)) == "plain":
            return self._adopt(claim, written, diff_id)
        with self.blobs.files.writer() as tar:
            self._inflate(read_pieces(written.path), tar)
            return self._adopt(claim, tar, diff_id)

    def rows(self, diff_ids: Iterable[Digest]) -> list[store.Layer]:
        """The rows of layers that an image has. Raises `LayerMissing`."""
        found = []
        with self.database.read() as connection:
            for diff_id in diff_ids:
                row = store.find_layer(connection, diff_id)
                if row is None:
                    raise LayerMissing(diff_id.hex)
                found.append(row)
        return found

    def held_with(self, image_id: str) -> list[Digest]:
        """The blobs that an image holds: an image on top of it holds them too."""
        with self.database.read() as connection:
            return store.holds(connection, image_id)

    def take_blob(self, claim: Claim, digest: Digest, diff_id: Digest) -> store.Layer:
        """Make a layer from a compressed blob that is in the content store already."""
        path, _ = self.blobs.require(digest)
        with self.blobs.files.writer() as tar:
            self._inflate(read_pieces(path), tar)
            return self._adopt(claim, tar, diff_id)

    def take_stream(self, claim: Claim, pieces: Iterator[bytes], digest: Digest, diff_id: Digest) -> store.Layer:
        """Take in a layer that another host sends: its blob as it is, and its tar. Raises if either digest is wrong.

        `pieces` is read in a thread of its own unless the layer comes uncompressed.
        """
        head = next(pieces, b"")
        if compression.detect(head) == "plain":
            return self._take_plain(claim, _chain(head, pieces), digest, diff_id)
        with self.blobs.files.writer(digest.algorithm) as kept, self.blobs.files.writer() as tar:
            kept_by = _Keeper(
                kept.write, lambda: kept.check(digest), lambda: claim.stored(self.blobs.commit(kept, digest))
            )
            with _Ahead(_chain(head, pieces), kept_by) as ahead:
                self._inflate(ahead, tar)
                return self._adopt(claim, tar, diff_id)

    @contextmanager
    def intake(self, claim: Claim) -> Iterator[Intake]:
        """For a stream that comes from the event loop piece by piece."""
        with self.blobs.files.writer() as tar:
            yield Intake(tar, compression.Inflater(self._limits), lambda writer: self._adopt(claim, writer, None))

    def make(self, claim: Claim, fill: Callable[[Callable[[bytes], None]], object]) -> store.Layer:
        """A layer from the plain tar that `fill` writes. Raises what `fill` raises."""
        with self.blobs.files.writer() as tar:
            fill(tar.write)
            return self._adopt(claim, tar, None)

    def discard(self, digests: Iterable[Digest]) -> tuple[list[Digest], int]:
        """Remove layers no image uses and blobs nobody holds, among `digests`; what an operation claims stays.

        Returns the removed layers, in the order given, and the freed bytes. Removals go side by side, so that their
        transactions share disk flushes: an image of a hundred layers has two hundred blobs.
        """
        with self.claims.lock:
            free = [digest for digest in dict.fromkeys(digests) if not self.claims.claimed(digest)]
            removed = self._forget([digest for digest in free if digest.algorithm == "sha256"])
            list(self._flushers.map(lambda digest: self.driver.remove(digest.hex), removed))
            if self.lazy is not None:
                self.lazy.drop([digest.hex for digest in removed])
        return removed, sum(self._flushers.map(lambda digest: self.blobs.collect([digest]), free))

    def _forget(self, diff_ids: Sequence[Digest]) -> list[Digest]:
        """Remove the rows of layers no image uses. Returns what the driver may remove: a failed pull's has no row."""
        with self.database.read() as connection:
            recorded = [diff_id for diff_id in diff_ids if store.find_layer(connection, diff_id) is not None]
        gone: set[Digest] = set()
        if recorded:
            gone = self.database.write_blocking(
                lambda connection: {each for each in recorded if store.forget_layer_if_unused(connection, each)}
            )
        return [
            diff_id
            for diff_id in diff_ids
            if diff_id in gone or (diff_id not in recorded and self.driver.has(diff_id.hex))
        ]

    def _take_plain(self, claim: Claim, pieces: Iterator[bytes], digest: Digest, diff_id: Digest) -> store.Layer:
        with self.blobs.files.writer() as tar:
            for piece in pieces:
                tar.write(piece)
            if digest.algorithm == "sha256":
                tar.check(digest)
            elif Digest(digest) != _digest_of(tar.path, digest.algorithm):
                raise blob_files.DigestMismatch(f"the layer's content does not have digest {digest}")
            return self._adopt(claim, tar, diff_id)

    def _inflate(self, pieces: Iterable[bytes], tar: blob_files.BlobWriter) -> None:
        inflater = compression.Inflater(self._limits)
        for piece in pieces:
            for content in inflater.feed(piece):
                tar.write(content)
        for content in inflater.finish():
            tar.write(content)

    def _adopt(self, claim: Claim, tar: blob_files.BlobWriter, diff_id: Digest | None) -> store.Layer:
        """Check, prepare and commit a written tar; the driver reads it while it is flushed."""
        digest = tar.digest
        if diff_id is not None and digest != diff_id:
            raise WrongLayer(
                f"layers from manifest don't match image configuration: {digest} instead of {diff_id}",
                remedy="the image is damaged or forged; push it again from a sound copy",
            )
        if claim.lease(digest):  # it is here already, perhaps mounted: the new copy goes
            return self.prepare(digest)
        flushed: Future[None] = self._flushers.submit(tar.flush)
        try:
            prepared = self._prepared(digest, tar.path, tar.size_bytes)
        finally:
            flushed.result()
        self.blobs.adopt(tar.path, digest, tar.size_bytes)
        claim.stored(digest)
        return prepared

    def _prepared(self, diff_id: Digest, path: Path, size_bytes: int) -> store.Layer:
        facts = self.driver.prepare(diff_id.hex, path)
        return store.Layer(diff_id, self.driver.name, size_bytes, facts.content_bytes)


class Intake:
    """A tar on its way in. Made by `Layers.intake`."""

    def __init__(
        self,
        tar: blob_files.BlobWriter,
        inflater: compression.Inflater,
        adopt: Callable[[blob_files.BlobWriter], store.Layer],
    ) -> None:
        self._tar = tar
        self._inflater = inflater
        self._adopt = adopt

    def feed(self, piece: bytes) -> None:
        """Write the content of one piece."""
        for content in self._inflater.feed(piece):
            self._tar.write(content)

    def finish(self) -> tuple[Digest, store.Layer]:
        """The layer, prepared and durable."""
        for content in self._inflater.finish():
            self._tar.write(content)
        layer = self._adopt(self._tar)
        return layer.diff_id, layer


@dataclass(frozen=True, slots=True)
class _Keeper:
    """What happens to pieces as they were received: each is kept, then all are checked, then committed."""

    keep: Callable[[bytes], None]
    check: Callable[[], object]
    commit: Callable[[], object]


class _Ahead:
    """Reads pieces in a thread of its own, keeps them and hands them on.

    The iteration ends once the check has passed; the commit (a flush) goes on beside the reader's own. An error of
    either side stops both; leaving the block waits for the thread.
    """

    def __init__(self, pieces: Iterator[bytes], keeper: _Keeper) -> None:
        self._pieces = pieces
        self._keeper = keeper
        self._queue: queue.Queue[bytes | None] = queue.Queue(PIECES_AHEAD)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, name="layer-receive", daemon=True)

    def __enter__(self) -> _Ahead:
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._stop.set()
        while self._thread.is_alive():
            self._drain()
            self._thread.join(0.05)
        if self._error is not None and error is None:
            raise self._error

    def __iter__(self) -> Iterator[bytes]:
        while (piece := self._queue.get()) is not None:
            yield piece
        if self._error is not None:
            raise self._error

    def _drain(self) -> None:
        while not self._queue.empty():
            self._queue.get_nowait()

    def _read(self) -> None:
        try:
            for piece in self._pieces:
                if self._stop.is_set():
                    return
                self._keeper.keep(piece)
                self._queue.put(piece)
            self._keeper.check()
            self._queue.put(None)
            self._keeper.commit()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            self._error = error
            self._queue.put(None)


def read_pieces(path: Path) -> Iterator[bytes]:
    """A file in pieces of 1 MiB."""
    with path.open("rb", buffering=0) as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _chain(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest


def _digest_of(path: Path, algorithm: str) -> Digest:
    with path.open("rb") as file:
        return Digest(f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}")
