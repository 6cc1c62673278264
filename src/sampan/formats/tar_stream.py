"""A tar that arrives piece by piece: the scanner of `tar`, fed on demand. Pure.

    for entry, content in members(pieces):
        for part in content: ...

`content` must be used before the next entry is asked for; what is left of it is passed over. The same limits and the
same errors as in `tar.scan`. Sparse entries give what is stored, packed. `views` is `members` without a copy: parts of
the pieces themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from sampan.formats import tar
from sampan.formats.tar import BLOCK, InvalidTar, TarEntry

_ENDLESS: Final = 1 << 62  # what the scanner takes for the archive's length; the end shows when it comes


def members(pieces: Iterable[bytes]) -> Iterator[tuple[TarEntry, Iterator[bytes]]]:
    """Every entry with its content. Raises `InvalidTar`, whatever `pieces` raises, and if the end is missing."""
    for entry, content in views(pieces):
        yield entry, map(bytes, content)


def views(pieces: Iterable[bytes]) -> Iterator[tuple[TarEntry, Iterator[memoryview]]]:
    """As `members`; what it gives of a content lives as long as it is held."""
    feed = _Feed(iter(pieces))
    for entry in tar.scan(feed):  # type: ignore[arg-type]  # what it uses of a buffer is a length and slices
        stored = entry.size_bytes if entry.segments is None else sum(length for _, length in entry.segments)
        feed.expect(entry.data_offset + stored)
        yield entry, feed.content(entry.data_offset, stored)


class _Feed:
    """A window on the stream that only goes forward: the scanner looks at headers, the consumer reads between them."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._window = memoryview(b"")
        self._start = 0  # offset of the window in the archive
        self._ended = False
        self._clean_end = _ENDLESS
        self._content_end = _ENDLESS  # of the entry at hand

    def __len__(self) -> int:
        return _ENDLESS

    def __getitem__(self, wanted: slice | int) -> bytes | int:
        if isinstance(wanted, int):
            self._reach(wanted, wanted + 1)
            return self._window[wanted - self._start] if self._window else 0
        start, stop = wanted.start, wanted.stop
        self._reach(start, stop)
        found = bytes(self._window[start - self._start : stop - self._start])
        if not found and stop > start:
            self._clean_end = min(start, self._clean_end)
            return bytes(stop - start)  # it ended at the end of an entry, without the blocks that say so
        if len(found) < stop - start:
            raise InvalidTar("it is truncated", offset=start)
        return found

    def expect(self, content_end: int) -> None:
        """Where the content of the entry at hand ends. The zeros that fill its last block may be missing."""
        self._content_end = content_end

    def content(self, offset: int, length: int) -> Iterator[memoryview]:
        """What is stored from `offset` on."""
        end = offset + length
        while offset < end:
            self._reach(offset, offset + 1)
            part = self._window[offset - self._start : end - self._start]
            if not part:
                raise InvalidTar("it is truncated inside a file", offset=offset)
            offset += len(part)
            yield part

    def _reach(self, start: int, stop: int) -> None:
        """Have the bytes up to `stop` in the window, and drop those before `start`."""
        self._drop(start)
        gathered: list[bytes | memoryview] = [self._window]
        end = self._start + len(self._window)
        while end < stop and not self._ended:
            piece = next(self._pieces, None)
            if piece is None:
                self._ended = True
                continue
            if start >= end:  # nothing of what came so far is asked for
                self._start, gathered = end, []
            gathered.append(piece)
            end += len(piece)
        self._window = memoryview(gathered[0] if len(gathered) == 1 else b"".join(gathered))
        self._drop(start)
        end = self._start + len(self._window)
        if self._ended and start > end and not self._may_end(end, start):
            raise InvalidTar("it is truncated inside a file", offset=self._start)

    def _drop(self, start: int) -> None:
        passed = min(start - self._start, len(self._window))
        if passed > 0:
            self._window = self._window[passed:]
            self._start += passed

    def _may_end(self, end: int, start: int) -> bool:
        """Whether it is whole although the scanner looks for the end's blocks at `start`."""
        if end == self._clean_end and start - end == BLOCK:
            return True
        next_header = self._content_end + -self._content_end % BLOCK
        return self._content_end <= end <= next_header and start <= next_header + BLOCK
