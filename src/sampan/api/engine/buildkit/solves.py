"""Solves under way, by the reference that the client chose.

A client first asks to watch a solve (`Status`), then begins it (`Solve`), and may then take the frontend's part itself
(`LLBBridge`): it asks for the Dockerfile frontend, and returns what it got. So looking a solve up waits a moment.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from sampan import errors
from sampan.api.engine.buildkit.messages import ReturnRequest, SolveRequest
from sampan.api.engine.buildkit.progress import Progress
from sampan.api.grpc.status import CallFailed, Code

MOST_SOLVES = 256
LONGEST_REF = 200
MOST_RESULTS = 64
WAIT_S = 10.0
REMEMBERED_S = 10.0  # a watcher may come when a short solve has ended


class SolveUnknown(errors.NotFound):
    """Nobody began a solve by this reference, or it is over."""


class SolveRefused(errors.Conflict):
    """A second solve by the same reference, or too many."""


class SolveInvalid(errors.Invalid):
    """A solve without a reference that can be used, or with a result that nobody made."""


@dataclass(eq=False)
class Solve:
    """One solve. `results` are the requests that the client's frontend made, by the names they were given."""

    request: SolveRequest
    progress: Progress = field(default_factory=Progress)
    results: dict[str, Mapping[str, str]] = field(default_factory=dict)
    returned: asyncio.Future[Mapping[str, str] | None] = field(default_factory=asyncio.Future)
    task: asyncio.Task[object] | None = None
    cancelled: bool = False  # by name, and not by its client's going

    def keep(self, attrs: Mapping[str, str]) -> str:
        """A name for what this request will make."""
        if len(self.results) >= MOST_RESULTS:
            raise SolveRefused("too many results in one build")
        name = secrets.token_hex(16)
        self.results[name] = attrs
        return name

    def finish(self, said: ReturnRequest) -> None:
        """What the client's frontend came to. Raises: SolveInvalid."""
        if self.returned.done():
            return
        if said.error is not None:
            code = Code(said.error.code) if said.error.code in set(Code) else Code.UNKNOWN
            self.returned.set_exception(CallFailed(code, said.error.message, tuple(said.error.details)))
            return
        result = said.result
        if result is not None and result.refs is not None and len(result.refs.refs) > 1:
            raise SolveInvalid("a build makes one image", why="the client returned several")
        ref = result.ref if result is not None else None
        if ref is None and result is not None and result.refs is not None:
            ref = next(iter(result.refs.refs.values()), None)
        name = ref.id if ref is not None else result.ref_deprecated if result is not None else ""
        if name and name not in self.results:
            raise SolveInvalid(f"no result {name[:LONGEST_REF]!r} in this build")
        self.returned.set_result(self.results.get(name))


@dataclass(slots=True)
class Solves:
    """All solves of the daemon."""

    _held: dict[str, Solve] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def begin(self, request: SolveRequest) -> Iterator[Solve]:
        """A solve that is under way inside the block. Raises: SolveInvalid, SolveRefused."""
        ref = request.ref
        if not ref or len(ref) > LONGEST_REF or not ref.isprintable():
            raise SolveInvalid("a build needs a reference")
        if ref in self._held:
            raise SolveRefused(f"job {ref} exists")
        if len(self._held) >= MOST_SOLVES:
            raise SolveRefused(f"there are {MOST_SOLVES} builds already", remedy="wait for one to end")
        solve = self._held[ref] = Solve(request)
        self._changed.set()
        try:
            yield solve
        finally:
            solve.progress.end()
            if not solve.returned.done():
                solve.returned.cancel()
            elif not solve.returned.cancelled():
                solve.returned.exception()  # seen: asyncio would complain of one that nobody asked for
            asyncio.get_running_loop().call_later(REMEMBERED_S, self._held.pop, ref, None)

    async def get(self, ref: str) -> Solve:
        """Waits a moment for one that is on its way. Raises: SolveUnknown."""
        try:
            async with asyncio.timeout(WAIT_S):
                while (solve := self._held.get(ref)) is None:
                    self._changed.clear()
                    await self._changed.wait()
                return solve
        except TimeoutError as error:
            raise SolveUnknown(f"no such job {ref[:LONGEST_REF]}") from error

    def cancel(self, ref: str) -> bool:
        """End a solve; whether there was one."""
        solve = self._held.get(ref)
        if solve is None or solve.task is None:
            return False
        solve.cancelled = True
        solve.task.cancel()
        return True
