"""A container's files for those outside: names, what an archive may hold, streams, a new image's configuration."""

from __future__ import annotations

import asyncio
import contextlib
import stat
import threading

import pytest

from sampan.api.engine import render_files
from sampan.containers.files import committing, extracting, reading, streaming
from sampan.containers.files.committing import Wish
from sampan.containers.wanted import Config
from sampan.formats import tar, tar_write
from sampan.formats.tar import EntryKind, TarEntry
from sampan.images.differences import Change, Kind


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        (b"etc", b"/etc"),
        (b"/etc/", b"/etc/"),
        (b"/etc/.", b"/etc/."),
        (b"", b"/"),
        (b".", b"/."),
        (b"/", b"/"),
        (b"//etc//x", b"/etc/x"),
        (b"/../../etc/hostname", b"/etc/hostname"),
        (b"/a/../b/./c", b"/b/c"),
    ],
)
def test_a_path_begins_at_the_root_and_keeps_what_its_end_means(path: bytes, clean: bytes) -> None:
    assert reading.absolute(path) == clean


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (stat.S_IFREG | 0o644, 420),
        (stat.S_IFDIR | 0o755, 2147484141),
        (stat.S_IFLNK | 0o777, 134218239),
        (stat.S_IFREG | 0o4755, (1 << 23) | 0o755),
        (stat.S_IFDIR | 0o1777, (1 << 31) | (1 << 20) | 0o777),
        (stat.S_IFCHR | 0o666, (1 << 26) | (1 << 21) | 0o666),
        (stat.S_IFIFO | 0o600, (1 << 25) | 0o600),
    ],
)
def test_modes_are_written_as_go_writes_them(mode: int, expected: int) -> None:
    assert render_files.go_mode(mode) == expected


def test_a_file_of_the_epoch_has_a_time() -> None:
    answer = render_files.path_stat(reading.PathStat("x", 1, stat.S_IFREG | 0o644, 0))
    assert answer["mtime"] == "1970-01-01T00:00:00Z"


def test_no_changes_are_null() -> None:
    assert render_files.changes([]) is None
    assert render_files.changes([Change(Kind.ADDED, b"/caf\xe9")]) == [{"Path": "/caf\ufffd", "Kind": 1}]


def archive(*entries: TarEntry) -> bytes:
    return b"".join(tar_write.entry_header(entry) for entry in entries) + tar_write.END


@pytest.mark.parametrize(
    "entry",
    [
        TarEntry(b"../x"),
        TarEntry(b"a/../../x"),
        TarEntry(b"/../x"),
        TarEntry(b"x", EntryKind.HARD_LINK, link=b"../../etc/passwd"),
        TarEntry(b"n" * 256),
        TarEntry(b"x", EntryKind.CHAR),
        TarEntry(b".", EntryKind.SYMLINK, link=b"/etc"),
    ],
)
def test_an_entry_that_may_not_be_unpacked_is_refused_before_anything_is(entry: TarEntry) -> None:
    with pytest.raises((extracting.RefusedArchive, tar.InvalidTar)):
        extracting.judge(archive(TarEntry(b"first"), entry))


def test_names_are_cleaned_and_the_target_itself_is_no_entry() -> None:
    items = extracting.judge(
        archive(TarEntry(b"./", EntryKind.DIRECTORY), TarEntry(b"/abs/x"), TarEntry(b"a/../b"), TarEntry(b"./c//d"))
    )
    assert [(item.parent, item.name) for item in items] == [(b"", b""), (b"abs", b"x"), (b"", b"b"), (b"c", b"d")]


def test_pieces_come_in_order_and_an_error_behind_them() -> None:
    def produce(write: streaming.Write) -> None:
        for number in range(100):
            write(b"%d" % number)
        raise ValueError("late")

    async def collect() -> list[bytes]:
        found: list[bytes] = []
        with pytest.raises(ValueError, match="late"):
            async for piece in streaming.pieces(produce):
                found.append(piece)  # noqa: PERF401 - kept when the error comes
        return found

    assert asyncio.run(collect()) == [b"%d" % number for number in range(100)]


def test_a_reader_that_leaves_ends_the_writer() -> None:
    ended = threading.Event()

    def produce(write: streaming.Write) -> None:
        try:
            while True:
                write(b"x")
        finally:
            ended.set()

    async def look() -> None:
        async with contextlib.aclosing(streaming.pieces(produce)) as pieces:
            async for _ in pieces:
                break

    asyncio.run(look())
    assert ended.wait(10)


OWN = Config(
    hostname="abc", env=["PATH=/bin", "A=1"], cmd=["sleep", "1"], user="me", labels={"l": "1"}, image="bb:1", tty=True,
    exposed_ports={"80/tcp": {}},
)  # fmt: skip


def test_a_new_image_keeps_what_is_not_about_the_one_container() -> None:
    assert committing.configuration(OWN, Wish()) == {
        "User": "me", "ExposedPorts": {"80/tcp": {}}, "Env": ["PATH=/bin", "A=1"], "Cmd": ["sleep", "1"],
        "Labels": {"l": "1"}, "Image": "bb:1",
    }  # fmt: skip


def test_changes_are_applied_and_a_given_configuration_is_filled_up() -> None:
    changed = committing.configuration(OWN, Wish(changes=["ENV A=2", "CMD true", "WORKDIR /w"]))
    assert (changed["Env"], changed["Cmd"], changed["WorkingDir"]) == (
        ["PATH=/bin", "A=2"], ["/bin/sh", "-c", "true"], "/w",
    )  # fmt: skip
    given = committing.configuration(OWN, Wish(config=Config(env=["B=3"], cmd=["x"]), changes=["USER you"]))
    assert given["Env"] == ["PATH=/bin", "A=1", "B=3"]
    assert (given["Cmd"], given["User"], given["Labels"]) == (["x"], "you", {"l": "1"})
