"""A directory tree -> a tar stream: for layers, export, `cp`, and the command line's side of `cp`.

The tree may belong to a stranger and change meanwhile. Everything is reached by its one name in a directory held open,
no link is followed, and what is opened is looked at again before it is read. A file that shrinks while it is read is
filled with zeros, one that grows is cut: its header has left already. Siblings come in byte order, parents first: the
same tree gives the same bytes. Holes of sparse files are skipped, not read, and written as zeros.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from sampan import errors
from sampan.formats import tar_write
from sampan.formats.tar import BLOCK, EntryKind, TarEntry

PIECE_BYTES: Final = 1 << 20  # handed to `write` at once, and read from a file at once
DEEPEST: Final = 1000  # directories inside each other; each keeps a descriptor open

Write = Callable[[bytes], object]
Child = tuple[bytes, bytes, bool]  # name, path in the archive, whether it was a plain file when its directory was read
Adapt = Callable[[TarEntry], Sequence[TarEntry]]
Summary = Callable[[int, os.stat_result], bytes]  # of an open file

_HOST_ATTRIBUTES: Final = (b"trusted.overlay.", b"user.overlay.", b"security.selinux")  # the host's own business
_ZEROS: Final = bytes(PIECE_BYTES)
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SECTOR: Final = 512  # bytes; the unit of st_blocks
_KINDS: Final = {
    stat.S_IFDIR: EntryKind.DIRECTORY,
    stat.S_IFREG: EntryKind.FILE,
    stat.S_IFLNK: EntryKind.SYMLINK,
    stat.S_IFIFO: EntryKind.FIFO,
    stat.S_IFCHR: EntryKind.CHAR,
    stat.S_IFBLK: EntryKind.BLOCK_DEVICE,
}


class TooDeep(errors.Invalid):
    """Directories lie deeper inside each other than an archive may have them."""


def portable(entry: TarEntry) -> Sequence[TarEntry]:
    """The entry without attributes that mean something on this host only."""
    return (entry._replace(xattrs=without_host_attributes(entry)),) if entry.xattrs else (entry,)


def without_host_attributes(entry: TarEntry) -> dict[bytes, bytes]:
    """The attributes that belong to the file rather than to overlayfs or the host's policy."""
    return {name: value for name, value in entry.xattrs.items() if not name.startswith(_HOST_ATTRIBUTES)}


class Packer:
    """Writes entries and contents. `adapt` turns what was found into what is written: nothing, one entry, or several.

    The first of them takes the content; a directory is descended into if the first is still one. `skip_devices` are
    file systems (st_dev) whose directories are written empty. Where only the sameness of two trees matters, `summary`
    says what is written in place of a file's content, without padding. Call `finish` at the end.
    """

    def __init__(
        self,
        write: Write,
        *,
        adapt: Adapt = portable,
        skip_devices: Collection[int] = (),
        summary: Summary | None = None,
    ) -> None:
        self._write = write
        self._summary = summary
        self._adapt = adapt
        self._skip_devices = frozenset(skip_devices)
        self._parts: list[bytes] = []
        self._waiting_bytes = 0
        self._links: dict[tuple[int, int], bytes] = {}
        self._read_flags = _READ | os.O_NOATIME

    def add(self, directory: int, name: bytes, path: bytes) -> None:
        """What is called `name` in an open directory, as `path`, with everything below it."""
        self._descend([(directory, [(name, path, False)])])

    def add_children(self, directory: int, path: bytes = b"") -> None:
        """Everything below an open directory, without an entry for itself."""
        self._descend([(directory, _children(directory, path))])

    def add_open(self, descriptor: int, path: bytes) -> None:
        """What an O_PATH descriptor holds that is no directory, as `path`."""
        status = os.fstat(descriptor)
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        try:
            if kind is EntryKind.FILE:
                self._file(os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC), path)
            elif kind is not None:
                link = os.readlink(b"", dir_fd=descriptor) if kind is EntryKind.SYMLINK else b""
                self._special(status, kind, path, link=link, xattrs={})
        except OSError as error:
            raise errors.Broken(f"cannot read {os.fsdecode(path)}", why=str(error.strerror)) from error

    def put(self, entry: TarEntry, content: Iterable[bytes] = ()) -> None:
        """An entry that is nobody's file here, as it is, with the pieces of its content."""
        self._put(tar_write.entry_header(entry))
        for piece in content:
            self._put(piece)
        if entry.kind is EntryKind.FILE and entry.size_bytes % BLOCK:
            self._put(tar_write.padding(entry.size_bytes))

    def finish(self) -> None:
        """The end of the archive."""
        self._put(tar_write.END)
        self._flush()

    # --- one entry ----------------------------------------------------------------------------------------------

    def _descend(self, stack: list[tuple[int, list[Child]]]) -> None:
        """`stack` holds open directories and their names yet to come, the next one last. The first is the caller's."""
        try:
            while stack:
                directory, names = stack[-1]
                if not names:
                    stack.pop()
                    if stack:
                        os.close(directory)
                    continue
                name, path, is_file = names.pop()
                below = self._one(directory, name, path, is_file=is_file)
                if below is not None:
                    stack.append((below, []))
                    if len(stack) > DEEPEST:
                        raise TooDeep("directories lie too deep for an archive", why=f"more than {DEEPEST}")
                    stack[-1] = (below, _children(below, path))
        finally:
            for directory, _ in stack[1:]:
                os.close(directory)

    def _one(self, directory: int, name: bytes, path: bytes, *, is_file: bool) -> int | None:
        """Write one entry. A descriptor if it is a directory to descend into."""
        try:
            if is_file:
                self._file(self._open(directory, name), path)
                return None
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            kind = _KINDS.get(stat.S_IFMT(status.st_mode))
            if kind is EntryKind.FILE:
                self._file(self._open(directory, name), path)
            elif kind is EntryKind.DIRECTORY:
                return self._directory(directory, name, path)
            elif kind is not None:  # a socket has no place in an archive
                self._leaf(directory, name, path, status, kind)
        except FileNotFoundError:
            pass  # removed since its directory was read
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):  # became something else meanwhile
                raise errors.Broken(f"cannot read {os.fsdecode(path)}", why=str(error.strerror)) from error
        return None

    def _open(self, directory: int, name: bytes, flags: int = 0) -> int:
        try:
            return os.open(name, self._read_flags | flags, dir_fd=directory)
        except PermissionError:  # O_NOATIME is for owners and root
            self._read_flags = _READ
            return os.open(name, self._read_flags | flags, dir_fd=directory)

    def _directory(self, directory: int, name: bytes, path: bytes) -> int | None:
        below = self._open(directory, name, os.O_DIRECTORY)
        try:
            status = os.fstat(below)
            entries = self._adapt(_entry(path, EntryKind.DIRECTORY, status, xattrs=_attributes(below)))
            self._headers(entries)
            hidden = status.st_dev in self._skip_devices
            if not entries or entries[0].kind is not EntryKind.DIRECTORY or hidden:
                os.close(below)
                return None
        except BaseException:
            os.close(below)
            raise
        return below

    def _file(self, file: int, path: bytes) -> None:
        """An open file, which is closed."""
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                return  # became something else meanwhile
            entry = _entry(path, EntryKind.FILE, status, size_bytes=status.st_size, xattrs=_attributes(file))
            entries = self._linked(entry, status)
            self._headers(entries[:1])
            if entries and entries[0].kind is EntryKind.FILE and entries[0].size_bytes:
                self._content(file, status)
            self._headers(entries[1:])
        finally:
            os.close(file)

    def _leaf(self, directory: int, name: bytes, path: bytes, status: os.stat_result, kind: EntryKind) -> None:
        link = os.readlink(name, dir_fd=directory) if kind is EntryKind.SYMLINK else b""
        xattrs = _attributes(b"/proc/self/fd/%d/" % directory + name)
        self._special(status, kind, path, link=link, xattrs=xattrs)

    def _special(
        self, status: os.stat_result, kind: EntryKind, path: bytes, *, link: bytes, xattrs: dict[bytes, bytes]
    ) -> None:
        entry = _entry(path, kind, status, link=link, xattrs=xattrs)
        if kind is EntryKind.CHAR or kind is EntryKind.BLOCK_DEVICE:
            entry = entry._replace(dev_major=os.major(status.st_rdev), dev_minor=os.minor(status.st_rdev))
        self._headers(self._linked(entry, status))

    def _linked(self, entry: TarEntry, status: os.stat_result) -> Sequence[TarEntry]:
        """The entries to write: a hard link if another name of the file has been written."""
        if status.st_nlink < 2:
            return self._adapt(entry)
        key = (status.st_dev, status.st_ino)
        first = self._links.get(key)
        if first is not None:
            return self._adapt(entry._replace(kind=EntryKind.HARD_LINK, link=first, size_bytes=0, xattrs={}))
        entries = self._adapt(entry)
        if entries and entries[0].path == entry.path:  # a whiteout's names are not names of one file
            self._links[key] = entry.path
        return entries

    # --- bytes --------------------------------------------------------------------------------------------------

    def _headers(self, entries: Sequence[TarEntry]) -> None:
        for entry in entries:
            self._put(tar_write.entry_header(entry))

    def _content(self, file: int, status: os.stat_result) -> None:
        size = status.st_size
        if self._summary is not None:
            self._put(self._summary(file, status))
            return
        if size <= PIECE_BYTES:
            content = os.read(file, size)
            self._put(content)
            self._fill(file, len(content), size)
        elif status.st_blocks * _SECTOR < size:
            self._sparse(file, size)
        else:
            self._fill(file, 0, size)
        if size % BLOCK:
            self._put(tar_write.padding(size))

    def _sparse(self, file: int, size: int) -> None:
        """Data as it is stored, holes as zeros."""
        done = 0
        while done < size:
            start = _next_data(file, done, size)
            self._zeros(start - done)
            end = start if start >= size else min(os.lseek(file, start, os.SEEK_HOLE), size)
            if end > start:
                os.lseek(file, start, os.SEEK_SET)
                self._fill(file, start, end)
            done = end

    def _fill(self, file: int, done: int, size: int) -> None:
        """The file's bytes from its position on, up to `size` of them altogether; zeros if it ends before."""
        while done < size:
            piece = os.read(file, min(PIECE_BYTES, size - done))
            if not piece:
                self._zeros(size - done)
                return
            self._put(piece)
            done += len(piece)

    def _zeros(self, length: int) -> None:
        for start in range(0, length, PIECE_BYTES):
            self._put(_ZEROS[: length - start])

    def _put(self, part: bytes) -> None:
        if len(part) >= PIECE_BYTES // 2:  # long enough to go by itself: joining would copy it
            self._flush()
            self._write(part)
            return
        self._parts.append(part)
        self._waiting_bytes += len(part)
        if self._waiting_bytes >= PIECE_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._parts:
            joined = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._parts, self._waiting_bytes = [], 0
            self._write(joined)


def directory_entry(directory: int, path: bytes) -> TarEntry:
    """What an archive says about an open directory, by the name `path`."""
    entry = _entry(path, EntryKind.DIRECTORY, os.fstat(directory), xattrs=_attributes(directory))
    return portable(entry)[0]


def names(directory: int) -> list[bytes]:
    """What an open directory holds, in no order. Names are bytes."""
    return [os.fsencode(name) for name in os.listdir(directory)]


def _children(directory: int, path: bytes) -> list[Child]:
    """What is in a directory; the first in order is the last of the list."""
    prefix = path.rstrip(b"/") + b"/" if path else b""
    with os.scandir(directory) as entries:
        found = [(os.fsencode(entry.name), entry.is_file(follow_symlinks=False)) for entry in entries]
    found.sort(reverse=True)
    return [(name, prefix + name, is_file) for name, is_file in found]


def _entry(
    path: bytes,
    kind: EntryKind,
    status: os.stat_result,
    *,
    size_bytes: int = 0,
    link: bytes = b"",
    xattrs: dict[bytes, bytes],
) -> TarEntry:
    return TarEntry(
        path,
        kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
        size_bytes=size_bytes,
        link=link,
        xattrs=xattrs,
    )


def _attributes(place: int | bytes) -> dict[bytes, bytes]:
    """The extended attributes of an open file, or of a path whose last name is not followed."""
    follow = isinstance(place, int)
    found: dict[bytes, bytes] = {}
    try:
        for name in os.listxattr(place, follow_symlinks=follow):
            try:
                found[os.fsencode(name)] = os.getxattr(place, name, follow_symlinks=follow)
            except OSError as error:
                if error.errno not in (errno.ENODATA, errno.EPERM, errno.EACCES):  # gone, or not ours to read
                    raise
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.ENOENT):
            raise
    return found


def _next_data(file: int, position: int, size: int) -> int:
    """Where data starts at or behind `position`; `size` if only a hole is left."""
    try:
        return min(os.lseek(file, position, os.SEEK_DATA), size)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return size
