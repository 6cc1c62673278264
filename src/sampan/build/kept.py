"""Contexts of earlier builds, kept so that a client sends only what has changed since. Blocking.

A kept tree is whole and never changed: a later build makes a tree of its own with hard links into it, which takes the
place when that build ends. A tree that goes away under such a build just has no more files to link to. What is kept is
known to one daemon only and lies where a new one sweeps at its start, so nothing that a crash left is ever trusted.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

MOST_BYTES = 2 << 30
MOST_TREES = 64
LONGEST_UNUSED_S = 48 * 3600.0


@dataclass(frozen=True, slots=True)
class Key:
    """Whose directory it is, and which part of it; both are digests."""

    directory: str
    part: str


@dataclass(frozen=True, slots=True)
class _Tree:
    place: Path
    size_bytes: int
    used_s: float  # time.monotonic


class Contexts:
    """Trees by whose directory it is and which part of it. `folder` is made when it is needed."""

    def __init__(
        self, folder: Path, *, most_bytes: int = MOST_BYTES, longest_unused_s: float = LONGEST_UNUSED_S
    ) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._longest_unused_s = longest_unused_s
        self._trees: OrderedDict[Key, _Tree] = OrderedDict()  # the longest unused first
        self._lock = threading.Lock()

    def find(self, key: Key) -> Path | None:
        """The tree as it was last, or the latest of another part of the directory. It may be removed at any time."""
        with self._lock:
            near = (other for other in reversed(self._trees) if other.directory == key.directory)
            found = key if key in self._trees else next(near, None)
            return None if found is None else self._trees[found].place

    def keep(self, key: Key, tree: Path, size_bytes: int) -> None:
        """Take over a whole tree of this file system that nobody uses any more, if there is room for it."""
        if size_bytes > self._most_bytes:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = self._folder / os.urandom(8).hex()
        tree.rename(place)
        with self._lock:
            former = self._trees.pop(key, None)
            self._trees[key] = _Tree(place, size_bytes, time.monotonic())
            gone = ([] if former is None else [former]) + self._surplus()
        for each in gone:
            shutil.rmtree(each.place)

    def clear(self) -> int:
        """Forget all. Returns the freed bytes."""
        with self._lock:
            gone = list(self._trees.values())
            self._trees.clear()
        for each in gone:
            shutil.rmtree(each.place)
        return sum(each.size_bytes for each in gone)

    def _surplus(self) -> list[_Tree]:
        """What is too much or too old, taken out."""
        total = sum(each.size_bytes for each in self._trees.values())
        oldest_s = time.monotonic() - self._longest_unused_s
        gone = []
        for key, each in list(self._trees.items()):
            if total <= self._most_bytes and len(self._trees) <= MOST_TREES and each.used_s >= oldest_s:
                break
            gone.append(self._trees.pop(key))
            total -= each.size_bytes
        return gone
