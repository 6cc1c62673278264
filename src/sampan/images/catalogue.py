"""What images there are: by name or id, by filters, their history and sizes. Reads only; safe in the event loop."""

from __future__ import annotations

import dataclasses
import datetime
import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sampan import errors
from sampan.formats import reference
from sampan.formats.digest import Digest, InvalidDigest
from sampan.images import model, store
from sampan.state.database import Database

CACHED = 256  # names whose image is kept in memory
_ID = re.compile(r"(?:sha256:)?[0-9a-f]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Filters:
    """Which images to list; empty means all. `labels` are `name` or `name=value`; `references` are shell patterns."""

    references: Sequence[str] = ()
    labels: Sequence[str] = ()
    dangling: bool | None = None
    before: str = ""
    since: str = ""
    until_ns: int = field(default=0)


class Catalogue:
    """Queries over the images of this host."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cached: dict[str, tuple[model.Image, str | None]] = {}
        self._cached_version = -1

    def get(self, name: str) -> model.Image:
        """By reference, id or shortened id. Raises `NoSuchImage`, `AmbiguousId`."""
        return self.find(name)[0]

    def find(self, name: str) -> tuple[model.Image, str | None]:
        """The image, and the full reference if `name` is one rather than an id.

        A start asks for its image several times: answers are kept until a verb touches an image.
        """
        version = self._database.version(store.TOPIC)
        if version != self._cached_version or len(self._cached) >= CACHED:
            self._cached, self._cached_version = {}, version
        if name not in self._cached:
            self._cached[name] = self._find(name)
        return self._cached[name]

    def _find(self, name: str) -> tuple[model.Image, str | None]:
        with self._database.read() as connection:
            text = _full_reference(name)
            found = store.id_of_reference(connection, text) if text is not None else None
            if found is None:
                text = None
                found = self._by_id(
                    name, store.ids_with_prefix(connection, _id_prefix(name)) if _ID.match(name) else []
                )
            image = store.images(connection, [found])
        if not image:
            raise _no_such(name)
        return image[0], text

    def images(self, filters: Filters | None = None) -> tuple[model.Image, ...]:
        """Those that pass every filter, newest first; of their references those that a filter of references means."""
        wanted = filters or Filters()
        before = made_ns(self.get(wanted.before)) if wanted.before else None
        since = made_ns(self.get(wanted.since)) if wanted.since else None
        with self._database.read() as connection:
            every = store.images(connection)
        return tuple(
            _as_wanted(image, wanted.references)
            for image in every
            if _passes(image, wanted)
            and (before is None or made_ns(image) < before)
            and (since is None or made_ns(image) > since)
        )

    def history(self, image: model.Image) -> tuple[model.HistoryItem, ...]:
        """How it was made, newest step first."""
        with self._database.read() as connection:
            rows = [store.find_layer(connection, diff_id) for diff_id in image.layers]
        sizes = iter([row.content_size_bytes if row is not None else 0 for row in rows])
        steps = image.document.get("history")
        items = [
            model.HistoryItem(
                created=str(step.get("created") or ""),
                created_by=str(step.get("created_by") or ""),
                comment=str(step.get("comment") or ""),
                size_bytes=0 if step.get("empty_layer") else next(sizes, 0),
            )
            for step in (steps if isinstance(steps, list) else [])
            if isinstance(step, dict)
        ]
        items += [model.HistoryItem(image.created, "", "", size) for size in sizes]
        if not items:
            return ()
        last = items.pop()
        named = model.HistoryItem(last.created, last.created_by, last.comment, last.size_bytes, image.id, image.tags)
        return (named, *reversed(items))

    def disk_usage(self) -> model.DiskUsage:
        """Bytes of all layers, and of each image what is its own and what it shares."""
        with self._database.read() as connection:
            sizes = {row.diff_id: row.content_size_bytes for row in store.every_layer(connection)}
            uses = store.layer_uses(connection)
            every = store.images(connection)
        unique = {image.id: _sum(sizes, (each for each in image.layers if uses.get(each, 0) == 1)) for image in every}
        shared = {image.id: _sum(sizes, (each for each in image.layers if uses.get(each, 0) > 1)) for image in every}
        return model.DiskUsage(sum(sizes.values()), unique, shared)

    def _by_id(self, name: str, found: Sequence[Digest]) -> Digest:
        if not found:
            raise _no_such(name)
        if len(found) > 1:
            raise model.AmbiguousId(f"multiple IDs found with provided prefix: {name}", remedy="give more digits")
        return found[0]


def made_ns(image: model.Image) -> int:
    """When the image was made; 0 if it does not say."""
    try:
        moment = datetime.datetime.fromisoformat(image.created)
    except ValueError:
        return 0
    return int((moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp() * 1_000_000_000)


def _passes(image: model.Image, filters: Filters) -> bool:
    if filters.dangling is not None and image.dangling != filters.dangling:
        return False
    if filters.until_ns and made_ns(image) >= filters.until_ns:
        return False
    if filters.references and not _as_wanted(image, filters.references).references:
        return False
    return all(_has_label(image, label) for label in filters.labels)


def _matches(text: str, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in _forms(text))


def _as_wanted(image: model.Image, patterns: Sequence[str]) -> model.Image:
    """`docker images NAME` shows an image's other names not."""
    if not patterns:
        return image
    kept = tuple(text for text in image.references if any(_matches(text, pattern) for pattern in patterns))
    return dataclasses.replace(image, references=kept)


def _forms(text: str) -> tuple[str, ...]:
    parsed = reference.parse(text)
    return parsed.familiar, parsed.familiar_name, text, parsed.name


def _has_label(image: model.Image, label: str) -> bool:
    name, equals, value = label.partition("=")
    labels = image.config.labels
    return name in labels and (not equals or labels[name] == value)


def _full_reference(name: str) -> str | None:
    try:
        parsed = reference.parse(name).with_default_tag()
    except (reference.InvalidReference, InvalidDigest):
        return None
    return f"{parsed.name}@{parsed.digest}" if parsed.digest else str(parsed)


def _id_prefix(name: str) -> str:
    return name if name.startswith("sha256:") else f"sha256:{name}"


def _no_such(name: str) -> errors.NotFound:
    try:
        shown = reference.parse(name).with_default_tag().familiar
    except (reference.InvalidReference, InvalidDigest):
        shown = name[:300]
    return model.NoSuchImage(f"No such image: {shown}")


def _sum(sizes: dict[Digest, int], layers: Iterable[Digest]) -> int:
    return sum(sizes.get(each, 0) for each in set(layers))
