"""`cp`: between a container and this side, and from and to streams."""

from __future__ import annotations

import base64
import json
import os
import posixpath
import stat
import sys
import threading
from pathlib import Path

from sampan.api.engine import words
from sampan.cli import copyrules, failures, unpacking
from sampan.cli.common import daemon
from sampan.cli.copyrules import Landing, Place
from sampan.cli.line import declare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Any

PIECE_BYTES = 1 << 20
_GO_DIRECTORY, _GO_LINK, _GO_SPECIAL = 1 << 31, 1 << 27, (1 << 26) | (1 << 19)
MOST_LINKS = 10


@declare.command()
@declare.option("--archive", "-a", is_flag=True, help="Archive mode (copy all uid/gid information)")
@declare.option("--follow-link", "-L", is_flag=True, help="Always follow symbol link in SRC_PATH")
@declare.option("--quiet", "-q", is_flag=True, help="Suppress progress output during copy")
@declare.argument("source", metavar="[CONTAINER:]SRC_PATH|-", offers="file")
@declare.argument("target", metavar="[CONTAINER:]DEST_PATH|-", offers="file")
def cp(source: str, target: str, *, archive: bool, follow_link: bool, quiet: bool) -> int:
    """Copy files/folders between a container and the local filesystem."""
    source_container, source_path = copyrules.parse(source)
    target_container, target_path = copyrules.parse(target)
    if source_container and target_container:
        raise failures.CliError("copying between containers is not supported")
    if source_container:
        size_bytes = _out(source_container, source_path, target_path, follow=follow_link)
        place = _absolute(target_path).decode(errors="replace") if target_path != "-" else ""
    elif target_container:
        size_bytes = _in(source_path, target_container, target_path, follow=follow_link, archive=archive)
        place = target
    else:
        raise failures.CliError("must specify at least one container source")
    if place and not quiet and sys.stderr.isatty():
        sys.stderr.write(f"Successfully copied {words.size(size_bytes)} to {place}\n")
    return 0


# --- out of a container


def _out(container: str, path: str, target: str, *, follow: bool) -> int:
    source, rebase = os.fsencode(path), b""
    if follow:
        told = _stat(container, source)
        if told is not None and told["mode"] & _GO_LINK:
            link = os.fsencode(told["linkTarget"])
            source, rebase = copyrules.followed(source, posixpath.join(posixpath.dirname(source), link))
    with daemon().open("GET", f"/containers/{container}/archive", query={"path": os.fsdecode(source)}) as response:
        told = _told(response.headers.get("X-Docker-Container-Path-Stat"))
        counted = _Counted(iter(lambda: response.read1(), b""))
        if target == "-":
            for piece in counted:
                sys.stdout.buffer.write(piece)
            return counted.size_bytes
        place = Place(source, exists=True, is_directory=bool(told["mode"] & _GO_DIRECTORY), rebase=rebase)
        landing = copyrules.landing(place, _local_target(_absolute(target)))
        unpacking.unpack(counted, landing.directory, landing.renamed)
        return counted.size_bytes


class _Counted:
    """Pieces, and how many bytes they were."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.size_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.size_bytes += len(piece)
            yield piece


def _local_target(path: bytes) -> Place:
    """Where a copy ends on this side; a link at its end is followed."""
    for _ in range(MOST_LINKS):
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            parent = copyrules.split(path)[0]
            if not Path(os.fsdecode(parent)).is_dir():
                shown = os.fsdecode(parent)
                raise failures.CliError(f'invalid output path: directory "{shown}" does not exist') from None
            return Place(path, exists=False)
        except OSError as error:
            raise failures.CliError(f"{os.fsdecode(path)}: {error.strerror}") from error
        if not stat.S_ISLNK(status.st_mode):
            return Place(path, exists=True, is_directory=stat.S_ISDIR(status.st_mode))
        path = posixpath.join(posixpath.dirname(path), os.readlink(path))  # noqa: PTH115 - bytes
    raise failures.CliError(f"{os.fsdecode(path)}: too many links")


# --- into a container


def _in(path: str, container: str, target: str, *, follow: bool, archive: bool) -> int:
    place = _container_target(container, os.fsencode(target))
    if path == "-":
        if not place.is_directory:
            raise failures.CliError(f'destination "{container}:{target}" must be a directory')
        return _put(container, place.path, sys.stdin.buffer, archive=archive)
    source = _local_source(_absolute(path), follow=follow)
    landing = copyrules.landing(source, place)
    with _Packed(source, landing) as content:
        return _put(container, landing.directory, content, archive=archive)


def _container_target(container: str, path: bytes) -> Place:
    told = _stat(container, path)
    if told is not None and told["mode"] & _GO_LINK:
        path = posixpath.join(posixpath.dirname(path), os.fsencode(told["linkTarget"]))
        told = _stat(container, path)
    if told is None:
        return Place(path, exists=False)
    if told["mode"] & _GO_SPECIAL:
        shown = f"{container}:{os.fsdecode(path)}"
        raise failures.CliError(f'destination "{shown}" must be a directory or a regular file: got a device')
    return Place(path, exists=True, is_directory=bool(told["mode"] & _GO_DIRECTORY))


def _local_source(path: bytes, *, follow: bool) -> Place:
    """What is copied. Links on the way are followed; the last one with `-L`, or where a `/` or `/.` says directory."""
    rebase = b""
    try:
        if follow:
            path, rebase = copyrules.followed(path, os.path.realpath(path, strict=True))
        else:
            directory, name = posixpath.split(path)
            path = posixpath.join(os.path.realpath(directory or b"/", strict=True), name)
        status = os.stat(path, follow_symlinks=path.endswith((b"/", b"/.")))  # noqa: PTH116 - bytes
    except OSError as error:
        raise failures.CliError(f"lstat {os.fsdecode(path)}: {str(error.strerror).lower()}") from error
    return Place(path, exists=True, is_directory=stat.S_ISDIR(status.st_mode), rebase=rebase)


class _Packed:
    """A local tree as an archive to be read: packed by a thread, into a pipe."""

    def __init__(self, source: Place, landing: Landing) -> None:
        directory, name = copyrules.split(source.path)
        self._directory, self._name, self._new = directory, name, landing.new
        self._error: BaseException | None = None
        reader, self._writer = os.pipe()
        self._content: IO[bytes] = os.fdopen(reader, "rb", buffering=0)
        self._thread = threading.Thread(target=self._pack, daemon=True)

    def __enter__(self) -> IO[bytes]:
        self._thread.start()
        return self._content

    def __exit__(self, *_: object) -> None:
        self._content.close()
        self._thread.join()
        if self._error is not None and not isinstance(self._error, BrokenPipeError):
            raise failures.CliError(str(self._error)) from self._error

    def _pack(self) -> None:
        from sampan.host import packing

        try:
            packer = packing.Packer(self._write)
            descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                packer.add(descriptor, self._name, self._new)
            finally:
                os.close(descriptor)
            packer.finish()
        except BaseException as error:  # noqa: BLE001 - raised again where it is read
            self._error = error
        finally:
            os.close(self._writer)

    def _write(self, piece: bytes) -> None:
        view = memoryview(piece)
        while view:
            view = view[os.write(self._writer, view) :]


class _Reading:
    """Counts what is read of a stream."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content
        self.size_bytes = 0

    def read(self, amount: int = -1) -> bytes:
        found = self._content.read(amount)
        self.size_bytes += len(found)
        return found


def _put(container: str, directory: bytes, content: Any, *, archive: bool) -> int:
    counted = _Reading(content)
    query = {"path": os.fsdecode(directory), "noOverwriteDirNonDir": "true", "copyUIDGID": "true" if archive else None}
    upload: Any = counted
    with daemon().open("PUT", f"/containers/{container}/archive", query=query, upload=upload) as response:
        response.read()
    return counted.size_bytes


# --- both


def _absolute(path: str) -> bytes:
    given = os.fsencode(path)
    return copyrules.keep_ending(os.path.abspath(given), given)  # noqa: PTH100 - bytes


def _stat(container: str, path: bytes) -> dict[str, Any] | None:
    """What is there; None for nothing, or what cannot be looked at: the copy itself then tells why."""
    try:
        query = {"path": os.fsdecode(path)}
        with daemon().open("HEAD", f"/containers/{container}/archive", query=query) as response:
            return _told(response.headers.get("X-Docker-Container-Path-Stat"))
    except failures.DaemonError as error:
        if error.status == 404 and "container" in error.message and "No such container" in error.message:
            raise
        return None


def _told(header: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.b64decode(header))
    return found
