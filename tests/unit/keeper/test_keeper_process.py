"""The keeper as a process, with shell scripts in the runtime's place: no root needed.

A runtime that detaches is `sh -c '<container> & echo $! > pid_file'`: the container inherits the streams and is left
to the keeper, as runc leaves its init. A shell would bury a child that dies before itself, which runc does not: the
container therefore waits for the runtime's end, on a pipe the runtime holds.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sampan import errors
from sampan.containers import keeping
from sampan.containers.keeping import Exit, Keeper, KeeperGone
from sampan.formats import containerlog, stdcopy
from sampan.keeper import clients, protocol

LIMIT_S = 20


class House:
    """One keeper's socket and the directories of its containers."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.socket = root / "keeper.sock"
        self.exits: dict[tuple[str, str], Exit] = {}
        self.gone: list[KeeperGone] = []
        self.changed = asyncio.Event()

    async def connect(self) -> Keeper:
        return await keeping.ensure(self.socket, on_exit=self._on_exit, on_gone=self._on_gone)

    def _on_exit(self, event: Exit) -> None:
        self.exits[event.container, event.exec_id] = event
        self.changed.set()

    def _on_gone(self, gone: KeeperGone) -> None:
        self.gone.append(gone)
        self.changed.set()

    async def exit_of(self, container: str, exec_id: str = "") -> Exit:
        await self.until(lambda: (container, exec_id) in self.exits)
        return self.exits[container, exec_id]

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.changed.clear()
            try:
                async with asyncio.timeout(0.02):
                    await self.changed.wait()
            except TimeoutError:
                pass  # not every condition is an event

    def log_dir(self, container: str) -> Path:
        directory = self.root / container
        directory.mkdir(exist_ok=True)
        return directory

    def output(self, container: str) -> dict[int, bytes]:
        found = {stdcopy.STDOUT: b"", stdcopy.STDERR: b""}
        log = (self.log_dir(container) / containerlog.LOG_NAME).read_bytes()
        for stream, start, end in stdcopy.frames(log):
            found[stream] += log[start:end]
        return found

    async def run(self, keeper: Keeper, container: str, script: str, **options: object) -> keeping.Started:
        """A container that is a shell script."""
        pid_file = self.log_dir(container) / "pid"
        argv = self.detaching(script, pid_file)
        return await keeper.run(container, argv, pid_file=pid_file, log_dir=self.log_dir(container), **options)  # type: ignore[arg-type]

    def detaching(self, script: str, pid_file: Path) -> list[str]:
        """`&` gives a script /dev/null for stdin, so it is handed over as 3."""
        gate = f"{pid_file}.gate"
        if not os.path.exists(gate):
            os.mkfifo(gate)
        inside = f"read end < {gate}; {script}"
        return ["/bin/sh", "-c", f"exec 3<&0; sh -c '{inside}' <&3 3<&- & echo $! > {pid_file}; exec 9> {gate}"]


@asynccontextmanager
async def a_house() -> AsyncIterator[tuple[House, Keeper]]:
    with tempfile.TemporaryDirectory(prefix="keeper-") as name:
        house = House(Path(name))
        keeper = await house.connect()
        pid = keeper.pid
        try:
            yield house, keeper
        finally:
            keeper.close()
            end(pid)
            errors_seen = Path(f"{house.socket}.err")
            assert not errors_seen.exists() or errors_seen.read_text() == ""


def end(pid: int) -> None:
    """Kill the keeper and what it holds."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        held = [int(word) for word in children.read_text().split()]
        os.kill(pid, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        return
    for child in held:
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            pass


def test(conversation: Callable[[House, Keeper], Awaitable[None]]) -> Callable[[], None]:
    """Make a conversation with a keeper into a test."""

    def run() -> None:
        async def limited() -> None:
            async with asyncio.timeout(LIMIT_S), a_house() as (house, keeper):
                await conversation(house, keeper)

        asyncio.run(limited())

    run.__name__, run.__doc__ = conversation.__name__, conversation.__doc__
    return run


test.__test__ = False  # type: ignore[attr-defined]


@test
async def test_output_and_exit_code_are_recorded(house: House, keeper: Keeper) -> None:
    started = await house.run(keeper, "a", "echo out; echo err >&2; exit 7")
    event = await house.exit_of("a")
    assert (event.exit_code, event.pid, event.recorded) == (7, started.pid, True)
    assert started.started_ns <= event.finished_ns
    assert house.output("a") == {1: b"out\n", 2: b"err\n"}
    on_disk = json.loads((house.log_dir("a") / containerlog.EXIT_NAME).read_text())
    assert (on_disk["exit_code"], on_disk["finished_ns"]) == (7, event.finished_ns)


@test
async def test_a_death_by_signal_is_128_and_its_number(house: House, keeper: Keeper) -> None:
    await house.run(keeper, "a", "exec sleep 60")
    await keeper.signal("a", signal.SIGKILL)
    assert (await house.exit_of("a")).exit_code == 137
    with pytest.raises(errors.Conflict, match="is not running"):
        await keeper.signal("a", signal.SIGKILL)


@test
async def test_a_failed_runtime_leaves_nothing_and_tells_why(house: House, keeper: Keeper) -> None:
    directory = house.log_dir("a")
    script = 'echo \'{"level":"error","msg":"no such program"}\' > log; echo on stderr >&2; exit 3'
    with pytest.raises(keeping.RuntimeFailed, match="no such program") as failed:
        await keeper.run(
            "a",
            ["/bin/sh", "-c", script.replace("> log", f"> {directory}/log")],
            pid_file=directory / "pid",
            log_dir=directory,
            runtime_log=directory / "log",
        )
    assert (failed.value.exit_code, failed.value.stderr) == (3, "on stderr\n")
    assert await keeper.processes() == []
    assert house.output("a") == {1: b"", 2: b""}
    # The name is free again.
    await house.run(keeper, "a", "true")


@test
async def test_a_runtime_that_does_not_exist_is_an_error(house: House, keeper: Keeper) -> None:
    with pytest.raises(errors.Broken, match="No such file"):
        await keeper.run("a", ["/no/such/runtime"], pid_file=house.root / "pid", log_dir=house.log_dir("a"))
    assert await keeper.processes() == []


@test
async def test_a_runtime_that_writes_no_pid_file_is_an_error(house: House, keeper: Keeper) -> None:
    with pytest.raises(errors.Broken, match="pid"):
        await keeper.run("a", ["/bin/true"], pid_file=house.root / "pid", log_dir=house.log_dir("a"))


@test
async def test_a_pid_that_is_not_the_keepers_child_is_refused(house: House, keeper: Keeper) -> None:
    pid_file = house.root / "pid"
    argv = ["/bin/sh", "-c", f"echo {os.getpid()} > {pid_file}"]
    with pytest.raises(errors.Broken, match="No child"):
        await keeper.run("a", argv, pid_file=pid_file, log_dir=house.log_dir("a"))
    assert await keeper.processes() == []


@test
async def test_a_name_is_held_until_it_is_forgotten(house: House, keeper: Keeper) -> None:
    await house.run(keeper, "a", "exec sleep 60")
    with pytest.raises(errors.Conflict):
        await house.run(keeper, "a", "true")
    with pytest.raises(errors.Conflict):
        await keeper.forget("a")
    await keeper.signal("a", signal.SIGTERM)
    await house.exit_of("a")
    with pytest.raises(errors.Conflict):
        await house.run(keeper, "a", "true")
    await keeper.forget("a")
    await house.run(keeper, "a", "true")
    with pytest.raises(errors.NotFound):
        await keeper.forget("b")


@test
async def test_stdin_ends_when_every_holder_has_closed_it(house: House, keeper: Keeper) -> None:
    await house.run(keeper, "a", "cat; echo done", open_stdin=True)
    stdin = await keeper.stdin("a")
    os.write(stdin, b"hello\n")
    await keeper.close_stdin("a")
    os.close(stdin)
    assert (await house.exit_of("a")).exit_code == 0
    assert house.output("a")[1] == b"hello\ndone\n"


@test
async def test_stdin_once_ends_with_its_first_taker(house: House, keeper: Keeper) -> None:
    await house.run(keeper, "a", "cat; echo done", open_stdin=True, stdin_once=True)
    os.close(await keeper.stdin("a"))
    await house.exit_of("a")
    with pytest.raises(errors.Conflict, match="no open stdin"):
        await keeper.stdin("a")


@test
async def test_without_open_stdin_a_container_reads_nothing(house: House, keeper: Keeper) -> None:
    await house.run(keeper, "a", "cat; echo done")
    assert (await house.exit_of("a")).exit_code == 0
    with pytest.raises(errors.Conflict, match="no open stdin"):
        await keeper.stdin("a")


@test
async def test_a_grandchild_that_holds_the_pipe_delays_the_exit_only_briefly(house: House, keeper: Keeper) -> None:
    gate = house.root / "gate"
    os.mkfifo(gate)
    await house.run(keeper, "a", f"(cat {gate}) & echo first; exit 4")
    event = await house.exit_of("a")
    assert event.exit_code == 4
    assert house.output("a")[1] == b"first\n"
    gate.write_text("late\n")
    await house.until(lambda: house.output("a")[1] == b"first\nlate\n")
    await keeper.forget("a")


@test
async def test_orphans_are_buried(house: House, keeper: Keeper) -> None:
    told = house.root / "orphan"
    await house.run(keeper, "a", f'(sh -c "exit 9" & echo $! > {told}.new); mv {told}.new {told}; exec sleep 60')
    await house.until(told.exists)
    orphan = Path(f"/proc/{told.read_text().strip()}")
    # A zombie would stay.
    await house.until(lambda: not orphan.exists())
    assert [held.state for held in await keeper.processes()] == ["running"]


@test
async def test_a_new_client_learns_of_what_an_old_one_started(house: House, keeper: Keeper) -> None:
    await house.run(keeper, "lives", "exec sleep 60")
    await house.run(keeper, "dies", "exit 5")
    await house.exit_of("dies")
    keeper.close()
    with pytest.raises(KeeperGone):
        await keeper.processes()
    other = await house.connect()
    held = {one.container: (one.state, one.exit_code) for one in await other.processes()}
    assert held == {"lives": ("running", None), "dies": ("exited", 5)}
    other.close()


@test
async def test_a_launch_goes_on_when_its_client_is_gone(house: House, keeper: Keeper) -> None:
    hold = house.root / "hold"
    os.mkfifo(hold)
    pid_file = house.root / "pid"
    argv = house.detaching("exec sleep 60", pid_file)
    argv[2] = f"read line < {hold}; {argv[2]}"
    asking = asyncio.ensure_future(keeper.run("a", argv, pid_file=pid_file, log_dir=house.log_dir("a")))
    with await asyncio.to_thread(hold.open, "w") as file:
        keeper.close()
        with pytest.raises(KeeperGone):
            await asking
        file.write("go\n")
    other = await house.connect()
    while [held.state for held in await other.processes()] != ["running"]:
        assert [held.state for held in await other.processes()] != []
    other.close()


@test
async def test_a_runtime_that_hangs_can_be_killed(house: House, keeper: Keeper) -> None:
    argv = ["/bin/sleep", "600"]
    asking = asyncio.ensure_future(keeper.run("a", argv, pid_file=house.root / "pid", log_dir=house.log_dir("a")))
    await asyncio.sleep(0)
    assert [held.state for held in await keeper.processes()] == ["starting"]
    await keeper.signal("a", signal.SIGKILL)
    with pytest.raises(keeping.RuntimeFailed) as failed:
        await asking
    assert failed.value.exit_code == 137
    assert await keeper.processes() == []


@test
async def test_every_client_hears_of_an_exit(house: House, keeper: Keeper) -> None:
    heard: list[Exit] = []
    other = await keeping.ensure(house.socket, on_exit=heard.append, on_gone=house.gone.append)
    await house.run(keeper, "a", "true")
    await house.exit_of("a")
    await house.until(lambda: [event.container for event in heard] == ["a"])
    other.close()


@test
async def test_an_exec_hands_its_streams_to_its_caller(house: House, keeper: Keeper) -> None:
    await house.run(keeper, "a", "exec sleep 60")
    pid_file = house.root / "exec.pid"
    argv = house.detaching("cat; echo err >&2; exit 6", pid_file)
    _, streams = await keeper.exec("a", "e", argv, pid_file=pid_file, open_stdin=True)
    assert streams.stdin is not None and streams.stdout is not None and streams.stderr is not None
    os.write(streams.stdin, b"in")
    os.close(streams.stdin)
    streams.stdin = None
    event = await house.exit_of("a", "e")
    assert (event.exit_code, event.recorded) == (6, False)
    assert (os.read(streams.stdout, 100), os.read(streams.stderr, 100)) == (b"in", b"err\n")
    assert os.read(streams.stdout, 100) == b""
    streams.close()
    await keeper.forget("a", exec_id="e")
    assert house.output("a") == {1: b"", 2: b""}


@test
async def test_an_exec_needs_a_running_container(house: House, keeper: Keeper) -> None:
    with pytest.raises(errors.NotFound):
        await keeper.exec("a", "e", ["/bin/true"], pid_file=house.root / "pid")
    await house.run(keeper, "a", "true")
    await house.exit_of("a")
    with pytest.raises(errors.Conflict, match="is not running"):
        await keeper.exec("a", "e", ["/bin/true"], pid_file=house.root / "pid")


@test
async def test_stop_is_refused_while_something_runs(house: House, keeper: Keeper) -> None:
    pid = keeper.pid
    await house.run(keeper, "a", "exec sleep 60")
    with pytest.raises(errors.Conflict, match="running processes"):
        await keeper.stop()
    os.kill(pid, signal.SIGTERM)  # refused in the same way
    assert len(await keeper.processes()) == 1
    await keeper.signal("a", signal.SIGKILL)
    await house.exit_of("a")
    await keeper.stop()
    await house.until(lambda: not house.socket.exists())


@test
async def test_sigterm_ends_a_keeper_that_holds_nothing(house: House, keeper: Keeper) -> None:
    os.kill(keeper.pid, signal.SIGTERM)
    await house.until(lambda: len(house.gone) == 1)
    with pytest.raises(KeeperGone):
        await keeper.processes()


@test
async def test_a_call_under_way_fails_when_the_keeper_dies(house: House, keeper: Keeper) -> None:
    gate = house.root / "gate"
    os.mkfifo(gate)
    asking = asyncio.ensure_future(
        keeper.run("a", ["/bin/cat", str(gate)], pid_file=house.root / "pid", log_dir=house.log_dir("a"))
    )
    await asyncio.sleep(0)
    end(keeper.pid)
    with pytest.raises(KeeperGone):
        await asking
    assert len(house.gone) == 1


@test
async def test_a_second_keeper_is_turned_away_by_the_lock(house: House, keeper: Keeper) -> None:
    words = keeping.command(house.socket)
    second = await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.PIPE)
    _, stderr = await second.communicate()
    assert second.returncode == 3
    assert b"another keeper" in stderr
    assert await keeper.processes() == []


@test
async def test_a_keeper_that_was_killed_leaves_room_for_the_next(house: House, keeper: Keeper) -> None:
    end(keeper.pid)
    await house.until(lambda: len(house.gone) == 1)
    fresh = await house.connect()
    assert await fresh.processes() == []
    await fresh.stop()


@pytest.fixture
def raw_packets() -> Iterator[list[bytes]]:
    yield [
        b"not json",
        b"[]",
        b"{}",
        b'{"id": 1}',
        b'{"id": 1, "do": 5}',
        b'{"id": 1, "do": "dance"}',
        b'{"id": "x", "do": "hello"}',
        b'{"id": 1, "do": "run"}',
        b'{"id": 1, "do": "run", "container": ""}',
        b'{"id": 1, "do": "run", "container": "a", "argv": [], "pid_file": "/x", "log_dir": "/x"}',
        b'{"id": 1, "do": "run", "container": "a", "argv": [1], "pid_file": "/x", "log_dir": "/x"}',
        b'{"id": 1, "do": "run", "container": "a", "argv": ["x"], "pid_file": "/x", "log_dir": "/x", "terminal": true}',
        b'{"id": 1, "do": "run", "container": "a", "argv": ["x"], "pid_file": "/x", "log_dir": "/no/such/dir"}',
        b'{"id": 1, "do": "run", "container": "a", "argv": ["x"], "pid_file": "/x", "log_dir": "/x", "log": 5}',
        b'{"id": 1, "do": "run", "container": "a\\u0000", "argv": ["x"], "pid_file": "/x", "log_dir": "/x"}',
        b'{"id": 1, "do": "signal", "container": "a", "signal": 9}',
        b'{"id": 1, "do": "resize", "container": "a", "rows": 70000, "cols": -1}',
        b"[" * 100_000,
        b'{"id": 1, "do": "hello", "x": "' + b"x" * 190_000 + b'"}\xff',
    ]


def test_malformed_requests_get_an_error_and_change_nothing(raw_packets: list[bytes]) -> None:
    async def conversation() -> None:
        async with asyncio.timeout(LIMIT_S), a_house() as (house, keeper):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
                connection.connect(str(house.socket))
                for packet in raw_packets:
                    connection.send(packet)
                    error = json.loads(connection.recv(1 << 18))["error"]
                    assert error["kind"] in {kind.__name__ for kind in errors.KINDS}, packet[:80]
                    assert error["what"], packet[:80]
            assert await keeper.processes() == []

    asyncio.run(conversation())


@test
async def test_a_client_that_does_not_read_is_dropped(house: House, keeper: Keeper) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as deaf:
        deaf.connect(str(house.socket))
        deaf.settimeout(LIMIT_S)
        request = protocol.encode({"id": 1, "do": "hello"})
        with pytest.raises(OSError, match=r"reset|Broken pipe|not connected"):
            for _ in range(100 * clients._MAX_QUEUED_PACKETS):
                deaf.send(request)
    assert await keeper.processes() == []


@test
async def test_out_of_descriptors_a_request_fails_and_the_keeper_lives(house: House, keeper: Keeper) -> None:
    pid = keeper.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, limits[1]))
    with pytest.raises(errors.SampanError, match="Too many open files"):
        await house.run(keeper, "a", "true")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as turned_away:
        turned_away.connect(str(house.socket))
        turned_away.settimeout(LIMIT_S)
        assert turned_away.recv(100) == b""
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    await house.run(keeper, "a", "true")
    assert (await house.exit_of("a")).exit_code == 0


@test
async def test_a_cancelled_request_leaks_no_descriptor(house: House, keeper: Keeper) -> None:
    await house.run(keeper, "a", "exec sleep 60", open_stdin=True)
    before = len(list(Path("/proc/self/fd").iterdir()))
    asking = asyncio.ensure_future(keeper.stdin("a"))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await keeper.processes()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@test
async def test_rotation_is_done_as_asked(house: House, keeper: Keeper) -> None:
    limits = keeping.LogLimits(max_size_bytes=70_000, max_files=2)
    await house.run(keeper, "a", "head -c 1000000 /dev/zero", log=limits)
    await house.exit_of("a")
    names = {file.name for file in house.log_dir("a").iterdir() if "log" in file.name}
    assert names == {f"container.log{end}" for end in ("", ".idx", ".1", ".1.idx")}
