"""The tar scanner against archives of Python's and GNU tar's making, and against malformed ones."""

from __future__ import annotations

import io
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan import errors
from sampan.formats import erofs, layer, tar, tar_write
from sampan.formats.tar import EntryKind, InvalidTar, TarEntry

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
LONG = "directory/" * 30 + "file"


def made_by_python(form: int, *members: tarfile.TarInfo, content: bytes = b"") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, encoding="utf-8", errors="surrogateescape") as archive:
        for member in members:
            member.size = len(content) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, **values: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in values.items():
        setattr(info, key, value)
    return info


def written(*entries: TarEntry, content: bytes = b"") -> bytes:
    parts = [tar_write.entry_header(entry) + tar_write.padded(content[: entry.size_bytes]) for entry in entries]
    return b"".join(parts) + tar_write.END


def patched(archive: bytes, offset: int, replacement: bytes) -> bytes:
    """The archive with some bytes of its first header replaced and the checksum made right again."""
    header = bytearray(archive[:512])
    header[offset : offset + len(replacement)] = replacement
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + archive[512:]


def pax(*records: tuple[bytes, bytes], flag: bytes = b"x") -> bytes:
    body = b"".join(tar_write._record(key, value) for key, value in records)
    return tar_write._ustar(TarEntry(b"pax", size_bytes=len(body)), b"", b"pax", flag=flag) + tar_write.padded(body)


ONE = written(TarEntry(b"file", size_bytes=5), content=b"hello")


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_the_same_entry(form: str) -> None:
    info = member("dir/file", mode=0o4755, uid=1000, gid=2000, mtime=1_700_000_000)
    archive = made_by_python(FORMATS[form], info, content=b"hello")
    (entry,) = tar.scan(archive)
    assert entry[:7] == (b"dir/file", EntryKind.FILE, 0o4755, 1000, 2000, 1_700_000_000_000_000_000, 5)
    assert archive[entry.data_offset : entry.data_offset + 5] == b"hello"


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_long_names_and_links_are_whole(form: str) -> None:
    archive = made_by_python(FORMATS[form], member(LONG, tarfile.SYMTYPE, linkname=LONG + "2"), member("next"))
    first, second = tar.scan(archive)
    assert (first.path, first.link, first.kind) == (LONG.encode(), LONG.encode() + b"2", EntryKind.SYMLINK)
    assert second.path == b"next"


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_numbers_too_large_for_octal_are_read(form: str) -> None:
    (entry,) = tar.scan(made_by_python(FORMATS[form], member("f", uid=2**32 - 2, gid=2**31, mtime=2**35)))
    assert (entry.uid, entry.gid, entry.mtime_ns) == (2**32 - 2, 2**31, 2**35 * 10**9)


def test_a_ustar_prefix_is_part_of_the_name() -> None:
    (entry,) = tar.scan(made_by_python(tarfile.USTAR_FORMAT, member("p" * 120 + "/" + "n" * 90)))
    assert entry.path == b"p" * 120 + b"/" + b"n" * 90


def test_a_v7_directory_is_known_by_its_slash() -> None:
    archive = written(TarEntry(b"dir/"))
    for offset, replacement in ((257, bytes(8)), (156, b"\0")):
        archive = patched(archive, offset, replacement)
    (entry,) = tar.scan(archive)
    assert (entry.path, entry.kind) == (b"dir/", EntryKind.DIRECTORY)


def test_names_are_kept_byte_for_byte() -> None:
    name = b"new\nline-\xff\xfe"
    assert [entry.path for entry in tar.scan(written(TarEntry(name)))] == [name]
    assert [entry.path for entry in tar.scan(patched(ONE, 0, name + b"\0"))] == [name]


def test_pax_times_have_nanoseconds_on_both_sides_of_the_epoch() -> None:
    for text, expected in ((b"1.5", 1_500_000_000), (b"-1.25", -1_250_000_000), (b"7", 7_000_000_000)):
        (entry,) = tar.scan(pax((b"mtime", text)) + ONE)
        assert entry.mtime_ns == expected


def test_global_headers_hold_until_withdrawn_and_may_stand_alone() -> None:
    archive = pax((b"uid", b"7"), flag=b"g") + ONE[:1024] + pax((b"uid", b"")) + ONE
    assert [entry.uid for entry in tar.scan(archive)] == [7, 0]
    assert list(tar.scan(pax((b"comment", b"made by git"), flag=b"g") + tar_write.END)) == []


def test_a_hard_links_size_field_announces_no_content() -> None:
    archive = patched(patched(ONE[:512] + ONE, 156, b"1"), 157, b"target\0")
    link, after = tar.scan(archive)
    assert (link.kind, link.link, link.size_bytes) == (EntryKind.HARD_LINK, b"target", 0)
    assert after.path == b"file"


def test_what_follows_two_zero_blocks_is_ignored() -> None:
    assert len(list(tar.scan(ONE + b"anything" * 100))) == 1


def test_an_archive_may_end_without_zero_blocks() -> None:
    assert len(list(tar.scan(ONE[:1024]))) == 1
    assert list(tar.scan(b"")) == []


@pytest.mark.parametrize("size_bytes", [517, 518, 1000, 1023])
def test_the_last_block_may_be_cut_behind_its_content(size_bytes: int) -> None:
    """What `docker build -f -` sends."""
    (entry,) = tar.scan(ONE[:size_bytes])
    assert (
        ONE[entry.data_offset : entry.data_offset + entry.size_bytes] == ONE[:size_bytes][512 : 512 + entry.size_bytes]
    )


WRONG: dict[str, bytes] = {
    "random bytes": b"\x01\x02" * 512,
    "a cut header": ONE[:500],
    "cut content": ONE[:515],
    "a wrong checksum": b"F" + ONE[1:],
    "a lone zero block": bytes(512) + ONE,
    "a size that is no number": patched(ONE, 124, b"12x45678901\0"),
    "a digit beyond seven": patched(ONE, 124, b"00000000008\0"),
    "an underscore in a number": patched(ONE, 124, b"0000000_005\0"),
    "a negative size": patched(ONE, 124, b"\xff" * 11 + b"\xfb"),
    "a size of 8 EiB": patched(ONE, 124, b"\x80\0\0\0\x7f" + b"\xff" * 7),
    "a type that is not known": patched(ONE, 156, b"V"),
    "a pax record with a wrong length": pax((b"a", b"b")).replace(b"6 a=b\n", b"9 a=b\n") + ONE,
    "a pax record of length zero": pax((b"a", b"b")).replace(b"6 a=b\n", b"0 a=b\n") + ONE,
    "a pax record without a key": pax((b"", b"b")) + ONE,
    "a pax size that is negative": pax((b"size", b"-5")) + ONE,
    "a pax size beyond the archive": pax((b"size", b"5000")) + ONE,
    "a pax time that is no number": pax((b"mtime", b"soon")) + ONE,
    "a pax time beyond every file system": pax((b"mtime", b"9" * 20)) + ONE,
    "a name with a NUL byte": pax((b"path", b"a\0b")) + ONE,
    "a name of 10,000 bytes": pax((b"path", b"x/" * 5000)) + ONE,
    "an extension header for no entry": pax((b"path", b"x")) + tar_write.END,
    "a pax header of two megabytes": pax((b"comment", b"x" * (2 << 20))) + ONE,
    "a hundred global records": pax(*((b"k%d" % n, b"v") for n in range(100)), flag=b"g") + ONE,
    "a sparse map out of order": pax((b"GNU.sparse.size", b"100"), (b"GNU.sparse.map", b"50,3,10,2")) + ONE,
    "a sparse map past the end": pax((b"GNU.sparse.size", b"100"), (b"GNU.sparse.map", b"99,5")) + ONE,
    "a sparse map of other content": pax((b"GNU.sparse.size", b"100"), (b"GNU.sparse.map", b"0,4")) + ONE,
    "a sparse map with an odd count": pax((b"GNU.sparse.size", b"100"), (b"GNU.sparse.map", b"0,5,7")) + ONE,
    "a sparse file of a terabyte": pax((b"GNU.sparse.size", b"1099511627776"), (b"GNU.sparse.map", b"0,5")) + ONE,
    "a sparse version that is not known": pax((b"GNU.sparse.major", b"2"), (b"GNU.sparse.realsize", b"9")) + ONE,
    "a sparse map that never ends": pax(
        (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9")
    ) + ONE,
    "an old sparse header without its extension": patched(patched(ONE, 156, b"S"), 482, b"\1")[:512],
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_malformed_archives_are_refused_at_once(what: str) -> None:
    started = time.monotonic()
    with pytest.raises(InvalidTar):
        list(tar.scan(WRONG[what]))
    assert time.monotonic() - started < 1


SEEDS = [
    ONE,
    made_by_python(tarfile.GNU_FORMAT, member(LONG, tarfile.SYMTYPE, linkname=LONG), member("x"), content=b"y" * 600),
    made_by_python(tarfile.PAX_FORMAT, member("é" * 90, uid=2**33, mtime=1.25), member("d", tarfile.DIRTYPE)),
    pax((b"GNU.sparse.size", b"9000"), (b"GNU.sparse.map", b"0,2,8000,3"), (b"GNU.sparse.name", b"s")) + ONE,
    written(TarEntry(b"x", xattrs={b"user.a": b"b", b"security.capability": bytes(20)}), TarEntry(b"d/.wh.a")),
]


def consume(archive: bytes) -> None:
    """Scan, build and encode. Whatever is wrong must show as `Invalid`."""
    try:
        tree = layer.build(tar.scan(archive))
        erofs.encode(tree, tar_size_bytes=len(archive), read_tar=lambda offset, length: archive[offset:][:length])
    except errors.Invalid:
        pass


@settings(max_examples=300, deadline=None)
@given(seed=st.sampled_from(SEEDS), changes=st.lists(st.tuples(st.integers(0, 4096), st.binary(max_size=12))))
def test_a_damaged_archive_is_read_or_refused_and_nothing_else(seed: bytes, changes: list[tuple[int, bytes]]) -> None:
    damaged = bytearray(seed)
    for offset, replacement in changes:
        damaged[offset : offset + len(replacement)] = replacement
    consume(bytes(damaged))
    for block in range(0, len(seed) - 511, 512):  # and once more with right checksums, to get past the first check
        if damaged[block + 257 : block + 262] == b"ustar":
            damaged[block : block + 512] = patched(bytes(damaged[block : block + 512]), 0, b"")
    consume(bytes(damaged))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=3000))
def test_random_bytes_are_read_or_refused_and_nothing_else(noise: bytes) -> None:
    consume(noise)


entries = st.builds(
    TarEntry,
    path=st.binary(min_size=1, max_size=300).filter(lambda path: b"\0" not in path and not path.endswith(b"/")),
    kind=st.sampled_from([EntryKind.FILE, EntryKind.SYMLINK, EntryKind.CHAR, EntryKind.FIFO]),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 1),
    gid=st.integers(0, 2**32 - 1),
    mtime_ns=st.integers(-(2**62), 2**62),
    size_bytes=st.just(0),
    link=st.binary(max_size=200).filter(lambda link: b"\0" not in link),
    dev_major=st.just(0),
    dev_minor=st.just(0),
    xattrs=st.dictionaries(st.binary(min_size=1, max_size=20).filter(lambda name: b"=" not in name), st.binary()),
    data_offset=st.just(0),
    segments=st.none(),
)


@settings(max_examples=200, deadline=None)
@given(entries)
def test_what_is_written_is_read_back(entry: TarEntry) -> None:
    (read,) = tar.scan(written(entry))
    assert read._replace(data_offset=0) == entry
    assert written(entry) == written(entry._replace(xattrs=dict(reversed(entry.xattrs.items()))))


def test_gnu_tar_and_python_read_what_is_written(tmp_path: Path) -> None:
    sound = [
        TarEntry(b"d", EntryKind.DIRECTORY, 0o700),
        TarEntry(b"d/" + b"n" * 200, size_bytes=5, uid=3_000_000, mtime_ns=1_500_000_000_250_000_000),
        TarEntry(b"p" * 90 + b"/" + b"q" * 90, EntryKind.SYMLINK, link=b"l" * 150),
    ]
    archive = written(*sound, content=b"hello")
    with tarfile.open(fileobj=io.BytesIO(archive)) as read:
        assert [info.name.encode() for info in read] == [entry.path for entry in sound]
    subprocess.run(["tar", "--extract", "--no-same-owner", f"--directory={tmp_path}"], input=archive, check=True)
    assert (tmp_path / "d" / ("n" * 200)).read_bytes() == b"hello"
