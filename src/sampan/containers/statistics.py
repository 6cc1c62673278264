"""What a running container uses: its control groups' counters, the whole machine's, and its interfaces'."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path

from sampan.containers.model import Container, ContainerUnknown
from sampan.containers.room import Room
from sampan.kernel import cgroup_figures
from sampan.kernel.cgroup_figures import Figures

EVERY_S = 1.0  # as docker stats
FIRST_GAP_S = 0.5  # between the two looks of one answer: long enough for ticks of 10 ms to mean something


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface as the container sees it."""

    name: str
    received: tuple[int, int, int, int]  # bytes, packets, errors, dropped
    sent: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. A container that does not run has no `figures`."""

    container: Container
    read_ns: int = 0
    figures: Figures | None = None
    system_cpu_ns: int = 0
    cpus: int = 0
    machine_bytes: int = 0
    interfaces: tuple[Interface, ...] = field(default=())


async def follow(room: Room, container: Container, *, stream: bool, one_shot: bool) -> AsyncGenerator[Sample, None]:
    """A sample a second until the container is gone; two samples, or with `one_shot` one, when not streaming.

    Of the two the first is for differences only. A stream of a stopped container goes on with empty samples: it may be
    started again.
    """
    sample = await _look(room, container)
    yield sample
    if not stream and (one_shot or sample.figures is None):
        return
    while True:
        await asyncio.sleep(EVERY_S if stream else FIRST_GAP_S)
        try:
            container = room.get(container.id)
        except ContainerUnknown:
            return
        yield await _look(room, container)
        if not stream:
            return


async def _look(room: Room, container: Container) -> Sample:
    if not container.alive:
        return Sample(container)
    return await asyncio.to_thread(_read, room, container)


def _read(room: Room, container: Container) -> Sample:
    """Blocks."""
    figures = cgroup_figures.read(room.host.hierarchy, container.cgroup)
    system_ns = cgroup_figures.system_cpu_ns(Path("/proc/stat").read_text())
    shared = container.wanted.host.network_mode == "host"  # the host's own traffic is not the container's
    return Sample(
        container=container,
        read_ns=room.now_ns(),
        figures=figures,
        system_cpu_ns=system_ns,
        cpus=room.host.cpus,
        machine_bytes=_machine_bytes(),
        interfaces=() if shared else _interfaces(container.state.pid),
    )


def _machine_bytes() -> int:
    line = Path("/proc/meminfo").read_text().partition("\n")[0]
    return int(line.split()[1]) * 1024


def _interfaces(pid: int) -> tuple[Interface, ...]:
    """Of the network namespace a process is in, without its loopback; none once it is gone."""
    try:
        text = Path(f"/proc/{pid}/net/dev").read_text()
    except OSError:
        return ()
    return parse_interfaces(text)


def parse_interfaces(text: str) -> tuple[Interface, ...]:
    """The content of /proc/net/dev: two lines of headings, then `name: 8 received counters 8 sent`. Pure."""
    found = []
    for line in text.splitlines()[2:]:
        name, _, counters = line.partition(":")
        numbers = [int(word) for word in counters.split()]
        if name.strip() != "lo" and len(numbers) >= 12:
            received, sent = numbers[:4], numbers[8:12]
            found.append(Interface(name.strip(), _four(received), _four(sent)))
    return tuple(found)


def _four(numbers: list[int]) -> tuple[int, int, int, int]:
    one, two, three, four = numbers
    return one, two, three, four
