"""A layer's tar mapped into memory and read into a tree: the part that both drivers share."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sampan.formats import layer, tar
from sampan.images.drivers.model import LayerFacts


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap | bytes]:
    """The tar's bytes without reading them. The file must not shrink meanwhile: blobs of the content store never do."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_size == 0:
            yield b""  # an empty file cannot be mapped, and is a layer without entries
            return
        with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as content:
            yield content
    finally:
        os.close(descriptor)


def facts_of(tree: layer.LayerTree) -> LayerFacts:
    """The facts a driver keeps about a layer it has read."""
    return LayerFacts(tree.entries, tree.content_bytes, tree.warnings)


def read_tree(content: mmap.mmap | bytes) -> layer.LayerTree:
    """The layer's tree. Raises `InvalidTar` and `InvalidLayer`."""
    return layer.build(tar.scan(content))
