"""Docker's multiplexed stream: frames of `[stream][0 0 0][u32 length, big endian][payload]`.

The same frames travel over attach, exec and logs connections, and lie in a container's log file
(`formats.containerlog`). Imported by the keeper: standard library only, and only its cheap part.

Source: Docker Engine API, "Attach to a container", stream format.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from mmap import mmap

Buffer = bytes | bytearray | memoryview | mmap

STDIN = 0
STDOUT = 1
STDERR = 2
# What Docker writes when the daemon itself fails in the middle of a stream.
SYSTEM_ERROR = 3

HEADER_BYTES = 8
_HEADER = struct.Struct(">BxxxL")
# Little endian on purpose: the three zero bytes and the stream are one number, so one compare checks all four.
_CHECK = struct.Struct("<L")


class BadFrame(ValueError):
    """Bytes that are not a frame header where one must be."""


def header(stream: int, size_bytes: int) -> bytes:
    """The eight bytes in front of a payload of `size_bytes`."""
    return _HEADER.pack(stream, size_bytes)


def pack_header_into(buffer: bytearray, offset: int, stream: int, size_bytes: int) -> None:
    """Write a header in place, so that header and payload leave in one write."""
    _HEADER.pack_into(buffer, offset, stream, size_bytes)


def frame(stream: int, payload: bytes) -> bytes:
    """One whole frame."""
    return _HEADER.pack(stream, len(payload)) + payload


def parse_header(buffer: Buffer, offset: int = 0) -> tuple[int, int]:
    """`(stream, payload size)` of the header at `offset`.

    Raises: BadFrame when the four first bytes are not a stream number and three zeros.
    """
    (check,) = _CHECK.unpack_from(buffer, offset)
    if check > SYSTEM_ERROR:
        raise BadFrame(f"no frame header at offset {offset}: {bytes(buffer[offset : offset + HEADER_BYTES])!r}")
    stream, size_bytes = _HEADER.unpack_from(buffer, offset)
    return stream, size_bytes


def frames(buffer: Buffer, offset: int = 0) -> Iterator[tuple[int, int, int]]:
    """`(stream, payload start, payload end)` of every whole frame from `offset`; a frame cut short ends the walk.

    Raises: BadFrame.
    """
    size = len(buffer)
    while offset + HEADER_BYTES <= size:
        stream, payload_bytes = parse_header(buffer, offset)
        start = offset + HEADER_BYTES
        end = start + payload_bytes
        if end > size:
            return
        yield stream, start, end
        offset = end


class Decoder:
    """Frames out of a stream that arrives in arbitrary pieces."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The `(stream, payload)` pairs that `data` completes. Raises: BadFrame."""
        buffer = self._pending + data if self._pending else data
        done = 0
        found = []
        for stream, start, end in frames(buffer):
            found.append((stream, buffer[start:end]))
            done = end
        self._pending = buffer[done:]
        return found

    @property
    def pending_bytes(self) -> int:
        """Bytes of a frame that has begun and not ended; not 0 at the end of a stream means it was cut."""
        return len(self._pending)
