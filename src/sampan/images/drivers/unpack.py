"""A layer's tree -> a directory of real files, for the overlay2 driver.

Every object is made by its one name in a directory held open, with O_EXCL or a call that never follows links; names
hold no slash and no dot-dot (`formats.layer` refuses them), so nothing can be made outside the target. Owners, modes
and times are set on what was just made; those of a directory after its content.
"""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path
from typing import Final, Protocol

from sampan.formats.layer import Node
from sampan.formats.tar import EntryKind
from sampan.kernel import libc, paths

_OPAQUE: Final = b"trusted.overlay.opaque"
_COPY_STEP: Final = 16 << 20  # bytes handed to one write call
NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Content = mmap.mmap | bytes


class Files(Protocol):
    """Where the files of a tree come from if not from a tar in memory."""

    def make(self, directory: int, name: bytes, node: Node) -> None:
        """Make it with its content in a directory held open, by its one name, following no link; then `dress` it."""
        ...


def unpack(root: Node, content: Content | Files, target: Path, *, durable: bool = True) -> None:
    """Make `target` (which must not exist) and everything below it; `durable` waits until it is on disk."""
    target.mkdir(mode=0o700)
    descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if isinstance(content, mmap.mmap | bytes):
            with memoryview(content) as view:
                _Unpacker(descriptor, _Archive(view)).fill(root)
        else:
            _Unpacker(descriptor, content).fill(root)
        if durable:
            libc.check(libc.libc.syncfs(descriptor), "syncfs", str(target))
    finally:
        os.close(descriptor)


class _Unpacker:
    """Fills one directory. `_made` remembers where a file with several names was made first."""

    def __init__(self, root: int, files: Files) -> None:
        self._root = root
        self._files = files
        self._made: dict[int, tuple[bytes, bytes]] = {}

    def fill(self, root: Node) -> None:
        """All directories first to last, one open at a time; then their owners and times, the deepest first."""
        directories: list[tuple[bytes, Node]] = []
        pending: list[tuple[bytes, Node]] = [(b".", root)]
        try:
            while pending:
                path, node = pending.pop()
                directories.append((path, node))
                pending += self._fill_one(path, node)
            for path, node in reversed(directories):
                self._finish_directory(path, node)
        except OSError as error:
            raise libc.failed(error, "unpack", error.filename) from error

    def _open(self, path: bytes) -> int:
        return paths.open_in(
            self._root, path, os.O_RDONLY | os.O_DIRECTORY, resolve=paths.RESOLVE_NO_SYMLINKS | paths.RESOLVE_NO_XDEV
        )

    def _fill_one(self, path: bytes, node: Node) -> list[tuple[bytes, Node]]:
        """Make what is directly in a directory; the directories among it are returned, to be filled."""
        assert node.children is not None
        below: list[tuple[bytes, Node]] = []
        directory = self._open(path)
        try:
            for name, child in node.children.items():
                if child.children is not None:
                    os.mkdir(name, 0o700, dir_fd=directory)
                    below.append((path + b"/" + name, child))
                else:
                    self._make_leaf(directory, path, name, child)
        finally:
            os.close(directory)
        return below

    def _make_leaf(self, directory: int, path: bytes, name: bytes, node: Node) -> None:
        if node.nlink > 1:
            first = self._made.setdefault(id(node), (path, name))
            if first != (path, name):
                self._link(first, directory, name)
                return
        if node.kind is EntryKind.FILE:
            self._files.make(directory, name, node)
            return
        if node.kind is EntryKind.SYMLINK:
            os.symlink(node.link, name, dir_fd=directory)
        else:
            kinds = {EntryKind.CHAR: stat.S_IFCHR, EntryKind.BLOCK_DEVICE: stat.S_IFBLK, EntryKind.FIFO: stat.S_IFIFO}
            os.mknod(name, kinds[node.kind] | 0o600, os.makedev(*node.rdev), dir_fd=directory)
        os.chown(name, node.uid, node.gid, dir_fd=directory, follow_symlinks=False)
        if node.kind is not EntryKind.SYMLINK:
            os.chmod(name, node.mode, dir_fd=directory)  # made here a moment ago and no link
        for key, value in node.xattrs.items():
            os.setxattr(_through(directory, name), key, value, follow_symlinks=False)
        os.utime(name, ns=(node.mtime_ns, node.mtime_ns), dir_fd=directory, follow_symlinks=False)

    def _link(self, first: tuple[bytes, bytes], directory: int, name: bytes) -> None:
        source = self._open(first[0])
        try:
            os.link(first[1], name, src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False)
        finally:
            os.close(source)

    def _finish_directory(self, path: bytes, node: Node) -> None:
        directory = self._open(path)
        try:
            dress(directory, node)
            if node.opaque:
                os.setxattr(directory, _OPAQUE, b"y")
        finally:
            os.close(directory)


class _Archive:
    """Files out of the tar they lie in."""

    def __init__(self, content: memoryview) -> None:
        self._content = content

    def make(self, directory: int, name: bytes, node: Node) -> None:
        """As `Files`."""
        file = os.open(name, NEW_FILE, 0o600, dir_fd=directory)
        try:
            place = node.data_offset
            for offset, length in ((0, node.size_bytes),) if node.segments is None else node.segments:
                self._copy(file, offset, place, length)
                place += length
            if node.segments is not None:
                os.ftruncate(file, node.size_bytes)
            dress(file, node)
        finally:
            os.close(file)

    def _copy(self, file: int, offset: int, place: int, length: int) -> None:
        """Copy `length` bytes of the tar from `place` to `offset` of the file."""
        done = 0
        while done < length:
            step = min(_COPY_STEP, length - done)
            done += os.pwrite(file, self._content[place + done : place + done + step], offset + done)


def dress(descriptor: int, node: Node) -> None:
    """Owner, then mode (chown clears setuid), then attributes (chown drops capabilities), then the time."""
    os.fchown(descriptor, node.uid, node.gid)
    os.fchmod(descriptor, node.mode)
    for key, value in node.xattrs.items():
        os.setxattr(descriptor, key, value)
    os.utime(descriptor, ns=(node.mtime_ns, node.mtime_ns))


def _through(directory: int, name: bytes) -> bytes:
    """A path for calls that take no directory descriptor; they are told not to follow the last name."""
    return b"/proc/self/fd/%d/" % directory + name
