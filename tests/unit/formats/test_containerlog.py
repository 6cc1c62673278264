"""The index of a log: searching it, trusting it no further than the frames go, and repairing it after a power cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sampan.formats import containerlog, stdcopy

sizes = st.lists(st.integers(min_value=0, max_value=40), max_size=30)


def build(payload_sizes: list[int], step_ns: int = 10) -> tuple[bytes, bytes]:
    log = index = b""
    for number, size in enumerate(payload_sizes):
        index += containerlog.pack_record(len(log), (number + 1) * step_ns)
        log += stdcopy.frame(stdcopy.STDOUT, b"x" * size)
    return log, index


def apply(repair: containerlog.Repair, log: bytes, index: bytes) -> tuple[bytes, bytes]:
    return log[: repair.log_bytes], index[: repair.index_bytes] + repair.add


def test_names_count_upwards_from_the_newest() -> None:
    assert [containerlog.log_name(0), containerlog.index_name(0)] == ["container.log", "container.log.idx"]
    assert [containerlog.log_name(2), containerlog.index_name(2)] == ["container.log.2", "container.log.2.idx"]


@given(st.lists(st.integers(min_value=0, max_value=50)).map(sorted), st.integers(min_value=0, max_value=51))
def test_a_time_is_found_as_a_scan_would_find_it(times: list[int], wanted: int) -> None:
    index = b"".join(containerlog.pack_record(0, one) for one in times)
    assert containerlog.first_since(index, len(times), wanted) == sum(one < wanted for one in times)
    assert containerlog.first_after(index, len(times), wanted) == sum(one <= wanted for one in times)


@given(sizes, st.integers(min_value=0, max_value=60), st.integers(min_value=0, max_value=60))
def test_a_torn_pair_is_trusted_up_to_its_last_whole_frame(wanted: list[int], log_cut: int, index_cut: int) -> None:
    log, index = build(wanted)
    torn_log, torn_index = log[: max(0, len(log) - log_cut)], index[: max(0, len(index) - index_cut)]
    count, end = containerlog.usable(torn_index, torn_log)
    ends = [end for _, _, end in stdcopy.frames(log)]
    whole = min(sum(end <= len(torn_log) for end in ends), len(torn_index) // containerlog.RECORD_BYTES)
    assert count == whole
    assert end == (ends[whole - 1] if whole else 0)


@given(sizes, st.integers(min_value=0, max_value=60), st.integers(min_value=0, max_value=60))
def test_a_repair_keeps_whole_frames_and_gives_each_a_record(wanted: list[int], log_cut: int, index_cut: int) -> None:
    log, index = build(wanted)
    torn_log, torn_index = log[: max(0, len(log) - log_cut)], index[: max(0, len(index) - index_cut)]
    new_log, new_index = apply(containerlog.plan_repair(torn_index, torn_log), torn_log, torn_index)
    starts = [start - stdcopy.HEADER_BYTES for _, start, _ in stdcopy.frames(torn_log)]
    records = list(containerlog.records(new_index, 0, len(new_index) // containerlog.RECORD_BYTES))
    assert [offset for offset, _ in records] == starts
    assert [time for _, time in records] == sorted({time for _, time in records})
    assert containerlog.usable(new_index, new_log) == (len(starts), len(new_log))


def test_a_repair_cuts_bytes_that_are_no_frames() -> None:
    log, index = build([5, 6])
    repair = containerlog.plan_repair(index, log + b"\xff" * 100)
    assert (repair.log_bytes, repair.index_bytes, repair.add) == (len(log), len(index), b"")


def test_a_log_without_an_index_gets_one() -> None:
    log, index = build([5, 6, 7])
    repair = containerlog.plan_repair(b"", log)
    assert [offset for offset, _ in containerlog.records(repair.add, 0, 3)] == [
        offset for offset, _ in containerlog.records(index, 0, 3)
    ]
