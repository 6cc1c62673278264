"""How output is cut for clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from sampan.api.engine import framing
from sampan.formats import stdcopy


def frames(data: bytes) -> list[tuple[int, bytes]]:
    return stdcopy.Decoder().feed(data)


def test_every_line_of_a_log_is_a_frame() -> None:
    lines = framing.Lines()
    sent = lines.feed(stdcopy.frame(1, b"one\ntwo\r\n\nrest") + stdcopy.frame(2, b"oops\n"))
    assert frames(sent) == [(1, b"one\n"), (1, b"two\r\n"), (1, b"\n"), (1, b"rest"), (2, b"oops\n")]


def test_frames_that_are_cut_between_pieces_are_put_together() -> None:
    lines, whole = framing.Lines(), stdcopy.frame(1, b"one\ntwo\n")
    sent = [lines.feed(whole[at : at + 1]) for at in range(len(whole))]
    assert frames(b"".join(sent)) == [(1, b"one\n"), (1, b"two\n")]


def test_what_is_long_and_fast_leaves_as_it_is_and_what_is_slow_is_cut_again() -> None:
    lines = framing.Lines()
    large = stdcopy.frame(1, b"x\n" * framing.SLOW_BYTES)
    rounds = framing.CUT_BYTES // len(large) + 1
    first = [lines.feed(large) for _ in range(rounds)]
    assert len(frames(first[0])) == framing.SLOW_BYTES
    assert lines.feed(large) is large
    assert len(frames(lines.feed(stdcopy.frame(1, b"a\nb\n")))) == 2


async def _pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def test_a_terminal_is_framed_and_frames_are_bared() -> None:
    async def gathered(pieces: AsyncIterator[bytes]) -> bytes:
        return b"".join([piece async for piece in pieces])

    framed = asyncio.run(gathered(framing.framed(_pieces(b"$ ", b"ls\r\n"))))
    assert frames(framed) == [(1, b"$ "), (1, b"ls\r\n")]
    assert asyncio.run(gathered(framing.bare(_pieces(framed[:5], framed[5:])))) == b"$ ls\r\n"
