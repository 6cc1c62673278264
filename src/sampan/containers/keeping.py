"""The daemon's side of the keeper: find it or start it, ask it, and hear of exits.

`ensure` connects to the keeper of this host, starting one when there is none. The keeper is nobody's child and has a
session of its own, so it outlives the daemon; a service manager that kills by control group must be told to leave it
alone (systemd: `KillMode=process`), or be given its own place for it (`prefix`, e.g. `systemd-run --scope`).
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from sampan import errors
from sampan.containers import keeperlink
from sampan.containers.keeperlink import KeeperGone as KeeperGone
from sampan.containers.keeperlink import RuntimeFailed as RuntimeFailed
from sampan.keeper import protocol

_START_TIMEOUT_S = 10.0
_ATTEMPTS = 3
_BOOT = """import sys
sys.path.append(sys.argv.pop(1))
from sampan.keeper.__main__ import main
sys.exit(main(sys.argv[1:]))"""
State = Literal["starting", "running", "exited"]


@dataclass(frozen=True, slots=True)
class LogLimits:
    """How a container's log is kept. Kind "none" keeps only what attached clients need."""

    kind: Literal["file", "none"] = "file"
    max_size_bytes: int = 0
    max_files: int = 1


@dataclass(frozen=True, slots=True)
class Started:
    """A process the keeper now holds."""

    pid: int
    started_ns: int


@dataclass(frozen=True, slots=True)
class Held:
    """A process as the keeper knows it; `exec_id` is "" for a container's own. After the exit `exit_code` is set."""

    container: str
    exec_id: str
    state: State
    pid: int
    started_ns: int
    exit_code: int | None
    finished_ns: int
    recorded: bool
    lost_bytes: int


@dataclass(frozen=True, slots=True)
class Exit:
    """A process has ended; everything it wrote is in its log, and `exit.json` is on disk if `recorded`."""

    container: str
    exec_id: str
    pid: int
    exit_code: int
    started_ns: int
    finished_ns: int
    recorded: bool
    lost_bytes: int


@dataclass(slots=True)
class ExecStreams:
    """The daemon's ends of an exec's streams, blocking descriptors it must close; `terminal` or the other three."""

    stdin: int | None = None
    stdout: int | None = None
    stderr: int | None = None
    terminal: int | None = None

    def close(self) -> None:
        """Close what is open."""
        for name in ("stdin", "stdout", "stderr", "terminal"):
            descriptor = getattr(self, name)
            if descriptor is not None:
                os.close(descriptor)
                setattr(self, name, None)


async def ensure(
    path: Path,
    *,
    on_exit: Callable[[Exit], None],
    on_gone: Callable[[KeeperGone], None],
    prefix: Sequence[str] = (),
) -> Keeper:
    """Connect to the keeper at `path`, starting it first when nobody answers. Raises: Broken, Unsupported."""
    for _ in range(_ATTEMPTS):
        try:
            return await _greet(path, on_exit, on_gone)
        except (ConnectionRefusedError, FileNotFoundError, KeeperGone):
            await _start(path, prefix)  # also when the one that answered was just dying
    return await _greet(path, on_exit, on_gone)


async def _greet(path: Path, on_exit: Callable[[Exit], None], on_gone: Callable[[KeeperGone], None]) -> Keeper:
    """Connect and hear it speak. Raises: OSError, KeeperGone, Unsupported."""
    keeper = Keeper(keeperlink.connect(path), on_exit=on_exit, on_gone=lambda _gone: None)
    try:
        await keeper.greet()
    except BaseException:
        keeper.close()
        raise
    keeper.tell_when_gone(on_gone)
    return keeper


def command(path: Path) -> list[str]:
    """The command line of a keeper. `-S` spares it the site-packages, so the package's place is given by hand."""
    source = str(Path(__file__).parents[2])
    return [sys.executable, "-I", "-S", "-c", _BOOT, source, "--socket", str(path), "--daemon"]


async def _start(path: Path, prefix: Sequence[str]) -> None:
    """Start a keeper; when this returns it listens. Raises: Broken."""
    words = [*prefix, *command(path)]
    starting = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(_START_TIMEOUT_S):
        _, stderr = await starting.communicate()
    if starting.returncode not in (0, protocol.EXIT_LOCKED):
        raise errors.Broken("the keeper does not start", why=f"{words!r}: {stderr.decode(errors='replace').strip()}")


class Keeper:
    """A connection to the keeper: one method per verb of `sampan.keeper.protocol`.

    `on_exit` is called for every exit while connected; `processes` tells of those that came before. A call that is
    cancelled may still be carried out. `on_gone` is called
    once when the connection ends by itself; calls under way then raise KeeperGone, and so do later ones.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        on_exit: Callable[[Exit], None],
        on_gone: Callable[[KeeperGone], None],
    ) -> None:
        self.pid = 0
        self._on_exit = on_exit
        self._link = keeperlink.Link(connection, on_event=self._on_event, on_gone=on_gone)

    def tell_when_gone(self, on_gone: Callable[[KeeperGone], None]) -> None:
        """Call somebody else when the connection ends by itself."""
        self._link.on_gone = on_gone

    def close(self) -> None:
        """End the connection; the keeper and everything it holds go on."""
        self._link.close()

    async def greet(self) -> None:
        """Learn who it is. Raises: Unsupported when a keeper of another version holds the containers."""
        async with self._link.asking("hello") as replies:
            greeting = (await replies.get()).ok()
        version, self.pid = greeting["version"], greeting["pid"]
        if version != protocol.VERSION:
            raise errors.Unsupported(
                f"the running keeper speaks version {version}, this daemon {protocol.VERSION}",
                remedy="stop the containers with the daemon that started them, then start this one",
            )

    async def processes(self) -> list[Held]:
        """Everything the keeper holds."""
        held: list[Held] = []
        async with self._link.asking("hello") as replies:
            while True:
                reply = await replies.get()
                held += [_held(facts) for facts in reply.ok()["processes"]]
                if not reply.ok()["more"]:
                    return held

    async def run(
        self,
        container: str,
        argv: Sequence[str],
        *,
        pid_file: Path,
        log_dir: Path,
        runtime_log: Path | None = None,
        terminal: bool = False,
        open_stdin: bool = False,
        stdin_once: bool = False,
        rows: int = 0,
        cols: int = 0,
        record: bool = True,
        log: LogLimits = LogLimits(),
    ) -> Started:
        """Run the OCI runtime, which detaches and leaves the container to the keeper.

        `record`: the exit goes to `exit.json` before it is told. Without it a keeper that dies takes the code along.
        With a terminal, argv holds `protocol.CONSOLE_SOCKET` where the console socket's path belongs.
        Raises: RuntimeFailed, Conflict (the name is held), KeeperGone.
        """
        reply = await self._link.ask(
            "run",
            container=container,
            argv=list(argv),
            pid_file=str(pid_file),
            log_dir=str(log_dir),
            runtime_log=str(runtime_log or ""),
            terminal=terminal,
            open_stdin=open_stdin,
            stdin_once=stdin_once,
            rows=rows,
            cols=cols,
            record=record,
            log={"kind": log.kind, "max_size_bytes": log.max_size_bytes, "max_files": log.max_files},
        )
        ok = reply.ok()
        return Started(ok["pid"], ok["started_ns"])

    async def exec(
        self,
        container: str,
        exec_id: str,
        argv: Sequence[str],
        *,
        pid_file: Path,
        runtime_log: Path | None = None,
        terminal: bool = False,
        open_stdin: bool = False,
        rows: int = 0,
        cols: int = 0,
    ) -> tuple[Started, ExecStreams]:
        """Run a further process in a running container. Raises: as `run`, NotFound."""
        reply = await self._link.ask(
            "exec",
            container=container,
            exec=exec_id,
            argv=list(argv),
            pid_file=str(pid_file),
            runtime_log=str(runtime_log or ""),
            terminal=terminal,
            open_stdin=open_stdin,
            rows=rows,
            cols=cols,
        )
        ok, ends = reply.ok(), list(reply.descriptors)
        started = Started(ok["pid"], ok["started_ns"])
        if terminal:
            return started, ExecStreams(terminal=ends[0])
        return started, ExecStreams(stdin=ends.pop(0) if open_stdin else None, stdout=ends[0], stderr=ends[1])

    async def stdin(self, container: str) -> int:
        """A descriptor to write the container's input to (its terminal if it has one); the caller closes it.

        A terminal's is non-blocking, because it shares its flags with the keeper's own: leave it so.
        Raises: Conflict when stdin is not open.
        """
        return (await self._link.ask("stdin", container=container)).descriptors[0]

    async def close_stdin(self, container: str) -> None:
        """Close the keeper's end; end of file follows when the caller's are closed too."""
        await self._link.ask("close_stdin", container=container)

    async def resize(self, container: str, rows: int, cols: int, *, exec_id: str = "") -> None:
        """Set the terminal's size. Raises: Conflict when there is none."""
        await self._link.ask("resize", container=container, exec=exec_id, rows=rows, cols=cols)

    async def signal(self, container: str, number: int, *, exec_id: str = "") -> None:
        """Send a signal to that very process; while it is starting, to the runtime, which may hang.

        Raises: Conflict when it has ended, NotFound.
        """
        await self._link.ask("signal", container=container, exec=exec_id, signal=number)

    async def forget(self, container: str, *, exec_id: str = "") -> None:
        """The exit is in the database; a container takes its execs along. Raises: Conflict while it runs, NotFound."""
        await self._link.ask("forget", container=container, exec=exec_id)

    async def stop(self) -> None:
        """End the keeper, and with it this connection. Raises: Conflict while anything runs."""
        await self._link.ask("stop")
        self.close()

    def _on_event(self, message: dict[str, Any]) -> None:
        if message["event"] == "exit":
            self._on_exit(_exit(message))


def _held(facts: dict[str, Any]) -> Held:
    return Held(exec_id=facts["exec"], **{name: facts[name] for name in _HELD_FIELDS})


def _exit(facts: dict[str, Any]) -> Exit:
    return Exit(exec_id=facts["exec"], **{name: facts[name] for name in _EXIT_FIELDS})


_HELD_FIELDS = [field.name for field in fields(Held) if field.name != "exec_id"]
_EXIT_FIELDS = [field.name for field in fields(Exit) if field.name != "exec_id"]
