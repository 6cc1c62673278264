"""The files of a container's log, opened for reading while the keeper writes and rotates them.

A `Segment` is one log with its index. What it holds open stays readable after a rotation has renamed or removed it.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from sampan import errors
from sampan.formats import containerlog, stdcopy
from sampan.kernel import inotify

# What a follower watches: the index for growth (it is written after the log), the directory for the next file.
INDEX_MASK: Final = inotify.IN_MODIFY
DIRECTORY_MASK: Final = inotify.IN_CREATE | inotify.IN_MOVED_FROM

# Index records looked at together when frames are grouped into chunks.
_BLOCK_RECORDS = 16384
# Between opening a log and its index the keeper may rotate; it does so at most once per `max_size_bytes` of output.
_MAX_TRIES = 100


class Position(NamedTuple):
    """A place in a log that survives rotation. Inode 0: before everything there is."""

    inode: int
    offset: int


class DamagedLog(errors.Broken):
    """A log's bytes are not frames where its index says so."""


class Segment:
    """One log and its index. `refresh` says how many records may be used; the other methods rely on that count."""

    def __init__(self, log: int, index: int) -> None:
        self._log = log
        self._index = index
        self._count = 0
        self._end = 0
        self.inode = os.fstat(log).st_ino

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close both files; a second call does nothing."""
        for descriptor in (self._log, self._index):
            if descriptor >= 0:
                os.close(descriptor)
        self._log = self._index = -1

    def fileno(self) -> int:
        """The log's descriptor, for sendfile."""
        return self._log

    @property
    def index_path(self) -> str:
        """A path to this very index, whatever it is called now."""
        return f"/proc/self/fd/{self._index}"

    def is_newest(self, directory: Path) -> bool:
        """Whether the keeper still writes here."""
        try:
            return (directory / containerlog.log_name(0)).stat().st_ino == self.inode
        except FileNotFoundError:
            return False

    def refresh(self) -> int:
        """Records that point at whole frames, now."""
        count = os.fstat(self._index).st_size // containerlog.RECORD_BYTES
        log_bytes = os.fstat(self._log).st_size
        while count > self._count:
            start = self._record(count - 1)[0]
            header = os.pread(self._log, stdcopy.HEADER_BYTES, start)
            if len(header) == stdcopy.HEADER_BYTES:
                end = start + stdcopy.HEADER_BYTES + self._parse(header, start)[1]
                if end <= log_bytes:
                    self._count, self._end = count, end
                    break
            count -= 1
        return self._count

    def offset(self, number: int) -> int:
        """Where that record's frame begins; for the record after the last, where the last frame ends."""
        return self._end if number >= self._count else self._record(number)[0]

    def record_at(self, offset: int) -> int:
        """Number of the first record whose frame begins at or behind that offset."""
        low, high = 0, self._count
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self._record(middle)[0] < offset else (low, middle)
        return low

    def first_since(self, since_ns: int) -> int:
        """Number of the first record whose time is at or after that."""
        if self._count == 0:
            return 0
        with mmap.mmap(self._index, self._count * containerlog.RECORD_BYTES, prot=mmap.PROT_READ) as index:
            return containerlog.first_since(index, self._count, since_ns)

    def chunk_end(self, first: int, last: int, size_bytes: int) -> int:
        """The record up to which frames from `first` fit in about `size_bytes`: at least one, at most `last`."""
        last = min(last, first + _BLOCK_RECORDS)
        limit = self.offset(first) + size_bytes
        if self.offset(last) <= limit:
            return last
        low, high = first + 1, last
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.offset(middle) <= limit else (low, middle - 1)
        return low

    def read(self, first: int, last: int) -> bytes:
        """The frames first <= number < last."""
        start, end = self.offset(first), self.offset(last)
        return os.pread(self._log, end - start, start)

    def times(self, first: int, last: int) -> Iterator[int]:
        """The times of those frames."""
        size = (last - first) * containerlog.RECORD_BYTES
        index = os.pread(self._index, size, first * containerlog.RECORD_BYTES)
        return (time_ns for _, time_ns in containerlog.records(index, 0, last - first))

    def frame(self, number: int) -> tuple[int, bytes]:
        """Stream and payload of one frame."""
        start, end = self.offset(number), self.offset(number + 1)
        data = os.pread(self._log, end - start, start)
        return self._parse(data, start)[0], data[stdcopy.HEADER_BYTES :]

    def _record(self, number: int) -> tuple[int, int]:
        place = number * containerlog.RECORD_BYTES
        return containerlog.record(os.pread(self._index, containerlog.RECORD_BYTES, place), 0)

    def _parse(self, data: bytes, offset: int) -> tuple[int, int]:
        try:
            return stdcopy.parse_header(data)
        except stdcopy.BadFrame as error:
            raise DamagedLog(
                f"the log is damaged at byte {offset}",
                why=str(error),
                remedy="move the container's log files away; new output starts a new log",
            ) from error


def open_all(directory: Path) -> list[Segment]:
    """Every file of the log, oldest first.

    Opened from the newest: a rotation in between moves files to where this looks next, so none is missed, and one that
    is met twice is known by its inode.
    """
    segments: list[Segment] = []
    generation = 0
    try:
        while (segment := _open(directory, generation)) is not None:
            if any(segment.inode == one.inode for one in segments):
                segment.close()
            else:
                segments.append(segment)
            generation += 1
    except BaseException:
        for segment in segments:
            segment.close()
        raise
    return segments[::-1]


def open_newest(directory: Path) -> Segment | None:
    """The file being written; None before the first start."""
    return _open(directory, 0)


def open_after(directory: Path, inode: int) -> Segment | None:
    """The file that follows the one with that inode; the oldest when that one is gone; None when it is the newest."""
    segments = open_all(directory)
    following = next((n + 1 for n, segment in enumerate(segments) if segment.inode == inode), 0)
    for number, segment in enumerate(segments):
        if number != following:
            segment.close()
    return segments[following] if following < len(segments) else None


def _open(directory: Path, generation: int) -> Segment | None:
    """A log and the index that belongs to it; None when there is no such log (or no index for it yet)."""
    path = directory / containerlog.log_name(generation)
    for _ in range(_MAX_TRIES):
        try:
            log = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            index = os.open(directory / containerlog.index_name(generation), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            os.close(log)
            if isinstance(error, FileNotFoundError):
                return None  # in the middle of a rotation; a follower hears of the index when it appears
            raise
        segment = Segment(log, index)
        # The writer renames the index first: the pair is one when the log's name has not moved meanwhile.
        if _inode(path) == segment.inode:
            return segment
        segment.close()
    raise errors.Unavailable(
        f"the log {path} rotates faster than it can be opened", remedy="give the container a larger max-size"
    )


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
