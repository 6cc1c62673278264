"""From the builder's events to the client's progress, and from its errors to the client's words.

Source: moby/buildkit, frontend/dockerfile/dockerfile2llb (names of steps), solver/errdefs (details of errors).
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections import Counter
from collections.abc import Mapping

from sampan import errors
from sampan.api.engine.buildkit.messages import Location, Timestamp, Vertex, VertexStatus
from sampan.api.engine.buildkit.progress import STDERR, STDOUT, Progress, digest_of
from sampan.api.grpc.status import CallFailed, Code, Detail
from sampan.build import model
from sampan.formats import reference

_STREAMS: Mapping[str, int] = {"stdout": STDOUT, "stderr": STDERR}
_FROM = re.compile(rb"^[ \t]*FROM[ \t]", re.IGNORECASE | re.MULTILINE)
_COMMAND = re.compile(r"The command '(.*)' returned a non-zero code: (\d+)", re.DOTALL)
_SHOWN = frozenset({"FROM", "RUN", "COPY", "ADD", "WORKDIR", "ONBUILD"})  # the rest only changes the configuration
_TYPES = "github.com/moby/buildkit"  # of details, before `/errdefs.…+json`


class Reporter:
    """Called by the builder with every event. `failed` is the step that a build ended with."""

    def __init__(self, progress: Progress, *, keeps_image: bool = True) -> None:
        self._progress = progress
        self._keeps_image = keeps_image
        self._started: dict[str, Timestamp] = {}
        self._cached: set[str] = set()
        self._many_stages = False
        self._places: dict[str, str] = {}  # steps that are shown
        self._export: Timestamp | None = None
        self.failed: model.Step | None = None
        self.location: Location | None = None
        self.filename = ""
        self.content = b""

    def read(self, filename: str, content: bytes) -> None:
        """The Dockerfile that the events are about."""
        self.filename, self.content = filename, content
        self._many_stages = len(_FROM.findall(content)) > 1

    def __call__(self, event: model.Event) -> None:
        """Tell."""
        match event:
            case model.Planned(steps=steps):
                self._many_stages |= len({step.stage_index for step in steps}) > 1
                self._plan(steps)
            case model.StepStarted(step=step, time_ns=time_ns):
                self._started[step.digest] = Timestamp.of(time_ns)
                self._show(step)
            case model.StepCached(step=step):
                self._cached.add(step.digest)
            case model.StepLog(step=step, stream=stream, data=data, time_ns=time_ns):
                self._progress.log(step.digest, _STREAMS[stream], data, time_ns)
            case model.StepFinished(step=step, time_ns=time_ns):
                self._show(step, ended_ns=time_ns)
            case model.StepFailed(step=step, error=error, time_ns=time_ns):
                self.failed = step
                self.location = self.at(step.line)
                self._progress.add(self._vertex(step, ended_ns=time_ns, error=words(error)))
            case model.Warned(message=message, line=line):
                self._progress.warn(message, self.at(line))
            case model.Built(image_id=image_id):
                self._exporting("exporting layers")
                self._exporting(f"writing image {image_id}")
            case model.Tagged(name=name):
                self._exporting(f"naming to {reference.parse(name)}")

    def remark(self, text: str) -> None:
        """Something people should know about how their file is used."""
        self._progress.warn(text, None)

    def exported(self) -> None:
        """The image is in its place."""
        if self._export is not None:
            now = Timestamp.of(time.time_ns())
            self._progress.add(Vertex(digest_of(_EXPORT), [], _EXPORT, started=self._export, completed=now))

    def at(self, line: int) -> Location | None:
        """An instruction of the file, from its first line."""
        if line <= 0 or not self.content:
            return None
        return Location(self.filename, self.content, line, last_line(self.content, line))

    def _exporting(self, what: str) -> None:
        if not self._keeps_image:
            return  # the result goes to the client instead, which is told apart
        now = Timestamp.of(time.time_ns())
        if self._export is None:
            self._export = now
            self._progress.add(Vertex(digest_of(_EXPORT), [], _EXPORT, started=now))
        self._progress.add(VertexStatus(what, digest_of(_EXPORT), what, timestamp=now, started=now, completed=now))

    def _plan(self, steps: tuple[model.Step, ...]) -> None:
        """Which steps are shown, and as which of how many of their stage."""
        stages = {step.stage for step in steps if step.stage}
        shown = [step for step in steps if _is_shown(step, stages)]
        totals = Counter(step.stage_index for step in shown)
        seen: Counter[int] = Counter()
        for step in shown:
            seen[step.stage_index] += 1
            self._places[step.digest] = f"{seen[step.stage_index]}/{totals[step.stage_index]}"
        for step in shown:
            self._show(step)

    def _show(self, step: model.Step, *, ended_ns: int = 0) -> None:
        if step.digest in self._places or step.name.startswith("ONBUILD "):
            self._progress.add(self._vertex(step, ended_ns=ended_ns))

    def _vertex(self, step: model.Step, *, ended_ns: int = 0, error: str = "") -> Vertex:
        started = self._started.get(step.digest)
        completed = Timestamp.of(ended_ns) if ended_ns else None
        return Vertex(
            step.digest,
            list(step.inputs),
            self._name(step),
            cached=step.digest in self._cached and completed is not None,
            started=started or completed,
            completed=completed,
            error=error,
        )

    def _name(self, step: model.Step) -> str:
        """`[stage 2/3] RUN …`; a file of one stage does without its name."""
        stage = (step.stage or f"stage-{step.stage_index}") + " " if self._many_stages else ""
        place = self._places.get(step.digest) or f"{step.stage_position}/{step.stage_total}"
        return f"[{stage}{place}] {_title(step)}"


_EXPORT = "exporting to image"


def _is_shown(step: model.Step, stages: set[str]) -> bool:
    words = step.text.split(None, 1)
    if not words or words[0].upper() not in _SHOWN:
        return False
    return words[0].upper() != "FROM" or (_base(step) != "scratch" and _base(step).lower() not in stages)


def _base(step: model.Step) -> str:
    """What FROM names."""
    return next((word for word in step.name.split()[1:] if not word.startswith("--")), "")


def _title(step: model.Step) -> str:
    """The step in a line; FROM with its image's whole name."""
    if step.text[:4].upper() != "FROM" or step.name.startswith("ONBUILD "):
        return step.name
    try:
        return f"FROM {reference.parse(_base(step)).with_default_tag()}"
    except errors.Invalid:
        return step.name  # a variable, or a name that FROM will refuse


def last_line(content: bytes, first: int) -> int:
    """The last line of the instruction that begins at `first`, following continued lines."""
    lines = content.split(b"\n")
    last = first
    while last < len(lines) and lines[last - 1].rstrip().endswith((b"\\", b"`")):
        last += 1
    return last


def words(error: errors.SampanError) -> str:
    """What people read. A command's failure is told as BuildKit tells it: scripts look for it."""
    match = _COMMAND.fullmatch(error.what)
    if match:
        return f'process "{match[1]}" did not complete successfully: exit code: {match[2]}'
    return str(error)


def failure(error: errors.SampanError, reporter: Reporter) -> CallFailed:
    """The status of a build that failed, with its place in the Dockerfile."""
    if isinstance(error, CallFailed):
        return error
    step = reporter.failed
    text = words(error)
    location = reporter.location or reporter.at(getattr(error, "line", 0))
    details = []
    if location is not None:
        details.append(Detail(f"{_TYPES}/errdefs.Source+json", json.dumps(_source(location)).encode()))
    if step is not None:
        details.append(Detail(f"{_TYPES}/errdefs.Vertex+json", json.dumps({"digest": step.digest}).encode()))
    return CallFailed(Code.UNKNOWN, text, tuple(details))


def _source(location: Location) -> dict[str, object]:
    info = {
        "filename": location.filename,
        "data": base64.b64encode(location.content).decode(),
        "language": "Dockerfile",
    }
    return {"info": info, "ranges": [{"start": {"line": location.first}, "end": {"line": location.last}}]}
