"""The overlay2 driver: each layer unpacked into a directory. For kernels and file systems that cannot mount EROFS.

    <layers>/<digest>/    the layer's files, with whiteouts as overlayfs wants them

The directory is filled from the layer's tree, not from the tar in its order, so nothing that is made is ever looked up
by a stranger's path: see `unpack`.
"""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

from sampan.images.drivers import reading, unpack
from sampan.images.drivers.folder import LayerFolder, erase
from sampan.images.drivers.model import LayerFacts, LayerMissing


class Overlay2Driver:
    """Layers as directories."""

    name = "overlay2"

    def __init__(self, layers: Path) -> None:
        self._folder = LayerFolder(layers, "")

    def prepare(self, diff_id: str, tar: Path) -> LayerFacts:
        target = self._folder.layer(diff_id)
        with self._folder.locked(diff_id):
            known = self._folder.facts(diff_id)
            if known is not None and target.exists():
                return known
            self._folder.discard(diff_id)  # a layer without its facts is not trusted to be whole
            with reading.mapped(tar) as content:
                tree = reading.read_tree(content)
                temporary = self._folder.temporary()
                try:
                    unpack.unpack(tree.root, content, temporary)
                    facts = reading.facts_of(tree)
                    self._folder.write_facts(diff_id, facts)
                    self._folder.publish(temporary, diff_id)
                except BaseException:
                    erase(temporary)
                    raise
            return facts

    def has(self, diff_id: str) -> bool:
        return self._folder.layer(diff_id).exists()

    def lower(self, diff_id: str) -> Path:
        layer = self._folder.layer(diff_id)
        if not layer.exists():
            raise LayerMissing(diff_id)
        return layer

    def remove(self, diff_id: str) -> None:
        with self._folder.locked(diff_id):
            self._folder.discard(diff_id)

    def sweep(self, keep: Set[str]) -> None:
        self._folder.sweep(keep)
