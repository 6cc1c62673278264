"""The keeper's event loop: one epoll, timers, signals, and jobs that may wait for a disk.

Everything runs in one thread but the jobs given to `in_background`, which may only touch files.
"""

from __future__ import annotations

import _thread
import heapq
import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT

# fsyncs that run at once share one journal commit; more threads than this gain nothing.
_MAX_JOBS = 4


class Loop:
    """Calls back when descriptors are ready, times are due, signals arrive or jobs are done."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_count = 0
        self._signals: dict[int, Callable[[], None]] = {}
        self._jobs: deque[tuple[Callable[[], None], Callable[[], None]]] = deque()
        self._done: deque[Callable[[], None]] = deque()
        self._jobs_running = 0
        self._stopping = False
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.add(self._wake_read, READ, self._on_wake)

    def add(self, descriptor: int, events: int, callback: Callable[[int], None]) -> None:
        """Call `callback(events)` whenever the descriptor has one of them, or an error or hang-up."""
        self._epoll.register(descriptor, events)
        self._callbacks[descriptor] = callback

    def change(self, descriptor: int, events: int) -> None:
        """Wait for other events from now on."""
        self._epoll.modify(descriptor, events)

    def remove(self, descriptor: int) -> None:
        """Stop calling back; before the descriptor is closed."""
        if self._callbacks.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def after(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Call back once, after that long."""
        self._timer_count += 1
        heapq.heappush(self._timers, (time.monotonic() + delay_s, self._timer_count, callback))

    def on_signal(self, number: int, callback: Callable[[], None]) -> None:
        """Call back in the loop for that signal. The signal's own handler does nothing but wake it."""
        self._signals[number] = callback
        signal.signal(number, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def in_background(self, job: Callable[[], None], done: Callable[[], None]) -> None:
        """Run `job` in a thread, then `done` in the loop. `job` must not raise: what it does, `done` looks at."""
        self._jobs.append((job, done))
        self._start_jobs()

    def stop(self) -> None:
        """Let `run` return after the callbacks of this turn."""
        self._stopping = True

    def run(self) -> None:
        """Serve until `stop`. A callback that raises is reported and the loop goes on: containers depend on it."""
        while not self._stopping:
            for descriptor, events in self._epoll.poll(self._timeout_s()):
                callback = self._callbacks.get(descriptor)
                if callback is not None:
                    guarded(callback, events)
            while self._timers and self._timers[0][0] <= time.monotonic():
                guarded(heapq.heappop(self._timers)[2])
            while self._done:
                guarded(self._done.popleft())

    def _timeout_s(self) -> float:
        if not self._timers:
            return -1
        return max(0.0, self._timers[0][0] - time.monotonic())

    def _on_wake(self, _events: int) -> None:
        """The wake-up pipe carries signal numbers, and zeros from jobs."""
        for number in set(os.read(self._wake_read, 4096)):
            if number in self._signals:
                guarded(self._signals[number])

    def _start_jobs(self) -> None:
        while self._jobs and self._jobs_running < _MAX_JOBS:
            job, done = self._jobs.popleft()
            self._jobs_running += 1
            try:
                _thread.start_new_thread(self._work, (job, done))
            except RuntimeError:
                # No thread to be had (pids limit): the disk's pace is then everyone's.
                self._work(job, done)

    def _work(self, job: Callable[[], None], done: Callable[[], None]) -> None:
        guarded(job)
        self._done.append(lambda: self._finish(done))
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            pass  # a full pipe wakes the loop just as well

    def _finish(self, done: Callable[[], None]) -> None:
        self._jobs_running -= 1
        guarded(done)
        self._start_jobs()


def guarded(callback: Callable[..., None], *arguments: int) -> None:
    """Call, and report what it raises on stderr instead of letting one container's trouble end all of them."""
    try:
        callback(*arguments)
    except Exception:  # noqa: BLE001 - the last line of defence of every container on the host
        sys.excepthook(*sys.exc_info())
