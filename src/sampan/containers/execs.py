"""Further processes in a running container: `docker exec`.

An exec lives in memory only: its streams go straight to the client that started it, and end with the daemon.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from sampan import errors
from sampan.containers import keeping, rootfs, runtime, spec, users
from sampan.containers.model import Container, ContainerBusy, ContainerUnknown
from sampan.containers.room import Room
from sampan.formats import stdcopy
from sampan.host import files
from sampan.kernel import readiness

BEGIN_LIMIT_S = 10.0  # dockerd's
REMEMBERED = 1000  # ended execs kept for inspect
READ_BYTES = 1 << 16


class ExecUnknown(errors.NotFound):
    """No such exec."""


@dataclass(frozen=True, slots=True)
class ExecWish:
    """The body of `POST /containers/{id}/exec`."""

    command: tuple[str, ...]
    terminal: bool = False
    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    env: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    privileged: bool = False
    detach_keys: str = ""


@dataclass(slots=True)
class Exec:
    """One exec and how it stands."""

    id: str
    container_id: str
    wish: ExecWish
    running: bool = False
    started: bool = False
    pid: int = 0
    exit_code: int | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)  # it runs, or never will
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class ExecStreams:
    """The client's end of an exec: the same face as an attachment."""

    def __init__(self, item: Exec, streams: keeping.ExecStreams, tell_detached: Callable[[], None]) -> None:
        self._tell_detached = tell_detached
        self.terminal = item.wish.terminal
        self._item = item
        self._streams = streams
        self._readers: dict[int, int] = {}
        if streams.terminal is not None:
            self._readers[streams.terminal] = stdcopy.STDOUT
        for stream, descriptor in ((stdcopy.STDOUT, streams.stdout), (stdcopy.STDERR, streams.stderr)):
            if descriptor is not None:
                self._readers[descriptor] = stream
        for descriptor in (streams.terminal, streams.stdin, streams.stdout, streams.stderr):
            if descriptor is not None:
                os.set_blocking(descriptor, False)

    async def output(
        self, *, stdout: bool = True, stderr: bool = True, logs_too: bool = False, stream: bool = True
    ) -> AsyncIterator[bytes]:
        """Frames, or raw bytes from a terminal, until all ends are closed. The options are an attachment's."""
        pieces: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue(maxsize=8)
        pumps = [asyncio.create_task(_pump(fd, number, pieces)) for fd, number in self._readers.items()]
        open_ends = len(pumps)
        try:
            while open_ends:
                number, content = await pieces.get()
                if not content:
                    open_ends -= 1
                elif self.terminal:
                    yield content
                elif (number == stdcopy.STDOUT and stdout) or (number == stdcopy.STDERR and stderr):
                    yield stdcopy.header(number, len(content)) + content
        finally:
            for pump in pumps:
                pump.cancel()

    async def write(self, content: bytes) -> None:
        """Send input. Raises BrokenPipeError when the process has closed its end."""
        descriptor = self._streams.terminal if self.terminal else self._streams.stdin
        if descriptor is not None:
            await readiness.write_all(descriptor, content)

    async def end_input(self) -> None:
        """End of file; a terminal has none."""
        if self._streams.stdin is not None:
            os.close(self._streams.stdin)
            self._streams.stdin = None

    def detached(self) -> None:
        """The client typed its keys: the process goes on."""
        self._tell_detached()

    async def close(self) -> None:
        """The client is gone, or everything was read."""
        self._streams.close()


class Execs:
    """All execs of one daemon."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._items: dict[str, Exec] = {}

    def create(self, reference: str, wish: ExecWish) -> Exec:
        """Raises `ContainerBusy` unless the container runs."""
        container = self._running(reference)
        if not wish.command:
            raise errors.Invalid("No exec command specified")
        item = Exec(self._room.new_id(), container.id, wish)
        while len(self._items) >= REMEMBERED:
            oldest = next((key for key, old in self._items.items() if not old.running), None)
            if oldest is None:
                raise errors.Unavailable("too many exec processes", remedy="wait until some have ended")
            del self._items[oldest]
        self._items[item.id] = item
        self._room.publish(container, f"exec_create: {_line(wish)}", execID=item.id)
        return item

    def get(self, exec_id: str) -> Exec:
        """Raises `ExecUnknown`."""
        found = self._items.get(exec_id)
        if found is None or not self._room.roster.has(found.container_id):
            raise ExecUnknown(f"No such exec instance: {exec_id}")
        return found

    def discard(self, exec_id: str) -> None:
        """Forget one nobody asks for any more."""
        self._items.pop(exec_id, None)

    def of(self, container_id: str) -> list[str]:
        """Ids of the running ones, for inspect."""
        return [item.id for item in self._items.values() if item.container_id == container_id and item.running]

    async def start(self, exec_id: str, *, rows: int = 0, columns: int = 0) -> ExecStreams:
        """Raises `Conflict` for a second start, `StartFailed`."""
        item = self.get(exec_id)
        if item.started:
            raise errors.Conflict(f"Error: Exec command {exec_id} has already run")
        item.started = True
        try:
            container = self._running(item.container_id)
            document = await asyncio.to_thread(self._process, container, item.wish)
        except errors.SampanError:
            self._never_ran(item)
            raise
        place = self._room.paths(container.id)
        description = place.run / f"exec-{exec_id[:16]}.json"
        files.write_scratch(description, json.dumps(document).encode(), mode=0o600)
        log = place.run / f"exec-{exec_id[:16]}.log"
        pid_file = place.run / f"exec-{exec_id[:16]}.pid"
        arguments = self._room.runtime(container).exec(
            container.id, process=description, pid_file=pid_file, log=log, terminal=item.wish.terminal
        )
        try:
            started, streams = await self._room.keeper.exec(
                container.id,
                exec_id,
                arguments,
                pid_file=pid_file,
                runtime_log=log,
                terminal=item.wish.terminal,
                open_stdin=item.wish.stdin,
                rows=rows,
                cols=columns,
            )
        except keeping.RuntimeFailed as error:
            self._never_ran(item)
            raise runtime.explain(error.stderr, error.runtime_log) from error
        finally:
            for file in (description, log, pid_file):
                file.unlink(missing_ok=True)
        item.running, item.pid = item.exit_code is None, started.pid
        item.begun.set()
        self._room.publish(container, f"exec_start: {_line(item.wish)}", execID=item.id)
        return ExecStreams(item, streams, lambda: self._room.publish(container, "exec_detach", execID=item.id))

    async def resize(self, exec_id: str, rows: int, columns: int) -> None:
        """Clients ask as soon as the start is answered, which is before there is a process.

        Raises `Conflict` without a terminal, `Unavailable` if it is not started.
        """
        item = self.get(exec_id)
        try:
            await asyncio.wait_for(item.begun.wait(), BEGIN_LIMIT_S)
        except TimeoutError as error:
            raise errors.Unavailable("timeout waiting for exec session ready", remedy="start the exec first") from error
        await self._room.keeper.resize(item.container_id, rows, columns, exec_id=exec_id)

    async def ended(self, exit_: keeping.Exit) -> None:
        """The keeper says so."""
        item = self._items.get(exit_.exec_id)
        if item is not None:
            item.running, item.exit_code = False, exit_.exit_code
            item.ended.set()
            self._announce_end(item, exit_.exit_code)
        try:
            await self._room.keeper.forget(exit_.container, exec_id=exit_.exec_id)
        except (errors.NotFound, errors.Conflict):
            return  # the container went and took it along

    def _never_ran(self, item: Exec) -> None:
        """What clients that ask for its exit code read. Source: docker's exit status 126."""
        item.begun.set()
        item.exit_code = 126
        item.ended.set()

    def _announce_end(self, item: Exec, code: int) -> None:
        try:
            container = self._room.get(item.container_id)
        except ContainerUnknown:
            return  # removed with everything in it
        self._room.publish(container, "exec_die", execID=item.id, exitCode=str(code))

    def _running(self, reference: str) -> Container:
        container = self._room.get(reference)
        if not container.alive:
            raise ContainerBusy(f"container {container.id} is not running")
        if container.phase.value == "paused":
            raise ContainerBusy(f"container {container.id} is paused, unpause the container before exec")
        return container

    def _process(self, container: Container, wish: ExecWish) -> dict[str, object]:
        """The first process of the container with other arguments: same limits, same filter, never more. Blocking."""
        place = self._room.paths(container.id)
        document: dict[str, object] = json.loads(place.configuration.read_text())["process"]
        document.update(args=list(wish.command), terminal=wish.terminal)
        document.pop("consoleSize", None)
        if wish.working_dir:
            document["cwd"] = wish.working_dir
        home = ""
        if wish.user:
            root, extra = place.rootfs, tuple(container.wanted.host.group_add)
            passwd, group = rootfs.read_inside(root, "/etc/passwd"), rootfs.read_inside(root, "/etc/group")
            identity = users.resolve(wish.user, passwd, group, extra)
            document["user"] = spec.user(identity)
            home = identity.home
            document["capabilities"] = _held_by(identity.uid, document["capabilities"])
        document["env"] = environment(_texts(document["env"]), container.wanted.config.env, wish, home=home)
        if wish.privileged:
            names = [f"CAP_{name}" for name in sorted(self._room.host.bounding)]
            document["capabilities"] = {"bounding": names, "effective": names, "permitted": names}
        return document


def environment(first: Sequence[str], asked: Sequence[str], wish: ExecWish, *, home: str) -> list[str]:
    """The first process's, and what the exec adds. `asked` is the container's own; what neither says follows the exec:
    TERM its terminal, HOME its user (`home`, "" for the container's own). Pure."""
    named = {item.partition("=")[0] for item in (*asked, *wish.env)}
    merged = {item.partition("=")[0]: item for item in first if "=" in item}
    if "TERM" not in named:
        merged.pop("TERM", None)
        if wish.terminal:
            merged["TERM"] = "TERM=xterm"
    if home and "HOME" not in named:
        merged["HOME"] = f"HOME={home}"
    merged |= {item.partition("=")[0]: item for item in wish.env if "=" in item}
    for item in wish.env:
        if "=" not in item:  # `-e NAME` of a name the client did not have: it is taken away
            merged.pop(item, None)
    return list(merged.values())


def _held_by(uid: int, capabilities: object) -> dict[str, object]:
    """The container's capabilities as another user has them: root all of them, others none but through files."""
    given = capabilities if isinstance(capabilities, dict) else {}
    held = given.get("bounding", []) if uid == 0 else []
    return {**given, "effective": held, "permitted": held}


def _line(wish: ExecWish) -> str:
    """The command as dockerd's events have it: one blank behind the program, also when nothing follows."""
    return f"{wish.command[0]} {' '.join(wish.command[1:])}"


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


async def _pump(descriptor: int, number: int, pieces: asyncio.Queue[tuple[int, bytes]]) -> None:
    while True:
        try:
            content = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            await readiness.wait(descriptor, reading=True)
            continue
        except OSError:  # EIO: the last process that had the terminal is gone
            content = b""
        await pieces.put((number, content))
        if not content:
            return
