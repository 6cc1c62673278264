"""The steps of one stage, one after the other: each looks into the cache and does its work if nothing is there."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from sampan import errors
from sampan.build import configure, keys, placing, scope, steps_copy, steps_run
from sampan.build import state as states
from sampan.build.making import Making, Outcome
from sampan.build.model import BuildFailed, Step, StepFailed, StepFinished, StepStarted
from sampan.build.stages import Line, Stage
from sampan.build.state import State
from sampan.formats import dockerfile_instructions as instructions
from sampan.formats import dockerfile_words
from sampan.formats.dockerfile_instructions import Arg, Cmd, Copy, Run, Text
from sampan.images import importing
from sampan.images.store import Layer


class StageRun:
    """One stage of one build. `steps` are its own, FROM first."""

    def __init__(self, making: Making, stage: Stage, steps: Sequence[Step]) -> None:
        self._making = making
        self._stage = stage
        self._steps = steps
        self._args: dict[str, str] = {}
        self._cmd_set = False
        self._state = State("", making.images.platform)

    async def run(self) -> State:
        """All of it. Raises what a step raised, after reporting it."""
        triggers = await self._told(self._steps[0], self._begin)
        for number, text in enumerate(triggers):
            await self._trigger(number, text)
        for line, step in zip(self._stage.lines, self._steps[1:], strict=True):
            await self._told(step, lambda line=line, step=step: self._one(line, step))  # type: ignore[misc]
        return self._state

    async def _trigger(self, number: int, text: str) -> None:
        """An ONBUILD of the base: a step like another, told under FROM's number."""
        first = self._steps[0]
        instruction, meaning = instructions.trigger_meaning(text, escape=self._making.plan.escape, line=first.line)
        digest = keys.digest([first.digest, "trigger", number, text])
        step = dataclasses.replace(first, text=text, name=f"ONBUILD {text}", digest=digest, inputs=(first.digest,))
        await self._told(step, lambda: self._one(Line(instruction, meaning), step))

    async def _told(self, step: Step, work: Callable[[], Awaitable[Any]]) -> Any:
        """Report the step's beginning and end."""
        report = self._making.report
        report(StepStarted(step, time.time_ns()))
        try:
            result = await self._done(work)
        except errors.SampanError as error:
            code = error.exit_code if isinstance(error, BuildFailed) else 1
            report(StepFailed(step, error, code, time.time_ns()))
            raise
        report(StepFinished(step, self._state.key, time.time_ns()))
        return result

    async def _done(self, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await work()
        except OSError as error:  # a full disk, say
            raise errors.Broken("the step failed on this host", why=str(error)) from error

    # --- FROM ---------------------------------------------------------------------------------------------------

    async def _begin(self) -> Sequence[str]:
        """The state that the stage begins with; returns the triggers of its base."""
        making, stage = self._making, self._stage
        platform = stage.platform or making.request.platform
        if stage.parent is not None:
            parent = await making.stage_of(stage.parent)
            triggers = parent.config.get("OnBuild") or ()
            config = configure.starting(parent.config)
            self._state = dataclasses.replace(parent, config=config, key=keys.key("stage", parent.key))
            return triggers
        if stage.base == "scratch":
            system = states.platform_of(platform, making.images.platform)
            key = keys.key("scratch", "", platform=f"{system.os}/{system.architecture}/{system.variant}")
            epoch = making.request.source_date_epoch
            created = importing.timestamp(0 if epoch is None else epoch * 10**9)
            self._state = State(key, system, config=configure.starting({}), created=created)
            return ()
        image = await making.image(stage.base, platform, self._steps[0])
        layers = await asyncio.to_thread(making.assembly.take, image)
        below = image.document.get("config") or {}
        key = keys.key("image", "", id=str(image.id))
        self._state = states.of_image(image, layers, key, configure.starting(below))
        return below.get("OnBuild") or ()

    # --- the others ---------------------------------------------------------------------------------------------

    async def _one(self, line: Line, step: Step) -> None:
        meaning = line.meaning
        try:
            match meaning:
                case Arg():
                    self._argument(meaning)
                case Run():
                    await steps_run.run(self, meaning, step)
                case Copy():
                    await steps_copy.copy(self, meaning, step)
                case Text(kind="WORKDIR"):
                    await self._directory(meaning, step)
                case Text(kind="MAINTAINER"):
                    self._state = dataclasses.replace(self._state, author=meaning.text)
                    await self._meta(meaning, step)
                case instructions.From():
                    raise BuildFailed("FROM isn't allowed here")
                case _:
                    await self._meta(meaning, step)
        except dockerfile_words.WordInvalid as error:
            raise BuildFailed(str(error), line=step.line) from error

    def _argument(self, arg: Arg) -> None:
        making = self._making
        outer = {**making.platform_args, **making.plan.global_args}
        shown = []
        for name, default in arg.pairs:
            making.consumed.add(name)
            value = scope.value_of(name, default, making.build_args, self.variables(), making.plan.escape, outer=outer)
            if value is not None:
                self._args[name] = value
            shown.append(name if value is None else f"{name}={value}")
        state = self._state
        self._state = state.after(state.key, f"ARG {' '.join(shown)}", state.created, None, config=state.config)

    async def _meta(self, meaning: configure.Metadata, step: Step) -> None:
        escape = self._making.plan.escape
        config = configure.apply(meaning, self._state.config, self.variables(), escape=escape, cmd_set=self._cmd_set)
        self._cmd_set = self._cmd_set or isinstance(meaning, Cmd)
        key = keys.key("meta", self._state.key, config=config, author=self._state.author)

        async def nothing() -> Layer | None:
            return None

        outcome = await self._making.cached(self._stage, step, key, self._state.key, nothing)
        self.advance(key, configure.describe(meaning), outcome, config)

    async def _directory(self, meaning: Text, step: Step) -> None:
        """WORKDIR: the folder is made, for the stage's user, where the image does not have it."""
        config = configure.apply(
            meaning, self._state.config, self.variables(), escape=self._making.plan.escape, cmd_set=False
        )
        key = keys.key("workdir", self._state.key, config=config)
        outcome = await self._making.cached(
            self._stage, step, key, self._state.key, lambda: self._folder(configure.working_directory(config))
        )
        self.advance(key, configure.describe(meaning), outcome, config)

    async def _folder(self, directory: str) -> Layer | None:
        making = self._making
        async with making.looked_at(self._state.layers) as view:
            name = os.fsencode(directory.strip("/"))
            if placing.exists(view, name):
                return None
            owner = await self.identity(str(self._state.config.get("User") or ""), view)
            mtime_ns = (making.clamp_s or 0) * 10**9  # not the present: the same input makes the same layer
            return await asyncio.to_thread(
                making.assembly.make,
                lambda write: placing.write_folder(view, write, name, owner=owner, mtime_ns=mtime_ns),
            )

    # --- for the steps in other files ---------------------------------------------------------------------------

    @property
    def making(self) -> Making:
        """The build."""
        return self._making

    @property
    def stage(self) -> Stage:
        """The stage."""
        return self._stage

    @property
    def state(self) -> State:
        """Where it stands."""
        return self._state

    def advance(self, key: str, created_by: str, outcome: Outcome, config: Mapping[str, Any] | None = None) -> None:
        """One step further."""
        config = self._state.config if config is None else config
        created = importing.timestamp(outcome.created_ns)
        self._state = self._state.after(key, created_by, created, outcome.layer, config=config)

    def variables(self) -> dict[str, str]:
        """What words are expanded with: ENV wins over ARG."""
        return {**self._args, **configure.environment(self._state.config)}

    def arguments(self) -> dict[str, str]:
        """The ARGs in scope that no ENV hides."""
        environment = configure.environment(self._state.config)
        return {name: value for name, value in self._args.items() if name not in environment}

    def expand(self, word: str) -> str:
        """One word of an instruction. Raises `WordInvalid`."""
        return dockerfile_words.expand(word, self.variables(), self._making.plan.escape)

    async def identity(self, text: str, view: int | None) -> placing.Owner:
        """Numbers for `user[:group]`, looked up in the image. Raises `UserUnknown`."""
        return await asyncio.to_thread(placing.identity, text, view)
