"""ADD of a local archive: recognized by its content, inflated in this process, its tree put into the layer. Blocking.

No program of the image or the host takes part. What an archive may hold is decided by `formats.layer`: names stay
below the destination, and a link of the archive leads nowhere while it is taken apart.
"""

from __future__ import annotations

import mmap
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sampan.build.model import BuildFailed
from sampan.build.placing import Owner, Place
from sampan.formats import compression, layer, tar
from sampan.formats.layer import Node
from sampan.formats.tar import BLOCK, EntryKind, TarEntry

PIECE_BYTES = 1 << 20
Content = mmap.mmap | bytes
Put = Callable[[TarEntry, Iterable[bytes]], None]


def pieces(place: Path) -> Iterator[bytes]:
    """A file in pieces."""
    with place.open("rb", buffering=0) as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


@contextmanager
def opened(directory: int, name: bytes, scratch: Path) -> Iterator[Content | None]:
    """The plain tar that a file is or holds compressed, mapped; None if it is no archive."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            yield None
            return
        head = file.read(PIECE_BYTES)
        kind = compression.detect(head)
        if not begins_as_tar(head):
            yield None
            return
        if kind == "plain":
            with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as content:
                yield content
            return
        with tempfile.TemporaryFile(dir=scratch) as inflated:
            _inflate(head, file.read, inflated.write)
            inflated.flush()
            with mmap.mmap(inflated.fileno(), 0, prot=mmap.PROT_READ) as content:
                yield content


def begins_as_tar(head: bytes) -> bool:
    """Whether a file with this beginning is a tar, compressed or not: its first block has a right checksum."""
    kind = compression.detect(head)
    if kind != "plain":
        try:
            head = b"".join(compression.Inflater().feed(head))
        except compression.DamagedStream:
            return False
    block = head[:BLOCK]
    if len(block) < BLOCK or not any(block):
        return False
    try:
        stored = int(block[148:156].strip(b" \0") or b"-1", 8)
    except ValueError:
        return False
    return stored == sum(block[:148]) + 8 * 32 + sum(block[156:])


def _inflate(head: bytes, read: Callable[[int], bytes | None], write: Callable[[bytes], object]) -> None:
    inflater = compression.Inflater()
    piece: bytes | None = head
    while piece:
        for content in inflater.feed(piece):
            write(content)
        piece = read(PIECE_BYTES)
    for content in inflater.finish():
        write(content)


def unpack(content: Content, place: Place, base: bytes, put: Put, *, owner: Owner | None) -> None:
    """The archive's tree below `base`, a real path. Raises `InvalidTar`, `InvalidLayer`, `BuildFailed`."""
    named: set[bytes] = set()

    def noted() -> Iterator[TarEntry]:
        for entry in tar.scan(content):
            if entry.kind is EntryKind.DIRECTORY:
                named.add(b"/".join(part for part in entry.path.split(b"/") if part not in (b"", b".")))
            yield entry

    tree = layer.build(noted())
    prefix = base + b"/" if base else b""
    first: dict[int, bytes] = {}
    for path, node in layer.walk(tree.root):
        if node.whiteout or node.opaque:
            raise BuildFailed(f"the archive has a file {os.fsdecode(path)!r} that begins with .wh.")
        if node.children is not None:
            if path in named:
                put(_entry(place.merged(prefix + path), node, owner), ())
            else:
                place.directory(prefix + path)
            continue
        real = place.under(prefix + path)
        if place.covers_directory(real):
            raise BuildFailed(f"cannot overwrite directory /{os.fsdecode(real)} with a file")
        known = first.setdefault(id(node), real)
        if node.nlink > 1 and known != real:
            put(TarEntry(real, EntryKind.HARD_LINK, node.mode, link=known, mtime_ns=node.mtime_ns), ())
        else:
            put(_entry(real, node, owner), _content(node, content))


def _entry(path: bytes, node: Node, owner: Owner | None) -> TarEntry:
    return TarEntry(
        path,
        node.kind,
        node.mode,
        owner.uid if owner else node.uid,
        owner.gid if owner else node.gid,
        node.mtime_ns,
        node.size_bytes,
        node.link,
        *node.rdev,
        node.xattrs,
    )


def _content(node: Node, content: Content) -> Iterator[bytes]:
    """The bytes of a file; holes as zeros."""
    if node.kind is not EntryKind.FILE:
        return
    position, done = node.data_offset, 0
    for offset, length in ((0, node.size_bytes),) if node.segments is None else node.segments:
        yield from _zeros(offset - done)
        for start in range(position, position + length, PIECE_BYTES):
            yield bytes(content[start : min(start + PIECE_BYTES, position + length)])
        position, done = position + length, offset + length
    yield from _zeros(node.size_bytes - done)


def _zeros(length: int) -> Iterator[bytes]:
    for start in range(0, length, PIECE_BYTES):
        yield bytes(min(PIECE_BYTES, length - start))
