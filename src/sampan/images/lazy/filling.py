"""Filling pending layers: chunks that somebody waits for first, the others in the background.

Every chunk is checked against the outline before it is written. A registry that does not answer is asked again; a
reader waits for that until the limit and then fails, and gets no zeros in any case.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from sampan import errors
from sampan.formats import outline
from sampan.host.http import Unreachable
from sampan.images import client
from sampan.images.lazy import pending as pendings
from sampan.images.lazy.pending import COMING, HERE, MISSING, UNSEEN, NotHere, Pending, WrongChunk

AHEAD: Final = 1  # chunks fetched beyond those that somebody waits for
SEGMENT: Final = 8  # chunks in one request of the background
RETRY_S: Final = 0.5
LONGEST_RETRY_S: Final = 30.0
QUIET_S: Final = 1.0  # without a reader or a new layer, before the background goes on: a start has the network alone
LONGEST_DEFERRAL_S: Final = 10.0  # for each segment, so that one busy reader does not hold everything up
MOST_WRONG: Final = 3  # times that one reader's chunk may come damaged

Connect = Callable[[pendings.Source], client.RegistryClient]
Local = Callable[[Pending], Path | None]


class Pace:
    """How fast the background may be. 0 is as fast as it goes."""

    def __init__(self, bytes_per_s: int) -> None:
        self._bytes_per_s = bytes_per_s
        self.segment = 1 if bytes_per_s else SEGMENT  # no reader shall wait for a chunk that is held back
        self._next_s = 0.0
        self._lock = threading.Lock()

    def wait(self, size_bytes: int, stopped: Callable[[float], bool]) -> None:
        """Wait until so much may have come. `stopped` waits that many seconds, or says that it is over."""
        if not self._bytes_per_s:
            return
        with self._lock:
            now_s = time.monotonic()
            self._next_s = max(self._next_s, now_s) + size_bytes / self._bytes_per_s
            pause_s = self._next_s - now_s
        stopped(pause_s)


class Filler:
    """Fills pending layers. Thread-safe; every method blocks."""

    def __init__(self, connect: Connect, local: Local, *, limit_s: float, pace: Pace) -> None:
        """`local` tells of the whole tar, when it has come to this host by another way meanwhile."""
        self._connect = connect
        self._local = local
        self._limit_s = limit_s
        self._pace = pace
        self.stopping = threading.Event()
        self._counting = threading.Lock()
        self._readers = 0
        self._busy_s = 0.0  # when somebody last waited, or a layer was begun

    def hush(self) -> None:
        """Something more urgent than the background goes on."""
        self._busy_s = time.monotonic()

    def serve(self, layer: Pending, first: int, count: int) -> None:
        """Make sure of bytes that somebody waits for. Raises `NotHere`, `WrongChunk`, or what the registry did."""
        begin, end = layer.chunks(first, count)
        with self._counting:
            self._readers += 1
        try:
            self._insist(layer, begin, min(end + AHEAD, layer.chunks(0, layer.size_bytes)[1]), end)
        finally:
            with self._counting:
                self._readers -= 1
            self.hush()

    def fill(self, layer: Pending, on_trouble: Callable[[Exception], None]) -> bool:
        """Everything that is missing, until it is whole. False if it came to an end before."""
        retry_s = RETRY_S
        while not self.stopping.is_set() and not layer.over:
            begin = _first_missing(layer)
            if begin is None:
                return True
            try:
                self._pace.wait(outline.CHUNK_BYTES, self.stopping.wait)
                self._let_readers_pass(layer)
                self._some(layer, begin, begin + self._pace.segment, hurry=False)
                retry_s = RETRY_S
            except NotHere:
                return False
            except (errors.SampanError, OSError) as error:  # OSError: the disk is full or fails
                if not layer.trouble:
                    layer.trouble = str(error)
                    on_trouble(error)
                with layer.changed:
                    layer.changed.wait_for(lambda: layer.over or self.stopping.is_set(), retry_s)
                retry_s = min(2 * retry_s, LONGEST_RETRY_S)
        return False

    def _insist(self, layer: Pending, begin: int, ahead: int, end: int) -> None:
        deadline_s, wrong, last = time.monotonic() + self._limit_s, 0, layer.trouble
        while layer.states.count(HERE, begin, end) < end - begin:
            try:
                self._some(layer, begin, ahead, hurry=True, deadline_s=deadline_s)
            except WrongChunk:
                wrong += 1
                if wrong == MOST_WRONG:
                    raise
            except NotHere:
                raise
            except errors.SampanError as error:
                last = str(error)
                with layer.changed:
                    layer.changed.wait_for(lambda: layer.over or self.stopping.is_set(), RETRY_S)
            if time.monotonic() >= deadline_s and layer.states.count(HERE, begin, end) < end - begin:
                raise NotHere(f"layer {layer.diff_id.short} does not arrive", why=last)

    def _some(self, layer: Pending, begin: int, end: int, *, hurry: bool, deadline_s: float = 0.0) -> None:
        """Fetch the first run of missing chunks in [begin, end), or wait for those that others fetch."""
        with layer.changed:
            layer.check()
            if self.stopping.is_set():
                raise NotHere("the daemon stops")
            numbers = _run(layer.states, begin, end)
            if not numbers:
                left_s = max(0.1, min(1.0, deadline_s - time.monotonic()) if hurry else 1.0)
                layer.changed.wait(left_s)
                return
            for number in numbers:
                layer.states[number] = COMING
        try:
            wanted = [number for number in numbers if not self._known(layer, number)]
            for run in _runs(wanted):
                self._fetch(layer, run)
        finally:
            with layer.changed:
                for number in numbers:
                    if layer.states[number] == COMING:
                        layer.states[number] = MISSING
                layer.changed.notify_all()

    def _known(self, layer: Pending, number: int) -> bool:
        """Whether a chunk needs no fetching: it is in the file, or all zeros."""
        if outline.is_zeros(layer.hashes, number) or layer.find(number):
            layer.mark(number, HERE)
            return True
        return False

    def _fetch(self, layer: Pending, numbers: range) -> None:
        start, stop = layer.span(numbers[0])[0], layer.span(numbers[-1])[1]
        local = self._local(layer)
        if local is not None:
            self._take(layer, numbers, _pieces(local, start))
            return
        registry = self._connect(layer.source)
        try:
            with contextlib.closing(registry.part(layer.source.repository, layer.diff_id, start, stop)) as pieces:
                self._take(layer, numbers, pieces)
        except client.NotInRegistry:
            # The registry has dropped the tar it inflated for us: asking for the outline makes it again.
            registry.outline(layer.source.repository, layer.source.blob)
            with contextlib.closing(registry.part(layer.source.repository, layer.diff_id, start, stop)) as pieces:
                self._take(layer, numbers, pieces)

    def _take(self, layer: Pending, numbers: range, pieces: Iterator[bytes]) -> None:
        gathered = bytearray()
        for number in numbers:
            start, stop = layer.span(number)
            while len(gathered) < stop - start:
                piece = next(pieces, b"")
                if not piece:
                    raise Unreachable(f"layer {layer.diff_id.short} ended early", EOFError())
                gathered += piece
            layer.write(number, gathered[: stop - start])
            del gathered[: stop - start]
            layer.mark(number, HERE)

    def _let_readers_pass(self, layer: Pending) -> None:
        began_s = now_s = time.monotonic()
        while now_s - began_s < LONGEST_DEFERRAL_S and not self.stopping.is_set() and not layer.over:
            quiet_s = 0.0 if self._readers else now_s - self._busy_s
            if quiet_s >= QUIET_S:
                return
            with layer.changed:
                layer.changed.wait_for(lambda: layer.over or self.stopping.is_set(), QUIET_S - quiet_s)
            now_s = time.monotonic()


def _pieces(path: Path, start: int) -> Iterator[bytes]:
    """A file from a place on."""
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while piece := file.read(outline.CHUNK_BYTES):
            yield piece


def _first_missing(layer: Pending) -> int | None:
    """The first chunk that is not here; None when all are."""
    return next((number for number, state in enumerate(layer.states) if state != HERE), None)


def _run(states: bytearray, begin: int, end: int) -> range:
    """The first chunks in a row of [begin, end) that nobody has and nobody fetches."""
    end = min(end, len(states))
    while begin < end and states[begin] not in (UNSEEN, MISSING):
        begin += 1
    last = begin
    while last < end and states[last] in (UNSEEN, MISSING):
        last += 1
    return range(begin, last)


def _runs(numbers: list[int]) -> list[range]:
    """Numbers in a row as ranges."""
    runs: list[range] = []
    for number in numbers:
        if runs and runs[-1].stop == number:
            runs[-1] = range(runs[-1].start, number + 1)
        else:
            runs.append(range(number, number + 1))
    return runs
