"""The keeper's verbs: one method per row of the table in `protocol`."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Callable

from sampan.keeper import clients, guard, launch, logwriter, loop, process, protocol, record

# The log of kind "none" still has to feed those who attach, so it is a short one.
_NO_LOG = {"max_size_bytes": 1 << 20, "max_files": 2}

Reply = dict[str, object]


class Server:
    """All processes and all clients of one keeper."""

    def __init__(self, *, console_prefix: str, events: loop.Loop) -> None:
        self._loop = events
        self._console_prefix = console_prefix
        self._launch_count = 0
        self._launching = 0
        self._clients: set[clients.Client] = set()
        self._processes: dict[tuple[str, str], process.Process] = {}
        self._guard = guard.Guard(events)
        self._descriptors: list[int] = []  # that came with the request under way
        self._verbs: dict[str, Callable[[clients.Client, protocol.Request], None]] = {
            "hello": self._hello,
            "run": self._run,
            "exec": self._exec,
            "stdin": self._stdin,
            "close_stdin": self._close_stdin,
            "resize": self._resize,
            "signal": self._signal,
            "forget": self._forget,
            "guard": self._take_guard,
            "answer": self._answer,
            "stop": self._stop,
        }

    def connect(self, connection: socket.socket) -> None:
        """A client has arrived."""
        self._clients.add(
            clients.Client(connection, events=self._loop, on_packet=self._on_packet, on_close=self._on_close)
        )

    def stop_when_idle(self) -> None:
        """What SIGTERM does: end when nothing is held that anybody could miss."""
        if all(held.state == process.EXITED for held in self._processes.values()):
            self._loop.stop()

    def reap(self) -> None:
        """What SIGCHLD does: bury orphans that are nobody's process.

        Not while a launch is under way: its container may be dead already and not yet known by its pid file.
        """
        if self._launching:
            return
        known = {held.pid for held in self._processes.values() if held.state == process.RUNNING}
        _bury(known)

    def _on_packet(self, client: clients.Client, packet: bytes, descriptors: list[int]) -> None:
        """Every request gets a reply, also one that meets a mistake of ours."""
        number: object = None
        self._descriptors = descriptors
        try:
            if len(packet) > protocol.MAX_PACKET_BYTES:
                raise protocol.Refused("Invalid", f"the request is longer than {protocol.MAX_PACKET_BYTES} bytes")
            request = protocol.Request.decode(packet)
            number = request.fields.get("id")
            request.identify()
            verb = self._verbs.get(request.verb)
            if verb is None:
                raise protocol.Refused("Unsupported", f"the keeper has no verb {request.verb!r:.100}")
            verb(client, request)
        except protocol.Refused as refused:
            client.send({"id": number, "error": refused.message()})
        except Exception as error:
            # Out of descriptors, memory or processes: the request failed, the keeper goes on.
            kind = "Unavailable" if isinstance(error, OSError) else "Broken"
            client.send(
                {"id": number, "error": protocol.Refused(kind, "the keeper cannot do that", repr(error)).message()}
            )
            if kind == "Broken":
                raise
        finally:
            for descriptor in self._descriptors:  # those that no verb took
                os.close(descriptor)
            self._descriptors = []

    def _on_close(self, client: clients.Client) -> None:
        self._clients.discard(client)
        self._guard.forget(client)
        for held in self._processes.values():
            if held.owner is client:
                held.owner = None
                held.release_master()

    def _hello(self, client: clients.Client, request: protocol.Request) -> None:
        facts = [held.facts() for held in self._processes.values()]
        size = protocol.PROCESSES_PER_PACKET
        for first in range(0, max(1, len(facts)), size):
            ok: Reply = {"version": protocol.VERSION, "pid": os.getpid(), "processes": facts[first : first + size]}
            client.send({"id": request.number, "ok": {**ok, "more": first + size < len(facts)}})

    def _run(self, client: clients.Client, request: protocol.Request) -> None:
        request.with_defaults(protocol.RUN_DEFAULTS)
        held = self._new_process(request.text("container"), "", client)
        held.stdin_once = request.flag("stdin_once")
        held.records = request.flag("record")
        log_dir, log_options = request.text("log_dir"), _log_options(request)
        started = self._new_launch(client, request, held)
        record.remove_exit(log_dir)
        held.writer = logwriter.LogWriter(log_dir, **log_options)
        self._start(held, started)

    def _exec(self, client: clients.Client, request: protocol.Request) -> None:
        request.with_defaults(protocol.EXEC_DEFAULTS)
        exec_id = request.text("exec")
        if not exec_id:
            raise protocol.Refused("Invalid", "exec must not be empty")
        if self._find(request.text("container"), "").state != process.RUNNING:
            raise protocol.Refused("Conflict", f"container {request.text('container')} is not running")
        held = self._new_process(request.text("container"), exec_id, client)
        held.owner = client
        self._start(held, self._new_launch(client, request, held))

    def _stdin(self, client: clients.Client, request: protocol.Request) -> None:
        held = self._find(request.text("container"), "")
        if held.master < 0 and held.stdin < 0:
            raise protocol.Refused("Conflict", f"container {held.container} has no open stdin")
        client.send({"id": request.number, "ok": {}}, [held.take_stdin()])

    def _close_stdin(self, client: clients.Client, request: protocol.Request) -> None:
        self._find(request.text("container"), "").close_stdin()
        client.send({"id": request.number, "ok": {}})

    def _resize(self, client: clients.Client, request: protocol.Request) -> None:
        held = self._find(request.text("container"), request.text("exec", ""))
        if held.master < 0:
            raise protocol.Refused("Conflict", f"{_name(held)} has no terminal")
        held.resize(*request.size("rows"))
        client.send({"id": request.number, "ok": {}})

    def _signal(self, client: clients.Client, request: protocol.Request) -> None:
        held = self._find(request.text("container"), request.text("exec", ""))
        number = request.integer("signal")
        if not 0 <= number < signal.NSIG:
            raise protocol.Refused("Invalid", f"there is no signal {number}")
        try:
            held.signal(number)
        except ProcessLookupError:
            raise protocol.Refused("Conflict", f"{_name(held)} is not running") from None
        client.send({"id": request.number, "ok": {}})

    def _forget(self, client: clients.Client, request: protocol.Request) -> None:
        held = self._find(request.text("container"), request.text("exec", ""))
        family = (
            [held] if held.exec_id else [one for one in self._processes.values() if one.container == held.container]
        )
        for one in family:
            if one.state != process.EXITED:
                raise protocol.Refused("Conflict", f"{_name(one)} is {one.state}", "only an exit can be forgotten")
        for one in family:
            self._drop(one)
        client.send({"id": request.number, "ok": {}})

    def _take_guard(self, client: clients.Client, request: protocol.Request) -> None:
        if self._descriptors:
            self._guard.take(self._descriptors[0])
            self._descriptors = []
        group = self._guard.group()
        client.send({"id": request.number, "ok": {"held": bool(group)}}, group)
        self._guard.watch(client)

    def _answer(self, client: clients.Client, request: protocol.Request) -> None:
        number, error = request.integer("number"), request.integer("errno")
        if error not in (0, errno.EIO):  # the kernel takes few errnos, and EIO is what happened
            raise protocol.Refused("Invalid", f"a read cannot be answered by errno {error}")
        self._guard.answer(number, error)
        client.send({"id": request.number, "ok": {}})

    def _stop(self, client: clients.Client, request: protocol.Request) -> None:
        running = sum(held.state != process.EXITED for held in self._processes.values())
        if running:
            raise protocol.Refused("Conflict", "the keeper holds running processes", f"{running} of them")
        client.send({"id": request.number, "ok": {}})
        self._loop.stop()

    def _find(self, container: str, exec_id: str) -> process.Process:
        held = self._processes.get((container, exec_id))
        if held is None:
            name = f"exec {exec_id} of container {container}" if exec_id else f"container {container}"
            raise protocol.Refused("NotFound", f"the keeper does not hold {name}")
        return held

    def _new_process(self, container: str, exec_id: str, client: clients.Client) -> process.Process:
        """Not yet in the table. Raises: Refused when its name is."""
        if not container:
            raise protocol.Refused("Invalid", "container must not be empty")
        present = self._processes.get((container, exec_id))
        if present is not None:
            raise protocol.Refused("Conflict", f"the keeper already holds {_name(present)}", f"it is {present.state}")
        return process.Process(container, exec_id, on_exit=self._announce, events=self._loop)

    def _new_launch(self, client: clients.Client, request: protocol.Request, held: process.Process) -> launch.Launch:
        def done(started: launch.Launch, error: protocol.Refused | None) -> None:
            self._launching -= 1
            if error is None:
                ok: Reply = {"pid": held.pid, "started_ns": held.started_ns}
                client.send({"id": request.number, "ok": ok}, started.ends)
            else:
                self._drop(held)
                client.send({"id": request.number, "error": error.message()})
            if held.exec_id and not client.open:
                held.release_master()
            self.reap()

        self._launch_count += 1
        console_path = f"{self._console_prefix}{self._launch_count}"
        return launch.Launch(held, request, console_path=console_path, events=self._loop, done=done)

    def _start(self, held: process.Process, started: launch.Launch) -> None:
        self._processes[held.container, held.exec_id] = held
        try:
            started.start()
        except OSError as error:
            self._drop(held)
            raise protocol.Refused("Broken", "the runtime cannot be started", str(error), exit_code=-1) from error
        self._launching += 1

    def _drop(self, held: process.Process) -> None:
        self._processes.pop((held.container, held.exec_id), None)
        held.close()

    def _announce(self, held: process.Process) -> None:
        event = {"event": "exit", "recorded": held.recorded, **held.exit_facts()}
        for client in list(self._clients):
            client.send(event)
        self.reap()  # an orphan may have been waiting behind this one


def _log_options(request: protocol.Request) -> dict[str, int]:
    """`max_size_bytes` and `max_files` of the log asked for. Raises: Refused."""
    log = protocol.Request(request.mapping("log"))
    if log.text("kind", "file") == "none":
        return _NO_LOG
    log.with_defaults({"max_size_bytes": 0, "max_files": 1})
    return {"max_size_bytes": max(0, log.integer("max_size_bytes")), "max_files": max(1, log.integer("max_files"))}


def _name(held: process.Process) -> str:
    return f"exec {held.exec_id} of container {held.container}" if held.exec_id else f"container {held.container}"


def _bury(known: set[int]) -> None:
    """Reap dead children until there is none, or one of `known`, whose own descriptor will report it."""
    while True:
        try:
            result = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if result is None or result.si_pid in known:
            return
        os.waitid(os.P_PID, result.si_pid, os.WEXITED | os.WNOHANG)
