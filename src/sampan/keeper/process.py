"""One process the keeper holds: its state, its descriptors, and what happens between its death and the announcement.

    starting -> running -> draining -> recording -> exited -> (forgotten)

While draining, output that is still in the pipes goes to the log. A grandchild outside the container's pid namespace
may hold a pipe open for ever: after a grace the exit is announced all the same, and later output is still logged.
"""

from __future__ import annotations

import fcntl
import functools
import os
import signal
import struct
import termios
import time
from collections.abc import Callable

from sampan.formats import containerlog, stdcopy
from sampan.keeper import logwriter, loop, record

STARTING, RUNNING, DRAINING, RECORDING, EXITED = "starting", "running", "draining", "recording", "exited"

# How long an announcement waits for pipes that somebody else still holds. Docker waits 2 s; the daemon's `wait` and
# `rm` wait for us, and what comes later is logged anyway.
DRAIN_GRACE_S = 0.2
# Reads of 64 KiB from one pipe before the others get their turn.
READS_PER_TURN = 4

# Source: include/uapi/asm-generic/ioctls.h; the termios module does not name it.
_TIOCGPTPEER = 0x5441

# One buffer for all pumps: the header's room, then the payload, so that a frame leaves in one write.
_BUFFER = bytearray(stdcopy.HEADER_BYTES + containerlog.MAX_PAYLOAD_BYTES)
_PAYLOAD = memoryview(_BUFFER)[stdcopy.HEADER_BYTES :]


class Process:
    """A container's init (`exec_id` "") or an exec in it."""

    def __init__(self, container: str, exec_id: str, *, on_exit: Callable[[Process], None], events: loop.Loop) -> None:
        self.container = container
        self.exec_id = exec_id
        self.state = STARTING
        self.pid = 0
        self.started_ns = 0
        self.exit_code: int | None = None
        self.finished_ns = 0
        self.records = True  # whether its exit is written down before it is announced
        self.recorded = False
        self.stdin = -1
        self.stdin_once = False
        self.master = -1
        self.writer: logwriter.LogWriter | None = None
        self.runtime = -1  # while starting: the runtime's pidfd, which the launch owns
        self.owner: object = None  # the client that asked; an exec's terminal is let go with it
        self._slave = -1
        self._pidfd = -1
        self._outputs: dict[int, int] = {}  # descriptor -> stream
        self._on_exit = on_exit
        self._loop = events

    def adopt(self, pid: int, outputs: dict[int, int]) -> None:
        """The runtime has left `pid` to us: watch it, and pump its outputs to the log.

        The outputs are ours from the call on, also when it fails. Raises: OSError.
        """
        self._outputs = dict(outputs)
        self._pidfd = os.pidfd_open(pid)
        # Looks without reaping; ChildProcessError when the pid is not our child, whose exit we could never learn.
        os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        self.pid = pid
        self.started_ns = time.time_ns()
        self.state = RUNNING
        if self.master in outputs:
            self._hold_slave()
        for descriptor in outputs:
            os.set_blocking(descriptor, False)
            self._loop.add(descriptor, loop.READ, functools.partial(self._on_output, descriptor))
        self._loop.add(self._pidfd, loop.READ, self._on_pidfd)

    def resize(self, rows: int, cols: int) -> None:
        """Set the terminal's size; the kernel sends SIGWINCH. Raises: OSError."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def signal(self, number: int) -> None:
        """Signal it, or the runtime that is starting it. Raises: ProcessLookupError when it is gone, OSError."""
        target = self.runtime if self.state == STARTING else self._pidfd
        if target < 0:
            raise ProcessLookupError
        signal.pidfd_send_signal(target, number)

    def take_stdin(self) -> int:
        """A descriptor for the caller to own: a duplicate of stdin's write end, or of the terminal."""
        if self.master >= 0:
            return os.dup(self.master)
        taken = os.dup(self.stdin)
        if self.stdin_once:
            self.close_stdin()
        return taken

    def close_stdin(self) -> None:
        """Close the keeper's own write end. End of file follows when no duplicate is left."""
        self.stdin = closed(self.stdin)

    def release_master(self) -> None:
        """Let go of an exec's terminal: nobody is left to read it, and its process gets SIGHUP."""
        if self.exec_id:
            self.master = closed(self.master)

    def close(self) -> None:
        """Let go of everything, after what is already in the pipes is logged."""
        for descriptor in list(self._outputs):
            self._pump(descriptor)
        for descriptor in list(self._outputs):
            self._close_output(descriptor)
        self.close_stdin()
        self.master = closed(self.master)
        self._slave = closed(self._slave)
        if self._pidfd >= 0:
            self._loop.remove(self._pidfd)
            self._pidfd = closed(self._pidfd)
        if self.writer is not None:
            self.writer.close()

    def facts(self) -> dict[str, object]:
        """What `hello` tells of it."""
        known = self.state in (STARTING, EXITED)
        return {"state": self.state if known else RUNNING, "recorded": self.recorded, **self.exit_facts()}

    def exit_facts(self) -> dict[str, object]:
        """What `exit.json` and the exit event tell of it; without a code while it runs."""
        return {
            "container": self.container,
            "exec": self.exec_id,
            "pid": self.pid,
            "started_ns": self.started_ns,
            "exit_code": self.exit_code,
            "finished_ns": self.finished_ns,
            "lost_bytes": self.writer.lost_total_bytes if self.writer else 0,
        }

    def _hold_slave(self) -> None:
        """Keep the terminal's other side open: a process that closes and reopens it must not look like an end."""
        try:
            self._slave = fcntl.ioctl(self.master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            self._slave = -1  # a terminal of a kind that has no peer: its first hang-up is taken for the end

    def _on_output(self, descriptor: int, _events: int) -> None:
        self._pump(descriptor)

    def _pump(self, descriptor: int) -> None:
        """Move what is in a pipe to the log, at most a turn's worth."""
        for _ in range(READS_PER_TURN):
            try:
                size = os.readv(descriptor, [_PAYLOAD])
            except BlockingIOError:
                return
            except OSError:
                size = 0  # EIO: the last holder of the terminal's other side is gone
            if size == 0:
                self._close_output(descriptor)
                return
            if self.writer is not None:
                self.writer.write(_BUFFER, size, self._outputs[descriptor], time.time_ns())
            if size < containerlog.MAX_PAYLOAD_BYTES and self.state == RUNNING:
                return

    def _close_output(self, descriptor: int) -> None:
        self._outputs.pop(descriptor, None)
        self._loop.remove(descriptor)
        if descriptor == self.master:
            self.master = -1
        os.close(descriptor)
        if self._outputs:
            return
        if self.state == DRAINING:
            self._record()
        elif self.state in (RECORDING, EXITED) and self.writer is not None:
            self.writer.close()

    def _on_pidfd(self, _events: int) -> None:
        result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        if result is None:
            return
        self._loop.remove(self._pidfd)
        self._pidfd = closed(self._pidfd)
        self.exit_code = code_of(result)
        self.finished_ns = max(time.time_ns(), self.started_ns)
        self.state = DRAINING
        self.close_stdin()
        self._slave = closed(self._slave)
        for descriptor in list(self._outputs):
            self._pump(descriptor)
        if self._outputs:
            self._loop.after(DRAIN_GRACE_S, self._record)
        elif self.state == DRAINING:
            self._record()

    def _record(self) -> None:
        """Write the exit down, then announce it. Called by the end of the outputs and by the grace: the first wins."""
        if self.state != DRAINING:
            return
        if self.writer is not None and not self._outputs:
            self.writer.close()
        if self.writer is None or not self.records:
            self._exited()
            return
        self.state = RECORDING
        directory, facts = self.writer.directory, self.exit_facts()
        self._loop.in_background(lambda: self._write_exit(directory, facts), self._exited)

    def _write_exit(self, directory: str, facts: dict[str, object]) -> None:
        """In a thread."""
        record.write_exit(directory, facts)
        self.recorded = True

    def _exited(self) -> None:
        self.state = EXITED
        self._on_exit(self)


def code_of(result: os.waitid_result) -> int:
    """A shell's exit code: 128 + n after signal n."""
    return result.si_status if result.si_code == os.CLD_EXITED else 128 + result.si_status


def closed(descriptor: int) -> int:
    """Close it when it is open; what to keep instead."""
    if descriptor >= 0:
        os.close(descriptor)
    return -1
