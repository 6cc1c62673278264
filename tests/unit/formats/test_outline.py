"""Outlines: what makes a layer's metadata before its tar is here, and what a stranger's may not do."""

from __future__ import annotations

import io
import tarfile

import pytest

from sampan import errors
from sampan.formats import erofs, layer, outline, tar


def packed(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = len(data), {"SCHILY.xattr.user.who": name}
            archive.addfile(info, io.BytesIO(data))
    return content.getvalue()


def metadata(content) -> bytes:
    tree = layer.build(tar.scan(content))
    return erofs.encode(tree, tar_size_bytes=len(content), read_tar=lambda at, size: bytes(content[at : at + size]))


def made(content: bytes) -> outline.Outline:
    recorder = outline.Recorder(content)
    metadata(recorder.buffer)
    return outline.record(content, recorder.spans)


FILES = {"a": b"x" * 3_000_000, "é" * 90: b"", "b" * 150: bytes(range(256)) * 9000, "zeros": bytes(2 << 20)}


def test_an_outline_gives_the_metadata_of_the_whole_tar():
    content = packed(FILES)
    encoded = outline.encode(made(content))
    found = outline.decode(encoded)
    assert metadata(found.content) == metadata(content)
    assert len(encoded) < len(content) // 1000
    assert found.size_bytes == len(content)
    assert outline.whose(encoded) == found.diff_id


def test_a_read_of_what_an_outline_does_not_hold_is_refused_and_not_zeros():
    content = packed(FILES)
    found = made(content)
    inside = content.index(b"x" * 1000) + 4096
    with pytest.raises(outline.NotOutlined):
        found.content[inside : inside + 10]
    with pytest.raises(outline.NotOutlined):
        found.content[inside]
    assert bytes(found.content[0:512]) == content[:512]
    assert bytes(found.content[600:500]) == b""


def test_every_chunk_is_checked():
    content = packed(FILES)
    found = made(content)
    assert found.chunks == -(-len(content) // outline.CHUNK_BYTES)
    zeros = 0
    for number in range(found.chunks):
        start, stop = outline.chunk_span(found.size_bytes, number)
        piece = bytearray(content[start:stop])
        assert outline.matches(found.hashes, number, piece)
        zeros += outline.is_zeros(found.hashes, number)
        piece[-1] ^= 1
        assert not outline.matches(found.hashes, number, piece)
    assert zeros >= 1


@pytest.mark.parametrize(
    ("spans", "parts"),
    [
        (((0, 512), (256, 600)), (b"a" * 512, b"b" * 344)),
        (((0, 512), (1 << 40, (1 << 40) + 1)), (b"a" * 512, b"b")),
        (((512, 1024), (0, 512)), (b"a" * 512, b"b" * 512)),
    ],
)
def test_parts_that_overlap_or_lie_outside_are_refused(spans, parts):
    true = made(packed({"a": b"1"}))
    with pytest.raises(outline.InvalidOutline):
        outline.decode(outline.encode(outline.Outline(true.diff_id, true.size_bytes, true.hashes, spans, parts)))


def test_a_damaged_outline_is_an_error_whatever_is_damaged():
    encoded = outline.encode(made(packed(FILES)))
    for cut in (0, 5, 20, outline.BEGIN_BYTES, outline.BEGIN_BYTES + 3, len(encoded) // 2, len(encoded) - 1):
        with pytest.raises(errors.Invalid):
            outline.decode(encoded[:cut])
    with pytest.raises(errors.Invalid):
        outline.decode(encoded[: outline.BEGIN_BYTES] + b"\xff" * 50)


def test_hashes_for_another_size_are_refused():
    true = made(packed(FILES))
    for hashes in (true.hashes[:-32], true.hashes + bytes(32)):
        with pytest.raises(outline.InvalidOutline):
            outline.decode(
                outline.encode(outline.Outline(true.diff_id, true.size_bytes, hashes, true.spans, true.parts))
            )
