"""The upper directory of an overlay -> a layer's tar. For commit and build. Blocking; for worker threads.

Overlayfs marks what is removed by whiteouts (character devices 0:0, or empty files with an attribute) and directories
that hide those below by an attribute; layers say the same with `.wh.` names. It relies on mounts without
`redirect_dir` and `metacopy`: then the upper directory has every changed file whole, under its own name.

Source: Documentation/filesystems/overlayfs.rst; the OCI image specification, layer.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

from sampan import errors
from sampan.formats.layer_rules import WHITEOUT
from sampan.formats.tar import EntryKind, TarEntry
from sampan.formats.tar_fields import NANOSECONDS
from sampan.host import packing

OPAQUE_NAME: Final = b".wh..wh..opq"
MARKS: Final = (b"trusted.overlay.", b"user.overlay.")  # attributes of overlayfs, as root and in user namespaces


class NotForALayer(errors.Invalid):
    """The directory has something that a layer cannot carry."""


def write_layer(
    upper: Path,
    write: Callable[[bytes], object],
    *,
    clamp_mtime_s: int | None = None,
    omit: Collection[bytes] = (),
) -> None:
    """The whole upper directory as an OCI layer; `write` gets pieces of about 1 MiB.

    The same content gives the same bytes. `clamp_mtime_s`: later times become this one (SOURCE_DATE_EPOCH). `omit`:
    paths (`etc/hosts`) that are left out, with what is below them. The directory's own owner and mode are not written:
    they are the mount's. Raises `NotForALayer`.
    """
    left_out = frozenset(omit)
    latest_ns = None if clamp_mtime_s is None else clamp_mtime_s * NANOSECONDS

    def adapt(entry: TarEntry) -> Sequence[TarEntry]:
        if entry.path in left_out:
            return ()
        if latest_ns is not None and entry.mtime_ns > latest_ns:
            entry = entry._replace(mtime_ns=latest_ns)
        return as_layer(entry)

    packer = packing.Packer(write, adapt=adapt)
    descriptor = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        packer.add_children(descriptor)
    finally:
        os.close(descriptor)
    packer.finish()


def as_layer(entry: TarEntry) -> Sequence[TarEntry]:
    """What a layer says about one entry of an upper directory."""
    directory, slash, name = entry.path.rpartition(b"/")
    if is_whiteout(entry):
        return (TarEntry(directory + slash + WHITEOUT + name),)
    if name.startswith(WHITEOUT):
        raise NotForALayer(
            f"{os.fsdecode(entry.path)!r} cannot be in an image",
            why="in layers, names that begin with .wh. mark removed files",
            remedy="give the file another name",
        )
    kept = packing.portable(entry)
    return (*kept, TarEntry(entry.path + b"/" + OPAQUE_NAME)) if is_opaque(entry) else kept


def is_whiteout(entry: TarEntry) -> bool:
    """Whether overlayfs hides the name."""
    if entry.kind is EntryKind.CHAR:
        return entry.dev_major == entry.dev_minor == 0
    empty = entry.kind is EntryKind.FILE and entry.size_bytes == 0
    return empty and any(mark + b"whiteout" in entry.xattrs for mark in MARKS)


def is_opaque(entry: TarEntry) -> bool:
    """Whether a directory hides those of the same name below. (`x` marks one that has whiteouts as attributes.)"""
    return entry.kind is EntryKind.DIRECTORY and any(entry.xattrs.get(mark + b"opaque") == b"y" for mark in MARKS)
