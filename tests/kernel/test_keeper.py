"""The keeper with the real runc: exit codes, output, terminals, stdin, execs, and a daemon that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sampan import errors
from sampan.containers import keeping, logs
from sampan.containers.keeping import Exit, Keeper
from sampan.containers.logs import LogQuery
from sampan.formats import containerlog, stdcopy
from sampan.keeper import protocol
from sampan.kernel import inotify

BUSYBOX = Path("/bin/busybox")
LIMIT_S = 60

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="runc needs root here"),
    pytest.mark.skipif(shutil.which("runc") is None, reason="runc is not installed"),
    pytest.mark.skipif(not BUSYBOX.exists(), reason="busybox-static is not installed"),
]


def spec(args: list[str], *, terminal: bool) -> dict[str, Any]:
    """The least configuration that runc 1.1 runs on any cgroup layout."""
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": terminal,
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
        },
        "root": {"path": "../rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["newinstance", "ptmxmode=0666"],
            },
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]},
    }


class House:
    """A keeper, a root file system and bundles, all in one directory that goes away with everything in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.socket = root / "keeper.sock"
        self.prefix = root.name
        self.exits: dict[tuple[str, str], Exit] = {}
        self.changed = asyncio.Event()
        binaries = root / "rootfs" / "bin"
        binaries.mkdir(parents=True)
        for name in ("proc", "dev"):
            (root / "rootfs" / name).mkdir()
        shutil.copy(BUSYBOX, binaries / "busybox")
        for name in ("sh", "true", "cat", "sleep", "echo", "seq", "stty", "tty", "kill", "head"):
            (binaries / name).symlink_to("busybox")

    async def connect(self) -> Keeper:
        return await keeping.ensure(self.socket, on_exit=self._on_exit, on_gone=lambda _gone: self.changed.set())

    def _on_exit(self, event: Exit) -> None:
        self.exits[event.container, event.exec_id] = event
        self.changed.set()

    async def exit_of(self, container: str, exec_id: str = "") -> Exit:
        while (container, exec_id) not in self.exits:
            self.changed.clear()
            await self.changed.wait()
        return self.exits[container, exec_id]

    def gate(self) -> Path:
        """`/gate` in the containers: a pipe to hold them up with."""
        path = self.root / "rootfs" / "gate"
        os.mkfifo(path)
        return path

    def bundle(self, name: str, script: str, *, terminal: bool = False) -> Path:
        directory = self.root / name
        (directory / "log").mkdir(parents=True)
        (directory / "config.json").write_text(json.dumps(spec(["sh", "-c", script], terminal=terminal)))
        return directory

    def runc(self, name: str, *words: str) -> list[str]:
        log = str(self.root / name / "runc.log")
        return ["runc", "--root", str(self.root / "runc"), "--log", log, "--log-format", "json", *words]

    async def run(self, keeper: Keeper, name: str, script: str, **options: Any) -> keeping.Started:
        directory = self.bundle(name, script, terminal=options.get("terminal", False))
        pid_file = directory / "pid"
        words = ["run", "--detach", "--pid-file", str(pid_file), "--bundle", str(directory)]
        if options.get("terminal"):
            words += ["--console-socket", protocol.CONSOLE_SOCKET]
        argv = self.runc(name, *words, f"{self.prefix}-{name}")
        runtime_log = directory / "runc.log"
        return await keeper.run(
            name, argv, pid_file=pid_file, log_dir=directory / "log", runtime_log=runtime_log, **options
        )

    async def exec(
        self, keeper: Keeper, name: str, exec_id: str, args: list[str], **options: Any
    ) -> tuple[keeping.Started, keeping.ExecStreams]:
        directory = self.root / name
        process = directory / f"{exec_id}.json"
        process.write_text(json.dumps(spec(args, terminal=options.get("terminal", False))["process"]))
        pid_file = directory / f"{exec_id}.pid"
        words = ["exec", "--detach", "--pid-file", str(pid_file), "--process", str(process)]
        if options.get("terminal"):
            words += ["--console-socket", protocol.CONSOLE_SOCKET]
        argv = self.runc(name, *words, f"{self.prefix}-{name}")
        return await keeper.exec(name, exec_id, argv, pid_file=pid_file, runtime_log=directory / "runc.log", **options)

    def log_dir(self, name: str) -> Path:
        return self.root / name / "log"

    def output(self, name: str) -> dict[int, bytes]:
        data = (self.log_dir(name) / containerlog.LOG_NAME).read_bytes()
        parts: dict[int, list[bytes]] = {stdcopy.STDOUT: [], stdcopy.STDERR: []}
        for stream, start, end in stdcopy.frames(data):
            parts[stream].append(data[start:end])
        return {stream: b"".join(pieces) for stream, pieces in parts.items()}

    def clean(self, keeper_pid: int) -> None:
        """Delete every container, then end the keeper; what it says on stderr is a failure."""
        containers = self.root / "runc"
        for directory in containers.iterdir() if containers.exists() else ():
            command = ["runc", "--root", str(containers), "delete", "--force", directory.name]
            subprocess.run(command, check=False, capture_output=True)
        with contextlib.suppress(ProcessLookupError):
            os.kill(keeper_pid, signal.SIGKILL)


@asynccontextmanager
async def a_house() -> AsyncIterator[tuple[House, Keeper]]:
    with tempfile.TemporaryDirectory(prefix="keeper") as name:
        house = House(Path(name))
        keeper = await house.connect()
        pid = keeper.pid
        try:
            yield house, keeper
        finally:
            keeper.close()
            house.clean(pid)
        assert Path(f"{house.socket}.err").read_text() == ""


def conversation(test: Callable[[House, Keeper], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        async def limited() -> None:
            async with asyncio.timeout(LIMIT_S), a_house() as (house, keeper):
                await test(house, keeper)

        asyncio.run(limited())

    run.__name__ = test.__name__
    return run


@conversation
async def test_the_exit_code_is_the_containers_own(house: House, keeper: Keeper) -> None:
    for name, script, exit_code in (("zero", "exit 0", 0), ("seven", "exit 7", 7), ("absent", "exec /bin/absent", 127)):
        started = await house.run(keeper, name, script)
        event = await house.exit_of(name)
        assert (event.exit_code, event.pid, event.recorded) == (exit_code, started.pid, True)


@conversation
async def test_a_killed_container_exits_with_137_and_cannot_be_killed_again(house: House, keeper: Keeper) -> None:
    await house.run(keeper, "a", "exec sleep 600")
    await keeper.signal("a", signal.SIGKILL)
    assert (await house.exit_of("a")).exit_code == 128 + 9
    with pytest.raises(errors.Conflict, match="is not running"):
        await keeper.signal("a", signal.SIGKILL)


@conversation
async def test_stdout_and_stderr_are_kept_apart_and_runc_says_nothing_in_them(house: House, keeper: Keeper) -> None:
    await house.run(keeper, "a", "echo out; echo err >&2; echo again")
    await house.exit_of("a")
    assert house.output("a") == {1: b"out\nagain\n", 2: b"err\n"}


@conversation
async def test_twenty_megabytes_arrive_intact(house: House, keeper: Keeper) -> None:
    await house.run(keeper, "a", "seq 1 2700000")
    await house.exit_of("a")
    expected = "".join(f"{number}\n" for number in range(1, 2_700_001)).encode()
    assert len(expected) > 20_000_000
    assert hashlib.sha256(house.output("a")[1]).digest() == hashlib.sha256(expected).digest()


@conversation
async def test_a_follower_of_a_fast_writer_misses_nothing_across_rotations(house: House, keeper: Keeper) -> None:
    watches, finished = inotify.Watches(), asyncio.Event()
    position = logs.end(house.log_dir("a"))
    query = LogQuery(follow=True, multiplexed=False, after=position)

    async def follow() -> bytes:
        reading = logs.read(house.log_dir("a"), query, finished=finished, watches=watches)
        return b"".join([piece async for piece in reading])

    limits = keeping.LogLimits(max_size_bytes=70_000, max_files=1000)
    await house.run(keeper, "a", "seq 1 400000", log=limits)
    following = asyncio.ensure_future(follow())
    await house.exit_of("a")
    finished.set()
    seen = await following
    watches.close()
    assert seen == "".join(f"{number}\n" for number in range(1, 400_001)).encode()
    assert len(list(house.log_dir("a").iterdir())) > 60


@conversation
async def test_a_terminal_has_the_size_asked_for_and_can_be_resized(house: House, keeper: Keeper) -> None:
    script = "stty size; trap 'stty size; exit 3' WINCH; echo ready; while :; do read line; echo got $line; done"
    await house.run(keeper, "a", script, terminal=True, open_stdin=True, rows=33, cols=77)
    terminal = await keeper.stdin("a")
    watches = inotify.Watches()
    finished = asyncio.Event()
    query = LogQuery(follow=True, multiplexed=False)
    async with contextlib.aclosing(logs.read(house.log_dir("a"), query, finished=finished, watches=watches)) as output:
        seen = b""
        async for piece in output:
            seen += piece
            if b"ready\r\n" in seen and b"hello" not in seen:
                os.write(terminal, b"hello\n")
            if b"got hello" in seen and b"44 88" not in seen:
                await keeper.resize("a", 44, 88)
            if b"44 88" in seen:
                break
    os.close(terminal)
    watches.close()
    assert (await house.exit_of("a")).exit_code == 3
    assert seen.startswith(b"33 77\r\n")


@conversation
async def test_a_terminals_last_words_are_in_the_log(house: House, keeper: Keeper) -> None:
    await house.run(keeper, "a", "seq 1 2000; tty; exit 5", terminal=True)
    assert (await house.exit_of("a")).exit_code == 5
    lines = house.output("a")[1].split(b"\r\n")
    assert lines[:2000] == [b"%d" % number for number in range(1, 2001)]
    assert lines[2000].startswith(b"/dev/")


@conversation
async def test_a_process_that_reopens_its_terminal_is_still_heard(house: House, keeper: Keeper) -> None:
    gate = house.gate()
    script = "name=$(tty); exec 0<&- 1>&- 2>&-; read line < /gate; exec 1>$name; echo still here"
    await house.run(keeper, "a", script, terminal=True)
    # Opening it waits for the reader, who has closed its terminal by then; the keeper answers after it has looked.
    with await asyncio.to_thread(gate.open, "w") as file:
        await keeper.processes()
        await keeper.processes()
        file.write("go\n")
    await house.exit_of("a")
    assert house.output("a")[1] == b"still here\r\n"


@conversation
async def test_cat_ends_when_its_stdin_is_closed(house: House, keeper: Keeper) -> None:
    await house.run(keeper, "a", "exec cat", open_stdin=True)
    stdin = await keeper.stdin("a")
    os.write(stdin, b"some input")
    await keeper.close_stdin("a")
    os.close(stdin)
    assert (await house.exit_of("a")).exit_code == 0
    assert house.output("a")[1] == b"some input"


CLIENT = """
import asyncio, os, signal, sys
from pathlib import Path
from sampan.containers import keeping

async def main():
    keeper = await keeping.ensure(Path(sys.argv[1]), on_exit=print, on_gone=print)
    directory = Path(sys.argv[2])
    await keeper.run("a", sys.argv[3:], pid_file=directory / "pid", log_dir=directory / "log")
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@conversation
async def test_a_killed_daemon_loses_nothing(house: House, keeper: Keeper) -> None:
    gate = house.gate()
    directory = house.bundle("a", "echo before; cat /gate; seq 1 100000; exit 9")
    words = ["run", "--detach", "--pid-file", str(directory / "pid"), "--bundle", str(directory), f"{house.prefix}-a"]
    keeper.close()
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, str(house.socket), str(directory), *house.runc("a", *words)
    )
    assert await client.wait() == -signal.SIGKILL
    # The container writes and ends while nobody listens.
    gate.write_text("gate\n")
    record = directory / "log" / containerlog.EXIT_NAME
    watches, changed = inotify.Watches(), asyncio.Event()
    watches.add(str(directory / "log"), inotify.IN_MOVED_TO, changed)
    while not record.exists():
        await changed.wait()
        changed.clear()
    watches.close()
    assert json.loads(record.read_text())["exit_code"] == 9
    expected = b"before\ngate\n" + "".join(f"{number}\n" for number in range(1, 100_001)).encode()
    assert house.output("a")[1] == expected
    fresh = await house.connect()
    (held,) = await fresh.processes()
    assert (held.container, held.state, held.exit_code) == ("a", "exited", 9)
    await fresh.forget("a")
    assert await fresh.processes() == []
    fresh.close()


@conversation
async def test_a_program_that_is_not_there_is_told_in_runcs_words(house: House, keeper: Keeper) -> None:
    directory = house.bundle("a", "")
    (directory / "config.json").write_text(json.dumps(spec(["/bin/absent"], terminal=False)))
    words = ["run", "--detach", "--pid-file", str(directory / "pid"), "--bundle", str(directory), f"{house.prefix}-a"]
    with pytest.raises(keeping.RuntimeFailed, match=r"absent.*no such file") as failed:
        await keeper.run(
            "a",
            house.runc("a", *words),
            pid_file=directory / "pid",
            log_dir=directory / "log",
            runtime_log=directory / "runc.log",
        )
    assert failed.value.exit_code == 1
    assert await keeper.processes() == []
    assert house.output("a") == {1: b"", 2: b""}


@conversation
async def test_twenty_containers_start_and_end_at_once(house: House, keeper: Keeper) -> None:
    names = [f"c{number}" for number in range(20)]
    await asyncio.gather(*(house.run(keeper, name, f"echo {name}; exit {name[1:]}") for name in names))
    codes = [(await house.exit_of(name)).exit_code for name in names]
    assert codes == list(range(20))
    assert [house.output(name)[1] for name in names] == [f"{name}\n".encode() for name in names]


@conversation
async def test_an_exec_has_its_own_streams_and_exit_code(house: House, keeper: Keeper) -> None:
    await house.run(keeper, "a", "exec sleep 600")
    args = ["sh", "-c", "cat; echo err >&2; exit 12"]
    started, streams = await house.exec(keeper, "a", "e", args, open_stdin=True)
    assert streams.stdin is not None and streams.stdout is not None and streams.stderr is not None
    os.write(streams.stdin, b"through the exec")
    os.close(streams.stdin)
    streams.stdin = None
    event = await house.exit_of("a", "e")
    assert (event.exit_code, event.pid) == (12, started.pid)
    assert os.read(streams.stdout, 1000) == b"through the exec"
    assert os.read(streams.stderr, 1000) == b"err\n"
    assert os.read(streams.stdout, 1000) == b""
    streams.close()
    assert house.output("a") == {1: b"", 2: b""}


@conversation
async def test_an_exec_can_have_a_terminal(house: House, keeper: Keeper) -> None:
    await house.run(keeper, "a", "exec sleep 600")
    args = ["sh", "-c", "stty size; read line; stty size; exit 4"]
    _, streams = await house.exec(keeper, "a", "e", args, terminal=True, rows=10, cols=20)
    assert streams.terminal is not None
    os.set_blocking(streams.terminal, True)
    assert os.read(streams.terminal, 1000) == b"10 20\r\n"
    await keeper.resize("a", 30, 40, exec_id="e")
    size = struct.unpack("HHHH", fcntl.ioctl(streams.terminal, termios.TIOCGWINSZ, bytes(8)))
    assert size[:2] == (30, 40)
    os.write(streams.terminal, b"\n")
    assert (await house.exit_of("a", "e")).exit_code == 4
    assert b"30 40\r\n" in os.read(streams.terminal, 1000)
    streams.close()


@conversation
async def test_an_execs_terminal_hangs_up_when_the_daemon_is_gone(house: House, keeper: Keeper) -> None:
    await house.run(keeper, "a", "exec sleep 600")
    _, streams = await house.exec(keeper, "a", "e", ["sleep", "600"], terminal=True)
    other = await house.connect()
    streams.close()
    keeper.close()
    assert (await house.exit_of("a", "e")).exit_code == 128 + signal.SIGHUP
    other.close()


@conversation
async def test_a_failed_exec_is_an_error_and_the_container_goes_on(house: House, keeper: Keeper) -> None:
    await house.run(keeper, "a", "exec sleep 600")
    with pytest.raises(keeping.RuntimeFailed, match="no such file"):
        await house.exec(keeper, "a", "e", ["/bin/absent"])
    assert [(held.container, held.exec_id, held.state) for held in await keeper.processes()] == [("a", "", "running")]


@conversation
async def test_the_container_does_not_inherit_the_keepers_ignored_signals(house: House, keeper: Keeper) -> None:
    await house.run(keeper, "a", "exec cat /proc/self/status")
    await house.exit_of("a")
    status = dict(line.split(":\t", 1) for line in house.output("a")[1].decode().splitlines() if ":\t" in line)
    # 32 and 33 belong to the C library, which passes on what it was given.
    ignored = int(status["SigIgn"], 16) & ~(0b11 << 31)
    assert (ignored, int(status["SigBlk"], 16)) == (0, 0)
    assert status["Umask"] == "0022"


@conversation
async def test_fifty_containers_cost_the_keeper_little(house: House, keeper: Keeper) -> None:
    def resident_kib() -> int:
        status = Path(f"/proc/{keeper.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    idle = resident_kib()
    for number in range(50):
        await house.run(keeper, f"c{number}", "exec sleep 600")
    with_fifty = resident_kib()
    print(f"keeper: {idle} KiB idle, {with_fifty} KiB with 50 containers")
    assert with_fifty < 16 * 1024
