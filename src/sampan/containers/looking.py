"""`docker top`: ps(1) of the host, and of its rows those of one container."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from sampan import errors
from sampan.containers.model import Container
from sampan.containers.room import Room
from sampan.host import process
from sampan.kernel import cgroups

Table = tuple[Sequence[str], Sequence[Sequence[str]]]


async def top(room: Room, container: Container, arguments: str) -> Table:
    """Titles and rows for the processes of a running container. Raises `Invalid`."""
    pids = set(await asyncio.to_thread(cgroups.processes, room.host.hierarchy, container.cgroup))
    try:
        output = (await process.run(["ps", *(arguments.split() or ["-ef"])])).decode(errors="replace")
    except process.ProgramFailed as error:
        raise errors.Invalid(f"ps: {error.complaint.strip()}", remedy="give ps options that show PID") from error
    return choose(output, pids)


def choose(output: str, pids: Collection[int]) -> Table:
    """The rows of ps's output that are about `pids`; the last column keeps its blanks as one. Raises `Invalid`."""
    titles, *lines = [line.split() for line in output.splitlines()]
    if "PID" not in titles:
        raise errors.Invalid("couldn't find PID field in ps output", remedy="give ps options that show PID")
    column, last = titles.index("PID"), len(titles) - 1
    rows = [line for line in lines if len(line) > column and line[column].isdigit() and int(line[column]) in pids]
    return titles, [[*row[:last], " ".join(row[last:])] for row in rows]
