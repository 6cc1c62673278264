"""One pull, from the registry's manifest to the committed image. Runs in a worker thread; its layers in others.

Nothing is visible before the one transaction at the end. A pull that fails removes what it took in, unless another
operation relies on it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

from sampan import errors
from sampan.formats import oci, outline
from sampan.formats.digest import Digest
from sampan.formats.reference import Reference
from sampan.images import client, documents, model, parallel, plan, platforms, store
from sampan.images.claims import Claim
from sampan.images.layers import Layers

log = logging.getLogger(__name__)

SMALLEST_LAZY_BYTES = 1 << 20  # below this a layer is as quick as its outline


@dataclass(frozen=True, slots=True)
class Found:
    """What the registry offers: the manifest for this platform, and the index it was taken from, if any."""

    top: client.RemoteManifest
    chosen: client.RemoteManifest
    manifest: oci.Manifest


@dataclass(slots=True)
class Pull:
    """One operation. `platform` None means the host's, and takes a lone manifest of any platform."""

    layers: Layers
    registry: client.RegistryClient
    reference: Reference
    platform: oci.Platform | None
    host_platform: oci.Platform
    report: parallel.Report
    executor: Executor  # for layers; not the one this runs in
    now_ns: Callable[[], int]
    lazily: bool = False  # take layers by their outlines, where the registry has them
    _failed: threading.Event = field(default_factory=threading.Event)

    def run(self) -> Digest:
        """Pull; returns the image's id."""
        self.report(model.Progress(f"Pulling from {self.reference.path}", id=str(self.reference.version)))
        found = self._find()
        self.lazily = self.lazily and found.chosen.outlines
        missing: list[Digest] = []
        try:
            with self.layers.claims.claim() as claim:
                image_id, spare = self._take(found, claim, missing)
        except BaseException:
            self.layers.discard(missing)
            raise
        self.layers.discard(spare)
        return image_id

    def _find(self) -> Found:
        top = self.registry.manifest(self.reference)
        document = documents.read(top.content, top.media_type)
        if isinstance(document, oci.Manifest):
            return Found(top, top, document)
        entry = platforms.choose(document.manifests, self.platform or self.host_platform)
        child = replace(self.reference, tag="", digest=Digest.parse(entry.digest))
        chosen = self.registry.manifest(child)
        manifest = documents.read(chosen.content, chosen.media_type)
        if chosen.media_type != entry.media_type:
            raise documents.RefusedImage(
                "the manifest has another media type than its list says", why=f"{chosen.media_type}, {entry.media_type}"
            )
        if not isinstance(manifest, oci.Manifest):
            raise documents.NotAnImage("the manifest list names another list", why=entry.digest)
        return Found(top, chosen, manifest)

    def _take(self, found: Found, claim: Claim, missing: list[Digest]) -> tuple[Digest, list[Digest]]:
        """Everything from the configuration to the commit. Returns the id and the blobs that are no longer needed.

        `missing` collects what this host did not have before.
        """
        pinned = [Digest(found.manifest.config.digest), *(Digest(layer.digest) for layer in found.manifest.layers)]
        documents_found = {Digest.of(each.content): each.content for each in (found.top, found.chosen)}
        self._claim(claim, [*pinned, *documents_found], missing)
        config = self._config(claim, found.manifest)
        pairs = plan.distinct(found.manifest.layers, config.diff_ids)
        self._claim(claim, config.diff_ids, missing)
        jobs = [self.executor.submit(claim.put, content) for content in documents_found.values()]
        jobs.append(self.executor.submit(claim.put, config.content))
        layer_jobs = [self.executor.submit(self._layer, claim, layer, diff_id) for layer, diff_id in pairs]
        parallel.wait_all([*layer_jobs, *jobs], self._failed)
        made = {row.diff_id: row for row in (job.result() for job in layer_jobs)}
        new = self._image(claim, found, config, [made[diff_id] for diff_id in config.diff_ids])
        fresh = self._commit(new)
        self.report(model.Progress(f"Digest: {found.top.digest}"))
        words = "Downloaded newer image for" if fresh else "Image is up to date for"
        self.report(model.Progress(f"Status: {words} {self.reference.familiar}"))
        return new.id, [diff_id for diff_id in config.diff_ids if diff_id not in new.holds]

    def _claim(self, claim: Claim, digests: Sequence[Digest], missing: list[Digest]) -> None:
        claim.add(digests)
        missing += [digest for digest in digests if not claim.lease(digest)]

    def _config(self, claim: Claim, manifest: oci.Manifest) -> documents.ImageConfig:
        digest = Digest.parse(manifest.config.digest)
        if claim.lease(digest):
            content = self.layers.blobs.read(digest)
        else:
            content = self.registry.small_blob(self.reference.path, manifest.config)
        config = documents.read_config(content, len(manifest.layers))
        has = platforms.of_config(config.document)
        if self.platform is not None and not platforms.matches(has, self.platform):
            raise platforms.NoMatchingManifest(
                f"image with reference {self.reference.familiar} was found but does not match the specified platform: "
                f"wanted {platforms.describe(self.platform)}, actual: {platforms.describe(has)}"
            )
        return config

    def _say(self, status: str, layer: oci.Descriptor, current_bytes: int = 0) -> None:
        if self._failed.is_set():
            raise parallel.Abandoned("another layer of the image failed")
        total_bytes = layer.size if current_bytes else 0
        self.report(model.Progress(status, layer.digest.partition(":")[2][:12], current_bytes, total_bytes))

    def _layer(self, claim: Claim, layer: oci.Descriptor, diff_id: Digest) -> store.Layer:
        """Make one layer mountable; one pull at a time for each layer, so that two images share one download."""
        with self.layers.claims.turn(diff_id):
            row = self.layers.find(claim, diff_id, pending=self.lazily)
            digest = Digest(layer.digest)
            facts = plan.LayerFacts(row is not None, claim.lease(diff_id), claim.lease(digest))
            action = plan.fetch(layer, diff_id, facts)
            if row is not None:
                self._say("Already exists", layer)
                return row
            self._say("Pulling fs layer", layer)
            lazy = self._lazily(layer, diff_id) if action.step == "download" and self.lazily else None
            if lazy is not None:
                return lazy
            if action.step == "download":
                made = self.layers.take_stream(claim, self._pieces(layer), digest, diff_id)
            else:
                self._say("Download complete", layer)
                self._say("Extracting", layer, layer.size)
                made = (
                    self.layers.prepare(diff_id)
                    if action.step == "prepare"
                    else self.layers.take_blob(claim, digest, diff_id)
                )
            self._say("Pull complete", layer)
            return made

    def _lazily(self, layer: oci.Descriptor, diff_id: Digest) -> store.Layer | None:
        """Take a layer by its outline; None where it must be downloaded."""
        if layer.size < SMALLEST_LAZY_BYTES:
            return None
        try:
            content = self.registry.outline(self.reference.path, layer.digest)
            described = outline.decode(content)
        except errors.SampanError as error:
            log.info("layer %s is pulled as a whole: %s", diff_id.short, error)
            return None
        if described.diff_id != diff_id or described.size_bytes < SMALLEST_LAZY_BYTES:
            return None
        from sampan.images.lazy.pending import Source

        source = Source(self.registry.host, self.reference.path, layer.digest)
        try:
            made = self.layers.take_outline(content, described, source)
        except outline.NotOutlined as error:  # made by another version, which reads other parts of a tar
            log.info("layer %s is pulled as a whole: %s", diff_id.short, error)
            return None
        held, whole = units(len(content)), units(described.size_bytes)
        self._say(f"Lazy: {held} of {whole}, the rest arrives in the background", layer)
        return made

    def _pieces(self, layer: oci.Descriptor) -> Iterator[bytes]:
        received, next_report_s = 0, time.monotonic() + parallel.REPORT_EVERY_S
        for piece in self.registry.blob(self.reference.path, layer):
            received += len(piece)
            if time.monotonic() >= next_report_s:
                self._say("Downloading", layer, received)
                next_report_s = time.monotonic() + parallel.REPORT_EVERY_S
            yield piece
        self._say("Download complete", layer)
        self._say("Extracting", layer, layer.size)

    def _image(
        self, claim: Claim, found: Found, config: documents.ImageConfig, rows: Sequence[store.Layer]
    ) -> store.NewImage:
        manifest_digest, image_id = Digest.of(found.chosen.content), Digest.of(config.content)
        forms = [
            store.Form(Digest(layer.digest), diff_id, layer.media_type, layer.size)
            for layer, diff_id in zip(found.manifest.layers, config.diff_ids, strict=True)
        ]
        holds = [manifest_digest, Digest.of(found.top.content), image_id]
        for form in forms:
            kept = claim.lease(form.digest)
            holds += [form.digest] if kept else []
            holds += [form.diff_id] if self.layers.reads_tar or not kept else []
        names = [f"{self.reference.name}@{found.top.digest}"]
        if self.reference.digest is None:
            names.append(f"{self.reference.name}:{self.reference.version}")
        return store.NewImage(
            id=image_id,
            manifest_digest=manifest_digest,
            manifest_media_type=found.chosen.media_type,
            config=config.content,
            layers=tuple(rows),
            forms=tuple(forms),
            holds=tuple(dict.fromkeys(holds)),
            references=tuple(names),
            complete=all(form.digest in holds for form in forms),
        )

    def _commit(self, new: store.NewImage) -> bool:
        """One transaction. False if every reference named this image before."""
        database = self.layers.database
        with database.read() as connection:
            fresh = any(store.id_of_reference(connection, name) != new.id for name in new.references)
        database.write_blocking(lambda connection: store.add_image(connection, new, self.now_ns()))
        return fresh


def units(size_bytes: int) -> str:
    """A size for people: 12.3MB."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g}GB"
