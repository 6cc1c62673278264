"""Tail, streams and timestamps, against implementations that read everything and think about nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sampan.formats import logshape, stdcopy

Frames = list[tuple[int, bytes]]
OUT, ERR = stdcopy.STDOUT, stdcopy.STDERR

frames = st.lists(
    st.tuples(
        st.sampled_from([OUT, ERR]),
        st.lists(st.sampled_from([b"a", b"b", b"\n"]), min_size=1, max_size=6).map(b"".join),
    ),
    max_size=25,
)
streams = st.sampled_from([(OUT,), (ERR,), (OUT, ERR)])


def naive_tail(given_frames: Frames, lines: int, wanted: tuple[int, ...]) -> dict[int, bytes]:
    """The bytes of each stream's part of the last lines.

    Lines are ordered by where they end; one without an end is taken to end with its stream's last frame.
    """
    last = {stream: place for place, (stream, _) in enumerate(given_frames)}
    partial = dict.fromkeys(wanted, b"")
    ended: list[tuple[int, bytes]] = []
    for place, (stream, payload) in enumerate(given_frames):
        if stream in partial:
            *whole, partial[stream] = (partial[stream] + payload).split(b"\n")
            ended += [(stream, line + b"\n") for line in whole]
            if place == last[stream] and partial[stream]:
                ended.append((stream, partial[stream]))
    chosen = ended[max(0, len(ended) - lines) :]
    return {stream: b"".join(line for one, line in chosen if one == stream) for stream in wanted}


def shape(given_frames: Frames, shaper: logshape.Shaper, step: int = 3) -> bytes:
    """Feed the frames a few at a time, as a reader does; times are 1 s, 2 s, ..."""
    out = b""
    for first in range(0, len(given_frames), step):
        part = given_frames[first : first + step]
        data = b"".join(stdcopy.frame(stream, payload) for stream, payload in part)
        out += shaper.shape(data, [(first + n + 1) * logshape.NS for n in range(len(part))], first)
    return out


def by_stream(data: bytes) -> dict[int, bytes]:
    found = {OUT: b"", ERR: b""}
    for stream, start, end in stdcopy.frames(data):
        found[stream] += data[start:end]
    return found


@given(frames, st.integers(min_value=0, max_value=8), streams)
def test_the_tail_is_what_reading_everything_gives(given_frames: Frames, lines: int, wanted: tuple[int, ...]) -> None:
    starts = logshape.tail_starts(given_frames.__getitem__, len(given_frames), lines, wanted)
    shaper = logshape.Shaper(streams=wanted, timestamps=False, multiplexed=True, starts=starts)
    found = by_stream(shape(given_frames, shaper))
    expected = naive_tail(given_frames, lines, wanted)
    assert {stream: found[stream] for stream in wanted} == expected


def test_the_tail_reads_no_further_back_than_it_needs() -> None:
    log = [(OUT, b"line\n")] * 1000
    met: list[int] = []

    def frame_at(place: int) -> tuple[int, bytes]:
        met.append(place)
        return log[place]

    assert logshape.tail_starts(frame_at, 1000, 3, (OUT, ERR)) == {OUT: (996, 5), ERR: logshape.NEVER}
    assert len(met) == 4


@given(frames, streams)
def test_selected_streams_come_raw_in_the_order_written(given_frames: Frames, wanted: tuple[int, ...]) -> None:
    shaper = logshape.Shaper(streams=wanted, timestamps=False, multiplexed=False)
    expected = b"".join(payload for stream, payload in given_frames if stream in wanted)
    assert shape(given_frames, shaper) == expected


@given(frames)
def test_every_line_begins_with_the_time_of_the_frame_it_begins_in(given_frames: Frames) -> None:
    shaper = logshape.Shaper(streams=(OUT, ERR), timestamps=True, multiplexed=True)
    found = by_stream(shape(given_frames, shaper))
    expected = {OUT: b"", ERR: b""}
    inside = {OUT: False, ERR: False}
    for number, (stream, payload) in enumerate(given_frames):
        stamp = f"1970-01-01T00:00:{number + 1:02}.000000000Z ".encode()
        for byte in payload:
            if not inside[stream]:
                expected[stream] += stamp
            expected[stream] += bytes([byte])
            inside[stream] = byte != ord("\n")
    assert found == expected


def test_a_time_has_nine_digits_and_is_utc() -> None:
    assert logshape.rfc3339_nano(1_136_214_245_000_000_007) == b"2006-01-02T15:04:05.000000007Z"


def test_a_query_for_everything_passes_the_bytes_through() -> None:
    shaper = logshape.Shaper(streams=(OUT, ERR), timestamps=False, multiplexed=True)
    data = stdcopy.frame(OUT, b"x")
    assert shaper.transparent
    assert shaper.shape(data, [1], 0) is data
