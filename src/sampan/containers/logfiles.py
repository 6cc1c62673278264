"""The files of a container's log, opened for reading while the keeper writes and rotates them.

A `Segment` is one log with its index. What it holds open stays readable after a rotation has renamed or removed it.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from sampan import errors
from sampan.formats import containerlog, stdcopy
from sampan.kernel import inotify

# What a follower watches: the index for growth (it is written after the log), the directory for the next file.
INDEX_MASK: Final = inotify.IN_MODIFY
DIRECTORY_MASK: Final = inotify.IN_CREATE | inotify.IN_MOVED_FROM

# Index records looked at together when frames are grouped into chunks.
_BLOCK_RECORDS = 16384
# Between opening a log and its index the keeper may rotate; each try takes about as long as a rotation.
_MAX_TRIES = 100


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

    def first_ns(self) -> int:
        """The time of the first frame; later than any when there is none, which only the newest file can have."""
        first = os.pread(self._index, containerlog.RECORD_BYTES, 0)
        return containerlog.record(first, 0)[1] if len(first) == containerlog.RECORD_BYTES else 1 << 64

    def last_ns(self) -> int:
        """The time of the last frame; 0 when there is none."""
        return self._record(self._count - 1)[1] if self._count else 0

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
    is met twice is known by its inode. A rotation leaves one name unused at a time. Several rotations in between may
    show a newer file late: the order is therefore by time.
    """
    segments: list[Segment] = []
    generation = missing = 0
    try:
        while missing < 2:
            segment = _open(directory, generation)
            generation += 1
            missing = missing + 1 if segment is None else 0
            if segment is not None and any(segment.inode == one.inode for one in segments):
                segment.close()
            elif segment is not None:
                segments.append(segment)
    except BaseException:
        for segment in segments:
            segment.close()
        raise
    return sorted(segments, key=Segment.first_ns)


def open_after(directory: Path, inode: int) -> Segment | None:
    """The file that follows the one with that inode; the oldest when that one is gone; None when it is the newest.

    The caller holds that file open, else another may have its inode by now.
    """
    segments = open_all(directory)
    following = next((n + 1 for n, segment in enumerate(segments) if segment.inode == inode), 0)
    for number, segment in enumerate(segments):
        if number != following:
            segment.close()
    return segments[following] if following < len(segments) else None


def _open(directory: Path, generation: int) -> Segment | None:
    """A log and the index that belongs to it; None when there is no such log (or no index for it yet).

    The writer renames the index first: the two are a pair when the log's name has not moved meanwhile. When it has, or
    the index is missing, a rotation is half done, and microseconds from its end.
    """
    path = directory / containerlog.log_name(generation)
    for _ in range(_MAX_TRIES):
        with contextlib.ExitStack() as opened:
            try:
                log = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            opened.callback(os.close, log)
            try:
                index = os.open(directory / containerlog.index_name(generation), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            opened.callback(os.close, index)
            if _inode(path) == os.fstat(log).st_ino:
                opened.pop_all()
                return Segment(log, index)
    return None


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
