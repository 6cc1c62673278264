"""Images put together step by step, as a build does: layers from wherever they come, then documents and names.

One `Assembly` serves one build. Everything it touches is claimed until the build ends, so no removal takes a layer
between the step that made it and the image that uses it. All methods block; they are for worker threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy

from sampan.blobs import store as blobs_store
from sampan.formats import oci
from sampan.formats.digest import Digest
from sampan.images import documents, model, store
from sampan.images.claims import Claim
from sampan.images.layers import Layers

Write = Callable[[bytes], None]


class Assembly:
    """Made by `Images.assembly`; thread-safe."""

    def __init__(
        self,
        layers: Layers,
        claim: Claim,
        made: list[Digest],
        *,
        lower: Callable[[Digest], Path],
        now_ns: Callable[[], int],
    ) -> None:
        self._layers = layers
        self._claim = claim
        self._made = made  # every layer made here: its owner removes those that were for nothing
        self._lower = lower
        self._now_ns = now_ns

    def take(self, image: model.Image) -> tuple[store.Layer, ...]:
        """An image's layers, lowest first; it and they stay. Raises `LayerMissing`."""
        self._claim.add([image.id, *image.layers])
        return tuple(self._layers.rows(image.layers))

    def find(self, diff_id: Digest) -> store.Layer | None:
        """A layer that is here, mountable or to be made so; it stays. None if it is gone."""
        self._claim.add([diff_id])
        if not self._claim.lease(diff_id):
            return None
        with self._layers.database.read() as connection:
            return store.find_layer(connection, diff_id)

    def lowers(self, layers: Sequence[store.Layer]) -> tuple[Path, ...]:
        """The layers' directories, topmost first, each once, as overlay's `lowerdir` wants them."""
        return tuple(self._lower(diff_id) for diff_id in dict.fromkeys(layer.diff_id for layer in reversed(layers)))

    def make(self, fill: Callable[[Write], object]) -> store.Layer:
        """A layer from the tar that `fill` writes, durable and prepared. Raises what `fill` raises."""
        layer = self._layers.make(self._claim, fill)
        self._claim.add([layer.diff_id])
        self._made.append(layer.diff_id)
        self._layers.settle(self._claim, layer.diff_id)
        return layer

    def hold(self, connection: sqlalchemy.Connection, layer: store.Layer, holder: str) -> None:
        """In a verb of the caller: record the layer and let `holder` keep its tar."""
        store.add_layer(connection, layer, self._now_ns())
        blobs_store.hold(connection, holder, [layer.diff_id])

    def commit(
        self,
        document: Mapping[str, Any],
        layers: Sequence[store.Layer],
        names: Iterable[str],
        base: model.Image | None,
        also: Callable[[sqlalchemy.Connection], None],
    ) -> tuple[Digest, Digest]:
        """The image of a configuration document and its layers, under full references; ids of image and manifest.

        `base` lends the form of its layers. `also` is a verb of the same transaction. Raises `RefusedImage`.
        """
        if len(layers) > model.MOST_LAYERS:
            raise documents.RefusedImage("max depth exceeded", why=f"more than {model.MOST_LAYERS} layers")
        config = oci.encode(document)
        descriptors, held = self._below(base)
        made = layers[len(descriptors) :]
        descriptors += [oci.Descriptor(oci.OCI_LAYER, each.diff_id, each.tar_size_bytes) for each in made]
        manifest = oci.encode(
            oci.Manifest(
                schema_version=2,
                media_type=oci.OCI_MANIFEST,
                config=oci.descriptor(oci.OCI_CONFIG, config),
                layers=descriptors,
            )
        )
        image_id, manifest_digest = self._stored(config), self._stored(manifest)
        new = store.NewImage(
            id=image_id,
            manifest_digest=manifest_digest,
            manifest_media_type=oci.OCI_MANIFEST,
            config=config,
            layers=tuple(layers),
            holds=(image_id, manifest_digest, *held, *dict.fromkeys(layer.diff_id for layer in made)),
            references=tuple(names),
        )

        def verb(connection: sqlalchemy.Connection) -> None:
            store.add_image(connection, new, self._now_ns())
            also(connection)

        self._layers.database.write_blocking(verb)
        return image_id, manifest_digest

    def name(
        self, image: model.Image, names: Iterable[str], also: Callable[[sqlalchemy.Connection], None]
    ) -> tuple[Digest, Digest]:
        """Give an image that is there further names."""

        def verb(connection: sqlalchemy.Connection) -> None:
            for text in names:
                store.set_reference(connection, text, image.id, self._now_ns())
            also(connection)

        self._layers.database.write_blocking(verb)
        return image.id, image.manifest_digest

    def _stored(self, content: bytes) -> Digest:
        """A small blob that may be there already: then no flush is waited for."""
        digest = Digest.of(content)
        return digest if self._claim.lease(digest) else self._claim.put(content)

    def _below(self, base: model.Image | None) -> tuple[list[oci.Descriptor], list[Digest]]:
        if base is None:
            return [], []
        manifest = oci.decode(self._layers.blobs.read(base.manifest_digest), oci.Manifest)
        return list(manifest.layers), self._layers.held_with(base.id)
