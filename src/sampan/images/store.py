"""Rows of the images room: images, layers, forms of layers, references. Callers pass their own transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy
from sqlalchemy.dialects.sqlite import insert

from sampan.blobs import store as blobs_store
from sampan.formats import oci
from sampan.formats.digest import Digest
from sampan.images import model
from sampan.state.database import touch
from sampan.state.schema import blob_hold, build_cache, image, image_layer, image_reference, layer, layer_form

TOPIC = "images"  # every verb that changes an image or a reference touches it


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that the driver has prepared. `content_size_bytes` counts the files in it."""

    diff_id: Digest
    driver: str
    tar_size_bytes: int
    content_size_bytes: int


@dataclass(frozen=True, slots=True)
class Form:
    """A form in which another client saw a layer."""

    digest: Digest
    diff_id: Digest
    media_type: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class NewImage:
    """All that becomes visible at once when an image arrives. `layers` lowest first, one entry a position."""

    id: Digest
    manifest_digest: Digest
    manifest_media_type: str
    config: bytes
    layers: tuple[Layer, ...]
    forms: tuple[Form, ...] = ()
    holds: tuple[Digest, ...] = ()
    references: tuple[str, ...] = ()
    parent_id: str = ""  # the image it was committed on
    complete: bool = True  # every layer is here in the form that the manifest names


def holder(image_id: str) -> str:
    """The name under which an image holds its blobs."""
    return f"image:{image_id}"


def holds(connection: sqlalchemy.Connection, image_id: str) -> list[Digest]:
    """The blobs that an image holds."""
    query = sqlalchemy.select(blob_hold.c.digest).where(blob_hold.c.holder == holder(image_id))
    return [Digest(digest) for digest in connection.execute(query).scalars()]


def add_image(connection: sqlalchemy.Connection, new: NewImage, now_ns: int) -> None:
    """Layers, image, holds and references. An image that is there gains what is new.

    It takes over the manifest only if that is complete: the one it has may be the one whose blobs are here.
    """
    touch(connection, TOPIC)
    for item in new.layers:
        add_layer(connection, item, now_ns)
    for form in new.forms:
        add_form(connection, form)
    named = {"manifest_digest": new.manifest_digest, "manifest_media_type": new.manifest_media_type}
    row = insert(image).values(
        id=new.id,
        config=new.config.decode(),
        size_bytes=sum(item.content_size_bytes for item in new.layers),
        created_ns=now_ns,
        parent_id=new.parent_id,
        **named,
    )
    again = row.on_conflict_do_update(index_elements=["id"], set_=named)
    connection.execute(again if new.complete else row.on_conflict_do_nothing())
    for position, item in enumerate(new.layers):
        place = insert(image_layer).values(image_id=new.id, position=position, diff_id=item.diff_id)
        connection.execute(place.on_conflict_do_nothing())
    blobs_store.hold(connection, holder(new.id), new.holds)
    for text in new.references:
        set_reference(connection, text, new.id, now_ns)


def add_layer(connection: sqlalchemy.Connection, item: Layer, now_ns: int) -> None:
    """Say that the driver has it. Again changes the driver only."""
    connection.execute(
        insert(layer)
        .values(
            diff_id=item.diff_id,
            driver=item.driver,
            tar_size_bytes=item.tar_size_bytes,
            content_size_bytes=item.content_size_bytes,
            created_ns=now_ns,
        )
        .on_conflict_do_update(index_elements=["diff_id"], set_={"driver": item.driver})
    )


def add_form(connection: sqlalchemy.Connection, form: Form) -> None:
    """Remember that `form.digest` is a form of the layer."""
    row = insert(layer_form).values(
        digest=form.digest, diff_id=form.diff_id, media_type=form.media_type, size_bytes=form.size_bytes
    )
    connection.execute(row.on_conflict_do_nothing())


def forms(connection: sqlalchemy.Connection, diff_id: str) -> list[Form]:
    """Every known form of a layer, smallest first."""
    query = sqlalchemy.select(layer_form).where(layer_form.c.diff_id == diff_id).order_by(layer_form.c.size_bytes)
    return [
        Form(Digest(row.digest), Digest(row.diff_id), row.media_type, row.size_bytes)
        for row in connection.execute(query)
    ]


def find_layer(connection: sqlalchemy.Connection, diff_id: str) -> Layer | None:
    """The layer's row."""
    row = connection.execute(sqlalchemy.select(layer).where(layer.c.diff_id == diff_id)).first()
    return None if row is None else _layer(row)


def every_layer(connection: sqlalchemy.Connection) -> list[Layer]:
    """All layers of this host."""
    return [_layer(row) for row in connection.execute(sqlalchemy.select(layer))]


def layer_uses(connection: sqlalchemy.Connection) -> dict[str, int]:
    """How many images use each layer that any image uses."""
    count = sqlalchemy.func.count(sqlalchemy.distinct(image_layer.c.image_id))
    query = sqlalchemy.select(image_layer.c.diff_id, count).group_by(image_layer.c.diff_id)
    return {str(row[0]): int(row[1]) for row in connection.execute(query)}


def cached_layers(connection: sqlalchemy.Connection) -> set[str]:
    """The layers that records of the build cache name."""
    return set(connection.execute(sqlalchemy.select(build_cache.c.diff_id).distinct()).scalars()) - {""}


def forget_layer_if_unused(connection: sqlalchemy.Connection, diff_id: str) -> bool:
    """Remove a layer's row and forms unless an image or the build cache uses it. True if it was removed."""
    used = sqlalchemy.exists().where(image_layer.c.diff_id == layer.c.diff_id)
    cached = sqlalchemy.exists().where(build_cache.c.diff_id == layer.c.diff_id)
    gone = connection.execute(layer.delete().where(layer.c.diff_id == diff_id, ~used, ~cached)).rowcount > 0
    if gone:
        connection.execute(layer_form.delete().where(layer_form.c.diff_id == diff_id))
    return gone


def set_reference(connection: sqlalchemy.Connection, text: str, image_id: str, now_ns: int) -> None:
    """Let a reference name the image, whatever it named before."""
    touch(connection, TOPIC)
    row = insert(image_reference).values(reference=text, image_id=image_id, updated_ns=now_ns)
    connection.execute(
        row.on_conflict_do_update(index_elements=["reference"], set_={"image_id": image_id, "updated_ns": now_ns})
    )


def remove_references(connection: sqlalchemy.Connection, texts: Iterable[str], image_id: str) -> list[str]:
    """Remove those that still name the image; returns the removed."""
    touch(connection, TOPIC)
    mine = image_reference.c.image_id == image_id
    return [
        text
        for text in texts
        if connection.execute(image_reference.delete().where(image_reference.c.reference == text, mine)).rowcount
    ]


def remove_image(connection: sqlalchemy.Connection, image_id: str) -> list[Digest]:
    """Remove the image's rows and holds. Returns the blobs that nobody holds any more."""
    touch(connection, TOPIC)
    connection.execute(image_layer.delete().where(image_layer.c.image_id == image_id))
    connection.execute(image.delete().where(image.c.id == image_id))
    connection.execute(image.update().where(image.c.parent_id == image_id).values(parent_id=""))
    return blobs_store.release(connection, holder(image_id))


def untag_and_delete(
    connection: sqlalchemy.Connection, image_id: str, texts: Sequence[str], *, delete: bool
) -> tuple[list[str], list[Digest] | None]:
    """Remove references and, if wanted and none is left, the image.

    Returns the removed references, and the blobs nobody holds any more or None if the image stays: somebody may have
    named it since the removal was planned.
    """
    untagged = remove_references(connection, texts, image_id)
    query = sqlalchemy.select(image_reference.c.reference).where(image_reference.c.image_id == image_id).limit(1)
    if not delete or connection.execute(query).first() is not None:
        return untagged, None
    return untagged, remove_image(connection, image_id)


def id_of_reference(connection: sqlalchemy.Connection, text: str) -> Digest | None:
    """The image a full reference names."""
    query = sqlalchemy.select(image_reference.c.image_id).where(image_reference.c.reference == text)
    found = connection.execute(query).scalar()
    return None if found is None else Digest(found)


def ids_with_prefix(connection: sqlalchemy.Connection, prefix: str) -> list[Digest]:
    """At most two image ids that begin with `prefix` (`sha256:` and hex digits)."""
    query = (
        sqlalchemy.select(image.c.id)
        .where(image.c.id >= prefix, image.c.id < prefix + "g")
        .order_by(image.c.id)
        .limit(2)
    )
    return [Digest(found) for found in connection.execute(query).scalars()]


def images(connection: sqlalchemy.Connection, only: Sequence[str] | None = None) -> list[model.Image]:
    """All images, or those with the given ids, newest first."""
    query = sqlalchemy.select(image).order_by(image.c.created_ns.desc(), image.c.id)
    layers_query = sqlalchemy.select(image_layer).order_by(image_layer.c.position)
    names_query = sqlalchemy.select(image_reference.c.reference, image_reference.c.image_id)
    if only is not None:
        query = query.where(image.c.id.in_(only))
        layers_query = layers_query.where(image_layer.c.image_id.in_(only))
        names_query = names_query.where(image_reference.c.image_id.in_(only))
    layers: dict[str, list[Digest]] = {}
    for row in connection.execute(layers_query):
        layers.setdefault(row.image_id, []).append(Digest(row.diff_id))
    names: dict[str, list[str]] = {}
    for row in connection.execute(names_query):
        names.setdefault(row.image_id, []).append(row.reference)
    return [_image(row, layers.get(row.id, []), names.get(row.id, [])) for row in connection.execute(query)]


def _image(row: sqlalchemy.Row[tuple[object, ...]], layers: list[Digest], names: list[str]) -> model.Image:
    document = oci.decode_object(row.config.encode())
    return model.Image(
        id=Digest(row.id),
        manifest_digest=Digest(row.manifest_digest),
        manifest_media_type=row.manifest_media_type,
        references=tuple(sorted(names)),
        layers=tuple(layers),
        size_bytes=row.size_bytes,
        created_ns=row.created_ns,
        document=document,
        parent_id=row.parent_id,
        config=model.parse_config(document),
    )


def _layer(row: sqlalchemy.Row[tuple[object, ...]]) -> Layer:
    return Layer(Digest(row.diff_id), row.driver, row.tar_size_bytes, row.content_size_bytes)
