"""Compressed streams: what they are by their first bytes, and inflating them within limits.

For layers and imported tars, which come from strangers: the output is handed out in pieces of bounded size, and a
stream that grows beyond an absolute size or beyond a ratio is refused while it is read, not afterwards. Pure: bytes
in, bytes out.

Source: RFC 1952 (gzip), RFC 8878 (zstd, its skippable frames included), the xz and bzip2 file formats.
"""

from __future__ import annotations

import bz2
import lzma
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, cast

from isal import igzip_lib, isal_zlib

from sampan import errors

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Compression = Literal["plain", "gzip", "zstd", "xz", "bzip2"]

PIECE_BYTES = 1 << 20  # largest piece handed out
LONGEST_MAGIC = 6
GZIP_LEVEL = 1  # isal level 1: 600 MB/s a core, within a few percent of zlib's fast levels in size


_ISAL_ERROR = cast(type[Exception], igzip_lib.IsalError)  # its type stub calls it an instance
_DAMAGE: tuple[type[Exception], ...] = (_ISAL_ERROR, zstd.ZstdError, lzma.LZMAError, OSError, EOFError)


class DamagedStream(errors.Invalid):
    """The compressed data is cut short, corrupt, or followed by something else."""


class TooLarge(errors.Invalid):
    """The data inflates beyond the limits: a decompression bomb, or limits too small for this content."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a stream may inflate. The ratio counts only beyond `ratio_from_bytes`: small zero files reach 1000:1."""

    largest_bytes: int = 64 << 30
    ratio: int = 200
    ratio_from_bytes: int = 128 << 20
    zstd_window_log: int = 27  # 128 MiB, what `zstd -d` accepts without options
    xz_memory_bytes: int = 256 << 20


class _Decompressor(Protocol):
    """The standard library's incremental interface; isal's and zstd's follow it."""

    eof: bool
    needs_input: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def detect(head: bytes | bytearray | memoryview) -> Compression:
    """What the first bytes say; `plain` for anything else. Six bytes are enough."""
    start = bytes(head[:LONGEST_MAGIC])
    if start[:2] == b"\x1f\x8b":
        return "gzip"
    if start[:4] == b"\x28\xb5\x2f\xfd" or (start[1:4] == b"\x2a\x4d\x18" and 0x50 <= start[0] <= 0x5F):
        return "zstd"
    if start == b"\xfd7zXZ\x00":
        return "xz"
    return "bzip2" if start[:3] == b"BZh" else "plain"


class Inflater:
    """Turns the pieces of a stream into pieces of its content: `feed` each, then `finish`."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._head = b""
        self._make: Callable[[], _Decompressor] | None = None
        self._stream: _Decompressor | None = None
        self.compression: Compression | None = None  # known after the first six bytes
        self.bytes_in = 0
        self.bytes_out = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The content that `piece` completes, in pieces of at most 1 MiB. Raises `DamagedStream`, `TooLarge`."""
        self.bytes_in += len(piece)
        if self.compression is None:
            self._head += piece
            if len(self._head) < LONGEST_MAGIC:
                return
            piece, self._head = self._head, b""
            self._begin(piece)
        yield from self._inflate(piece)

    def finish(self) -> Iterator[bytes]:
        """What was held back of a very short stream. Raises `DamagedStream` if the stream was cut short."""
        if self.compression is None:
            piece, self._head = self._head, b""
            self._begin(piece)
            yield from self._inflate(piece)
        if self._stream is not None and not self._stream.eof:
            raise DamagedStream(
                f"the {self.compression} data ends too early",
                why=f"after {self.bytes_in} bytes",
                remedy="send it again",
            )

    def _begin(self, head: bytes) -> None:
        self.compression = detect(head)
        self._make = _makers(self._limits).get(self.compression)

    def _inflate(self, piece: bytes) -> Iterator[bytes]:
        if self._make is None:
            for start in range(0, len(piece), PIECE_BYTES):
                yield self._counted(piece[start : start + PIECE_BYTES])
            return
        stream = self._stream
        while piece or (stream is not None and not stream.eof and not stream.needs_input):
            if stream is None or stream.eof:
                stream = self._stream = self._make()  # the next gzip member or zstd frame
            try:
                content = stream.decompress(piece, PIECE_BYTES)
            except _DAMAGE as error:
                raise DamagedStream(f"the {self.compression} data is damaged", why=str(error)) from error
            piece = stream.unused_data if stream.eof else b""
            if content:
                yield self._counted(content)

    def _counted(self, content: bytes) -> bytes:
        self.bytes_out += len(content)
        if self.bytes_out > self._limits.largest_bytes:
            raise TooLarge(f"the content inflates beyond {self._limits.largest_bytes} bytes")
        if self.bytes_out > max(self._limits.ratio_from_bytes, self._limits.ratio * self.bytes_in):
            raise TooLarge(
                f"the {self.compression} data inflates more than {self._limits.ratio} times",
                why=f"{self.bytes_in} bytes became more than {self.bytes_out}",
            )
        return content


def inflate(content: bytes, limits: Limits | None = None) -> bytes:
    """All of a small stream at once."""
    inflater = Inflater(limits)
    pieces = list(inflater.feed(content))
    return b"".join([*pieces, *inflater.finish()])


def gzip_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Compress by gzip. The header has no name and no time: the same content gives the same bytes."""
    stream = isal_zlib.compressobj(GZIP_LEVEL, isal_zlib.DEFLATED, 31)  # 31: gzip wrapper, largest window
    for piece in pieces:
        compressed = stream.compress(piece)
        if compressed:
            yield compressed
    yield stream.flush()


def _makers(limits: Limits) -> dict[Compression, Callable[[], _Decompressor]]:
    def make_zstd() -> _Decompressor:
        options = {int(zstd.DecompressionParameter.window_log_max): limits.zstd_window_log}
        return cast(_Decompressor, zstd.ZstdDecompressor(options=options))

    def make_xz() -> _Decompressor:
        return cast(_Decompressor, lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=limits.xz_memory_bytes))

    return {
        "gzip": lambda: cast(_Decompressor, igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)),
        "zstd": make_zstd,
        "xz": make_xz,
        "bzip2": lambda: cast(_Decompressor, bz2.BZ2Decompressor()),
    }
