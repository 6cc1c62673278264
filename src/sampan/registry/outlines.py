"""Outlines of layers, for hosts that start containers before their layers have arrived.

An outline is made from a layer's uncompressed tar when it is first asked for, and kept in `<content>/outlines` under
the digest of the blob that a manifest names. For a compressed blob the tar is inflated into the store once and shown
in the repository as a blob of its own, so that its ranges can be fetched; no manifest names it, so it goes like every
other such blob when nobody has asked for it for the grace period. Outlines are derived: they can be made again.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Final

import sqlalchemy

from sampan import errors
from sampan.blobs.files import BlobWriter
from sampan.formats import compression, erofs, layer, outline, tar
from sampan.formats.digest import Digest
from sampan.host import files
from sampan.registry import store
from sampan.registry.model import check_repository
from sampan.registry.uploads import blob_unknown
from sampan.registry.work import Workshop

LARGEST_INFLATED: Final = compression.Limits(largest_bytes=64 << 30)
_NAME: Final = re.compile(r"[0-9a-f]{64}")


class NoOutline(errors.NotFound):
    """The blob is no layer that can be mounted."""


class Outlines:
    """The outlines of one registry. Methods are called in the event loop."""

    def __init__(self, work: Workshop) -> None:
        self._work = work
        self._folder = work.blobs.files.root / "outlines"
        self._making: dict[tuple[str, Digest], asyncio.Task[Path]] = {}

    async def get(self, name: str, digest: Digest) -> Path:
        """The file with the outline of a layer that the repository shows; requests for the same one share the work.

        Raises `RepositoryBlobUnknown`, `NoOutline`.
        """
        check_repository(name)
        with self._work.database.read() as connection:
            if store.blob_size(connection, name, digest) is None:
                raise blob_unknown(name, digest)
        if digest.algorithm != "sha256":
            raise NoOutline(f"no outline of {digest}", why="only layers named by sha256 have one")
        self._work.see(name, digest)
        key = name, digest
        making = self._making.get(key)
        if making is None:
            making = self._making[key] = asyncio.create_task(self._work.run(self._get, name, digest))
            making.add_done_callback(lambda _: self._making.pop(key, None))
        return await asyncio.shield(making)

    def sweep(self) -> None:
        """Remove the outlines of blobs that are gone. Blocks."""
        if self._folder.exists():
            for entry in self._folder.iterdir():
                whose = Digest(f"sha256:{entry.name}") if _NAME.fullmatch(entry.name) else None
                if whose is None or self._work.blobs.size(whose) is None:
                    entry.unlink(missing_ok=True)

    def _get(self, name: str, digest: Digest) -> Path:
        """The outline is there, and the tar it is of is shown in the repository. Blocks."""
        path = self._folder / digest.hex
        diff_id = _whose(path)
        if diff_id is None or not self._show(name, digest, diff_id):
            diff_id = self._tar(name, digest)
        if _whose(path) != diff_id:
            made = _outline(self._work.blobs.files.path(diff_id), digest)
            files.make_directories(self._folder)
            files.write_durably(path, outline.encode(made))
        self._work.see(name, diff_id)
        return path

    def _show(self, name: str, digest: Digest, diff_id: Digest) -> bool:
        """Show a tar that the store has already. False if it has not."""
        if digest == diff_id:
            return True
        now_ns = self._work.now_ns()

        def verb(tx: sqlalchemy.Connection) -> bool:
            if self._work.blobs.size_in(tx, diff_id) is None:
                return False
            store.show_blob(tx, name, diff_id, now_ns)
            return True

        return self._work.database.write_blocking(verb)

    def _tar(self, name: str, digest: Digest) -> Digest:
        """Make sure of the layer's tar; its digest."""
        path, _ = self._work.blobs.require(digest)
        with path.open("rb") as blob:
            head = blob.read(compression.LONGEST_MAGIC)
        if compression.detect(head) == "plain":
            return digest
        with self._work.blobs.files.writer() as writer:
            _inflate(path, writer)
            now_ns, made = self._work.now_ns(), writer.digest
            self._work.blobs.commit(writer, also=lambda tx: store.show_blob(tx, name, made, now_ns))
        return made


def _whose(path: Path) -> Digest | None:
    try:
        with path.open("rb") as file:
            return outline.whose(file.read(outline.BEGIN_BYTES))
    except (FileNotFoundError, outline.InvalidOutline):
        return None


def _inflate(path: Path, writer: BlobWriter) -> None:
    inflater = compression.Inflater(LARGEST_INFLATED)
    with path.open("rb", buffering=0) as blob:
        while piece := blob.read(outline.CHUNK_BYTES):
            for content in inflater.feed(piece):
                writer.write(content)
    for content in inflater.finish():
        writer.write(content)


def _outline(path: Path, digest: Digest) -> outline.Outline:
    """Make the metadata once, to see what of the tar that reads."""
    with files.mapped(path) as content:
        recorder = outline.Recorder(content)
        try:
            tree = layer.build(tar.scan(recorder.buffer))
            erofs.encode(
                tree, tar_size_bytes=len(content), read_tar=lambda offset, length: recorder[offset : offset + length]
            )
        except errors.SampanError as error:
            raise NoOutline(f"no outline of {digest}", why=f"it is no layer that can be mounted: {error}") from error
        return outline.record(content, recorder.spans)
