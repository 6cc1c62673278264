"""The build room's verbs: build, what the cache holds, prune.

`build` is one task; cancelling it ends its processes and gives everything back before it returns. Stages that do not
use each other run beside each other.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import sqlalchemy

from sampan import errors
from sampan.build import kept, pruning, scope, state, store, workplace
from sampan.build.executor import StageRun
from sampan.build.making import Making, step_digest
from sampan.build.model import (
    BuildFailed,
    Built,
    CacheEntry,
    Context,
    Event,
    Logins,
    Planned,
    Request,
    Result,
    Secrets,
    Ssh,
    Step,
    Tagged,
    Warned,
)
from sampan.build.running import Tools
from sampan.build.stages import Plan, origins, plan
from sampan.build.state import State
from sampan.containers.room import Room
from sampan.formats import dockerfile, reference
from sampan.formats.digest import Digest
from sampan.images import platforms
from sampan.kernel import libc, paths

log = logging.getLogger(__name__)
LARGEST_DOCKERFILE = dockerfile.LARGEST_BYTES


class Builder:
    """Builds images on this host, by the containers room's means."""

    def __init__(self, room: Room, place: workplace.Workplace) -> None:
        self._room = room
        self._place = place
        self._database = room.database
        self._images = room.images
        self._locks: dict[str, asyncio.Lock] = {}
        self._erasing: set[asyncio.Task[None]] = set()
        self.kept = kept.Contexts(place.received / "kept")
        self._running = 0  # builds: while there are any, cache mounts stay

    def restore(self) -> None:
        """At start: remove what builds of a killed daemon left. Blocks."""
        self._place.restore()

    def receive(self) -> Path:
        """A new empty folder on disk for a context. Who asks has it forgotten; after a crash `restore` does. Blocks."""
        place = self._place.received / f"context-{os.urandom(8).hex()}"
        place.mkdir(mode=0o700, parents=True)
        return place

    def forget(self, place: Path) -> None:
        """Remove what `receive` made, in the event loop; nobody waits for it."""
        task = asyncio.ensure_future(asyncio.to_thread(_erased, place))
        self._erasing.add(task)
        task.add_done_callback(self._erasing.discard)

    def viewpoint(self) -> Path:
        """A path where an image may be mounted for a look; what a killed daemon leaves there is unmounted at start."""
        return self._place.run / f"view-{os.urandom(8).hex()}"

    async def build(
        self,
        request: Request,
        context: Context,
        *,
        secrets: Secrets | None = None,
        ssh: Ssh | None = None,
        logins: Logins | None = None,
        report: Callable[[Event], None],
    ) -> Result:
        """Run the steps that the target needs and make the image. `report` is called in the event loop, in order.

        Raises: `BuildFailed` for a step, kinds of `Invalid` for the request and the file, and what the rooms below
        raise. Nothing of a failed build stays but cache records of the steps that succeeded.
        """
        names = [str(reference.parse(tag).with_default_tag()) for tag in request.tags]
        target = platforms.parse(request.platform) if request.platform else self._images.platform
        build_args = {name: value for name, value in request.build_args.items() if value is not None}
        request = _with_epoch(request, build_args)
        known = scope.platform_args(target, self._images.platform, stage=request.target)
        text = request.dockerfile
        if text is None:
            text = await read_dockerfile(context, request.dockerfile_name)
        planned = plan(dockerfile.parse(text), target=request.target, build_args=build_args, platform_args=known)
        name = f"build-{os.urandom(8).hex()}"
        with self._place.folder(name) as scratch, self._images.assembly() as assembly:
            tools = Tools(self._room, assembly, self._place, self._place.run / name, request, secrets, ssh, self._locks)
            making = Making(
                request=request,
                context=context,
                plan=planned,
                images=self._images,
                assembly=assembly,
                database=self._database,
                tools=tools,
                logins=logins,
                report=report,
                scratch=scratch,
                build_args=build_args,
                platform_args=known,
            )
            self._running += 1
            try:
                return await self._carry_out(making, names)
            finally:
                self._running -= 1
                await asyncio.shield(asyncio.gather(*making.writes, return_exceptions=True))
                await asyncio.to_thread(workplace.erase, tools.run)

    async def _carry_out(self, making: Making, names: list[str]) -> Result:
        report = making.report
        steps = _steps(making.plan)
        every = tuple(step for index in sorted(steps) for step in steps[index])
        report(Planned(every))
        for line, message in making.plan.warnings:
            report(Warned(message, line))
        final = await _run_stages(making, steps)
        await making.settle()
        unused = sorted(set(making.build_args) - making.consumed - scope.PROXIES - set(making.plan.global_args))
        unused = [name for name in unused if name != "SOURCE_DATE_EPOCH" and not name.startswith("BUILDKIT_")]
        if unused:
            report(Warned(f"[Warning] One or more build-args [{' '.join(unused)}] were not consumed"))
        image_id, manifest = await asyncio.to_thread(self._commit, making, final, names)
        report(Built(image_id))
        familiar = [reference.parse(name).familiar for name in names]
        for name in familiar:
            self._room.bus.publish("image", "tag", image_id, name=name)
            report(Tagged(image_id, name))
        self._room.bus.publish("builder", "build", image_id)
        return Result(image_id, manifest, tuple(layer.diff_id for layer in final.layers), tuple(familiar))

    def _commit(self, making: Making, final: State, names: list[str]) -> tuple[Digest, Digest]:
        """The image and its names in one transaction. Blocks."""
        now_ns = time.time_ns()
        used = frozenset(making.used)

        def also(connection: sqlalchemy.Connection) -> None:
            store.used(connection, used, now_ns)

        labels = making.request.labels
        if state.is_base(final) and not labels and final.base is not None:
            base = final.base
            return making.assembly.name(base, names, also)
        return making.assembly.commit(final.document(labels), final.layers, names, final.base, also)

    def cache(self) -> list[CacheEntry]:
        """The records of the cache, newest first."""
        with self._database.read() as connection:
            records = store.every(connection)
        return [
            CacheEntry(
                key=record.key,
                parent=record.parent,
                description=record.description,
                size_bytes=record.size_bytes,
                created_ns=record.created_ns,
                used_ns=record.used_ns,
                uses=record.uses,
                in_use=False,
                shared=record.shared,
            )
            for record in records
        ]

    async def prune(
        self, filters: Mapping[str, tuple[str, ...]], *, everything: bool, keep_bytes: int = 0
    ) -> tuple[list[str], int]:
        """Remove cache records: those no image shares, or with `everything` all, and the cache mounts.

        Returns their keys and the freed bytes. Raises kinds of `Invalid` for filters.
        """
        chosen = pruning.choose(
            self.cache(), filters, now_ns=time.time_ns(), everything=everything, keep_bytes=keep_bytes
        )
        layers = await self._database.write(lambda connection: store.remove(connection, chosen))
        freed_bytes = await asyncio.to_thread(self._images.discard_layers, layers)
        if not filters and not keep_bytes:
            freed_bytes += await asyncio.to_thread(self.kept.clear)
        if everything and not filters and not self._running:
            freed_bytes += await asyncio.to_thread(self._place.forget_caches)
        return chosen, freed_bytes


async def _run_stages(making: Making, steps: Mapping[int, list[Step]]) -> State:
    """All needed stages at once; each waits for those it uses. The first failure ends the others."""
    tasks: dict[int, asyncio.Task[State]] = {}

    async def stage_of(index: int) -> State:
        if index not in tasks:  # an ONBUILD trigger names a stage that the file itself does not need
            extra = _steps_of(making.plan, index, {}, 1, 1)
            tasks[index] = asyncio.create_task(StageRun(making, making.plan.stages[index], extra).run())
        return await asyncio.shield(tasks[index])

    making.stage_of = stage_of
    for index, own in steps.items():
        tasks[index] = asyncio.create_task(StageRun(making, making.plan.stages[index], own).run())
    try:
        await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks.values():
            if task.done() and not task.cancelled() and task.exception() is not None:
                task.result()
        return tasks[making.plan.target].result()
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


def _steps(planned: Plan) -> dict[int, list[Step]]:
    """The steps of every needed stage, numbered over all of them."""
    needed = planned.needed()
    total = sum(1 + len(planned.stages[index].lines) for index in needed)
    found: dict[int, list[Step]] = {}
    number = 1
    for index in needed:
        found[index] = _steps_of(planned, index, {key: steps[-1].digest for key, steps in found.items()}, number, total)
        number += len(found[index])
    return found


def _steps_of(planned: Plan, index: int, last: Mapping[int, str], number: int, total: int) -> list[Step]:
    stage = planned.stages[index]
    lines = [stage.first, *stage.lines]
    result: list[Step] = []
    for position, line in enumerate(lines):
        used = [planned.find(origin, index) for origin in origins(line.meaning)]
        used += [stage.parent] if position == 0 else []
        others = tuple(last[each] for each in used if each is not None and each in last)
        inputs = (*(step.digest for step in result[-1:]), *others)
        text = line.instruction.text
        digest = step_digest(index, position, text, inputs)
        result.append(
            Step(
                index=number + position,
                total=total,
                stage=stage.name,
                stage_index=index,
                stage_position=position + 1,
                stage_total=len(lines),
                text=text,
                name=text,
                line=line.instruction.line,
                digest=digest,
                inputs=inputs,
            )
        )
    return result


def _with_epoch(request: Request, build_args: Mapping[str, str]) -> Request:
    """SOURCE_DATE_EPOCH may come as a build argument."""
    text = build_args.get("SOURCE_DATE_EPOCH", "")
    if request.source_date_epoch is not None or not text:
        return request
    if not text.isdigit() or len(text) > 11:
        raise errors.Invalid(f"invalid SOURCE_DATE_EPOCH: {text[:100]!r}", remedy="write seconds since 1970")
    return dataclasses.replace(request, source_date_epoch=int(text))


def _erased(place: Path) -> None:
    try:
        workplace.erase(place)
    except OSError as error:  # the next start tries again
        log.warning("cannot remove what a build received: %s", error)


async def read_dockerfile(context: Context, name: str) -> bytes:
    """The Dockerfile of a context; no link leads out of it. Raises `BuildFailed`."""
    directory = await context.directory("")
    if directory is None:
        raise BuildFailed("the Dockerfile is missing", why="there is no build context")
    return await asyncio.to_thread(_read_inside, directory, name)


def _read_inside(directory: Path, name: str) -> bytes:
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        file = paths.open_in(root, os.fsencode(name), os.O_RDONLY | os.O_NONBLOCK)
    except libc.KernelError as error:
        raise BuildFailed(f"Cannot locate specified Dockerfile: {name}", why=os.strerror(error.errno)) from error
    finally:
        os.close(root)
    with os.fdopen(file, "rb") as content:
        try:
            text = content.read(LARGEST_DOCKERFILE + 1)
        except IsADirectoryError as error:
            raise BuildFailed(f"Cannot locate specified Dockerfile: {name}", why="it is a directory") from error
    if not text.strip():
        raise BuildFailed(f"the Dockerfile ({name}) cannot be empty")
    return text
