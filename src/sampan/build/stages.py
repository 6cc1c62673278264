"""A parsed Dockerfile -> its stages, and which of them a target needs. Pure.

Global arguments stand before the first FROM: FROM sees them, a stage sees those that it declares again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sampan.build import scope
from sampan.build.model import BuildFailed
from sampan.formats import dockerfile, dockerfile_words
from sampan.formats import dockerfile_instructions as instructions
from sampan.formats.dockerfile import DockerfileInvalid, Instruction
from sampan.formats.dockerfile_instructions import Arg, Copy, From, Meaning, Run

MOST_STEPS = 5000


@dataclass(frozen=True, slots=True)
class Line:
    """An instruction and what it means."""

    instruction: Instruction
    meaning: Meaning


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage. `base` is FROM's image, its arguments expanded; `parent` the stage it names instead."""

    index: int
    name: str
    base: str
    platform: str
    parent: int | None
    first: Line  # FROM
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """All stages of a file and the one to build."""

    stages: tuple[Stage, ...]
    target: int
    global_args: Mapping[str, str]
    escape: str
    warnings: tuple[tuple[int, str], ...]

    def find(self, text: str, before: int) -> int | None:
        """The stage that `--from` names, by name or number, among those before `before`."""
        for stage in reversed(self.stages[:before]):
            if text and stage.name == text.lower():
                return stage.index
        return int(text) if text.isdigit() and int(text) < before else None

    def needed(self) -> list[int]:
        """The stages that the target needs, itself included, in the order of the file."""
        seen: set[int] = set()
        waiting = [self.target]
        while waiting:
            index = waiting.pop()
            if index not in seen:
                seen.add(index)
                waiting += self.inputs(self.stages[index])
        return sorted(seen)

    def inputs(self, stage: Stage) -> list[int]:
        """The stages that one uses."""
        found = [] if stage.parent is None else [stage.parent]
        for origin in (origin for line in stage.lines for origin in origins(line.meaning)):
            index = self.find(origin, stage.index)
            found += [] if index is None else [index]
        return list(dict.fromkeys(found))


def origins(meaning: Meaning) -> list[str]:
    """The stages or images whose files a step uses."""
    if isinstance(meaning, Copy):
        return [meaning.source_stage] if meaning.source_stage else []
    if isinstance(meaning, Run):
        return [mount.origin for mount in meaning.mounts if mount.origin]
    return []


def plan(
    file: dockerfile.File, *, target: str, build_args: Mapping[str, str], platform_args: Mapping[str, str]
) -> Plan:
    """Raises `DockerfileInvalid`, `BuildFailed` for a target that is not there."""
    if len(file.instructions) > MOST_STEPS:
        raise DockerfileInvalid(file.instructions[MOST_STEPS].line, f"more than {MOST_STEPS} instructions")
    lines = [Line(each, instructions.interpret(each, file.escape)) for each in file.instructions]
    first = next((at for at, line in enumerate(lines) if isinstance(line.meaning, From)), len(lines))
    global_args = _global_args(lines[:first], build_args, platform_args, file.escape)
    stages: list[Stage] = []
    for line, rest in _split(lines[first:]):
        stages.append(_stage(stages, line, rest, {**platform_args, **global_args}, file.escape))
    if not stages:
        raise DockerfileInvalid(lines[0].instruction.line, "no build stage in current context")
    return Plan(tuple(stages), _target(stages, target), global_args, file.escape, file.warnings)


def _global_args(
    lines: list[Line], build_args: Mapping[str, str], platform_args: Mapping[str, str], escape: str
) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        if not isinstance(line.meaning, Arg):
            raise DockerfileInvalid(line.instruction.line, "no build stage in current context")
        for name, default in line.meaning.pairs:
            value = scope.value_of(name, default, build_args, {**platform_args, **found}, escape, outer=platform_args)
            if value is not None:
                found[name] = value
    return found


def _split(lines: list[Line]) -> Iterator[tuple[Line, list[Line]]]:
    starts = [at for at, line in enumerate(lines) if isinstance(line.meaning, From)]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=False):  # no FROM, no stage
        yield lines[start], lines[start + 1 : end]


def _stage(stages: list[Stage], line: Line, rest: list[Line], variables: Mapping[str, str], escape: str) -> Stage:
    begin = line.meaning
    assert isinstance(begin, From)
    try:
        base = dockerfile_words.expand(begin.image, variables, escape)
        platform = dockerfile_words.expand(begin.platform, variables, escape)
    except dockerfile_words.WordInvalid as error:
        raise DockerfileInvalid(line.instruction.line, str(error)) from error
    if not base:
        raise DockerfileInvalid(line.instruction.line, f"base name ({begin.image}) should not be blank")
    parent = next((stage.index for stage in reversed(stages) if stage.name and stage.name == base.lower()), None)
    return Stage(len(stages), begin.stage, base, platform, parent, line, tuple(rest))


def _target(stages: list[Stage], target: str) -> int:
    if not target:
        return len(stages) - 1
    for stage in reversed(stages):
        if stage.name == target.lower():
            return stage.index
    if target.isdigit() and int(target) < len(stages):
        return int(target)
    raise BuildFailed(f"failed to reach build target {target} in Dockerfile")
