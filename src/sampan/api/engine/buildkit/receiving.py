"""Files of a session: the client describes a tree, the daemon asks for contents, everything lands in one folder.

The folder is made by the caller, private and empty. Names are checked by `tree`, and every entry is made below a
directory that was opened without following links, so nothing is ever written outside. Blocking work is done in threads,
a batch of packets at a time. Source: tonistiigi/fsutil, receive.go.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path

from sampan import errors
from sampan.api.engine.buildkit import places, session_messages, tree, unchanged
from sampan.api.engine.buildkit.session_messages import Packet, PacketType
from sampan.api.engine.buildkit.sessions import Session
from sampan.api.grpc.client import ClientCall

BATCH_PACKETS = 256
LONGEST_PATTERNS_BYTES = 48 << 10  # all patterns of a request: they travel as headers, and the peer's list is bounded
MOST_OPEN_FILES = 64
Counted = Callable[[int], None]  # told how many bytes have come


class ReceiveFailed(errors.Invalid):
    """The client's files cannot be taken."""


class NoFiles(errors.NotFound):
    """The client serves no files by this name."""


async def receive(
    session: Session,
    folder: Path,
    *,
    name: str,
    excludes: Sequence[str] = (),
    includes: Sequence[str] = (),
    follow: Sequence[str] = (),
    former: Path | None = None,
    progress: Counted = lambda count: None,
) -> int:
    """Fill `folder` with the client's directory `name`; the bytes of its files. Raises: errors of this room.

    What a `former` tree of the same directory has unchanged is linked from there and not sent.
    """
    if not session.serves(session_messages.DIFF_COPY):
        raise NoFiles("the client serves no files", remedy="build with a local context")
    metadata = _metadata(name, excludes, includes, follow)
    writer = Writer(folder, former)
    try:
        async with session.client.calling(session_messages.DIFF_COPY, metadata) as call:
            await _converse(call, writer, progress)
        return writer.size_bytes
    finally:
        await asyncio.to_thread(writer.close)


async def _converse(call: ClientCall, writer: Writer, progress: Counted) -> None:
    """Requests leave by a task of their own: a client whose queue is full stops reading until its data is taken."""
    wanted: asyncio.Queue[list[int]] = asyncio.Queue()
    asking = asyncio.create_task(_ask(call, wanted))
    count = 0
    try:
        while not writer.complete:
            packets = await _batch(call)
            if asking.done():
                asking.result()
            numbers = await asyncio.to_thread(writer.take, packets)
            if numbers:
                wanted.put_nowait(numbers)
            count += sum(packet.size_bytes for packet in packets)
            progress(count)
        wanted.put_nowait([])
        await asking
        while await call.receive(Packet) is not None:
            pass  # the client's FINISH, then its status
    except errors.SampanError as error:
        if not asking.done():
            await _tell(call, str(error))
        raise
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def _ask(call: ClientCall, wanted: asyncio.Queue[list[int]]) -> None:
    while numbers := await wanted.get():
        await call.send(*[Packet(type=PacketType.REQUEST, id=number) for number in numbers])
    await call.send(Packet(type=PacketType.FINISH))


async def _tell(call: ClientCall, text: str) -> None:
    try:
        await call.send(Packet(type=PacketType.ERROR, data=text.encode()))
    except errors.SampanError:
        pass  # it knows


async def _batch(call: ClientCall) -> list[Packet]:
    """At least one packet, and what else is here already."""
    first = await call.receive(Packet)
    if first is None:
        raise ReceiveFailed("the client ended its files early")
    packets = [first]
    while len(packets) < BATCH_PACKETS and (packet := call.ready(Packet)) is not None:
        packets.append(packet)
    return packets


def _metadata(
    name: str, excludes: Sequence[str], includes: Sequence[str], follow: Sequence[str]
) -> list[tuple[str, str]]:
    """Lists travel as repeated headers, words outside ASCII percent-encoded and marked so."""
    found = []
    for key, values in (
        ("dir-name", [name]),
        ("exclude-patterns", excludes),
        ("include-patterns", includes),
        ("followpaths", follow),
    ):
        encoded = not all(value.isascii() and value.isprintable() for value in values)
        found += [(key, urllib.parse.quote_plus(value) if encoded else value) for value in values]
        if encoded:
            found.append((f"{key}-encoded", "1"))
    if sum(len(value) for _, value in found) > LONGEST_PATTERNS_BYTES:
        raise ReceiveFailed("the .dockerignore file is too long", remedy="use fewer or shorter patterns")
    return found


class Writer:
    """Makes the entries. Blocking. `complete` when the list has ended and all contents are there.

    A lock keeps `close` waiting for a `take` that still runs in its thread although its task was cancelled.
    """

    def __init__(self, folder: Path, former: Path | None = None) -> None:
        self._root = os.open(folder, places.DIRECTORY)
        self._former = unchanged.Former(former)
        self._checker = tree.Checker()
        self._waiting: dict[int, tree.Entry] = {}  # asked for, content not whole yet
        self._open: dict[int, int] = {}  # descriptors of files that are being written
        self._directories: list[tree.Entry] = []
        self._parent = ("", self._root)  # of the entry before: trees come in order
        self._listed = False
        self._lock = threading.Lock()
        self.complete = False
        self.size_bytes = 0

    def take(self, packets: Sequence[Packet]) -> list[int]:
        """Do what they say; the numbers whose contents to ask for. Raises: ReceiveFailed, InvalidTree."""
        wanted: list[int] = []
        with self._lock:
            try:
                for packet in packets:
                    self._take(packet, wanted)
                if self._listed and not self._waiting and not self.complete:
                    self._finish()
            except OSError as error:
                full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                remedy = "free disk space" if full else ""
                what = "a file of the build context cannot be kept"
                raise ReceiveFailed(what, why=str(error), remedy=remedy) from error
        return wanted

    def close(self) -> None:
        """Close every descriptor."""
        with self._lock:
            for descriptor in self._open.values():
                os.close(descriptor)
            self._open.clear()
            self._leave_parent()
            self._former.close()
            if self._root >= 0:
                os.close(self._root)
                self._root = -1

    def _take(self, packet: Packet, wanted: list[int]) -> None:
        match packet.type:
            case PacketType.STAT if packet.stat is None:
                self._listed = True
            case PacketType.STAT if not self._listed:
                assert packet.stat is not None
                entry = self._checker.take(packet.stat)
                if self._make(entry):
                    self._waiting[entry.number] = entry
                    wanted.append(entry.number)
            case PacketType.DATA:
                self._data(packet)
            case PacketType.ERROR:
                raise ReceiveFailed(f"error from sender: {packet.data[:1000].decode('utf-8', 'replace')}")
            case _:
                raise ReceiveFailed("the client breaks the protocol of files", why=f"packet of type {packet.type}")

    def _make(self, entry: tree.Entry) -> bool:
        """Whether its content is still to come."""
        parent, name = self._enter(entry.path)
        match entry.kind:
            case tree.Kind.DIRECTORY:
                os.mkdir(name, 0o700, dir_fd=parent)
                self._directories.append(entry)
            case tree.Kind.SYMLINK:
                os.symlink(os.fsencode(entry.target), name, dir_fd=parent)
                _own(parent, name, entry)
                os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)
            case tree.Kind.HARD_LINK:
                source, source_name = (
                    places.descend(self._root, entry.target.rpartition("/")[0]),
                    entry.target.rpartition("/")[2],
                )
                try:
                    os.link(source_name, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
                finally:
                    os.close(source)
            case tree.Kind.FILE:
                return self._file(entry, parent, name)
        return False

    def _file(self, entry: tree.Entry, parent: int, name: bytes) -> bool:
        if self._former.link(entry, parent, name):
            self.size_bytes += entry.size_bytes
            return False
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o600, dir_fd=parent)
        if entry.size_bytes and len(self._open) < MOST_OPEN_FILES:
            self._open[entry.number] = descriptor
            return True
        try:
            if not entry.size_bytes:
                _settle(descriptor, entry)
        finally:
            os.close(descriptor)
        return entry.size_bytes > 0

    def _data(self, packet: Packet) -> None:
        entry = self._waiting.get(packet.id)
        if entry is None:
            raise ReceiveFailed("the client sends a file that nobody asked for", why=f"number {packet.id}")
        descriptor = self._open.get(packet.id)
        if descriptor is None:
            parent, name = self._enter(entry.path)
            flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = self._open[packet.id] = os.open(name, flags, dir_fd=parent)
        if packet.data:
            _write_all(descriptor, packet.data)
            self.size_bytes += len(packet.data)
        else:
            _settle(descriptor, entry)
            del self._waiting[packet.id], self._open[packet.id]
            os.close(descriptor)

    def _finish(self) -> None:
        """Directories get their modes and times last, the deepest first: making entries changes them."""
        for entry in reversed(self._directories):
            descriptor = places.descend(self._root, entry.path)
            try:
                _settle(descriptor, entry)
            finally:
                os.close(descriptor)
        self.complete = True

    def _enter(self, path: str) -> tuple[int, bytes]:
        """The directory of a path, opened step by step without following links, and the last name."""
        above, _, name = path.rpartition("/")
        if above != self._parent[0]:
            self._leave_parent()
            self._parent = (above, places.descend(self._root, above))
        return self._parent[1], os.fsencode(name)

    def _leave_parent(self) -> None:
        if self._parent[1] != self._root:
            os.close(self._parent[1])
        self._parent = ("", self._root)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _settle(descriptor: int, entry: tree.Entry) -> None:
    """Owner, mode, attributes and time, in the order in which they do not undo each other."""
    if entry.uid or entry.gid:
        os.fchown(descriptor, entry.uid, entry.gid)
    os.fchmod(descriptor, entry.mode)
    for key, value in entry.xattrs.items():
        try:
            os.setxattr(descriptor, key, value)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EPERM, errno.EINVAL, errno.ERANGE, errno.E2BIG):
                raise  # those say that this file system keeps no such attribute
    os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))


def _own(parent: int, name: bytes, entry: tree.Entry) -> None:
    if entry.uid or entry.gid:
        os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
