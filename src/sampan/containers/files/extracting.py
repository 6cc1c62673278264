"""Into a container: an archive unpacked below one of its directories, as `docker cp` does. Blocking.

The archive has arrived whole and is uncompressed before anything is touched: nothing of the container is run, and a
slow client holds nobody up. All names are judged first. Then a thread whose root is the container's makes one entry
after the other: parents are opened by the kernel inside that root, and the last name is never followed. Whatever the
container does meanwhile to its own links, nothing outside it is reached.

Source: Docker's rules for what an entry replaces (`noOverwriteDirNonDir`), and whom files belong to (`copyUIDGID`).
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import posixpath
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from sampan import errors
from sampan.formats import layer_rules, tar
from sampan.formats.tar import EntryKind, TarEntry
from sampan.kernel import libc, paths

COPY_BYTES = 16 << 20  # in one call
LONGEST_NAME = 255  # bytes of one part; NAME_MAX

# What the archive and the tree make of each other, rather than what this host cannot do.
THEIRS = frozenset(
    {
        errno.ENOTDIR,
        errno.ELOOP,
        errno.EINVAL,
        errno.ENAMETOOLONG,
        errno.EEXIST,
        errno.ENOENT,
        errno.EISDIR,
        errno.EACCES,
        errno.EXDEV,
    }
)

Content = mmap.mmap | bytes


class RefusedArchive(errors.Invalid):
    """The archive has an entry that may not be unpacked."""


class ReadOnly(errors.Invalid):
    """Nothing may be written there."""


class CannotReplace(errors.Invalid):
    """A directory in place of a file or the other way round, which was not wanted."""


class CannotUnpack(errors.Broken):
    """The kernel did not do it."""


@dataclass(frozen=True, slots=True)
class Rules:
    """`owner`: whom all belongs to, instead of whom the archive says. `keep_kind`: replace files by files only."""

    owner: tuple[int, int] | None = None
    keep_kind: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """An entry with its judged name: `parent` is relative, "" for the target itself."""

    entry: TarEntry
    parent: bytes
    name: bytes


def judge(content: Content) -> list[Item]:
    """Every entry in its order. Raises `RefusedArchive`, `InvalidTar`."""
    return [_item(entry) for entry in tar.scan(content)]


def _item(entry: TarEntry) -> Item:
    clean = posixpath.normpath(entry.path.lstrip(b"/") or b".")
    parts = clean.split(b"/")
    if parts[0] == b"..":
        raise _refused(entry, "its name leads out of the directory")
    if any(len(part) > LONGEST_NAME for part in parts):
        raise _refused(entry, f"a part of its name is longer than {LONGEST_NAME} bytes")
    if entry.kind is EntryKind.HARD_LINK and posixpath.normpath(entry.link.lstrip(b"/")).split(b"/")[0] == b"..":
        raise _refused(entry, "its hard link's target leads out of the directory")
    if entry.kind is EntryKind.CHAR and entry.dev_major == entry.dev_minor == 0:
        raise _refused(entry, "a 0:0 character device is overlayfs' mark for a removed file")
    if clean == b".":
        if entry.kind is not EntryKind.DIRECTORY:
            raise _refused(entry, "the directory itself can only be a directory")
        return Item(entry, b"", b"")
    parent, _, name = clean.rpartition(b"/")
    return Item(entry, parent, name)


def _refused(entry: TarEntry, why: str) -> RefusedArchive:
    shown = entry.path[:200].decode("utf-8", "backslashreplace")
    return RefusedArchive(f"the archive's entry {shown!r} is refused", why=why)


def unpack(target: int, items: Sequence[Item], content: Content, spool: int, rules: Rules) -> None:
    """Make all entries below the open directory `target`. Call it inside `jails.run_inside`.

    `spool` is the open file of `content`: large files are copied by the kernel. Raises `CannotReplace`, `ReadOnly`,
    `CannotUnpack`; what was made before stays, as with docker.
    """
    unpacker = _Unpacker(target, content, spool, rules)
    try:
        for item in items:
            if item.name:
                unpacker.make(item)
        unpacker.finish()
    finally:
        unpacker.close()


class _Unpacker:
    """The directory of the entry before is kept open: archives list what is in one together."""

    def __init__(self, target: int, content: Content, spool: int, rules: Rules) -> None:
        self._target = target
        self._content = memoryview(content)
        self._spool = spool
        self._rules = rules
        self._directories: list[tuple[bytes, bytes, int]] = []
        self._parent: bytes | None = None
        self._open: int | None = None

    def make(self, item: Item) -> None:
        entry = item.entry
        try:
            parent = self._directory(item.parent)
            try:
                self._make(parent, item)  # mostly there is nothing yet: no look before it
            except FileExistsError:
                if self._clear(parent, item, os.stat(item.name, dir_fd=parent, follow_symlinks=False)):
                    self._merge(parent, item)
                else:
                    self._make(parent, item)
        except (OSError, libc.KernelError) as error:
            raise _explained(error, entry) from error

    def finish(self) -> None:
        """Times of directories, the deepest first: making what is in them changed theirs."""
        for parent, name, mtime_ns in reversed(self._directories):
            with contextlib.suppress(OSError, libc.KernelError):  # replaced meanwhile; its time is then its own
                os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=self._directory(parent), follow_symlinks=False)

    def close(self) -> None:
        self._content.release()
        self._forget()

    # --- directories --------------------------------------------------------------------------------------------

    def _directory(self, path: bytes) -> int:
        """The directory that entries are made in, itself made if it is missing."""
        if not path:
            return self._target
        if path != self._parent:
            self._forget()
            self._open = _open_or_make(self._target, path)
            self._parent = path
        assert self._open is not None
        return self._open

    def _forget(self) -> None:
        if self._open is not None:
            os.close(self._open)
        self._open = self._parent = None

    # --- entries ------------------------------------------------------------------------------------------------

    def _clear(self, parent: int, item: Item, present: os.stat_result) -> bool:
        """Make way. True if a directory stays, to be merged with the entry's."""
        is_directory, wanted = stat.S_ISDIR(present.st_mode), item.entry.kind is EntryKind.DIRECTORY
        if is_directory and wanted:
            return True
        if self._rules.keep_kind and is_directory != wanted:
            words = ("directory", "non-directory") if is_directory else ("non-directory", "directory")
            shown = (item.parent + b"/" + item.name).decode("utf-8", "backslashreplace").lstrip("/")
            raise CannotReplace(f'cannot overwrite {words[0]} "{shown}" with {words[1]}')
        if is_directory:
            shutil.rmtree(os.fsdecode(item.name), dir_fd=parent)
            self._forget_below(item)
        else:
            os.unlink(item.name, dir_fd=parent)
        return False

    def _forget_below(self, item: Item) -> None:
        """A directory is gone: what was noted of it too. (The parent's descriptor stays in use by the caller.)"""
        removed = item.parent + b"/" + item.name if item.parent else item.name
        self._directories = [each for each in self._directories if not (each[0] + b"/").startswith(removed + b"/")]

    def _merge(self, parent: int, item: Item) -> None:
        directory = os.open(item.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            self._dress(directory, item.entry)
        finally:
            os.close(directory)
        self._directories.append((item.parent, item.name, item.entry.mtime_ns))

    def _make(self, parent: int, item: Item) -> None:
        entry, name = item.entry, item.name
        if entry.kind is EntryKind.DIRECTORY:
            os.mkdir(name, 0o700, dir_fd=parent)
            self._merge(parent, item)
        elif entry.kind is EntryKind.FILE:
            self._make_file(parent, item)
        elif entry.kind is EntryKind.HARD_LINK:
            self._make_link(parent, item)
        elif entry.kind is EntryKind.SYMLINK:
            os.symlink(entry.link, name, dir_fd=parent)
            self._own(parent, item)
        else:
            kinds = {EntryKind.CHAR: stat.S_IFCHR, EntryKind.BLOCK_DEVICE: stat.S_IFBLK, EntryKind.FIFO: stat.S_IFIFO}
            os.mknod(name, kinds[entry.kind] | 0o600, os.makedev(entry.dev_major, entry.dev_minor), dir_fd=parent)
            node = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                self._own(parent, item)
                if not stat.S_ISLNK(os.fstat(node).st_mode):  # no link took its place
                    os.chmod(name, entry.mode, dir_fd=parent)
            finally:
                os.close(node)
            os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def _make_link(self, parent: int, item: Item) -> None:
        link = posixpath.normpath(item.entry.link.lstrip(b"/"))
        above, _, base = link.rpartition(b"/")
        source = paths.open_at(self._target, above or b".", os.O_PATH | os.O_DIRECTORY)
        try:
            os.link(base, item.name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(source)

    def _own(self, parent: int, item: Item) -> None:
        entry = item.entry
        uid, gid = self._rules.owner or (entry.uid, entry.gid)
        os.chown(item.name, uid, gid, dir_fd=parent, follow_symlinks=False)
        os.utime(item.name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def _make_file(self, parent: int, item: Item) -> None:
        entry = item.entry
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(item.name, flags, 0o600, dir_fd=parent)
        try:
            place = entry.data_offset
            for offset, length in ((0, entry.size_bytes),) if entry.segments is None else entry.segments:
                self._copy(file, offset, place, length)
                place += length
            if entry.segments is not None:
                os.ftruncate(file, entry.size_bytes)
            self._dress(file, entry)
        finally:
            os.close(file)

    def _copy(self, file: int, offset: int, place: int, length: int) -> None:
        """Bytes of the archive into the file; large ones without passing through this process."""
        if length <= tar.BLOCK * 128:
            done = os.pwrite(file, self._content[place : place + length], offset) if length else 0
        else:
            done = 0
        if done < length:
            os.lseek(file, offset + done, os.SEEK_SET)
        while done < length:
            done += os.sendfile(file, self._spool, place + done, min(COPY_BYTES, length - done))

    def _dress(self, descriptor: int, entry: TarEntry) -> None:
        """Owner, then mode (chown clears setuid), then attributes (chown drops capabilities), then the time."""
        uid, gid = self._rules.owner or (entry.uid, entry.gid)
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, entry.mode)
        for name, value in entry.xattrs.items():
            fault, _ = layer_rules.judge_xattr(entry.kind, name, value)
            if not fault:
                with contextlib.suppress(OSError):  # as docker: a file system without attributes takes the file alone
                    os.setxattr(descriptor, name, value)
        os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))


def _open_or_make(start: int, path: bytes) -> int:
    """The directory at a relative path, whose missing parts are made; links on the way are followed inside the root."""
    with contextlib.suppress(libc.KernelError):
        return paths.open_at(start, path, os.O_PATH | os.O_DIRECTORY)
    here = os.dup(start)
    try:
        for part in path.split(b"/"):
            try:
                below = paths.open_at(here, part, os.O_PATH | os.O_DIRECTORY)
            except libc.KernelError as error:
                if error.errno != errno.ENOENT:
                    raise
                os.mkdir(part, 0o755, dir_fd=here)
                below = paths.open_at(here, part, os.O_PATH | os.O_DIRECTORY)
            os.close(here)
            here = below
    except BaseException:
        os.close(here)
        raise
    return here


def _explained(error: OSError | libc.KernelError, entry: TarEntry) -> errors.SampanError:
    shown = entry.path[:200].decode("utf-8", "backslashreplace")
    number = error.errno or errno.EIO
    if number == errno.EROFS:
        return ReadOnly("mounted volume is marked read-only", why=f"at {shown!r}")
    why = os.strerror(number)
    if number in THEIRS:
        return RefusedArchive(f"the archive's entry {shown!r} cannot be unpacked there", why=why)
    return CannotUnpack(f"cannot unpack {shown!r}", why=why)
