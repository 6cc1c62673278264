"""A container's log: `container.log`, concatenated stdcopy frames, and `container.log.idx`, one record per frame.

A record is 16 bytes, big endian: u64 offset of the frame in the log, u64 Unix time in nanoseconds at which the frame
was read from the container. The writer appends the frame first and its record second, so a record always points at a
whole frame while the host is up; after a power cut either file may end early. Readers trust the records that point at
whole frames and nothing beyond; the writer repairs the pair when it opens it again (`plan_repair`).

No two frames of a container have the same time and times never step back, across rotations and runs as well (the
writer sees to it). So `--since` and `--until` are binary searches, and the time of a frame is a position in the log.

Rotation renames the pair to `container.log.1` and `container.log.1.idx` (then `.2`, higher is older), index before log:
who opened a log, then its index, and finds the log's name still on the same inode, holds a pair.

Imported by the keeper: standard library only, and only its cheap part.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from sampan.formats import stdcopy

LOG_NAME = "container.log"
EXIT_NAME = "exit.json"
RECORD_BYTES = 16
_RECORD = struct.Struct(">QQ")
# The largest payload the keeper puts in one frame: a pipe's default capacity.
MAX_PAYLOAD_BYTES = 65536


def log_name(generation: int) -> str:
    """File name of the log: 0 is the one being written, higher is older."""
    return LOG_NAME if generation == 0 else f"{LOG_NAME}.{generation}"


def index_name(generation: int) -> str:
    """File name of the index that belongs to `log_name(generation)`."""
    return log_name(generation) + ".idx"


def pack_record(offset: int, time_ns: int) -> bytes:
    """One index record."""
    return _RECORD.pack(offset, time_ns)


def record(index: stdcopy.Buffer, number: int) -> tuple[int, int]:
    """`(offset, time_ns)` of the record with that number, from 0."""
    offset, time_ns = _RECORD.unpack_from(index, number * RECORD_BYTES)
    return offset, time_ns


def records(index: stdcopy.Buffer, first: int, last: int) -> Iterator[tuple[int, int]]:
    """`(offset, time_ns)` of the records first <= number < last."""
    return _RECORD.iter_unpack(index[first * RECORD_BYTES : last * RECORD_BYTES])


def first_since(index: stdcopy.Buffer, count: int, since_ns: int) -> int:
    """Number of the first of `count` records whose time is at or after `since_ns`; `count` when there is none."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if record(index, middle)[1] < since_ns:
            low = middle + 1
        else:
            high = middle
    return low


def first_after(index: stdcopy.Buffer, count: int, until_ns: int) -> int:
    """Number of the first of `count` records whose time is after `until_ns`."""
    return first_since(index, count, until_ns + 1)


def frame_end(log: stdcopy.Buffer, offset: int) -> int | None:
    """Where the frame at `offset` ends; None when there is no whole frame there."""
    if offset + stdcopy.HEADER_BYTES > len(log):
        return None
    try:
        _, payload_bytes = stdcopy.parse_header(log, offset)
    except stdcopy.BadFrame:
        return None
    end = offset + stdcopy.HEADER_BYTES + payload_bytes
    return end if end <= len(log) else None


def usable(index: stdcopy.Buffer, log: stdcopy.Buffer) -> tuple[int, int]:
    """`(records, end of log)` a reader may trust: the last record that points at a whole frame, and where that ends."""
    count = len(index) // RECORD_BYTES
    while count:
        end = frame_end(log, record(index, count - 1)[0])
        if end is not None:
            return count, end
        count -= 1
    return 0, 0


class Repair:
    """What the writer does to a pair before it appends: cut both files, then add the missing records."""

    __slots__ = ("add", "index_bytes", "last_ns", "log_bytes")

    def __init__(self, *, index_bytes: int, log_bytes: int, add: bytes, last_ns: int) -> None:
        self.index_bytes = index_bytes
        self.log_bytes = log_bytes
        self.add = add
        self.last_ns = last_ns


def plan_repair(index: stdcopy.Buffer, log: stdcopy.Buffer) -> Repair:
    """Keep every whole frame. Frames behind the last record get records just after it; the torn end is cut off."""
    count, end = usable(index, log)
    last_ns = record(index, count - 1)[1] if count else 0
    add = []
    while (next_end := frame_end(log, end)) is not None:
        last_ns += 1
        add.append(pack_record(end, last_ns))
        end = next_end
    return Repair(index_bytes=count * RECORD_BYTES, log_bytes=end, add=b"".join(add), last_ns=last_ns)
