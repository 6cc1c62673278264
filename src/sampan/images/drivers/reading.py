"""A layer's tar mapped into memory and read into a tree: the part that both drivers share."""

from __future__ import annotations

from sampan.formats import layer, tar
from sampan.formats.tar_model import Buffer
from sampan.host.files import mapped as mapped
from sampan.images.drivers.model import LayerFacts


def facts_of(tree: layer.LayerTree) -> LayerFacts:
    """The facts a driver keeps about a layer it has read."""
    return LayerFacts(tree.entries, tree.content_bytes, tree.warnings)


def read_tree(content: Buffer) -> layer.LayerTree:
    """The layer's tree. Raises `InvalidTar` and `InvalidLayer`."""
    return layer.build(tar.scan(content))
