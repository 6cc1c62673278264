"""What running operations rely on: layers, images and blobs that must not be removed under them.

A pull decides "this layer is here already" long before its image is committed; a removal in between must leave the
layer alone. Blobs are kept by leases of the content store, which are counted: an operation ends exactly those that it
took. Claims live in memory: an operation that dies with the daemon needs none.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sampan.blobs.service import Blobs
from sampan.formats.digest import Digest


class Claim:
    """The claims and leases of one operation. Made by `Claims.claim`; shared by the operation's threads."""

    def __init__(self, claims: Claims, blobs: Blobs) -> None:
        self._claims = claims
        self._blobs = blobs
        self.names: list[str] = []
        self._leased: list[Digest] = []

    def add(self, names: Iterable[str]) -> None:
        """Claim layers and images. Check what is there only after this."""
        added = list(names)
        with self._claims.lock:
            self._claims.counts.update(added)
            self.names += added

    def lease(self, digest: Digest) -> bool:
        """Keep a blob while the operation runs. False if it does not exist."""
        self._leased.append(digest)
        return self._blobs.lease(digest)

    def stored(self, digest: Digest) -> Digest:
        """Take over the lease that comes with storing a blob."""
        self._leased.append(digest)
        return digest

    def put(self, content: bytes) -> Digest:
        """Store a small blob, leased. Blocks for a disk flush."""
        return self.stored(self._blobs.put(content))

    def end(self) -> None:
        """End everything."""
        self._claims.drop(self.names)
        self._blobs.end_lease(self._leased)


class Claims:
    """Counted claims on layers and images. Thread-safe; who removes holds `lock` from asking to removing."""

    def __init__(self, blobs: Blobs) -> None:
        self.lock = threading.RLock()
        self.counts: Counter[str] = Counter()
        self._blobs = blobs
        self._turns: dict[str, threading.Lock] = {}

    @contextmanager
    def claim(self, names: Iterable[str] = ()) -> Iterator[Claim]:
        """Claims and leases that end with the block."""
        mine = Claim(self, self._blobs)
        mine.add(names)
        try:
            yield mine
        finally:
            mine.end()

    def claimed(self, name: str) -> bool:
        """Whether an operation relies on it."""
        return self.counts[name] > 0

    def turn(self, name: str) -> threading.Lock:
        """The lock under which one operation at a time makes what is called `name`. The caller has claimed the name."""
        with self.lock:
            return self._turns.setdefault(name, threading.Lock())

    def drop(self, names: Iterable[str]) -> None:
        """End claims."""
        with self.lock:
            for name in names:
                self.counts[name] -= 1
                if self.counts[name] <= 0:
                    del self.counts[name]
                    self._turns.pop(name, None)
