"""Frames: the bytes Docker's clients expect, and what happens to bytes that are not frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.formats import stdcopy

payloads = st.lists(st.tuples(st.sampled_from([stdcopy.STDOUT, stdcopy.STDERR]), st.binary(max_size=200)), max_size=20)


def test_a_frame_has_the_stream_three_zeros_and_a_big_endian_length() -> None:
    assert stdcopy.frame(stdcopy.STDERR, b"ab" * 150) == b"\x02\0\0\0\0\0\x01\x2c" + b"ab" * 150


@given(payloads)
def test_frames_come_back_as_they_went_in(pairs: list[tuple[int, bytes]]) -> None:
    data = b"".join(stdcopy.frame(stream, payload) for stream, payload in pairs)
    assert [(stream, data[start:end]) for stream, start, end in stdcopy.frames(data)] == pairs


@given(payloads, st.integers(min_value=1, max_value=50))
def test_a_decoder_gives_the_same_frames_however_the_stream_is_cut(pairs: list[tuple[int, bytes]], step: int) -> None:
    data = b"".join(stdcopy.frame(stream, payload) for stream, payload in pairs)
    decoder = stdcopy.Decoder()
    found = [pair for at in range(0, len(data), step) for pair in decoder.feed(data[at : at + step])]
    assert found == pairs
    assert decoder.pending_bytes == 0


@given(payloads, st.integers(min_value=1, max_value=7))
def test_a_frame_cut_short_is_not_given_out(pairs: list[tuple[int, bytes]], missing: int) -> None:
    data = b"".join(stdcopy.frame(stream, payload) for stream, payload in [*pairs, (1, b"the last one")])
    cut = data[:-missing]
    assert [(stream, cut[start:end]) for stream, start, end in stdcopy.frames(cut)] == pairs


@pytest.mark.parametrize("head", [b"\x04\0\0\0\0\0\0\0", b"\x01\0\0\x01\0\0\0\0", b"plain text"])
def test_bytes_that_are_no_header_are_refused(head: bytes) -> None:
    with pytest.raises(stdcopy.BadFrame):
        stdcopy.parse_header(head)
