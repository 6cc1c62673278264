"""One build under way: what its stages share, and the cache as its steps ask it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy

from sampan import errors
from sampan.build import keys, store, workplace
from sampan.build.model import BuildFailed, Context, Event, Logins, Request, Step, StepCached, StepLog
from sampan.build.running import Tools
from sampan.build.stages import Plan, Stage
from sampan.build.state import State
from sampan.formats import oci, reference
from sampan.formats.digest import Digest
from sampan.images import model, platforms
from sampan.images.assembly import Assembly
from sampan.images.service import Images
from sampan.images.store import Layer
from sampan.state.database import Database

Report = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step made, from the cache or now."""

    layer: Layer | None
    created_ns: int


async def _not_yet(index: int) -> State:
    raise errors.Broken(f"stage {index} is asked for before the stages run")


@dataclass(slots=True)
class Making:
    """One build. `stage_of` gives the finished state of a stage, running it first."""

    request: Request
    context: Context
    plan: Plan
    images: Images
    assembly: Assembly
    database: Database
    tools: Tools
    logins: Logins | None
    report: Report
    scratch: Path
    build_args: dict[str, str]
    platform_args: dict[str, str]
    stage_of: Callable[[int], Awaitable[State]] = _not_yet
    consumed: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    writes: list[Awaitable[None]] = field(default_factory=list)
    pulls: dict[tuple[str, str], asyncio.Lock] = field(default_factory=dict)
    pulled: set[tuple[str, str]] = field(default_factory=set)

    def now_ns(self) -> int:
        """The present, or what SOURCE_DATE_EPOCH says it is."""
        epoch = self.request.source_date_epoch
        return time.time_ns() if epoch is None else epoch * 10**9

    @property
    def clamp_s(self) -> int | None:
        """No file is younger than this."""
        return self.request.source_date_epoch

    def may_use_cache(self, stage: Stage) -> bool:
        """Whether a stage's steps are looked up at all."""
        names = {stage.name, str(stage.index)}
        return not self.request.no_cache and not (names & self.request.no_cache_stages)

    async def cached(
        self,
        stage: Stage,
        step: Step,
        key: str,
        parent: str,
        make: Callable[[], Awaitable[Layer | None]],
        *,
        also_known_as: str = "",
    ) -> Outcome:
        """What the step makes: found by its key (or a second one that says the same), or made now and remembered."""
        if self.may_use_cache(stage):
            for name in filter(None, (key, also_known_as)):
                found = await self._found(name)
                if found is not None:
                    self.report(StepCached(step))
                    return found
        layer = await make()
        created_ns = self.now_ns()
        record = store.Record(
            key, parent, step.text[:500], layer.diff_id if layer else "", created_ns, time.time_ns(), 1
        )
        self.remember(record, layer)
        return Outcome(layer, created_ns)

    async def _found(self, key: str) -> Outcome | None:
        with self.database.read() as connection:
            record = store.find(connection, key)
        if record is None:
            return None
        layer = await asyncio.to_thread(self.assembly.find, Digest(record.diff_id)) if record.diff_id else None
        if record.diff_id and layer is None:
            return None
        self.used.add(key)
        epoch = self.request.source_date_epoch
        return Outcome(layer, record.created_ns if epoch is None else epoch * 10**9)

    def remember(self, record: store.Record, layer: Layer | None) -> None:
        """Write a record; the build goes on meanwhile and waits for it at its end."""

        def verb(connection: sqlalchemy.Connection) -> None:
            store.add(connection, record)
            if layer is not None:
                self.assembly.hold(connection, layer, store.holder(record.key))

        self.writes.append(asyncio.ensure_future(self.database.write(verb)))

    async def settle(self) -> None:
        """Wait until what was remembered is on disk. Raises what a write raised."""
        writes, self.writes = self.writes, []
        await asyncio.gather(*writes)

    # --- where files come from ----------------------------------------------------------------------------------

    async def image(self, name: str, platform: str, step: Step) -> model.Image:
        """An image of this host, pulled if it is missing or `pull` asks for it. It stays for the build."""
        name = self.request.images.get(name, name)
        async with self.pulls.setdefault((name, platform), asyncio.Lock()):
            found = self._local(name, platform)
            known = (name, platform) in self.pulled
            if found is None or (self.request.pull and not known and not _is_id(name, found)):
                await self._pull(name, platform, step)
                found = self.images.get(name)
            self.pulled.add((name, platform))
        await asyncio.to_thread(self.assembly.take, found)
        return found

    def _local(self, name: str, platform: str) -> model.Image | None:
        with contextlib.suppress(model.NoSuchImage):
            found = self.images.get(name)
            if not platform or _fits(found.platform, platforms.parse(platform)):
                return found
        return None

    async def _pull(self, name: str, platform: str, step: Step) -> None:
        login = await self.logins.get(reference.parse(name).host) if self.logins is not None else None
        pulling = self.images.pull(name, platform=platform, credentials=login)
        async with contextlib.aclosing(pulling) as lines:  # type: ignore[type-var]
            async for line in lines:
                if line.total_bytes is None or not line.total_bytes:
                    text = f"{line.id}: {line.status}" if line.id else line.status
                    self.report(StepLog(step, "stdout", text.encode() + b"\n", time.time_ns()))

    @contextlib.asynccontextmanager
    async def looked_at(self, layers: tuple[Layer, ...]) -> AsyncIterator[int | None]:
        """A tree of layers, open for reading; None if there are none."""
        lowers = await asyncio.to_thread(self.assembly.lowers, layers)
        with workplace.view(self.tools.run / f"view-{os.urandom(6).hex()}", lowers) as opened:
            yield opened

    @contextlib.asynccontextmanager
    async def origin(self, name: str, stage: Stage, step: Step) -> AsyncIterator[tuple[int, tuple[Layer, ...] | None]]:
        """The folder that `from=` names, open; and its layers if it is a stage or an image. "" is the context."""
        index = self.plan.find(name, stage.index)
        directory = await self.context.directory(name) if index is None else None
        if directory is not None:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                yield descriptor, None
            finally:
                os.close(descriptor)
            return
        if not name:
            raise BuildFailed(f"{step.text.split()[0]} failed: there is no build context")
        if index is None and name == stage.name:
            raise BuildFailed(f"circular dependency detected on stage: {name}")
        layers = await self._layers_of(name, index, step)
        async with self.looked_at(layers) as opened:
            if opened is None:
                raise BuildFailed(f"{name} has no files")
            yield opened, layers

    async def _layers_of(self, name: str, index: int | None, step: Step) -> tuple[Layer, ...]:
        if index is not None:
            return (await self.stage_of(index)).layers
        image = await self.image(name, self.request.platform, step)
        return await asyncio.to_thread(self.assembly.take, image)


def _is_id(name: str, image: model.Image) -> bool:
    """Whether the name is an id rather than a reference: there is nothing to pull."""
    return image.id.hex.startswith(name.removeprefix("sha256:"))


def _fits(there: oci.Platform, wanted: oci.Platform) -> bool:
    return there.os == wanted.os and there.architecture in ("", wanted.architecture)


def step_digest(stage: int, position: int, text: str, inputs: tuple[str, ...]) -> str:
    """A step's name within its build."""
    return keys.digest([stage, position, text, list(inputs)])
