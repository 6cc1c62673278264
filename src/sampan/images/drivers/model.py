"""What every layer driver offers, and what it says about a layer."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sampan import errors

TarPath = Callable[[str], Path]  # diff id (hex) -> the layer's tar in the content store


class LayerMissing(errors.NotFound):
    """The driver holds no such layer."""

    def __init__(self, diff_id: str) -> None:
        super().__init__(f"no such layer: sha256:{diff_id}", remedy="pull the image again")


class BadDiffId(errors.Invalid):
    """A layer is named by the 64 hexadecimal digits of its digest; anything else would become part of a path."""

    def __init__(self, diff_id: str) -> None:
        super().__init__(f"not a layer digest: {diff_id[:100]!r}", why="it is not 64 hexadecimal digits")


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """What a driver found in a layer. `content_bytes` is the sum of its files' stored bytes."""

    entries: int
    content_bytes: int
    warnings: tuple[str, ...] = ()


class LayerDriver(Protocol):
    """Makes layers usable as overlay lower directories. Synchronous; safe to call from several threads.

    A layer is there whole or not at all, also after a crash: what is half done lies under a temporary name that `sweep`
    removes.
    """

    name: str

    def prepare(self, diff_id: str, tar: Path) -> LayerFacts:
        """Make the layer from its tar, durably. Returns at once with the same facts if it is there already."""

    def has(self, diff_id: str) -> bool:
        """Whether the layer is prepared."""

    def lower(self, diff_id: str) -> Path:
        """A directory with the layer's files, to be used as a lower directory; mounted now if need be."""

    def remove(self, diff_id: str) -> None:
        """Forget the layer. No error if it is not there. No container may use it any more."""

    def sweep(self, keep: Set[str]) -> None:
        """Remove what crashes left behind, and every layer not in `keep`. For start-up, before the first `prepare`."""
