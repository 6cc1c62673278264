"""A host of its own for an engine under test: namespaces and control groups that vanish with whoever asked for them.

A box has its own network, mounts, process ids, `/run` (a tmpfs) and control group tree, so engines measured side by
side neither meet each other nor the host. Its first process, `box.py hold`, starts programs on demand and ends when its
standard input closes; the kernel then kills all others and drops mounts and links. That happens too when the benchmark
is killed; only empty control groups `sampan-bench-*` can then be left, which the next box removes.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

CGROUPS = Path("/sys/fs/cgroup")
PREFIX = "sampan-bench-"
SIOCSIFFLAGS, IFF_UP = 0x8914, 1  # linux/sockios.h, linux/if.h
UNSHARE = ["unshare", "--net", "--mount", "--propagation", "private", "--cgroup", "--pid", "--fork", "--mount-proc"]


class Box:
    """A running box; made by `opened`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, argv: Sequence[str | Path], *, env: Mapping[str, str], log: Path) -> int:
        """Start a program in a session of its own, its output appended to `log`; its process id inside the box."""
        return int(self._ask("start", argv=[str(word) for word in argv], env=dict(env), log=str(log)))

    def stop(self, pid: int, *, seconds: float = 20) -> int:
        """SIGTERM, after `seconds` SIGKILL; the exit code, below zero for a signal."""
        return int(self._ask("stop", pid=pid, seconds=seconds))

    def ended(self, pid: int) -> bool:
        """Whether a program that was started here has ended."""
        return bool(self._ask("ended", pid=pid))

    def listening(self, port: int) -> bool:
        """Whether somebody answers on this port of the box's loopback."""
        return bool(self._ask("listening", port=port))

    def processes(self) -> list[int]:
        """The host's process ids of all programs of the box, without those inside containers."""
        holder = _only_child(self._process.pid)
        here = Path(f"/proc/{holder}/ns/pid").readlink()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != holder:
                with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                    if (entry / "ns/pid").readlink() == here:
                        found.append(int(entry.name))
        return found

    def close(self) -> None:
        """End everything in the box."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def _ask(self, verb: str, **fields: object) -> Any:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"do": verb, **fields}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the box ended with {self._process.wait()}")
        return json.loads(line)["answer"]


@contextlib.contextmanager
def opened(name: str) -> Iterator[Box]:
    """A box until the block ends."""
    if os.geteuid() != 0:
        raise SystemExit("this needs root: it makes namespaces and control groups")
    _remove_leftovers()
    group = f"{PREFIX}{name}-{os.getpid()}"
    process = subprocess.Popen(
        [sys.executable, __file__, "enter", group],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # an interrupt from the keyboard is the benchmark's to handle
    )
    box = Box(process)
    try:
        assert box._ask("ready")
        yield box
    finally:
        box.close()
        _remove_groups(group)


def _only_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _hierarchies() -> list[Path]:
    """Every mounted control group tree: one with version 2, one a controller with version 1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return sorted({entry.resolve() for entry in CGROUPS.iterdir() if (entry / "cgroup.procs").exists()})


def _remove_leftovers() -> None:
    """Groups of benchmarks that were killed: their names end in the process id of their maker."""
    names = {path.name for root in _hierarchies() for path in root.glob(f"{PREFIX}*")}
    for name in names:
        if not Path("/proc", name.rpartition("-")[2]).exists():
            _remove_groups(name)


def _remove_groups(group: str) -> None:
    deadline = time.monotonic() + 10
    for root in _hierarchies():
        for directory, _, _ in os.walk(root / group, topdown=False):
            while Path(directory).exists():
                try:
                    Path(directory).rmdir()
                except FileNotFoundError:
                    break  # somebody else removes leftovers too
                except OSError:  # the kernel is still burying its processes
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)


def enter(group: str) -> None:
    """Join a new control group everywhere, then become the box."""
    for root in _hierarchies():
        directory = root / group
        directory.mkdir()
        for name in ("cpuset.cpus", "cpuset.mems"):  # version 1: empty until set, and then nobody may join
            if (directory / name).exists() and not (directory / name).read_text().strip():
                (directory / name).write_text((root / name).read_text())
        (directory / "cgroup.procs").write_text("0")
    os.execvp(UNSHARE[0], [*UNSHARE, sys.executable, __file__, "hold", group])


def hold(group: str) -> None:
    """Process 1 of the box."""
    for root in _hierarchies():
        subprocess.run(["mount", "--bind", str(root / group), str(root)], check=True)
    if (CGROUPS / "cgroup.controllers").exists():
        _share_out_controllers()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"], check=True)
    _raise_loopback()
    holder = _Holder()
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps({"answer": holder.answer(request.pop("do"), **request)}), flush=True)


def _share_out_controllers() -> None:
    """Version 2 gives controllers to groups below only while no process is in the group itself."""
    own = CGROUPS / "init"
    own.mkdir()
    (own / "cgroup.procs").write_text("0")
    for name in (CGROUPS / "cgroup.controllers").read_text().split():
        (CGROUPS / "cgroup.subtree_control").write_text(f"+{name}")


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        fcntl.ioctl(device, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


class _Holder:
    """Starts, stops and reaps; orphans of the box are reaped as well."""

    def __init__(self) -> None:
        self._codes: dict[int, int] = {}
        signal.signal(signal.SIGCHLD, lambda *_: self._reap())

    def answer(self, verb: str, **fields: Any) -> object:
        if verb == "start":
            return self._start(**fields)
        if verb == "stop":
            return self._stop(**fields)
        if verb == "ended":
            return fields["pid"] in self._codes
        if verb == "listening":
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", fields["port"])):
                return True
            return False
        return True

    def _start(self, argv: list[str], env: dict[str, str], log: str) -> int:
        output = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, output, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        return os.posix_spawnp(argv[0], argv, env, file_actions=actions, setsid=True, setsigdef=[signal.SIGCHLD])

    def _stop(self, pid: int, seconds: float) -> int:
        deadline = time.monotonic() + seconds
        if pid not in self._codes:
            os.kill(pid, signal.SIGTERM)
        while pid not in self._codes:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        return self._codes[pid]

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (gone := os.waitpid(-1, os.WNOHANG))[0]:
                self._codes[gone[0]] = os.waitstatus_to_exitcode(gone[1])


if __name__ == "__main__":
    {"enter": enter, "hold": hold}[sys.argv[1]](sys.argv[2])
