"""Lines for a log daemon, put together from frames of the log. Pure.

A frame holds what one read of a pipe gave: several lines, or a part of one. What is longer than a line may be goes on
in parts, as dockerd sends it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from sampan.formats import stdcopy

LONGEST_BYTES = 16384  # Source: dockerd, daemon/logger/copier.go
_TIME = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its newline. `partial`: the rest follows in another."""

    time_ns: int
    stream: int
    content: bytes
    partial: bool = False


def frames(chunk: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(time, stream, payload) of what `logshape.Timed` made."""
    position = 0
    while position < len(chunk):
        (time_ns,) = _TIME.unpack_from(chunk, position)
        start = position + _TIME.size
        stream, size = stdcopy.parse_header(chunk, start)
        position = start + stdcopy.HEADER_BYTES + size
        yield time_ns, stream, chunk[start + stdcopy.HEADER_BYTES : position]


class Assembler:
    """Remembers of each stream what has no newline yet."""

    def __init__(self) -> None:
        self._rest: dict[int, tuple[int, bytes]] = {}  # stream -> when it began, what there is
        self._last_ns = 0

    def feed(self, time_ns: int, stream: int, payload: bytes) -> Iterator[Line]:
        """The lines that this frame completes."""
        self._last_ns = time_ns
        began_ns, rest = self._rest.pop(stream, (time_ns, b""))
        *whole, rest = (rest + payload).split(b"\n")
        for content in whole:
            yield from _parts(began_ns, stream, content, ends=True)
            began_ns = time_ns
        while len(rest) > LONGEST_BYTES:
            yield Line(began_ns, stream, rest[:LONGEST_BYTES], partial=True)
            rest = rest[LONGEST_BYTES:]
        if rest:
            self._rest[stream] = (began_ns, rest)

    def flush(self) -> Iterator[Line]:
        """What has no newline and will get none."""
        for stream, (began_ns, rest) in self._rest.items():
            yield Line(began_ns, stream, rest)
        self._rest.clear()

    @property
    def position_ns(self) -> int:
        """All frames up to this time are done with: reading begins behind it again."""
        return min([self._last_ns, *(began_ns - 1 for began_ns, _ in self._rest.values())])


def _parts(time_ns: int, stream: int, content: bytes, *, ends: bool) -> Iterator[Line]:
    while len(content) > LONGEST_BYTES:
        yield Line(time_ns, stream, content[:LONGEST_BYTES], partial=True)
        content = content[LONGEST_BYTES:]
    yield Line(time_ns, stream, content, partial=not ends)
