"""The writer of a log: frames and records in step, rotation, a full disk, and a pair torn by a power cut."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sampan.formats import containerlog, stdcopy
from sampan.keeper.logwriter import LogWriter

OUT = stdcopy.STDOUT


def write(writer: LogWriter, payload: bytes, now_ns: int = 1) -> None:
    writer.write(bytearray(stdcopy.HEADER_BYTES) + payload, len(payload), OUT, now_ns)


def payloads(directory: Path, generation: int = 0) -> list[bytes]:
    log = (directory / containerlog.log_name(generation)).read_bytes()
    index = (directory / containerlog.index_name(generation)).read_bytes()
    count, end = containerlog.usable(index, log)
    assert (count * containerlog.RECORD_BYTES, end) == (len(index), len(log)), "log and index are out of step"
    return [log[start:stop] for _, start, stop in stdcopy.frames(log)]


@contextmanager
def files_limited_to(size_bytes: int) -> Iterator[None]:
    """Make writes beyond that size fail, the last one halfway: what a full disk does."""
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_written_is_there_at_once_and_in_step(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path))
    for number in range(5):
        write(writer, b"line %d\n" % number)
        assert payloads(tmp_path)[-1] == b"line %d\n" % number
    writer.close()


def test_a_second_run_appends(tmp_path: Path) -> None:
    for _ in range(2):
        writer = LogWriter(str(tmp_path))
        write(writer, b"x")
        writer.close()
    assert payloads(tmp_path) == [b"x", b"x"]


def test_times_always_grow_whatever_the_clock_does(tmp_path: Path) -> None:
    for times in ([100, 50], [10, 200]):
        writer = LogWriter(str(tmp_path))
        for now_ns in times:
            write(writer, b"x", now_ns)
        writer.close()
    index = (tmp_path / containerlog.index_name(0)).read_bytes()
    assert [time_ns for _, time_ns in containerlog.records(index, 0, 4)] == [100, 101, 102, 200]


def test_rotation_keeps_so_many_files_and_no_frame_twice(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path), max_size_bytes=100, max_files=3)
    for number in range(20):
        write(writer, b"%042d" % number)
    writer.close()
    kept = [payloads(tmp_path, generation) for generation in (2, 1, 0)]
    assert [int(payload) for part in kept for payload in part] == list(range(14, 20))
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(
        name(generation) for generation in range(3) for name in (containerlog.log_name, containerlog.index_name)
    )


def test_a_single_file_starts_over_when_it_is_full(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path), max_size_bytes=100, max_files=1)
    for number in range(5):
        write(writer, b"%042d" % number)
    writer.close()
    assert [int(payload) for payload in payloads(tmp_path)] == [4]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_frame_larger_than_the_limit_is_kept_whole(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path), max_size_bytes=10, max_files=2)
    write(writer, b"x" * 500)
    writer.close()
    assert payloads(tmp_path) == [b"x" * 500]


def test_a_full_disk_loses_output_but_says_so_and_keeps_the_files_in_step(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path))
    write(writer, b"before\n")
    with files_limited_to(60):
        write(writer, b"x" * 500)
        assert payloads(tmp_path) == [b"before\n"]
        write(writer, b"y" * 300)
    assert writer.lost_total_bytes == 800
    write(writer, b"after\n")
    writer.close()
    before, marker, after = payloads(tmp_path)
    assert (before, after) == (b"before\n", b"after\n")
    assert b"800 bytes of output were lost" in marker


def test_a_log_torn_by_a_power_cut_is_repaired_when_it_is_opened(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path))
    for payload in (b"one", b"two", b"three"):
        write(writer, payload)
    writer.close()
    log, index = tmp_path / containerlog.log_name(0), tmp_path / containerlog.index_name(0)
    log.write_bytes(log.read_bytes()[:-2])
    index.write_bytes(index.read_bytes()[: containerlog.RECORD_BYTES + 5])
    writer = LogWriter(str(tmp_path))
    write(writer, b"four")
    writer.close()
    assert payloads(tmp_path) == [b"one", b"two", b"four"]


def test_a_rotation_that_cannot_open_new_files_goes_on_when_it_can(tmp_path: Path) -> None:
    directory = tmp_path / "log"
    directory.mkdir()
    writer = LogWriter(str(directory), max_size_bytes=20, max_files=2)
    write(writer, b"x" * 10)
    directory.rename(tmp_path / "away")
    write(writer, b"y" * 10)
    assert writer.lost_total_bytes == 10
    (tmp_path / "away").rename(directory)
    write(writer, b"z" * 10)
    writer.close()
    everything = b"".join(payload for generation in (1, 0) for payload in payloads(directory, generation))
    assert everything.endswith(b"z" * 10)
    assert b"10 bytes of output were lost" in everything


def test_times_grow_across_a_rotation_and_the_next_run(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path), max_size_bytes=20, max_files=3)
    write(writer, b"x" * 10, 500)
    writer.close()
    for name in (containerlog.log_name, containerlog.index_name):
        (tmp_path / name(0)).rename(tmp_path / name(1))
    writer = LogWriter(str(tmp_path), max_size_bytes=20, max_files=3)
    write(writer, b"x" * 10, 3)
    writer.close()
    index = (tmp_path / containerlog.index_name(0)).read_bytes()
    assert containerlog.record(index, 0) == (0, 501)
