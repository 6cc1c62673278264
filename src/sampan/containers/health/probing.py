"""Probe running containers: one task a container that has a healthcheck, asleep between its probes.

A probe is an exec like any other, so it has the container's confinement, environment and user. Few are launched at
once: launching costs processor time, and a host with hundreds of healthchecks must stay quick for everybody else.

Health lives in memory and in a file of the run directory that no flush waits for: a daemon that comes up again goes on
where the former was; a reboot begins anew, as do the containers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging

from sampan import errors
from sampan.containers.execs import Exec, Execs, ExecStreams, ExecWish
from sampan.containers.health import plan
from sampan.containers.health.plan import Check, Health, Result
from sampan.containers.model import Container, ContainerUnknown, Phase
from sampan.containers.room import Room
from sampan.formats import stdcopy
from sampan.host import files

log = logging.getLogger(__name__)
LAUNCHES = 2  # probes being launched at the same moment; running ones are not limited
LAUNCH_LIMIT_S = 30.0  # a runtime that hangs; its time is not the probe's
DRAIN_GRACE_S = 0.2  # for output of a probe whose child still holds the pipe
KILL_LIMIT_S = 10.0
FILE_NAME = "health.json"


class Probes:
    """Health of all containers, and the tasks that find it out. A companion of running containers."""

    def __init__(self, room: Room, execs: Execs) -> None:
        self._room = room
        self._execs = execs
        self._health: dict[str, Health] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._launching = asyncio.Semaphore(LAUNCHES)

    def of(self, container: Container) -> Health | None:
        """None for a container that is not probed or never ran. One that does not run counts as unhealthy."""
        if plan.check_of(container.wanted.config) is None or not container.state.started_ns:
            return None
        found = self._health.get(container.id) or self._remembered(container.id) or Health()
        if container.alive or container.phase is Phase.STARTING:
            return found
        return Health("unhealthy", found.failing_streak, found.log)

    def begin(self, container: Container, *, fresh: bool) -> None:
        """It runs: `fresh` since now, else since a former daemon's time."""
        check = plan.check_of(container.wanted.config)
        if check is None:
            return
        self._cancel(container.id)
        former = None if fresh else self._remembered(container.id)
        self._set(container.id, former or Health())
        self._tasks[container.id] = asyncio.get_running_loop().create_task(self._watch(container, check))

    def end(self, container: Container) -> None:
        """It ended."""
        self._cancel(container.id)

    def _cancel(self, container_id: str) -> None:
        task = self._tasks.pop(container_id, None)
        if task is not None:
            task.cancel()

    def forget(self, container_id: str) -> None:
        """It is removed."""
        self._cancel(container_id)
        self._health.pop(container_id, None)

    async def close(self) -> None:
        """The daemon stops: probes under way are ended, so that none outlives who asked."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _remembered(self, container_id: str) -> Health | None:
        path = self._room.paths(container_id).run / FILE_NAME
        try:
            return plan.from_json(json.loads(path.read_bytes()))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError) as error:
            log.warning("%s is not a health record and is left out: %r", path, error)
            return None

    def _set(self, container_id: str, health: Health) -> None:
        self._health[container_id] = health
        path = self._room.paths(container_id).run / FILE_NAME
        try:
            files.write_scratch(path, json.dumps(plan.to_json(health)).encode(), mode=0o600)
        except OSError as error:
            log.warning("the health of container %s is not remembered: %s", container_id[:12], error)

    async def _watch(self, container: Container, check: Check) -> None:
        started_ns = container.state.started_ns
        while True:
            age_ns = self._room.now_ns() - started_ns
            await asyncio.sleep(plan.wait_ns(check, self._health[container.id].status, age_ns) / plan.NS)
            try:
                container = self._room.get(container.id)
            except ContainerUnknown:
                return
            if container.phase is not Phase.RUNNING:
                continue  # frozen: nobody could answer
            self._take(container, check, await self._probe(container, check))

    def _take(self, container: Container, check: Check, result: Result) -> None:
        before = self._health[container.id]
        health = plan.after(before, result, check, container.state.started_ns)
        self._set(container.id, health)
        if health.status != before.status:
            self._room.publish(container, f"health_status: {health.status}")

    async def _probe(self, container: Container, check: Check) -> Result:
        start_ns = self._room.now_ns()
        try:
            code, text = await self._run(container, check)
        except (errors.SampanError, OSError, TimeoutError) as error:
            code, text = -1, str(error) or "the probe could not be started in time"
        return Result(start_ns, self._room.now_ns(), code, text)

    async def _run(self, container: Container, check: Check) -> tuple[int, str]:
        """Exit code and output. Raises what starting an exec raises."""
        item = self._execs.create(container.id, ExecWish(check.command))
        try:
            async with self._launching, asyncio.timeout(LAUNCH_LIMIT_S):
                streams = await self._execs.start(item.id)
            return await self._converse(item, streams, check)
        finally:
            self._execs.discard(item.id)

    async def _converse(self, item: Exec, streams: ExecStreams, check: Check) -> tuple[int, str]:
        said = bytearray()
        reading = asyncio.create_task(_collect(streams, said))
        try:
            async with asyncio.timeout(check.timeout_ns / plan.NS):
                await item.ended.wait()
        except TimeoutError:
            await self._kill(item)
            words = f"Health check exceeded timeout ({_duration(check.timeout_ns)})"
            return -1, f"{words}: {_text(said)}" if said else words
        except asyncio.CancelledError:
            await asyncio.shield(self._kill(item))
            raise
        else:
            await asyncio.wait([reading], timeout=DRAIN_GRACE_S)
            return -1 if item.exit_code is None else item.exit_code, _text(said)
        finally:
            reading.cancel()
            await asyncio.wait([reading])
            await streams.close()

    async def _kill(self, item: Exec) -> None:
        """It must be gone before the next one comes: dying probes would pile up."""
        with contextlib.suppress(errors.NotFound, errors.Conflict, errors.Unavailable):
            await self._room.keeper.signal(item.container_id, 9, exec_id=item.id)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(item.ended.wait(), KILL_LIMIT_S)


async def _collect(streams: ExecStreams, said: bytearray) -> None:
    """Read to the end and keep the beginning, with one byte more to know that there was more."""
    async for frame in streams.output():
        payload = frame[stdcopy.HEADER_BYTES :]
        said += payload[: plan.OUTPUT_BYTES + 1 - len(said)]


def _text(said: bytearray) -> str:
    return plan.text_of(bytes(said), truncated=len(said) > plan.OUTPUT_BYTES)


def _duration(time_ns: int) -> str:
    """As Go writes a duration of whole or broken seconds: `1m30s`, `1.5s`, `200ms`."""
    if time_ns < plan.NS:
        return f"{time_ns / 1e6:g}ms"
    minutes, rest_ns = divmod(time_ns, 60 * plan.NS)
    seconds = f"{rest_ns / plan.NS:g}s"
    hours, minutes = divmod(minutes, 60)
    return f"{f'{hours}h' if hours else ''}{f'{minutes}m' if hours or minutes else ''}{seconds}"
