"""Start a runtime (`runc run --detach`, `runc exec --detach`), wait for it, and take over the process it leaves behind.

A detaching runtime hands its own stdin, stdout and stderr to the container. Its output is therefore not read until it
has exited: if it failed, what lies in the pipe is its own message; if not, it is the container's first output.
A terminal comes the other way round: the runtime sends its master over the console socket.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

from sampan.formats import stdcopy
from sampan.keeper import loop, process, protocol

# Python ignores some, the keeper others, and whoever started it may have as well; a container starts with the defaults.
_DEFAULT_SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


class Launch:
    """One runtime on its way. `done(launch, error)` is called once; `error` is None when the process was adopted.

    After success `ends` are the descriptors that belong to the caller: the daemon's side of an exec's streams.
    """

    def __init__(
        self,
        held: process.Process,
        request: protocol.Request,
        *,
        console_path: str,
        events: loop.Loop,
        done: Callable[[Launch, protocol.Refused | None], None],
    ) -> None:
        self.held = held
        self.ends: list[int] = []
        self._argv = request.words("argv")
        self._cwd = request.text("cwd")
        self._pid_file = request.text("pid_file")
        self._runtime_log = request.text("runtime_log")
        self._terminal = request.flag("terminal")
        self._open_stdin = request.flag("open_stdin")
        self._size = request.size("rows")
        self._console_path = console_path
        self._console: socket.socket | None = None
        self._connection: socket.socket | None = None
        self._stdin = self._stdout = self._stderr = -1
        self._pidfd = -1
        self._loop = events
        self._done = done
        if self._terminal and protocol.CONSOLE_SOCKET not in self._argv:
            raise protocol.Refused("Invalid", f"argv has no {protocol.CONSOLE_SOCKET}", "a terminal was asked for")

    def start(self) -> None:
        """Make the streams and start the runtime. Raises: OSError, with nothing left behind."""
        _remove(self._pid_file)
        _remove(self._runtime_log)
        inside: list[int] = []
        try:
            streams = self._make_streams(inside)
            runtime = self._spawn(streams)
            self._pidfd = os.pidfd_open(runtime)
        except OSError:
            self.close()
            raise
        finally:
            for descriptor in inside:
                os.close(descriptor)
        self.held.runtime = self._pidfd
        self._loop.add(self._pidfd, loop.READ, self._on_runtime_exit)

    def close(self) -> None:
        """Let go of what was not handed on."""
        self._close_console()
        self._stdin = process.closed(self._stdin)
        self._stdout = process.closed(self._stdout)
        self._stderr = process.closed(self._stderr)
        self.held.runtime = -1
        if self._pidfd >= 0:
            self._loop.remove(self._pidfd)
            self._pidfd = process.closed(self._pidfd)

    def _make_streams(self, inside: list[int]) -> tuple[int, int, int]:
        """The runtime's 0, 1 and 2, also put into `inside` for closing; the other ends are kept."""
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        inside.append(null)
        stdin = stdout = null
        if self._terminal:
            self._listen()
        else:
            if self._open_stdin:
                stdin, self._stdin = os.pipe2(os.O_CLOEXEC)
                inside.append(stdin)
            self._stdout, stdout = os.pipe2(os.O_CLOEXEC)
            inside.append(stdout)
        self._stderr, stderr = os.pipe2(os.O_CLOEXEC)
        inside.append(stderr)
        return stdin, stdout, stderr

    def _spawn(self, streams: tuple[int, int, int]) -> int:
        argv = [self._console_path if word == protocol.CONSOLE_SOCKET else word for word in self._argv]
        # posix_spawn has no working directory of its own, and returns when the child has executed.
        os.chdir(self._cwd)
        try:
            return os.posix_spawnp(
                argv[0],
                argv,
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, source, target) for target, source in enumerate(streams)],
                setsigmask=[],
                setsigdef=_DEFAULT_SIGNALS,
            )
        finally:
            os.chdir("/")

    def _listen(self) -> None:
        _remove(self._console_path)
        self._console = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._console.bind(self._console_path)
        self._console.listen(1)
        self._loop.add(self._console.fileno(), loop.READ, lambda _events: self._accept())

    def _accept(self) -> None:
        if self._console is None or self._connection is not None:
            return
        try:
            self._connection, _ = self._console.accept()
        except BlockingIOError:
            return
        self._connection.setblocking(False)
        self._loop.add(self._connection.fileno(), loop.READ, lambda _events: self._receive_master())

    def _receive_master(self) -> None:
        if self._connection is None or self.held.master >= 0:
            return
        try:
            _, descriptors, _, _ = socket.recv_fds(self._connection, 4096, 1, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        if descriptors:
            self.held.master = descriptors[0]
            if any(self._size):
                self.held.resize(*self._size)
        self._close_console()

    def _close_console(self) -> None:
        for end in (self._connection, self._console):
            if end is not None:
                self._loop.remove(end.fileno())
                end.close()
        if self._console is not None:
            _remove(self._console_path)
        self._console = self._connection = None

    def _on_runtime_exit(self, _events: int) -> None:
        result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        if result is None:
            return
        error = None
        try:
            code = process.code_of(result)
            if code != 0:
                raise self._failed("the runtime failed", "", exit_code=code)
            self._take_over()
        except protocol.Refused as refused:
            error = refused
        except OSError as failure:
            error = self._failed("the runtime's process cannot be taken over", str(failure), exit_code=0)
        self.close()
        self._done(self, error)

    def _take_over(self) -> None:
        """Raises: OSError, Refused."""
        if self._terminal:
            # The runtime has exited, so its message is in the socket if it was ever sent.
            self._accept()
            self._receive_master()
            if self.held.master < 0:
                raise self._failed("the runtime sent no terminal", "", exit_code=0)
        pid = _read_pid(self._pid_file)
        self.held.adopt(pid, self._take_outputs())
        if self.held.exec_id:
            self._hand_out()
        else:
            self.held.stdin, self._stdin = self._stdin, -1

    def _take_outputs(self) -> dict[int, int]:
        """What the keeper logs, no longer ours: an exec's output goes to its caller and not to the log."""
        if self.held.exec_id:
            return {}
        if self._terminal:
            return {self.held.master: stdcopy.STDOUT}
        outputs = {self._stdout: stdcopy.STDOUT, self._stderr: stdcopy.STDERR}
        self._stdout = self._stderr = -1
        return outputs

    def _hand_out(self) -> None:
        """An exec's streams are its caller's; a duplicate of its terminal stays for `resize`."""
        if self._terminal:
            self.ends = [os.dup(self.held.master)]
            return
        self.ends = [end for end in (self._stdin, self._stdout, self._stderr) if end >= 0]
        self._stdin = self._stdout = self._stderr = -1

    def _failed(self, what: str, why: str, *, exit_code: int) -> protocol.Refused:
        return protocol.Refused(
            "Broken",
            what,
            why,
            exit_code=exit_code,
            stderr=_drain(self._stderr),
            runtime_log=_tail(self._runtime_log),
        )


def _read_pid(path: str) -> int:
    """Raises: OSError (also for a file that holds no number)."""
    with open(path, encoding="ascii") as file:
        text = file.read(32)
    try:
        return int(text)
    except ValueError:
        raise OSError(f"{path} holds no process id: {text!r}") from None


def _drain(descriptor: int) -> str:
    """What lies in the pipe: at most its capacity, and of that the end."""
    if descriptor < 0:
        return ""
    os.set_blocking(descriptor, False)
    data = b""
    try:
        while piece := os.read(descriptor, 65536):
            data = (data + piece)[-protocol.MAX_FAILURE_TEXT_BYTES :]
    except BlockingIOError:
        pass  # somebody else still holds the other end
    return data.decode(errors="replace")


def _tail(path: str) -> str:
    """The end of the runtime's own log; nothing when there is none."""
    if not path:
        return ""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - protocol.MAX_FAILURE_TEXT_BYTES))
            return file.read().decode(errors="replace")
    except OSError as error:
        return f"(the runtime's log cannot be read: {error})"


def _remove(path: str) -> None:
    """Remove a file that may not be there. Raises: OSError."""
    try:
        if path:
            os.unlink(path)
    except FileNotFoundError:
        pass


# pathlib would cost the keeper 1 MiB.
# ruff: noqa: PTH108, PTH123
