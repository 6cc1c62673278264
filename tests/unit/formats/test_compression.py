"""Inflating: every format, every way of cutting a stream, and the limits."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.formats import compression
from sampan.formats.compression import DamagedStream, Inflater, Limits, TooLarge

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Compress = Callable[[bytes], bytes]
FORMATS: dict[str, Compress] = {
    "gzip": lambda content: gzip.compress(content, 6),
    "zstd": lambda content: zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1}),
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}
CONTENT = random.Random(1).randbytes(70_000) + b"boat " * 100_000


def run(content: bytes, piece_bytes: int, limits: Limits | None = None) -> tuple[bytes, Inflater]:
    inflater = Inflater(limits)
    pieces = []
    for start in range(0, len(content), piece_bytes):
        pieces += inflater.feed(content[start : start + piece_bytes])
    pieces += inflater.finish()
    assert all(len(piece) <= compression.PIECE_BYTES for piece in pieces)
    return b"".join(pieces), inflater


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("piece_bytes", [1, 1000, 1 << 20])
def test_a_stream_inflates_however_it_is_cut(name: str, piece_bytes: int) -> None:
    content = CONTENT[:75_000] if piece_bytes == 1 else CONTENT
    inflated, inflater = run(FORMATS[name](content), piece_bytes)
    assert inflated == content
    assert inflater.compression == name


@pytest.mark.parametrize("name", FORMATS)
def test_the_first_bytes_tell_the_format(name: str) -> None:
    assert compression.detect(FORMATS[name](b"x")) == name


def test_a_tar_is_plain_and_passes_unchanged() -> None:
    content = b"etc/passwd" + bytes(3 << 20)
    inflated, inflater = run(content, 5 << 20)
    assert inflated == content
    assert inflater.compression == "plain"


@pytest.mark.parametrize("length", range(8))
def test_a_very_short_stream_is_plain(length: int) -> None:
    assert compression.inflate(b"abcdefgh"[:length]) == b"abcdefgh"[:length]


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_several_members_are_one_content(name: str) -> None:
    assert compression.inflate(FORMATS[name](b"one ") + FORMATS[name](b"") + FORMATS[name](b"two")) == b"one two"


def test_a_skippable_zstd_frame_is_skipped() -> None:
    frame = b"\x50\x2a\x4d\x18\x04\x00\x00\x00note"
    assert compression.detect(frame) == "zstd"
    assert compression.inflate(frame + zstd.compress(b"content") + frame) == b"content"


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.999])
def test_a_cut_stream_is_refused(name: str, kept: float) -> None:
    whole = FORMATS[name](CONTENT)
    with pytest.raises(DamagedStream):
        run(whole[: int(len(whole) * kept)], 1000)


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_stream_is_refused(name: str) -> None:
    whole = bytearray(FORMATS[name](CONTENT))
    whole[len(whole) // 2] ^= 0x55
    with pytest.raises(DamagedStream):
        run(bytes(whole), 1000)


@pytest.mark.parametrize("name", FORMATS)
def test_something_behind_the_stream_is_refused(name: str) -> None:
    with pytest.raises(DamagedStream):
        compression.inflate(FORMATS[name](CONTENT) + b"behind it" * 10)


def test_a_bomb_is_refused_long_before_it_is_inflated() -> None:
    bomb = gzip.compress(bytes(64 << 20), 9)
    limits = Limits(ratio=100, ratio_from_bytes=1 << 20)
    inflater = Inflater(limits)
    with pytest.raises(TooLarge, match="more than 100 times"):
        list(inflater.feed(bomb))
    assert inflater.bytes_out < 100 * len(bomb) + 2 * compression.PIECE_BYTES


def test_the_default_limits_refuse_three_hundred_megabytes_of_zeros() -> None:
    stream = zstd.ZstdCompressor()
    bomb = b"".join(stream.compress(bytes(1 << 20)) for _ in range(300)) + stream.flush()
    with pytest.raises(TooLarge):
        run(bomb, 1 << 20)


def test_content_beyond_the_absolute_limit_is_refused() -> None:
    with pytest.raises(TooLarge, match="beyond 1000 bytes"):
        compression.inflate(gzip.compress(b"x" * 1001), Limits(largest_bytes=1000))
    with pytest.raises(TooLarge):
        compression.inflate(b"x" * 1001, Limits(largest_bytes=1000))


def test_small_files_of_zeros_are_within_the_limits() -> None:
    assert len(compression.inflate(gzip.compress(bytes(10 << 20)))) == 10 << 20


def test_a_zstd_window_over_the_limit_is_refused() -> None:
    stream = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 28})
    content = stream.compress(b"x" * 100_000) + stream.flush()
    with pytest.raises(DamagedStream):
        compression.inflate(content)
    assert compression.inflate(content, Limits(zstd_window_log=28)) == b"x" * 100_000


def test_a_gzip_stream_in_a_gzip_stream_is_inflated_once() -> None:
    inner = gzip.compress(b"x")
    assert compression.inflate(gzip.compress(inner)) == inner


def test_compressing_the_same_content_gives_the_same_bytes() -> None:
    once = b"".join(compression.gzip_pieces([CONTENT[:1000], CONTENT[1000:]]))
    again = b"".join(compression.gzip_pieces([CONTENT[:1000], CONTENT[1000:]]))
    assert once == again
    assert gzip.decompress(once) == CONTENT


@given(st.binary(max_size=2000))
def test_any_bytes_inflate_or_are_refused(content: bytes) -> None:
    try:
        compression.inflate(content, Limits(largest_bytes=1 << 20))
    except (DamagedStream, TooLarge):
        pass


@given(st.sampled_from(sorted(FORMATS)), st.binary(max_size=200))
def test_any_bytes_behind_a_magic_inflate_or_are_refused(name: str, rest: bytes) -> None:
    try:
        compression.inflate(FORMATS[name](b"")[:6] + rest, Limits(largest_bytes=1 << 20))
    except (DamagedStream, TooLarge):
        pass
