"""The progress of a solve: what Status tells, kept from the beginning so that a client may ask late.

A step's output is cut at `STEP_LOG_BYTES`, as BuildKit does, so that what is kept stays bounded. Only the event loop
touches it. Source: moby/buildkit, client/status.go, util/progress/logs.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from sampan.api.engine.buildkit.messages import (
    Location,
    StatusResponse,
    Timestamp,
    Vertex,
    VertexLog,
    VertexStatus,
    VertexWarning,
)

STEP_LOG_BYTES = 2 << 20
MOST_PER_ANSWER = 200  # news in one message
STDOUT, STDERR = 1, 2
News = Vertex | VertexStatus | VertexLog | VertexWarning


class Progress:
    """The news of one solve, in order."""

    def __init__(self) -> None:
        self._news: list[News] = []
        self._logged: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._ended = False

    def add(self, news: News) -> None:
        """Tell everybody who listens, now or later."""
        self._news.append(news)
        self._changed.set()

    def end(self) -> None:
        """Nothing more comes."""
        self._ended = True
        self._changed.set()

    async def follow(self) -> AsyncIterator[StatusResponse]:
        """Everything from the beginning until the end."""
        at = 0
        while True:
            while at < len(self._news):
                part = self._news[at : at + MOST_PER_ANSWER]
                at += len(part)
                yield _answer(part)
            if self._ended:
                return
            self._changed.clear()
            await self._changed.wait()

    def log(self, vertex: str, stream: int, data: bytes, time_ns: int) -> None:
        """Output of a step, until it is too much."""
        before = self._logged.get(vertex, 0)
        if before > STEP_LOG_BYTES:
            return
        self._logged[vertex] = before + len(data)
        if before + len(data) > STEP_LOG_BYTES:
            left = data[: max(0, STEP_LOG_BYTES - before)]
            data = left + b"\n[output clipped, log limit %dMiB reached]\n" % (STEP_LOG_BYTES >> 20)
        self.add(VertexLog(vertex, Timestamp.of(time_ns), stream, data))

    def warn(self, text: str, location: Location | None) -> None:
        """A remark."""
        warning = VertexWarning(digest_of("warnings"), 1, text.encode())
        if location is not None:
            warning.info, warning.ranges = location.info(), [location.range()]
        self.add(warning)

    @contextmanager
    def vertex(self, name: str) -> Iterator[Vertex]:
        """A step of our own; it fails with the exception that leaves the block."""
        begun = Timestamp.of(time.time_ns())
        vertex = Vertex(digest_of(name), [], name, started=begun)
        self.add(vertex)
        error = ""
        try:
            yield vertex
        except asyncio.CancelledError:
            error = "context canceled"
            raise
        except Exception as failure:
            error = str(failure)
            raise
        finally:
            ended = Timestamp.of(time.time_ns())
            self.add(Vertex(vertex.digest, [], name, started=begun, completed=ended, error=error))

    @contextmanager
    def counting(self, vertex: Vertex, what: str) -> Iterator[Counter]:
        """A line that counts below a vertex: bytes of a transfer."""
        counter = Counter(self, vertex.digest, what)
        counter.tell()
        yield counter
        counter.end()


class Counter:
    """What a line counts. It tells at most every tenth of a second."""

    EVERY_NS = 100_000_000

    def __init__(self, progress: Progress, vertex: str, what: str) -> None:
        self._progress = progress
        self._vertex = vertex
        self._what = what
        self._begun_ns = self._told_ns = time.time_ns()
        self.count = 0

    def to(self, count: int) -> None:
        """It is this many now."""
        self.count = count
        if time.time_ns() - self._told_ns >= self.EVERY_NS:
            self.tell()

    def tell(self) -> None:
        """Tell."""
        self._told_ns = time.time_ns()
        self._progress.add(self._status())

    def end(self) -> None:
        """Tell that it is done."""
        status = self._status()
        status.completed = Timestamp.of(time.time_ns())
        self._progress.add(status)

    def _status(self) -> VertexStatus:
        now = Timestamp.of(time.time_ns())
        begun = Timestamp.of(self._begun_ns)
        name = "transferring" if self._what.startswith("transferring") else self._what
        return VertexStatus(self._what, self._vertex, name, self.count, timestamp=now, started=begun)


def digest_of(name: str) -> str:
    """The digest of a step of our own: unique within a solve, as its name is."""
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"


def _answer(news: list[News]) -> StatusResponse:
    answer = StatusResponse()
    for one in news:
        match one:
            case Vertex():
                answer.vertexes.append(one)
            case VertexStatus():
                answer.statuses.append(one)
            case VertexLog():
                answer.logs.append(one)
            case VertexWarning():
                answer.warnings.append(one)
    return answer
