"""The classic builder's stream: events of a build as the lines that `docker build` prints. Pure.

Steps of independent stages overlap; this stream has one order, so what comes of a later step waits until those before
it are finished. Source: the output of dockerd's classic builder.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import Any

from sampan import errors
from sampan.build.model import (
    Built,
    CacheEntry,
    Event,
    Step,
    StepCached,
    StepFailed,
    StepFinished,
    StepLog,
    StepRunning,
    StepStarted,
    Tagged,
    Warned,
)
from sampan.images import importing

Line = dict[str, Any]
_STDERR = "\x1b[91m{}\x1b[0m"
SHORT = 12


def short(digest: str) -> str:
    """Twelve digits."""
    return digest.partition(":")[2][:SHORT]


class Stream:
    """Turns events into lines; `quiet` gives the id alone."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._current = 1
        self._waiting: dict[int, list[Line]] = {}
        self._finished: set[int] = set()
        self._running: dict[str, str] = {}
        self._decoders: dict[tuple[str, str], codecs.IncrementalDecoder] = {}

    def feed(self, event: Event) -> list[Line]:
        """The lines that may be printed now."""
        match event:
            case Warned():
                return [] if self._quiet else [_text(f"{event.message}\n")]
            case Built():
                return self._built(event)
            case Tagged():
                return [] if self._quiet else [_text(f"Successfully tagged {event.name}\n")]
            case StepStarted() | StepRunning() | StepCached() | StepLog() | StepFinished() | StepFailed():
                return self._step(event.step, event)
            case _:
                return []

    def _built(self, event: Built) -> list[Line]:
        rest = self._released(everything=True)
        if self._quiet:
            return [_text(f"{event.image_id}\n")]
        return [*rest, {"aux": {"ID": event.image_id}}, _text(f"Successfully built {short(event.image_id)}\n")]

    def _step(self, step: Step, event: Event) -> list[Line]:
        self._waiting.setdefault(step.index, []).extend(self._lines(step, event))
        if isinstance(event, StepFinished):
            self._finished.add(step.index)
        elif isinstance(event, StepStarted):
            self._finished.discard(step.index)  # a trigger of FROM
        return self._released(everything=isinstance(event, StepFailed))

    def _lines(self, step: Step, event: Event) -> Iterator[Line]:
        match event:
            case StepStarted():
                if step.name != step.text:
                    yield _text(f"# Executing build trigger : {step.text}\n")
                else:
                    yield _text(f"Step {step.index}/{step.total} : {step.text}\n")
            case StepRunning():
                self._running[step.digest] = event.container_id[:SHORT]
                yield _text(f" ---> Running in {event.container_id[:SHORT]}\n")
            case StepCached():
                yield _text(" ---> Using cache\n")
            case StepLog():
                text = self._decoded(event)
                if text:
                    yield _text(_STDERR.format(text) if event.stream == "stderr" else text)
            case StepFinished():
                if container := self._running.pop(step.digest, ""):
                    yield _text(f"Removing intermediate container {container}\n")
                yield _text(f" ---> {short(event.result)}\n")

    def _decoded(self, event: StepLog) -> str:
        """Text, also where a character is cut between two pieces."""
        key = (event.step.digest, event.stream)
        decoder = self._decoders.get(key)
        if decoder is None:
            decoder = self._decoders[key] = codecs.getincrementaldecoder("utf-8")("replace")
        return decoder.decode(event.data)

    def _released(self, *, everything: bool) -> list[Line]:
        """What stands at the front. Later steps move up when all before them are finished and they have begun."""
        result = self._waiting.pop(self._current, [])
        while self._current in self._finished and self._current + 1 in self._waiting:
            self._current += 1
            result += self._waiting.pop(self._current)
        if everything:
            for index in sorted(self._waiting):
                result += self._waiting.pop(index)
        return [] if self._quiet else result


def cache_entry(entry: CacheEntry) -> Line:
    """One element of BuildCache in `GET /system/df`."""
    return {
        "ID": entry.key.partition(":")[2],
        **({"Parents": [entry.parent.partition(":")[2]]} if entry.parent else {}),
        "Type": entry.kind,
        "Description": entry.description,
        "InUse": entry.in_use,
        "Shared": entry.shared,
        "Size": entry.size_bytes,
        "CreatedAt": importing.timestamp(entry.created_ns),
        "LastUsedAt": importing.timestamp(entry.used_ns) if entry.used_ns else None,
        "UsageCount": entry.uses,
    }


def failure(error: errors.SampanError, exit_code: int | None) -> Line:
    """The last line of a build that failed."""
    text = str(error)
    detail: Line = {"message": text}
    if exit_code is not None and exit_code > 0:
        detail = {"code": exit_code, "message": text}
    return {"errorDetail": detail, "error": text}


def _text(text: str) -> Line:
    return {"stream": text}
