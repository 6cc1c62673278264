"""One process in a container that nobody lists: what a build's RUN needs, and nothing of it stays.

It is confined, connected and limited like a container, by the same steps (`starting`); but it has no row. A daemon that
is killed meanwhile leaves what has no row, which `recovery` ends and sweeps at the next start: the keeper's process,
control groups, network endpoints, mounts, folders.

The places the runtime mounts on (`/proc`, `/etc/hosts`, …) lie in a lower layer of their own (the *scaffold*) where
the image does not have them. So the upper directory holds what the process did, and no traces of how it was run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan import errors
from sampan.containers import cleaning, creating, logs, mountpoints, rootfs, starting
from sampan.containers.layout import Paths
from sampan.containers.model import Container, Phase, State
from sampan.containers.room import Room
from sampan.containers.wanted import Wanted
from sampan.formats import stdcopy
from sampan.kernel import mounts, paths

_DIRECTORIES = ("dev", "etc", "proc", "sys")
_FILES = ("etc/hostname", "etc/hosts", "etc/resolv.conf")
Output = Callable[[int, bytes], None]  # stream number of stdcopy, bytes


@dataclass(frozen=True, slots=True)
class Job:
    """What to run. `wanted.config` is complete; `lowers` has the topmost layer first."""

    wanted: Wanted
    lowers: Sequence[Path]


class Run:
    """One prepared run, made by `prepared`. `upper` is what it wrote, to be read while the context is open."""

    def __init__(self, room: Room, container: Container, place: Paths) -> None:
        self._room = room
        self._container = container
        self._place = place

    @property
    def id(self) -> str:
        """The container's id."""
        return self._container.id

    @property
    def upper(self) -> Path:
        """The upper directory."""
        return self._place.upper

    async def execute(self, output: Output) -> int:
        """Run to the end; its exit code. Raises what a start raises; a cancelled caller ends the process."""
        room, container = self._room, self._container
        finished = asyncio.Event()
        attachment, joined = await starting.join(room, container)
        configuration = await asyncio.to_thread(starting.write_bundle, room, container, self._place, attachment, joined)
        reading = asyncio.create_task(self._read(output, finished))
        try:
            await starting.launch(room, container, self._place, configuration)
            exit_ = await room.transients[container.id]
        finally:
            finished.set()
            await reading
        return exit_.exit_code

    async def _read(self, output: Output, finished: asyncio.Event) -> None:
        decoder = stdcopy.Decoder()
        query = logs.LogQuery(follow=True)
        reading = logs.read(self._place.directory, query, finished=finished, watches=self._room.watches)
        async with contextlib.aclosing(reading) as pieces:
            async for piece in pieces:
                for stream, payload in decoder.feed(piece):
                    output(stream, payload)


@contextlib.asynccontextmanager
async def prepared(room: Room, job: Job) -> AsyncIterator[Run]:
    """Its root mounted, nothing running yet. Everything is given back at the end. Raises kinds of `Invalid`."""
    creating.check(room, job.wanted)
    container_id = room.new_id()
    container = Container(
        id=container_id,
        name=f"build-{container_id[:12]}",
        image_id="",
        phase=Phase.STARTING,
        wanted=job.wanted,
        state=State(),
        created_ns=room.now_ns(),
    )
    place = room.paths(container_id)
    room.transients[container_id] = asyncio.get_running_loop().create_future()
    try:
        await _whole(asyncio.to_thread(_mount, place, job))
        yield Run(room, container, place)
    finally:
        await asyncio.shield(asyncio.ensure_future(_release(room, container, place)))


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """Let a thread finish before a cancelled caller undoes what it does."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def _release(room: Room, container: Container, place: Paths) -> None:
    ending = room.transients[container.id]
    room.live_of(container.id)  # made in the event loop; the clean-up asks for it in a thread
    try:
        await cleaning.release(room, container)
        await cleaning.forget(room, container.id)
        await asyncio.to_thread(rootfs.discard, place)
    finally:
        room.live.pop(container.id, None)
        del room.transients[container.id]
        if not ending.cancel() and not ending.cancelled():
            ending.exception()  # nobody waits for it any more


def _mount(place: Paths, job: Job) -> None:
    """Look at the image, put the scaffold on top of it, mount. Blocking."""
    place.run.mkdir(mode=0o700, parents=True)
    place.directory.mkdir(mode=0o710, parents=True)
    scaffold, view = place.directory / "scaffold", place.run / "view"
    scaffold.mkdir(mode=0o755)
    view.mkdir()
    if job.lowers:
        mounts.overlay(view, job.lowers)
    try:
        rootfs.check(view)
        _build_scaffold(view, scaffold, _targets(job.wanted))
    finally:
        if job.lowers:
            mounts.unmount(view, detach=True)
    rootfs.mount(place, [scaffold, *job.lowers])


def _targets(wanted: Wanted) -> list[tuple[str, bool]]:
    """What is mounted on, parents first, and whether it is a directory."""
    points = mountpoints.collect(wanted.host, (), _no_new_name)
    return [
        *((name, True) for name in _DIRECTORIES),
        *((name, False) for name in _FILES),
        *((point.destination, point.kind == "tmpfs" or Path(point.source).is_dir()) for point in points),
    ]


def _no_new_name() -> str:
    raise errors.Broken("a run without a row cannot have anonymous volumes")


def _build_scaffold(view: Path, scaffold: Path, targets: Iterable[tuple[str, bool]]) -> None:
    """What of the targets the image lacks. Directories that it has get its owner, mode and time."""
    image = os.open(view, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        known: dict[bytes, os.stat_result] = {b"": os.fstat(image)}
        for target, is_directory in targets:
            here, missing = paths.locate_in(image, os.fsencode(target))
            if missing:
                _make(image, scaffold, here, missing, is_directory=is_directory, known=known)
        for name in sorted(known, reverse=True):
            _dress(scaffold / os.fsdecode(name), known[name])
    finally:
        os.close(image)


def _make(
    image: int,
    scaffold: Path,
    here: bytes,
    missing: Sequence[bytes],
    *,
    is_directory: bool,
    known: dict[bytes, os.stat_result],
) -> None:
    """`here` exists in the image; nothing in the scaffold is a link, because this function made all of it."""
    parts = [part for part in here.split(b"/") if part]
    for count in range(1, len(parts) + 1):
        name = b"/".join(parts[:count])
        if name not in known:
            known[name] = _status(image, name)
            (scaffold / os.fsdecode(name)).mkdir(exist_ok=True)
    place = scaffold / os.fsdecode(b"/".join([*parts, *missing]))
    if is_directory:
        place.mkdir(mode=0o755, parents=True, exist_ok=True)
    elif not place.exists():
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        place.touch(mode=0o644)


def _status(image: int, name: bytes) -> os.stat_result:
    descriptor = paths.open_in(image, name, os.O_PATH | os.O_DIRECTORY)
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _dress(place: Path, status: os.stat_result) -> None:
    os.chown(place, status.st_uid, status.st_gid)
    place.chmod(stat.S_IMODE(status.st_mode))
    os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))
