"""An archive from a container, unpacked on this side: for `cp`. Only what is meant is written, and only in its place.

The container may be hostile. Each part of a name is opened without following links; a link that stands on the way, in
the archive or before it, is refused. Owners are not taken over, as with docker.
"""

from __future__ import annotations

import os
import stat

from sampan.cli import failures
from sampan.formats import tar_stream
from sampan.formats.tar import EntryKind, InvalidTar, TarEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def unpack(pieces: Iterable[bytes], directory: bytes, renamed: Callable[[bytes], bytes]) -> None:
    """Raises: CliError."""
    try:
        top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise failures.CliError(f"{os.fsdecode(directory)}: {error.strerror}") from error
    times: list[tuple[list[bytes], int]] = []
    try:
        for entry, content in tar_stream.members(pieces):
            parts = _parts(renamed(entry.path))
            try:
                _make(top, parts, entry, content, renamed)
            except OSError as error:
                raise failures.CliError(f"{os.fsdecode(b'/'.join(parts))}: {error.strerror}") from error
            if entry.kind is EntryKind.DIRECTORY:
                times.append((parts, entry.mtime_ns))
        for parts, mtime_ns in reversed(times):
            _set_time(top, parts, mtime_ns)
    except InvalidTar as error:
        raise failures.CliError(str(error)) from error
    finally:
        os.close(top)


def _parts(path: bytes) -> list[bytes]:
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise failures.CliError(f"the archive's entry {os.fsdecode(path)!r} leads out of the directory")
    return parts


def _open(top: int, parts: list[bytes]) -> int:
    """The directory of these parts, made where it is missing."""
    here = os.dup(top)
    try:
        for part in parts:
            try:
                below = os.open(part, _DIRECTORY, dir_fd=here)
            except FileNotFoundError:
                os.mkdir(part, 0o755, dir_fd=here)
                below = os.open(part, _DIRECTORY, dir_fd=here)
            os.close(here)
            here = below
    except BaseException:
        os.close(here)
        raise
    return here


def _make(
    top: int, parts: list[bytes], entry: TarEntry, content: Iterator[bytes], renamed: Callable[[bytes], bytes]
) -> None:
    if not parts:
        os.chmod(top, entry.mode)
        return
    parent = _open(top, parts[:-1])
    try:
        name = parts[-1]
        if _make_way(parent, name, entry, parts):
            directory = os.open(name, _DIRECTORY, dir_fd=parent)
            os.fchmod(directory, entry.mode)
            os.close(directory)
        elif entry.kind is EntryKind.DIRECTORY:
            os.mkdir(name, 0o700, dir_fd=parent)
            os.chmod(name, entry.mode, dir_fd=parent)
        elif entry.kind is EntryKind.FILE:
            _file(parent, name, entry, content)
        elif entry.kind is EntryKind.HARD_LINK:
            _link(top, parent, name, _parts(renamed(entry.link)))
        elif entry.kind is EntryKind.SYMLINK:
            os.symlink(entry.link, name, dir_fd=parent)
            os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)
        else:
            _node(parent, name, entry)
    finally:
        os.close(parent)


def _make_way(parent: int, name: bytes, entry: TarEntry, parts: list[bytes]) -> bool:
    """Remove what stands there. True if it is a directory that stays."""
    try:
        present = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    is_directory, wanted = stat.S_ISDIR(present.st_mode), entry.kind is EntryKind.DIRECTORY
    if is_directory and wanted:
        return True
    if is_directory != wanted:
        words = ("directory", "non-directory") if is_directory else ("non-directory", "directory")
        shown = os.fsdecode(b"/".join(parts))
        raise failures.CliError(f'cannot overwrite {words[0]} "{shown}" with {words[1]} "{shown}"')
    os.unlink(name, dir_fd=parent)
    return False


def _file(parent: int, name: bytes, entry: TarEntry, content: Iterator[bytes]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(name, flags, 0o600, dir_fd=parent)
    try:
        for piece in content:
            view = memoryview(piece)
            while view:
                view = view[os.write(file, view) :]
        os.fchmod(file, entry.mode)
        os.utime(file, ns=(entry.mtime_ns, entry.mtime_ns))
    finally:
        os.close(file)


def _link(top: int, parent: int, name: bytes, link: list[bytes]) -> None:
    source = _open(top, link[:-1])
    try:
        os.link(link[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
    finally:
        os.close(source)


def _node(parent: int, name: bytes, entry: TarEntry) -> None:
    kinds = {EntryKind.CHAR: stat.S_IFCHR, EntryKind.BLOCK_DEVICE: stat.S_IFBLK, EntryKind.FIFO: stat.S_IFIFO}
    os.mknod(name, kinds[entry.kind] | 0o600, os.makedev(entry.dev_major, entry.dev_minor), dir_fd=parent)
    os.chmod(name, entry.mode, dir_fd=parent)
    os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)


def _set_time(top: int, parts: list[bytes], mtime_ns: int) -> None:
    directory = _open(top, parts)
    try:
        os.utime(directory, ns=(mtime_ns, mtime_ns))
    finally:
        os.close(directory)
