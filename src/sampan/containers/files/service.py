"""The verbs on a container's files. Each opens a view of its own, for as long as it works."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import mmap
import os
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Sequence
from typing import IO

from sampan.containers import rootfs, users
from sampan.containers.files import committing, extracting, reading, streaming
from sampan.containers.files import view as views
from sampan.containers.files.view import View
from sampan.containers.room import Room
from sampan.formats import compression
from sampan.host import packing
from sampan.images import differences
from sampan.kernel import jails, libc, paths

PIECE_BYTES = 1 << 20


class Files:
    """All containers' files."""

    def __init__(self, room: Room, *, pause: committing.Freeze, unpause: committing.Freeze) -> None:
        self._room = room
        self._pause = pause
        self._unpause = unpause

    async def changes(self, reference: str) -> Sequence[differences.Change]:
        """`docker diff`. Raises `ContainerUnknown`."""
        container = self._room.get(reference)
        place = self._room.paths(container.id)
        lowers = await self._room.images.lowers(container.image_id)

        def compare() -> Sequence[differences.Change]:
            if not place.upper.exists():
                return ()  # never started: nothing is written
            return differences.changes(place.upper, lowers, omit=views.runtime_leftovers(place))

        return await asyncio.to_thread(compare)

    async def export(self, reference: str) -> streaming.Pieces:
        """The whole tree without what is mounted into it, as an archive."""
        async with views.opened(self._room, reference, with_mounts=False) as view:
            pieces = streaming.pieces(functools.partial(_pack_all, view))
            async with contextlib.aclosing(pieces):
                async for piece in pieces:
                    yield piece
            views.still_there(self._room, view.container)
            self._room.publish(view.container, "export")

    async def stat(self, reference: str, path: str) -> reading.PathStat:
        """What is at a path. Raises `FileUnknown`, `NotThere`."""
        async with views.opened(self._room, reference, with_mounts=True) as view:
            return await asyncio.to_thread(_stat, view, path)

    @contextlib.asynccontextmanager
    async def read(self, reference: str, path: str) -> AsyncIterator[tuple[reading.PathStat, streaming.Pieces]]:
        """What is at a path, and its archive. Raises `FileUnknown`, `NotThere`."""
        async with views.opened(self._room, reference, with_mounts=True) as view:
            with reading.found(view, path) as resource:
                pieces = streaming.pieces(functools.partial(reading.pack, view, resource))
                async with contextlib.aclosing(pieces):
                    yield resource.stat, pieces
            self._room.publish(view.container, "archive-path")

    async def write(
        self,
        reference: str,
        path: str,
        chunks: AsyncIterable[bytes],
        *,
        keep_kind: bool = False,
        as_user: bool = False,
    ) -> None:
        """Unpack an archive, compressed or not, into the directory `path`.

        `as_user`: everything belongs to the container's user. Raises `FileUnknown`, `NotThere`, `ReadOnly`,
        `RefusedArchive`, `CannotReplace`, and what is wrong with the stream.
        """
        async with views.opened(self._room, reference, with_mounts=True) as view:
            os.close(await asyncio.to_thread(_open_target, view, path))  # refuse before the archive is sent
            container = view.container
            # The spool has no name: a crash leaves nothing.
            with tempfile.TemporaryFile(dir=self._room.paths(container.id).directory) as spool:
                await _receive(chunks, spool)
                if views.is_still(self._room, container):
                    await asyncio.to_thread(_write, view, path, spool, keep_kind=keep_kind, as_user=as_user)
                else:  # started or stopped meanwhile: its mounts are others now
                    async with views.opened(self._room, container.id, with_mounts=True) as other:
                        await asyncio.to_thread(_write, other, path, spool, keep_kind=keep_kind, as_user=as_user)
        self._room.publish(container, "extract-to-dir")

    async def commit(self, reference: str, wish: committing.Wish) -> str:
        """A new image of what the container changed; its id."""
        return await committing.commit(self._room, reference, wish, pause=self._pause, unpause=self._unpause)


def _pack_all(view: View, write: packing.Write) -> None:
    packer = packing.Packer(write)
    packer.add_children(view.root)
    packer.finish()


def _stat(view: View, path: str) -> reading.PathStat:
    with reading.found(view, path) as resource:
        return resource.stat


def _open_target(view: View, path: str) -> int:
    """The directory to unpack into, links followed, if it may be written."""
    wanted = reading.absolute(os.fsencode(path))
    try:
        found = paths.open_in(view.root, wanted, os.O_PATH)
    except libc.KernelError as error:
        raise reading.explained(error, path, view) from error
    try:
        if os.fstat(found).st_dev in view.hidden:
            raise reading.FileUnknown(f"Could not find the file {path} in container {view.container.name}")
        if not paths.is_directory(found):
            raise reading.NotThere("extraction point is not a directory", why=path)
        _check_writable(view, found)
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=found)
    finally:
        os.close(found)


def _check_writable(view: View, directory: int) -> None:
    on_root = os.fstat(directory).st_dev == os.fstat(view.root).st_dev
    read_only = bool(os.fstatvfs(directory).f_flag & os.ST_RDONLY)
    if on_root and (read_only or view.container.wanted.host.readonly_rootfs):
        raise extracting.ReadOnly("container rootfs is marked read-only")
    if read_only:
        raise extracting.ReadOnly("mounted volume is marked read-only")


def _write(view: View, path: str, spool: IO[bytes], *, keep_kind: bool, as_user: bool) -> None:
    rules = extracting.Rules(_owner(view) if as_user else None, keep_kind)
    target = _open_target(view, path)
    try:
        with _mapped(spool.fileno()) as content:
            items = extracting.judge(content)
            work = functools.partial(extracting.unpack, target, items, content, spool.fileno(), rules)
            jails.run_inside(view.root, work)
    finally:
        os.close(target)


@contextlib.contextmanager
def _mapped(descriptor: int) -> Iterator[extracting.Content]:
    if os.fstat(descriptor).st_size == 0:
        yield b""
        return
    with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as content:
        yield content


def _owner(view: View) -> tuple[int, int] | None:
    """The container's user and group; None for one that runs as root."""
    user = view.container.wanted.config.user
    if not user:
        return None
    read: Callable[[str], bytes] = functools.partial(rootfs.read_at, view.root)
    identity = users.resolve(user, read("/etc/passwd"), read("/etc/group"))
    return identity.uid, identity.gid


async def _receive(chunks: AsyncIterable[bytes], spool: IO[bytes]) -> None:
    """The stream's content, inflated by this process, in the spool."""
    inflater = compression.Inflater()
    waiting = bytearray()

    def feed(piece: bytes) -> None:
        for content in inflater.feed(piece):
            spool.write(content)

    async for chunk in chunks:
        waiting += chunk
        if len(waiting) >= PIECE_BYTES:
            piece, waiting = bytes(waiting), bytearray()
            await asyncio.to_thread(feed, piece)

    def finish() -> None:
        feed(bytes(waiting))
        for content in inflater.finish():
            spool.write(content)
        spool.flush()

    await asyncio.to_thread(finish)
