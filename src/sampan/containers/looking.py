"""What a container has at the moment: its networks and ports for `ps`, its processes for `top` (ps(1) of the host)."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence

from sampan import errors
from sampan.containers import joining
from sampan.containers.model import Container
from sampan.containers.room import Room
from sampan.host import process
from sampan.kernel import cgroups

Table = tuple[Sequence[str], Sequence[Sequence[str]]]


def networks_of(room: Room, container: Container) -> Sequence[str]:
    """Names and ids; before the first start the names that were asked for."""
    attachment = room.networks.attachment(container.id)
    if attachment is None:
        return [wish.network for wish in joining.network_wishes(container.wanted)]
    found = [room.networks.get(endpoint.network_id) for endpoint in attachment.endpoints]
    return [text for network in found for text in (network.name, network.id)]


def published_of(room: Room, container: Container) -> Iterator[tuple[int, str]]:
    """Ports of the host and their protocols."""
    attachment = room.networks.attachment(container.id)
    for entry in attachment.published if attachment else ():
        yield from ((entry.host_port + step, entry.protocol) for step in range(entry.count))


async def top(room: Room, container: Container, arguments: str) -> Table:
    """Titles and rows for the processes of a running container. Raises `Invalid`."""
    pids = set(await asyncio.to_thread(cgroups.processes, room.host.hierarchy, container.cgroup))
    words = ["ps", *(arguments.split() or ["-ef"])]
    try:
        # Without the ids ps would show those of its own terminal only; some options (f) forbid them.
        output = await process.run([*words, f"-q{','.join(map(str, sorted(pids)))}"])
    except process.ProgramFailed:
        output = await _all(words)
    return choose(output.decode(errors="replace"), pids)


async def _all(words: Sequence[str]) -> bytes:
    try:
        return await process.run(list(words))
    except process.ProgramFailed as error:
        raise errors.Invalid(f"ps: {error.complaint.strip()}", remedy="give ps options that show PID") from error


def choose(output: str, pids: Collection[int]) -> Table:
    """The rows of ps's output that are about `pids`; the last column keeps its blanks as one. Raises `Invalid`."""
    titles, *lines = [line.split() for line in output.splitlines()]
    if "PID" not in titles:
        raise errors.Invalid("Couldn't find PID field in ps output", remedy="give ps options that show PID")
    column, last = titles.index("PID"), len(titles) - 1
    rows = [line for line in lines if len(line) > column and line[column].isdigit() and int(line[column]) in pids]
    return titles, [[*row[:last], " ".join(row[last:])] for row in rows]
