"""Keeps the firewall table whole: when another program removes parts of it, it is written again. No polling.

`nft flush ruleset`, which many hosts run whenever their own firewall is loaded again, takes everybody's tables with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from sampan import errors
from sampan.kernel import nfevents
from sampan.networks import ruleset

log = logging.getLogger(__name__)
SETTLE_S = 0.05  # a program that reloads its rules removes and adds in several transactions
OURS = frozenset({tuple(ruleset.TABLE.split()), nfevents.LOST})


class Sentry:
    """Watches from `start` to `close`, in the event loop. `is_whole` blocks and runs in a thread."""

    def __init__(self, is_whole: Callable[[], bool], rewrite: Callable[[], Awaitable[None]]) -> None:
        self._is_whole = is_whole
        self._rewrite = rewrite
        self._watch: nfevents.Watch | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._work: asyncio.Task[None] | None = None
        self._again = False

    def start(self) -> None:
        """From now on. Call it from the thread whose network namespace is meant."""
        if self._watch is None:
            self._watch = nfevents.Watch()
            asyncio.get_running_loop().add_reader(self._watch.fileno(), self._hear)

    def close(self) -> None:
        """No more."""
        if self._watch is not None:
            asyncio.get_running_loop().remove_reader(self._watch.fileno())
            self._watch.close()
            self._watch = None
        if self._timer is not None:
            self._timer.cancel()
        if self._work is not None:
            self._work.cancel()

    def _hear(self) -> None:
        assert self._watch is not None, "the reader goes with the watch"
        if self._watch.removals() & OURS:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(SETTLE_S, self._look)

    def _look(self) -> None:
        if self._work is not None and not self._work.done():
            self._again = True  # something went while the last look was under way
            return
        self._work = asyncio.ensure_future(self._mend())

    async def _mend(self) -> None:
        while True:
            self._again = False
            try:
                if not await asyncio.to_thread(self._is_whole):
                    log.warning("another program removed Sampan's firewall rules (nft flush?); writing them again")
                    await self._rewrite()
            except errors.SampanError as error:
                log.error("the firewall table cannot be written again: %s", error)
            if not self._again:
                return
