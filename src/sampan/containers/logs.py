"""Reading a container's log: all of it, its last lines, a stretch of time, and what is still to come.

The log is the keeper's (`formats.containerlog`); this module never writes. Output reaches an attached client the same
way: as what follows in the log after a position taken before the container was started.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sampan.containers import logfiles
from sampan.formats import logshape, stdcopy
from sampan.kernel import inotify, libc

NS = 1_000_000_000
# Read at once from a file: large enough that the thread's hand-over does not show, small enough for many readers.
_CHUNK_BYTES = 1 << 20
# A follower reads in the event loop, from pages just written.
_FOLLOW_CHUNK_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class LogQuery:
    """What is asked of a log. Times select frames by when the keeper read them; both ends are included.

    `tail` counts lines within since..until; None means all. `multiplexed` gives stdcopy frames, for containers without
    a terminal; otherwise the bytes as they were written. `after` is a position (see `end`):
    what lies before it is left out. `timed` gives every frame whole, behind its time (`logshape.Timed`). `prefix` goes
    in front of every line.
    """

    stdout: bool = True
    stderr: bool = True
    since_ns: int | None = None
    until_ns: int | None = None
    tail: int | None = None
    timestamps: bool = False
    follow: bool = False
    multiplexed: bool = True
    after: int = 0
    timed: bool = False
    prefix: bytes = b""

    @property
    def streams(self) -> tuple[int, ...]:
        """The stream numbers wanted."""
        return (stdcopy.STDOUT,) * self.stdout + (stdcopy.STDERR,) * self.stderr

    @property
    def first_ns(self) -> int:
        """The earliest time a wanted frame can have."""
        return max(self.since_ns or 0, self.after + 1)

    @property
    def whole(self) -> bool:
        """Whether the answer is the log's bytes as they lie there."""
        return self == LogQuery()


@dataclass(frozen=True, slots=True)
class _Span:
    """A stretch of one file's records; `place` is the first one's number in the reading order."""

    segment: logfiles.Segment
    first: int
    last: int
    place: int


def end(directory: Path) -> int:
    """The position at which the log ends now, for `LogQuery.after`. Take it before the container is started."""
    last_ns = 0
    for segment in logfiles.open_all(directory):
        with segment:
            segment.refresh()
            last_ns = max(last_ns, segment.last_ns())
    return last_ns


def _shaper(query: LogQuery, starts: Mapping[int, logshape.Start]) -> logshape.Shaper | logshape.Timed:
    if query.timed:
        return logshape.Timed()
    return logshape.Shaper(
        streams=query.streams,
        timestamps=query.timestamps,
        multiplexed=query.multiplexed,
        starts=starts,
        prefix=query.prefix,
    )


async def read(
    directory: Path,
    query: LogQuery,
    *,
    finished: asyncio.Event | None = None,
    watches: inotify.Watches | None = None,
) -> AsyncGenerator[bytes, None]:
    """The log as the query wants it, in pieces.

    With `follow` it goes on until `finished` is set (the container's exit is known) and everything is read, or until
    the time `until_ns` has passed; `watches` is then needed.
    """
    segments = await asyncio.to_thread(logfiles.open_all, directory)
    try:
        spans = _spans(segments, query)
        starts = await asyncio.to_thread(_starts, spans, query)
        shaper = _shaper(query, starts)
        # A stream without a start begins at the beginning.
        first_place = min((starts[one].place if one in starts else 0 for one in query.streams), default=0)
        for span in spans:
            for piece in _pieces(span, first_place):
                data = await asyncio.to_thread(_shape, shaper, piece)
                if data:
                    yield data
        if query.follow:
            if watches is None:
                raise ValueError("follow needs watches")
            newest = segments.pop() if segments else None
            done = spans[-1].last if spans and newest is not None else 0
            follower = _Follower(directory, query, shaper, watches, finished or asyncio.Event())
            async with contextlib.aclosing(follower.run(newest, done)) as pieces:
                async for data in pieces:
                    yield data
    finally:
        for segment in segments:
            segment.close()


def whole_ranges(directory: Path) -> list[tuple[logfiles.Segment, int]]:
    """Open files, oldest first, each with the bytes to send from its start: for sendfile when `LogQuery.whole`.

    The caller closes the segments.
    """
    return [(segment, segment.offset(segment.refresh())) for segment in logfiles.open_all(directory)]


def _spans(segments: list[logfiles.Segment], query: LogQuery) -> list[_Span]:
    """One span per file, so that the last is the newest file's."""
    spans: list[_Span] = []
    place = 0
    for segment in segments:
        last = segment.refresh()
        first = segment.first_since(query.first_ns)
        until = last if query.until_ns is None else segment.first_since(query.until_ns + 1)
        spans.append(_Span(segment, min(first, until), until, place))
        place += max(0, until - first)
    return spans


def _starts(spans: list[_Span], query: LogQuery) -> Mapping[int, logshape.Start]:
    if query.tail is None:
        return {}

    def frame_at(place: int) -> tuple[int, bytes]:
        span = next(span for span in reversed(spans) if span.place <= place)
        return span.segment.frame(span.first + place - span.place)

    count = sum(span.last - span.first for span in spans)
    return logshape.tail_starts(frame_at, count, query.tail, query.streams)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Frames to read at once."""

    segment: logfiles.Segment
    first: int
    last: int
    place: int


def _pieces(span: _Span, first_place: int) -> Iterator[_Piece]:
    """The span in pieces of about a chunk, from the first frame any stream wants."""
    first = min(span.last, span.first + max(0, first_place - span.place))
    while first < span.last:
        last = span.segment.chunk_end(first, span.last, _CHUNK_BYTES)
        yield _Piece(span.segment, first, last, span.place + first - span.first)
        first = last


def _shape(shaper: logshape.Shaper | logshape.Timed, piece: _Piece) -> bytes:
    data = piece.segment.read(piece.first, piece.last)
    if shaper.transparent:
        return data
    return shaper.shape(data, piece.segment.times(piece.first, piece.last), piece.place)


# A place behind every frame that was there when the reading began, and behind `NEVER`.
_LATER = logshape.NEVER.place + 1


class _Follower:
    """Reads what is appended, across rotations, until the container is finished or the time is up."""

    def __init__(
        self,
        directory: Path,
        query: LogQuery,
        shaper: logshape.Shaper | logshape.Timed,
        watches: inotify.Watches,
        finished: asyncio.Event,
    ) -> None:
        self._directory = directory
        self._query = query
        self._shaper = shaper
        self._watches = watches
        self._finished = finished
        self._changed = asyncio.Event()
        self._gone = False  # the container was removed: what is open is read to its end

    async def run(self, segment: logfiles.Segment | None, done: int) -> AsyncGenerator[bytes, None]:
        """From record `done` of the newest segment on. Closes the segments it holds."""
        finishing = asyncio.ensure_future(self._wake_when_finished())
        directory_watch = self._watch(str(self._directory), logfiles.DIRECTORY_MASK)
        self._gone = directory_watch is None
        try:
            async with contextlib.aclosing(self._segments(segment, done)) as pieces:
                async for data in pieces:
                    yield data
        finally:
            finishing.cancel()
            if directory_watch is not None:
                self._watches.remove(directory_watch, self._changed)

    async def _segments(self, segment: logfiles.Segment | None, done: int) -> AsyncGenerator[bytes, None]:
        held = contextlib.ExitStack()
        inode = 0
        with held:
            while True:
                # Taken before looking, so that what happens meanwhile is not missed.
                over = self._over()
                self._changed.clear()
                if segment is None:
                    segment, done = logfiles.open_after(self._directory, inode), 0
                if segment is not None:
                    # The one before is let go only now: while it is open no other file gets its inode.
                    held.close()
                    held.push(segment)
                    inode = segment.inode
                    async with contextlib.aclosing(self._one(segment, done)) as pieces:
                        async for data in pieces:
                            yield data
                    segment = None
                elif over:
                    return
                else:
                    await self._wait()

    async def _one(self, segment: logfiles.Segment, done: int) -> AsyncGenerator[bytes, None]:
        """One file until it is finished with: rotated away, or the end of following."""
        watch = self._watch(segment.index_path, logfiles.INDEX_MASK)
        try:
            while True:
                over = self._over() or not segment.is_newest(self._directory)
                self._changed.clear()
                last = segment.refresh()
                while done < last:
                    upto = segment.chunk_end(done, last, _FOLLOW_CHUNK_BYTES)
                    data = self._take(segment, done, upto)
                    done = upto
                    if data:
                        yield data
                if over:
                    return
                if not self._changed.is_set() and segment.refresh() == last:
                    await self._wait()
        finally:
            if watch is not None:
                self._watches.remove(watch, self._changed)

    def _watch(self, path: str, mask: int) -> int | None:
        """None if it is not there: rotated away or removed since it was opened."""
        try:
            return self._watches.add(path, mask, self._changed)
        except libc.KernelError as error:
            if error.errno != errno.ENOENT:
                raise
            return None

    def _take(self, segment: logfiles.Segment, first: int, last: int) -> bytes:
        until_ns = self._query.until_ns
        first_ns = self._query.first_ns
        times = list(segment.times(first, last))
        if until_ns is not None and times[-1] > until_ns:
            last = first + sum(one <= until_ns for one in times)
        if times[0] < first_ns:
            first += sum(one < first_ns for one in times)
        if first >= last:
            return b""
        return _shape(self._shaper, _Piece(segment, first, last, _LATER))

    def _over(self) -> bool:
        """Whether what can be read now is all there will be."""
        until_ns = self._query.until_ns
        return self._gone or self._finished.is_set() or (until_ns is not None and time.time_ns() > until_ns)

    async def _wait(self) -> None:
        """Until something changed, the container finished, or the time is up."""
        if self._query.until_ns is None:
            await self._changed.wait()
            return
        try:
            async with asyncio.timeout(max(0.0, (self._query.until_ns - time.time_ns()) / NS) + 0.001):
                await self._changed.wait()
        except TimeoutError:
            pass  # the caller looks at the clock

    async def _wake_when_finished(self) -> None:
        await self._finished.wait()
        self._changed.set()
