"""`load`: images out of an archive that arrives piece by piece. Blocking; runs in a worker thread.

Each large member is hashed and written beside the content store while it arrives, so that a layer is written once. When
all has arrived the documents are read, and each image becomes visible in one transaction; what nobody wants goes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from sampan.blobs.files import BlobWriter
from sampan.formats import compression, oci, reference, tar_stream
from sampan.formats.digest import Digest
from sampan.formats.tar import EntryKind
from sampan.images import importing, model, store
from sampan.images.archives import contents
from sampan.images.archives.contents import BadArchive, Wanted
from sampan.images.claims import Claim
from sampan.images.layers import Layers

MOST_MEMBERS: Final = 20_000
IN_MEMORY_BYTES: Final = 64 << 10  # a member up to this size is kept in memory
MOST_IN_MEMORY_BYTES: Final = 64 << 20  # all of them; further ones go to disk

Say = Callable[[model.Progress], object]


@dataclass(slots=True)
class Received:
    """The archive's members by name: small ones, files written beside the content store, and links."""

    small: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, BlobWriter] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def names(self) -> dict[str, str | None]:
        """All of them, with the target of a link."""
        return {**dict.fromkeys(self.small), **dict.fromkeys(self.files), **self.links}

    def read(self, name: str) -> bytes:
        """A document. Raises `BadArchive` for one that is missing or too large."""
        member = contents.resolve(self.names(), name)
        if member in self.small:
            return self.small[member]
        written = self.files[member]
        if written.size_bytes > contents.LARGEST_DOCUMENT_BYTES:
            raise BadArchive(
                f"invalid archive: {name[:200]!r} has {written.size_bytes} bytes",
                why=f"at most {contents.LARGEST_DOCUMENT_BYTES}",
            )
        return written.path.read_bytes()


@dataclass(slots=True)
class Load:
    """One operation."""

    layers: Layers
    host: oci.Platform
    limits: compression.Limits | None
    now_ns: Callable[[], int]
    say: Say

    def run(self, pieces: Iterable[bytes]) -> list[tuple[Digest, tuple[str, ...]]]:
        """Load all images of the stream; ids and tags. Raises `BadArchive`, `RefusedImage`, `WrongLayer` and others."""
        with contextlib.ExitStack() as stack:
            received = self._receive(pieces, stack)
            wanted = contents.images(received.names(), received.read, self.host)
            return [self._take(image, received) for image in wanted]

    # --- receiving ----------------------------------------------------------------------------------------------

    def _receive(self, pieces: Iterable[bytes], stack: contextlib.ExitStack) -> Received:
        received = Received()
        in_memory = count = 0
        content = self._inflated(pieces)
        for entry, parts in tar_stream.members(content):
            count += 1
            if count > MOST_MEMBERS:
                raise BadArchive(f"the archive has more than {MOST_MEMBERS} members")
            name = contents.normal(entry.path.decode("utf-8", "surrogateescape"))
            if entry.kind in (EntryKind.SYMLINK, EntryKind.HARD_LINK):
                link = entry.link.decode("utf-8", "surrogateescape")
                received.links[name] = "/" + link if entry.kind is EntryKind.HARD_LINK else link
            elif entry.kind is not EntryKind.FILE or entry.segments is not None:
                continue  # directories; nothing else belongs here
            elif entry.size_bytes <= IN_MEMORY_BYTES and in_memory < MOST_IN_MEMORY_BYTES:
                received.small[name] = b"".join(parts)
                in_memory += entry.size_bytes
            else:
                self._check_size(name, entry.size_bytes)
                received.files[name] = _written(self.layers, parts, stack)
        for _ in content:  # what pads the archive, and what says that the compression is sound
            pass
        return received

    def _check_size(self, name: str, size_bytes: int) -> None:
        if name in ("manifest.json", "index.json") and size_bytes > contents.LARGEST_DOCUMENT_BYTES:
            raise BadArchive(
                f"invalid archive: {name} has {size_bytes} bytes", why=f"at most {contents.LARGEST_DOCUMENT_BYTES}"
            )

    def _inflated(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        inflater = compression.Inflater(self.limits)
        for piece in pieces:
            yield from inflater.feed(piece)
        yield from inflater.finish()

    # --- one image ----------------------------------------------------------------------------------------------

    def _take(self, image: Wanted, received: Received) -> tuple[Digest, tuple[str, ...]]:
        taken: list[Digest] = []
        try:
            with self.layers.claims.claim(image.config.diff_ids) as claim:
                new = self._image(image, received, claim, taken)
                self.layers.database.write_blocking(lambda c: store.add_image(c, new, self.now_ns()))
        except BaseException:
            self.layers.discard(taken)
            raise
        for tag in image.tags:
            self.say(model.Progress(stream=f"Loaded image: {reference.parse(tag).familiar}\n"))
        if not image.tags:
            self.say(model.Progress(stream=f"Loaded image ID: {new.id}\n"))
        return new.id, tuple(image.tags)

    def _image(self, image: Wanted, received: Received, claim: Claim, taken: list[Digest]) -> store.NewImage:
        made: dict[Digest, store.Layer] = {}
        for diff_id, name in zip(image.config.diff_ids, image.layers, strict=True):
            if diff_id not in made:
                made[diff_id] = self._layer(diff_id, name, received, claim, taken)
        rows = [made[diff_id] for diff_id in image.config.diff_ids]
        forms: list[store.Form] = []
        kept: list[Digest] = []
        if image.manifest:
            manifest, media_type = image.manifest, image.manifest_media_type
            forms, kept = self._forms(image, received, claim)
        else:
            plain = [oci.Descriptor(oci.OCI_LAYER, row.diff_id, row.tar_size_bytes) for row in rows]
            manifest, media_type = importing.manifest(image.config.content, plain), oci.OCI_MANIFEST
        config = claim.put(image.config.content)
        digest = claim.put(manifest)
        holds = [config, digest, *kept]
        for diff_id in image.config.diff_ids:
            holds += [diff_id] if claim.lease(diff_id) else []
        return store.NewImage(
            id=config,
            manifest_digest=digest,
            manifest_media_type=media_type,
            config=image.config.content,
            layers=tuple(rows),
            forms=tuple(forms),
            holds=tuple(dict.fromkeys(holds)),
            references=tuple(image.tags),
            complete=all(form.digest in holds for form in forms),
        )

    def _layer(self, diff_id: Digest, name: str, received: Received, claim: Claim, taken: list[Digest]) -> store.Layer:
        with self.layers.claims.turn(diff_id):
            row = self.layers.find(claim, diff_id)
            if row is not None:
                return row
            taken.append(diff_id)
            member = contents.resolve(received.names(), name)
            with contextlib.ExitStack() as stack:
                written = received.files.get(member)
                if written is None:
                    written = _written(self.layers, [received.small[member]], stack)
                elif not written.path.exists():  # taken by an image before, whose layer went again
                    raise BadArchive(f"invalid archive: {name[:200]!r} is two layers")
                size_bytes = written.size_bytes
                self.say(model.Progress("Loading layer", diff_id.short, size_bytes, size_bytes))
                return self.layers.take_written(claim, written, diff_id)

    def _forms(self, image: Wanted, received: Received, claim: Claim) -> tuple[list[store.Form], list[Digest]]:
        """The layers as the archive's own manifest names them: their blobs are kept, so that the manifest stays."""
        manifest = oci.decode(image.manifest, oci.Manifest)
        forms, kept = [], []
        for layer, diff_id, name in zip(manifest.layers, image.config.diff_ids, image.layers, strict=True):
            digest = Digest.parse(layer.digest)
            forms.append(store.Form(digest, diff_id, layer.media_type, layer.size))
            if not claim.lease(digest):
                self._keep(digest, contents.resolve(received.names(), name), received, claim)
            kept.append(digest)
        return forms, kept

    def _keep(self, digest: Digest, member: str, received: Received, claim: Claim) -> None:
        if member in received.small:
            content = received.small[member]
            if Digest.of(content) != digest:
                raise BadArchive(f"invalid archive: {digest} has other content than its name says")
            claim.put(content)
            return
        written = received.files[member]
        claim.stored(self.layers.blobs.commit(written, digest))


def _written(layers: Layers, parts: Iterable[bytes], stack: contextlib.ExitStack) -> BlobWriter:
    writer = stack.enter_context(layers.blobs.files.writer())
    for part in parts:
        writer.write(part)
    return writer
