"""One push: every layer in the form that `plan` chooses, the configuration, then the manifest.

A pulled image goes out with the manifest it came with, byte for byte. To our own registry no layer moves: it mounts
blobs of the content store that both share. A layer that exists only as a tar is compressed for another registry into a
temporary file; its digest is remembered, so that the next push asks for it before compressing. That trades compressing
again (600 MB/s a core) against keeping a second copy of every layer built here.

Runs in a worker thread; its layers in others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from sampan.formats import compression, oci
from sampan.formats.digest import Digest
from sampan.formats.reference import Reference
from sampan.host.http import Unreachable
from sampan.images import client, model, parallel, plan, store
from sampan.images.claims import Claim
from sampan.images.layers import Layers, read_pieces

MOST_UPLOADS = 3  # attempts to send one layer


@dataclass(slots=True)
class Push:
    """One operation. `own` says that the registry shares our content store."""

    layers: Layers
    registry: client.RegistryClient
    image: model.Image
    reference: Reference
    own: bool
    report: parallel.Report
    executor: Executor  # for layers; not the one this runs in
    now_ns: Callable[[], int]
    _failed: threading.Event = field(default_factory=threading.Event)

    def run(self) -> Digest:
        """Push; returns the manifest's digest."""
        with self.layers.claims.claim([self.image.id, *self.image.layers]) as claim:
            content = self.layers.blobs.read(self.image.manifest_digest)
            original = oci.decode(content, oci.Manifest)
            pushed = self._layers(claim, original)
            config = self.layers.blobs.read(self.image.id)
            composed = plan.manifest(original, pushed, config)
            media_type = self.image.manifest_media_type
            if composed is not None:
                content, media_type = oci.encode(composed), oci.OCI_MANIFEST
            self._blob(oci.descriptor(oci.OCI_CONFIG, config), [config])
            version = self.reference.tag or Digest.of(content)
            self.registry.put_manifest(self.reference.path, version, content, media_type)
            self._remember(content)
        return self._tell(version, content)

    def _tell(self, version: str, content: bytes) -> Digest:
        digest = Digest.of(content)
        self.report(model.Progress(f"{version}: digest: {digest} size: {len(content)}"))
        self.report(model.Progress(aux={"Tag": version, "Digest": digest, "Size": len(content)}))
        return digest

    def _remember(self, content: bytes) -> None:
        name = f"{self.reference.name}@{Digest.of(content)}"
        self.layers.database.write_blocking(
            lambda connection: store.set_reference(connection, name, self.image.id, self.now_ns())
        )

    def _layers(self, claim: Claim, original: oci.Manifest) -> list[oci.Descriptor]:
        """Push every layer; returns the descriptors as the registry has them, lowest first."""
        pairs = plan.distinct(original.layers, self.image.layers)
        for _, diff_id in pairs:
            self._say("Preparing", diff_id)
        jobs = {
            diff_id: self.executor.submit(self._layer, self._offer(claim, layer, diff_id)) for layer, diff_id in pairs
        }
        parallel.wait_all(list(jobs.values()), self._failed)
        return [jobs[diff_id].result() for diff_id in self.image.layers]

    def _offer(self, claim: Claim, layer: oci.Descriptor, diff_id: Digest) -> plan.OfferLayer:
        with self.layers.database.read() as connection:
            known = store.forms(connection, diff_id)
        forms = [oci.Descriptor(form.media_type, form.digest, form.size_bytes) for form in known]
        digests = {layer.digest, *(form.digest for form in forms)}
        on_disk = [digest for digest in digests if claim.lease(Digest(digest))]
        claim.lease(diff_id)
        return plan.offer(layer, diff_id, forms, on_disk, own=self.own)

    def _layer(self, offer: plan.OfferLayer) -> oci.Descriptor:
        for candidate in offer.candidates:
            if self.registry.has_blob(self.reference.path, candidate.digest):
                self._say("Layer already exists", offer.diff_id)
                return candidate
        for candidate in offer.candidates:
            if candidate.digest in offer.on_disk:
                path, _ = self.layers.blobs.require(Digest(candidate.digest))
                self._send(candidate, offer.diff_id, path)
                return candidate
        path, size_bytes = self.layers.blobs.require(offer.diff_id)
        if offer.fallback == "plain":
            plain = oci.Descriptor(oci.OCI_LAYER, offer.diff_id, size_bytes)
            if self.registry.has_blob(self.reference.path, plain.digest):
                self._say("Layer already exists", offer.diff_id)
            else:
                self._send(plain, offer.diff_id, path)
            return plain
        return self._compressed(offer.diff_id, read_pieces(path))

    def _compressed(self, diff_id: Digest, content: Iterator[bytes]) -> oci.Descriptor:
        """Compress into a temporary file, then push that."""
        with self.layers.blobs.files.writer() as writer:
            for piece in compression.gzip_pieces(content):
                writer.write(piece)
            made = oci.Descriptor(oci.OCI_LAYER_GZIP, writer.digest, writer.size_bytes)
            form = store.Form(writer.digest, diff_id, made.media_type, made.size)
            self.layers.database.write_blocking(lambda connection: store.add_form(connection, form))
            if self.registry.has_blob(self.reference.path, made.digest):
                self._say("Layer already exists", diff_id)
            else:
                self._send(made, diff_id, writer.path)
        return made

    def _send(self, blob: oci.Descriptor, diff_id: Digest, path: Path) -> None:
        """Mount the blob or upload the file; an upload that breaks is begun again."""
        source = "" if self.own else self._source()
        for attempt in range(1, MOST_UPLOADS + 1):
            url = self.registry.start_upload(
                self.reference.path, mount=blob.digest if self.own or source else "", source=source
            )
            if url is None:
                self._say(f"Mounted from {source or 'this host'}", diff_id)
                return
            counted = self._counted(read_pieces(path), diff_id, blob.size)
            try:
                self.registry.upload(self.reference.path, url, blob.digest, blob.size, counted)
            except Unreachable:
                if attempt == MOST_UPLOADS:
                    raise
                self._say("Retrying", diff_id)
            else:
                self._say("Pushed", diff_id)
                return

    def _source(self) -> str:
        """Another repository of the same registry that has this image, from which the registry may mount."""
        prefix = f"{self.reference.host}/"
        for text in self.image.references:
            name = text.partition("@")[0]
            if "@" in text and name.startswith(prefix) and name != self.reference.name:
                return name.removeprefix(prefix)
        return ""

    def _blob(self, blob: oci.Descriptor, content: Sequence[bytes]) -> None:
        if self.registry.has_blob(self.reference.path, blob.digest):
            return
        url = self.registry.start_upload(self.reference.path, mount=blob.digest if self.own else "")
        if url is not None:
            self.registry.upload(self.reference.path, url, blob.digest, blob.size, content)

    def _counted(self, pieces: Iterable[bytes], diff_id: Digest, total_bytes: int) -> Iterator[bytes]:
        sent, next_report_s = 0, 0.0
        for piece in pieces:
            yield piece
            sent += len(piece)
            if time.monotonic() >= next_report_s:
                self._say("Pushing", diff_id, sent, total_bytes)
                next_report_s = time.monotonic() + parallel.REPORT_EVERY_S

    def _say(self, status: str, diff_id: Digest, current_bytes: int = 0, total_bytes: int = 0) -> None:
        if self._failed.is_set():
            raise parallel.Abandoned("another layer of the image failed")
        self.report(model.Progress(status, diff_id.short, current_bytes, total_bytes))
