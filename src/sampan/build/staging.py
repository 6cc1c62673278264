"""An archive that arrives becomes a folder in one pass: each file is written and hashed once, while the rest comes.

A file's content goes below a folder of ours under a number, never under a name of the archive. The tree is built in
memory (`formats.layer` decides what names may be), and only when all of it is known are folders made from it and the
files moved into them. So no order of entries and no link writes elsewhere. Blocking; nothing here waits for the disk:
a context lives as long as its build.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from sampan.build.model import BuildFailed, Stamp, stamp
from sampan.formats import layer, tar_stream
from sampan.formats.layer import Node
from sampan.formats.layer_rules import WHITEOUT
from sampan.formats.tar import EntryKind, TarEntry
from sampan.images.drivers import unpack


def unpacked(pieces: Iterable[bytes], aside: Path, target: Path) -> dict[Stamp, bytes]:
    """Make the folder `target` of an archive without compression; `aside`, a new folder too, is left with remains.

    Returns the SHA-256 of the files. Raises `InvalidTar`, `InvalidLayer`, `BuildFailed`, and what `pieces` raises.
    """
    aside.mkdir(mode=0o700)
    directory = os.open(aside, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        staged = _Staged(directory)
        tree = layer.build(_checked(staged.entries(pieces)))
        unpack.unpack(tree.root, staged, target, durable=False)
        return staged.contents
    finally:
        os.close(directory)


class _Staged:
    """Files under numbers in an open folder, on their way to their places. A number is where the content began."""

    def __init__(self, directory: int) -> None:
        self._directory = directory
        self._digests: dict[int, bytes] = {}
        self.contents: dict[Stamp, bytes] = {}

    def entries(self, pieces: Iterable[bytes]) -> Iterator[TarEntry]:
        """What the archive says, each when its content is here."""
        for entry, content in tar_stream.views(pieces):
            if entry.kind is EntryKind.FILE:
                file = os.open(_name(entry.data_offset), unpack.NEW_FILE, 0o600, dir_fd=self._directory)
                try:
                    self._write(file, entry, content)
                finally:
                    os.close(file)
            yield entry

    def _write(self, file: int, entry: TarEntry, content: Iterator[memoryview]) -> None:
        if entry.segments is not None:
            _write_sparse(file, entry, content)
            return
        hashed = hashlib.sha256()
        for part in content:
            _write_all(file, part)
            hashed.update(part)
        self._digests[entry.data_offset] = hashed.digest()

    def make(self, directory: int, name: bytes, node: Node) -> None:
        """As `unpack.Files`. The target folder is new and only we write to it, so nothing is replaced."""
        os.rename(_name(node.data_offset), name, src_dir_fd=self._directory, dst_dir_fd=directory)
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            unpack.dress(file, node)
            digest = self._digests.get(node.data_offset)
            if digest is not None:
                self.contents[stamp(os.fstat(file))] = digest
        finally:
            os.close(file)


def _name(data_offset: int) -> bytes:
    return b"%d" % data_offset


def _write_sparse(file: int, entry: TarEntry, content: Iterator[memoryview]) -> None:
    """What is stored lies packed; holes stay holes."""
    part = memoryview(b"")
    for offset, length in entry.segments or ():
        os.lseek(file, offset, os.SEEK_SET)
        while length:
            part = part or next(content)
            _write_all(file, part[:length])
            part, length = part[length:], length - len(part[:length])
    os.ftruncate(file, entry.size_bytes)


def _write_all(file: int, content: memoryview) -> None:
    while content:
        content = content[os.write(file, content) :]


def _checked(entries: Iterator[TarEntry]) -> Iterator[TarEntry]:
    for entry in entries:
        if WHITEOUT in entry.path and any(part.startswith(WHITEOUT) for part in entry.path.split(b"/")):
            raise BuildFailed(
                f"the context has a file {os.fsdecode(entry.path[:200])!r}",
                why="in layers, names that begin with .wh. mark removed files",
                remedy="give it another name, or leave it out by .dockerignore",
            )
        yield entry
