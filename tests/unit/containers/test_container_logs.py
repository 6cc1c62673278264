"""Reading a log the keeper's writer wrote: queries, following, and rotation under a follower."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampan.containers import logs
from sampan.containers.logs import LogQuery
from sampan.formats import containerlog, stdcopy
from sampan.keeper.logwriter import LogWriter
from sampan.kernel import inotify

OUT, ERR = stdcopy.STDOUT, stdcopy.STDERR
LIMIT_S = 10
T = TypeVar("T")


def write(writer: LogWriter, stream: int, payload: bytes, now_ns: int) -> None:
    writer.write(bytearray(stdcopy.HEADER_BYTES) + payload, len(payload), stream, now_ns)


def write_lines(writer: LogWriter, first: int, last: int) -> None:
    """Line n goes to stdout when n is even, to stderr when it is odd, at n + 1000 nanoseconds."""
    for number in range(first, last):
        write(writer, (OUT, ERR)[number % 2], b"%d\n" % number, 1000 + number)


def run(test: Callable[[], Awaitable[T]]) -> T:
    async def limited() -> T:
        async with asyncio.timeout(LIMIT_S):
            return await test()

    return asyncio.run(limited())


async def collect(directory: Path, query: LogQuery) -> bytes:
    return b"".join([piece async for piece in logs.read(directory, query)])


def read(directory: Path, query: LogQuery) -> bytes:
    return run(lambda: collect(directory, query))


def lines_of(data: bytes) -> list[int]:
    return [int(data[start:end]) for _, start, end in stdcopy.frames(data)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (LogQuery(), list(range(100))),
        (LogQuery(stderr=False), list(range(0, 100, 2))),
        (LogQuery(stdout=False), list(range(1, 100, 2))),
        (LogQuery(stdout=False, stderr=False), []),
        (LogQuery(tail=3), [97, 98, 99]),
        (LogQuery(tail=0), []),
        (LogQuery(tail=1000), list(range(100))),
        (LogQuery(tail=2, stdout=False), [97, 99]),
        (LogQuery(since_ns=1095), [95, 96, 97, 98, 99]),
        (LogQuery(until_ns=1002), [0, 1, 2]),
        (LogQuery(since_ns=1040, until_ns=1042), [40, 41, 42]),
        (LogQuery(until_ns=1050, tail=2), [49, 50]),
        (LogQuery(since_ns=1098, tail=5), [98, 99]),
        (LogQuery(since_ns=2000), []),
    ],
)
@pytest.mark.parametrize("max_size_bytes", [0, 200])
def test_a_query_finds_its_lines_in_one_file_or_many(
    tmp_path: Path, query: LogQuery, expected: list[int], max_size_bytes: int
) -> None:
    writer = LogWriter(str(tmp_path), max_size_bytes=max_size_bytes, max_files=100)
    write_lines(writer, 0, 100)
    writer.close()
    assert lines_of(read(tmp_path, query)) == expected


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from([OUT, ERR]), st.sampled_from([b"a\n", b"b", b"c\nd", b"\n"])), max_size=20),
    st.integers(min_value=0, max_value=5),
    st.integers(min_value=0, max_value=20),
)
def test_tail_within_a_time_equals_reading_only_those_frames(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[int, bytes]], tail: int, since: int
) -> None:
    whole, part = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("part")
    for directory, first in ((whole, 0), (part, since)):
        writer = LogWriter(str(directory), max_size_bytes=40, max_files=100)
        for number, (stream, payload) in enumerate(written[first:], first):
            write(writer, stream, payload, 1000 + number)
        writer.close()
    assert read(whole, LogQuery(since_ns=1000 + since, tail=tail)) == read(part, LogQuery(tail=tail))


def test_a_terminals_log_is_given_without_frames_and_with_times(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path))
    write(writer, OUT, b"one\r\ntw", 1)
    write(writer, OUT, b"o\r\n", 2)
    writer.close()
    assert read(tmp_path, LogQuery(multiplexed=False)) == b"one\r\ntwo\r\n"
    stamp = b"1970-01-01T00:00:00.000000001Z "
    assert read(tmp_path, LogQuery(multiplexed=False, timestamps=True)) == stamp + b"one\r\n" + stamp + b"two\r\n"


def test_a_log_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path, LogQuery()) == b""
    assert logs.end(tmp_path) == 0


def test_a_torn_end_is_not_given_out(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path))
    write_lines(writer, 0, 10)
    writer.close()
    log = tmp_path / containerlog.LOG_NAME
    log.write_bytes(log.read_bytes()[:-1])
    assert lines_of(read(tmp_path, LogQuery())) == list(range(9))


def test_the_ranges_for_sendfile_are_the_whole_log(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path), max_size_bytes=200, max_files=100)
    write_lines(writer, 0, 100)
    writer.close()
    assert LogQuery().whole
    assert not LogQuery(tail=5).whole
    sent = b""
    for segment, size_bytes in logs.whole_ranges(tmp_path):
        with segment, open(segment.fileno(), "rb", closefd=False) as file:
            sent += file.read(size_bytes)
    assert lines_of(sent) == list(range(100))


class Following:
    """A follower in a task, and what it has read so far."""

    def __init__(self, directory: Path, query: LogQuery) -> None:
        self.data = b""
        self.finished = asyncio.Event()
        self.more = asyncio.Event()
        self.watches = inotify.Watches()
        self.task = asyncio.ensure_future(self._read(directory, query))

    async def _read(self, directory: Path, query: LogQuery) -> None:
        async for piece in logs.read(directory, query, finished=self.finished, watches=self.watches):
            self.data += piece
            self.more.set()

    async def until(self, last: int) -> None:
        while last not in lines_of(self.data):
            self.more.clear()
            waiting = asyncio.ensure_future(self.more.wait())
            await asyncio.wait({waiting, self.task}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            assert not self.task.done() or last in lines_of(self.data), lines_of(self.data)

    async def end(self) -> list[int]:
        self.finished.set()
        await self.task
        self.watches.close()
        return lines_of(self.data)


@pytest.mark.parametrize("max_size_bytes", [0, 60])
def test_a_follower_gets_every_line_once_across_rotations(tmp_path: Path, max_size_bytes: int) -> None:
    async def test() -> list[int]:
        writer = LogWriter(str(tmp_path), max_size_bytes=max_size_bytes, max_files=1000)
        write_lines(writer, 0, 10)
        following = Following(tmp_path, LogQuery(follow=True))
        for first in range(10, 200, 10):
            await following.until(first - 1)
            write_lines(writer, first, first + 10)
        writer.close()
        return await following.end()

    assert run(test) == list(range(200))


def test_a_follower_gives_what_was_written_before_the_end_was_known(tmp_path: Path) -> None:
    async def test() -> list[int]:
        following = Following(tmp_path, LogQuery(follow=True))
        writer = LogWriter(str(tmp_path), max_size_bytes=60, max_files=1000)
        write_lines(writer, 0, 50)
        writer.close()
        return await following.end()

    assert run(test) == list(range(50))


def test_a_follower_waits_for_a_log_that_is_not_there_yet(tmp_path: Path) -> None:
    async def test() -> list[int]:
        following = Following(tmp_path, LogQuery(follow=True, after=logs.end(tmp_path)))
        await asyncio.sleep(0)
        writer = LogWriter(str(tmp_path))
        write_lines(writer, 0, 3)
        await following.until(2)
        writer.close()
        return await following.end()

    assert run(test) == [0, 1, 2]


def test_an_attached_client_gets_what_follows_its_position_and_nothing_before(tmp_path: Path) -> None:
    async def test() -> list[int]:
        writer = LogWriter(str(tmp_path), max_size_bytes=300, max_files=1000)
        write_lines(writer, 0, 10)
        position = logs.end(tmp_path)
        write_lines(writer, 10, 100)
        following = Following(tmp_path, LogQuery(follow=True, after=position))
        await following.until(99)
        writer.close()
        return await following.end()

    assert run(test) == list(range(10, 100))


def test_following_the_last_lines_goes_on_with_both_streams(tmp_path: Path) -> None:
    async def test() -> list[int]:
        writer = LogWriter(str(tmp_path))
        write_lines(writer, 0, 10)
        following = Following(tmp_path, LogQuery(follow=True, tail=1))
        await following.until(9)
        write_lines(writer, 10, 12)
        await following.until(11)
        writer.close()
        return await following.end()

    assert run(test) == [9, 10, 11]


def test_following_ends_by_itself_when_its_time_has_passed(tmp_path: Path) -> None:
    async def test() -> list[int]:
        writer = LogWriter(str(tmp_path))
        write_lines(writer, 0, 10)
        following = Following(tmp_path, LogQuery(follow=True, until_ns=1005))
        await following.task
        writer.close()
        return await following.end()

    assert run(test) == [0, 1, 2, 3, 4, 5]


def test_a_follower_that_fell_behind_the_rotation_goes_on_with_the_oldest_file(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path), max_size_bytes=60, max_files=2)
    write_lines(writer, 0, 10)
    position = logs.end(tmp_path)
    write_lines(writer, 10, 50)
    writer.close()
    found = lines_of(read(tmp_path, LogQuery(after=position)))
    assert found == list(range(found[0], 50))
    assert 40 <= found[0] <= 49


def test_in_the_middle_of_a_rotation_the_older_files_are_read_and_nothing_is_mispaired(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path), max_size_bytes=50, max_files=4)
    write_lines(writer, 0, 30)
    everything = lines_of(read(tmp_path, LogQuery()))
    in_newest = (tmp_path / containerlog.index_name(0)).stat().st_size // containerlog.RECORD_BYTES
    # The index is renamed, the log not yet.
    (tmp_path / containerlog.index_name(0)).rename(tmp_path / "renamed.idx")
    assert lines_of(read(tmp_path, LogQuery())) == everything[:-in_newest]
    # Both are renamed, the new ones are not there yet.
    (tmp_path / containerlog.log_name(0)).rename(tmp_path / "renamed")
    assert lines_of(read(tmp_path, LogQuery())) == everything[:-in_newest]
    writer.close()


@pytest.mark.parametrize("max_files", [1, 2, 3])
def test_between_any_two_steps_of_a_rotation_every_log_has_its_own_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_files: int
) -> None:
    writer = LogWriter(str(tmp_path), max_size_bytes=200, max_files=max_files)
    steps = 0

    def then_read(step: Callable[..., None]) -> Callable[..., None]:
        def both(*arguments: str) -> None:
            nonlocal steps
            step(*arguments)
            steps += 1
            found = lines_of(read(tmp_path, LogQuery()))
            assert found == sorted(set(found))  # a file that is just being renamed may be missing

        return both

    for name in ("rename", "unlink"):
        monkeypatch.setattr(os, name, then_read(getattr(os, name)))
    for number in range(150):
        # Frames of many lengths: an index of another file points into the middle of them.
        write(writer, OUT, b"%0*d\n" % (number * 7 % 23 + 3, number), 1000 + number)
    writer.close()
    assert steps > 10


def test_following_a_container_that_is_removed_meanwhile_gives_what_there_was_and_ends(tmp_path: Path) -> None:
    directory = tmp_path / "container"
    directory.mkdir()

    async def test() -> bytes:
        writer = LogWriter(str(directory))
        write_lines(writer, 0, 10)
        watches = inotify.Watches()
        reading = logs.read(directory, LogQuery(follow=True), finished=asyncio.Event(), watches=watches)
        found = await anext(reading)
        write_lines(writer, 10, 12)
        writer.close()
        shutil.rmtree(directory)
        async for piece in reading:
            found += piece
        watches.close()
        return found

    assert lines_of(run(test)) == list(range(12))


def test_a_reader_that_stops_early_leaves_no_watch_and_no_descriptor(tmp_path: Path) -> None:
    async def test() -> tuple[int, int]:
        writer = LogWriter(str(tmp_path))
        write_lines(writer, 0, 10)
        watches = inotify.Watches()
        before = len(list(Path("/proc/self/fd").iterdir()))
        reading = logs.read(tmp_path, LogQuery(follow=True), finished=asyncio.Event(), watches=watches)
        await anext(reading)
        write_lines(writer, 10, 11)
        await anext(reading)
        await reading.aclose()
        after = len(list(Path("/proc/self/fd").iterdir()))
        watches.close()
        writer.close()
        return before, after

    before, after = run(test)
    assert after == before
