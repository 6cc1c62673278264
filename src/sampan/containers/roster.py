"""All containers, in memory: looking asks no database.

Rows are read when somebody asks after they changed, only those that did. A caller sees what it wrote itself: the
database tells a change before the verb that made it returns.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from sampan import errors
from sampan.containers import store
from sampan.containers.model import Container, ContainerUnknown
from sampan.state.database import Database

ID_LENGTH = 64  # hexadecimal digits
_DIGITS = frozenset("0123456789abcdef")


class Roster:
    """Containers by id and name. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._by_id: dict[str, Container] = {}
        self._id_of_name: dict[str, str] = {}
        self._newest_first: tuple[Container, ...] | None = None
        self._is_read = False

    def get(self, reference: str) -> Container:
        """By full id, name, or the start of an id. Raises `ContainerUnknown`, `Invalid` if several ids start so."""
        with self._lock:
            self._refresh()
            found = self._by_id.get(reference) or self._by_id.get(self._id_of_name.get(reference.removeprefix("/"), ""))
            if found is not None:
                return found
            matches = self._starting_with(reference)
        if len(matches) > 1:
            raise errors.Invalid(f"multiple IDs found with provided prefix: {reference}")
        if not matches:
            raise ContainerUnknown(f"No such container: {reference}")
        return matches[0]

    def has(self, container_id: str) -> bool:
        """Whether a full id is still somebody's."""
        with self._lock:
            self._refresh()
            return container_id in self._by_id

    def every(self) -> Sequence[Container]:
        """All, newest first."""
        with self._lock:
            self._refresh()
            if self._newest_first is None:
                self._newest_first = tuple(sorted(self._by_id.values(), key=lambda item: -item.created_ns))
            return self._newest_first

    def of_image(self, image_id: str) -> Sequence[Container]:
        """Those made from an image."""
        return [item for item in self.every() if item.image_id == image_id]

    def _starting_with(self, reference: str) -> list[Container]:
        if not reference or len(reference) >= ID_LENGTH or not _DIGITS.issuperset(reference):
            return []
        return [item for container_id, item in self._by_id.items() if container_id.startswith(reference)]

    def _refresh(self) -> None:
        changed = self._database.take_changed(store.TOPIC)  # before reading: what changes meanwhile comes next time
        if self._is_read and not changed:
            return
        with self._database.read() as connection:
            rows = store.some(connection, changed) if self._is_read else store.every(connection)
        for container_id in changed:
            gone = self._by_id.pop(container_id, None)
            if gone is not None and self._id_of_name.get(gone.name) == container_id:
                del self._id_of_name[gone.name]
        for item in rows:
            self._by_id[item.id] = item
            self._id_of_name[item.name] = item.id
        self._newest_first = None
        self._is_read = True
