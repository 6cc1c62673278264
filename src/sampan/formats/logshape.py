"""What a reader of a container's log asked for, cut out of frames: streams, the last lines, timestamps, raw or framed.

A line belongs to one stream; it ends at its newline, and lines are ordered by where they end, as Docker's own copier
orders them. What a stream has written after its last newline counts as its last line. Frames may hold several lines or
a part of one.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from sampan.formats import stdcopy

NS = 1_000_000_000


class Start(NamedTuple):
    """Where a stream's first wanted byte lies: a frame, by its place in the reading order, and a cut in its payload."""

    place: int
    cut: int


# A place no frame has: nothing of the stream is wanted.
NEVER = Start(1 << 62, 0)


def tail_starts(
    frame_at: Callable[[int], tuple[int, bytes]], count: int, lines: int, streams: Iterable[int]
) -> dict[int, Start]:
    """Where each stream starts so that what follows is the last `lines` lines of frames 0 <= place < count.

    `frame_at(place)` gives `(stream, payload)`; it is called from the last place downwards, once each, and no further
    than needed. A stream that is missing from the result starts at the very beginning.
    """
    scan = _TailScan(lines, streams)
    place = count
    while place and not scan.settled:
        place -= 1
        scan.take(place, *frame_at(place))
    return scan.result()


class _TailScan:
    """The state of a scan from the end.

    A stream is *unseen* until its last frame is met, then *open* while a wanted line reaches back beyond what was met,
    and it has a start once the newline before its first wanted line is found.
    """

    def __init__(self, lines: int, streams: Iterable[int]) -> None:
        self.wanted = lines
        self.unseen = set(streams)
        self.open: set[int] = set()
        self.starts: dict[int, Start] = {}

    @property
    def settled(self) -> bool:
        """Whether nothing earlier in the log can matter."""
        return self.wanted == 0 and not self.open

    def take(self, place: int, stream: int, payload: bytes) -> None:
        """Meet one frame on the way backwards."""
        if not payload:
            return
        if stream in self.unseen:
            self.unseen.discard(stream)
            if self.wanted == 0:
                self.starts[stream] = NEVER
                return
            self.open.add(stream)
            # What follows the last newline is a line without an end.
            self.wanted -= not payload.endswith(b"\n")
        if stream not in self.open:
            return
        end = len(payload)
        while (newline := payload.rfind(b"\n", 0, end)) >= 0:
            if self.wanted == 0:
                # This newline ends the first unwanted line.
                self.starts[stream] = Start(place, newline + 1)
                self.open.discard(stream)
                return
            self.wanted -= 1
            end = newline

    def result(self) -> dict[int, Start]:
        """The starts; streams that gave no wanted line start nowhere, open ones are left out."""
        return dict.fromkeys(self.unseen, NEVER) | self.starts


class Shaper:
    """Turns frames into what goes to the client, and remembers between calls which streams are inside a line."""

    def __init__(
        self,
        *,
        streams: Iterable[int],
        timestamps: bool,
        multiplexed: bool,
        starts: Mapping[int, Start] | None = None,
        prefix: bytes = b"",
    ) -> None:
        """`prefix` goes in front of every line, behind its time."""
        self._prefix = prefix
        self._inside_line = dict.fromkeys(streams, False)
        self._timestamps = timestamps
        self._multiplexed = multiplexed
        self._starts = {stream: start for stream, start in (starts or {}).items() if stream in self._inside_line}
        self.transparent = (
            multiplexed
            and not timestamps
            and not prefix
            and not self._starts
            and {stdcopy.STDOUT, stdcopy.STDERR} <= set(streams)
        )

    def shape(self, buffer: bytes, times_ns: Iterable[int], place: int) -> bytes:
        """The wanted part of the whole frames in `buffer`, one time per frame; the first frame has that place."""
        if self.transparent:
            return buffer
        out: list[bytes] = []
        for (stream, start, end), time_ns in zip(stdcopy.frames(buffer), times_ns, strict=False):
            if stream in self._inside_line and start < end:
                self._shape_frame(out, stream, buffer[self._cut(stream, start, end, place) : end], time_ns)
            place += 1
        return b"".join(out)

    def _cut(self, stream: int, start: int, end: int, place: int) -> int:
        """Where the payload begins to be wanted; `end` when nothing of it is."""
        wanted = self._starts.get(stream)
        if wanted is None:
            return start
        if place < wanted.place:
            return end
        del self._starts[stream]
        return start + wanted.cut if place == wanted.place else start

    def _shape_frame(self, out: list[bytes], stream: int, payload: bytes, time_ns: int) -> None:
        if not payload:
            return
        if self._timestamps or self._prefix:
            payload = self._stamp(stream, payload, time_ns)
        if self._multiplexed:
            out.append(stdcopy.header(stream, len(payload)))
        out.append(payload)

    def _stamp(self, stream: int, payload: bytes, time_ns: int) -> bytes:
        """The payload with the frame's time and the prefix in front of every line that begins in it."""
        stamp = (rfc3339_nano(time_ns) + b" " if self._timestamps else b"") + self._prefix
        ends_line = payload.endswith(b"\n")
        body = payload[:-1] if ends_line else payload
        body = body.replace(b"\n", b"\n" + stamp)
        if not self._inside_line[stream]:
            body = stamp + body
        self._inside_line[stream] = not ends_line
        return body + b"\n" if ends_line else body


class Timed:
    """Has `Shaper`'s face and cuts nothing: every frame goes out behind its time, a big-endian u64 of nanoseconds."""

    transparent = False

    def shape(self, buffer: bytes, times_ns: Iterable[int], place: int) -> bytes:
        """See `Shaper.shape`."""
        out: list[bytes] = []
        for (_, start, end), time_ns in zip(stdcopy.frames(buffer), times_ns, strict=False):
            out += (time_ns.to_bytes(8, "big"), buffer[start - stdcopy.HEADER_BYTES : end])
        return b"".join(out)


def rfc3339_nano(time_ns: int) -> bytes:
    """`2006-01-02T15:04:05.000000000Z`: UTC, always nine digits, as Docker prefixes log lines."""
    seconds, nanoseconds = divmod(time_ns, NS)
    return b"%s.%09dZ" % (_to_the_second(seconds), nanoseconds)


@functools.lru_cache(maxsize=16)
def _to_the_second(seconds: int) -> bytes:
    """Cached: thousands of frames share a second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode()
