"""The parts of one operation side by side: one failure ends all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from typing import Any

from sampan import errors
from sampan.images import model

REPORT_EVERY_S = 0.1  # byte counts of one layer
Report = Callable[[model.Progress], None]  # raises `Abandoned` to end the operation


class Abandoned(errors.Unavailable):
    """The operation ends because another part of it failed, or because nobody waits for it any more."""


def wait_all(jobs: Sequence[Future[Any]], failed: threading.Event) -> None:
    """Wait until every job is done. The first failure sets `failed`, which ends the others, and is raised."""
    done, _ = wait(jobs, return_when=FIRST_EXCEPTION)
    first = next((job.exception() for job in jobs if job in done and job.exception() is not None), None)
    if first is None:
        return
    failed.set()
    for job in jobs:
        job.cancel()
    wait(jobs)
    raise first
