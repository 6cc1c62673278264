"""How output is cut for clients: a frame for each line of a log, frames around a terminal, or none at all.

dockerd sends a log line by line, and the SDK for Python hands each frame to its caller as one line. Cutting costs time
for every line, so only the beginning of a long answer is cut, and whatever comes slowly; what follows leaves in large
frames, which every client reads.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from sampan.formats import stdcopy

CUT_BYTES = 4 << 20  # of one answer: about 50,000 lines, a hundredth of a second
SLOW_BYTES = 64 << 10  # a piece this small is somebody following, not a log read at full speed


class Lines:
    """Frames in, a frame for each line out."""

    def __init__(self) -> None:
        self._decoder = stdcopy.Decoder()
        self._seen_bytes = 0

    def feed(self, chunk: bytes) -> bytes:
        """What to send for `chunk`."""
        self._seen_bytes += len(chunk)
        if self._decoder.pending_bytes == 0 and self._seen_bytes > CUT_BYTES and len(chunk) > SLOW_BYTES:
            return chunk
        return b"".join(
            stdcopy.frame(stream, line) for stream, payload in self._decoder.feed(chunk) for line in _lines(payload)
        )


def _lines(payload: bytes) -> list[bytes]:
    """Cut behind each newline and nowhere else: `bytes.splitlines` would cut at a carriage return too."""
    lines = [line + b"\n" for line in payload.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


async def framed(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A terminal's bytes for a client that expects frames."""
    async for piece in pieces:
        yield stdcopy.frame(stdcopy.STDOUT, piece)


async def bare(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Frames for a client that expects a terminal's bytes."""
    decoder = stdcopy.Decoder()
    async for piece in pieces:
        yield b"".join(payload for _, payload in decoder.feed(piece))
