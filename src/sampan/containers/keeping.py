"""The daemon's side of the keeper: find it or start it, ask it, and hear of exits.

`ensure` connects to the keeper of this host, starting one when there is none. The keeper is nobody's child and has a
session of its own, so it outlives the daemon; a service manager that kills by control group must be told to leave it
alone (systemd: `KillMode=process`), or be given its own place for it (`prefix`, e.g. `systemd-run --scope`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from sampan import errors
from sampan.keeper import protocol

_START_TIMEOUT_S = 10.0
_ATTEMPTS = 3
_BOOT = """import sys
sys.path.append(sys.argv.pop(1))
from sampan.keeper.__main__ import main
sys.exit(main(sys.argv[1:]))"""
# What the keeper calls a kind of error is its class name.
_KINDS: dict[str, type[errors.SampanError]] = {kind.__name__: kind for kind in errors.KINDS}

State = Literal["starting", "running", "exited"]


class KeeperGone(errors.Unavailable):
    """The connection to the keeper has ended."""


class RuntimeFailed(errors.Broken):
    """The OCI runtime failed; nothing was started. `message` is the runtime's own last error."""

    def __init__(self, what: str, *, why: str, exit_code: int, stderr: str, runtime_log: str) -> None:
        self.message = _runtime_message(runtime_log) or stderr.strip()
        super().__init__(what, why="; ".join(part for part in (why, self.message) if part))
        self.exit_code = exit_code
        self.stderr = stderr
        self.runtime_log = runtime_log


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
    keeper = Keeper(_connect(path), on_exit=on_exit, on_gone=lambda _gone: None)
    try:
        await keeper.greet()
    except BaseException:
        keeper.close()
        raise
    keeper.on_gone = on_gone
    return keeper


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(str(path))
    except BaseException:
        connection.close()
        raise
    connection.setblocking(False)
    return connection


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
        self._socket = connection
        self._on_exit = on_exit
        self.on_gone = on_gone
        self._loop = asyncio.get_running_loop()
        self._number = 0
        self.pid = 0
        self._pending: dict[int, asyncio.Queue[_Reply]] = {}
        self._outgoing: deque[bytes] = deque()
        self._gone: KeeperGone | None = None
        self._loop.add_reader(connection.fileno(), self._on_readable)

    def close(self) -> None:
        """End the connection; the keeper and everything it holds go on."""
        self._end(KeeperGone("the connection to the keeper was closed"))

    async def greet(self) -> None:
        """Learn who it is. Raises: Unsupported when a keeper of another version holds the containers."""
        async with self._asking("hello", {}) as replies:
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
        async with self._asking("hello", {}) as replies:
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
        log: LogLimits = LogLimits(),
    ) -> Started:
        """Run the OCI runtime, which detaches and leaves the container to the keeper.

        With a terminal, argv holds `protocol.CONSOLE_SOCKET` where the console socket's path belongs.
        Raises: RuntimeFailed, Conflict (the name is held), KeeperGone.
        """
        reply = await self._ask(
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
        reply = await self._ask(
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

        Raises: Conflict when stdin is not open.
        """
        return (await self._ask("stdin", container=container)).descriptors[0]

    async def close_stdin(self, container: str) -> None:
        """Close the keeper's end; end of file follows when the caller's are closed too."""
        await self._ask("close_stdin", container=container)

    async def resize(self, container: str, rows: int, cols: int, *, exec_id: str = "") -> None:
        """Set the terminal's size. Raises: Conflict when there is none."""
        await self._ask("resize", container=container, exec=exec_id, rows=rows, cols=cols)

    async def signal(self, container: str, number: int, *, exec_id: str = "") -> None:
        """Send a signal to that very process; while it is starting, to the runtime, which may hang.

        Raises: Conflict when it has ended, NotFound.
        """
        await self._ask("signal", container=container, exec=exec_id, signal=number)

    async def forget(self, container: str, *, exec_id: str = "") -> None:
        """The exit is in the database; a container takes its execs along. Raises: Conflict while it runs, NotFound."""
        await self._ask("forget", container=container, exec=exec_id)

    async def stop(self) -> None:
        """End the keeper, and with it this connection. Raises: Conflict while anything runs."""
        await self._ask("stop")
        self.close()

    async def _ask(self, verb: str, **fields: object) -> _Reply:
        async with self._asking(verb, fields) as replies:
            reply = await replies.get()
            reply.ok()
            return reply

    @contextlib.asynccontextmanager
    async def _asking(self, verb: str, fields: dict[str, object]) -> AsyncIterator[asyncio.Queue[_Reply]]:
        """Send a request; its replies arrive in the queue. Descriptors nobody took are closed."""
        if self._gone is not None:
            raise self._gone
        self._number += 1
        number = self._number
        replies: asyncio.Queue[_Reply] = asyncio.Queue()
        self._pending[number] = replies
        try:
            self._send(protocol.encode({"id": number, "do": verb, **fields}))
            yield replies
        finally:
            self._pending.pop(number, None)
            while not replies.empty():
                replies.get_nowait().close()

    def _send(self, packet: bytes) -> None:
        if len(packet) > protocol.MAX_PACKET_BYTES:
            raise errors.Invalid(f"a request of {len(packet)} bytes is too long for the keeper")
        self._outgoing.append(packet)
        self._on_writable()

    def _on_writable(self) -> None:
        while self._outgoing and self._gone is None:
            try:
                self._socket.send(self._outgoing[0])
            except BlockingIOError:
                self._loop.add_writer(self._socket.fileno(), self._on_writable)
                return
            except OSError as error:
                self._end(KeeperGone("the keeper is gone", why=str(error)), tell=True)
                return
            self._outgoing.popleft()
        if self._gone is None:
            self._loop.remove_writer(self._socket.fileno())

    def _on_readable(self) -> None:
        try:
            packet, descriptors, _, _ = socket.recv_fds(
                self._socket, protocol.MAX_PACKET_BYTES, protocol.MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError as error:
            self._end(KeeperGone("the keeper is gone", why=str(error)), tell=True)
            return
        if not packet:
            self._end(KeeperGone("the keeper is gone", why="it closed the connection"), tell=True)
            return
        self._take(json.loads(packet), descriptors)

    def _take(self, message: dict[str, Any], descriptors: list[int]) -> None:
        if message.get("event") == "exit":
            self._on_exit(_exit(message))
            return
        reply = _Reply(message, descriptors)
        replies = self._pending.get(message["id"])
        if replies is None:
            reply.close()  # who asked was cancelled
        else:
            replies.put_nowait(reply)

    def _end(self, gone: KeeperGone, *, tell: bool = False) -> None:
        """`tell` is for an end nobody here asked for."""
        if self._gone is not None:
            return
        self._gone = gone
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        for replies in self._pending.values():
            replies.put_nowait(_Reply({}, [], gone))
        if tell:
            self.on_gone(gone)


@dataclass(frozen=True, slots=True)
class _Reply:
    """One packet that answers a request, or the news that none will come."""

    message: dict[str, Any]
    descriptors: list[int]
    gone: KeeperGone | None = None

    def ok(self) -> dict[str, Any]:
        """The answer. Raises: the error it holds."""
        if self.gone is not None:
            raise self.gone
        error = self.message.get("error")
        if error is None:
            ok: dict[str, Any] = self.message["ok"]
            return ok
        if "runtime_log" in error:
            raise RuntimeFailed(
                error["what"],
                why=error["why"],
                exit_code=error["exit_code"],
                stderr=error["stderr"],
                runtime_log=error["runtime_log"],
            )
        raise _KINDS.get(error["kind"], errors.Broken)(error["what"], why=error["why"])

    def close(self) -> None:
        """Close descriptors nobody will take."""
        for descriptor in self.descriptors:
            os.close(descriptor)


def _held(facts: dict[str, Any]) -> Held:
    return Held(exec_id=facts["exec"], **{name: facts[name] for name in _HELD_FIELDS})


def _exit(facts: dict[str, Any]) -> Exit:
    return Exit(exec_id=facts["exec"], **{name: facts[name] for name in _EXIT_FIELDS})


_HELD_FIELDS = [field.name for field in fields(Held) if field.name != "exec_id"]
_EXIT_FIELDS = [field.name for field in fields(Exit) if field.name != "exec_id"]


def _runtime_message(runtime_log: str) -> str:
    """The last error in a runtime's JSON log; "" when there is none."""
    for line in reversed(runtime_log.splitlines()):
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("level") in ("error", "fatal"):
                return str(entry.get("msg", "")).strip()
    return ""
