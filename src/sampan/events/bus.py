"""Publish and subscribe inside one daemon."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

REMEMBERED = 1000  # events kept for `--since`
QUEUED = 10_000  # events a slow listener may be behind


@dataclass(frozen=True, slots=True)
class Event:
    """`kind` is container | image | network | volume | registry | daemon; `action` as Docker names it."""

    kind: str
    action: str
    actor: str  # id or name of what it happened to
    attributes: Mapping[str, str] = field(default_factory=dict)
    time_ns: int = 0


class Subscription:
    """One listener's queue: iterate it. Made by `Bus.subscribe`."""

    def __init__(self) -> None:
        self._queue: deque[Event] = deque(maxlen=QUEUED)
        self._ready = asyncio.Event()
        self._closed = False
        self.lost = 0

    def offer(self, event: Event) -> None:
        """Called by the bus; never waits."""
        if len(self._queue) == QUEUED:
            self.lost += 1
        self._queue.append(event)
        self._ready.set()

    def close(self) -> None:
        """End the iteration after what is queued."""
        self._closed = True
        self._ready.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            while self._queue:
                yield self._queue.popleft()
            if self._closed:
                return
            self._ready.clear()
            await self._ready.wait()


class Bus:
    """All methods are called in the daemon's event loop."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._past: deque[Event] = deque(maxlen=REMEMBERED)
        self._subscriptions: set[Subscription] = set()

    def publish(self, kind: str, action: str, actor: str, **attributes: str) -> Event:
        """Tell everybody. Returns the event with its time."""
        event = Event(kind, action, actor, attributes, self._now_ns())
        self._past.append(event)
        for subscription in self._subscriptions:
            subscription.offer(event)
        return event

    def past(self, since_ns: int) -> list[Event]:
        """Remembered events from `since_ns` on, oldest first."""
        return [event for event in self._past if event.time_ns >= since_ns]

    @contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        """Hear all events from now on."""
        subscription = Subscription()
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def close(self) -> None:
        """The daemon stops: listeners end after what they have queued."""
        for subscription in self._subscriptions:
            subscription.close()
