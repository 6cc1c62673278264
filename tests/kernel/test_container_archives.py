"""Archives into and out of a root that a stranger fills: rows 31 to 36 of the table of hostile input."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sampan.containers.files import extracting, reading
from sampan.containers.files.extracting import Rules
from sampan.containers.files.view import View
from sampan.containers.model import Container, Phase, State
from sampan.containers.wanted import decode_create
from sampan.formats import tar, tar_write
from sampan.formats.tar import EntryKind, TarEntry
from sampan.kernel import jails, mounts, paths

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

RACE_S = 3.0
CAPABILITY = struct.pack("<IIIII", 0x0200_0001, 1 << 10, 0, 0, 0)
Member = tuple[TarEntry, bytes]


class Lab:
    """A container's root, and beside it a canary that nothing may touch."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.outside = folder / "outside"
        for directory in (self.root, self.outside, self.root / "etc", self.root / "opt"):
            directory.mkdir()
        (self.outside / "canary").write_text("alive")
        (self.root / "etc/passwd").write_text("inside")
        self.descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        container = Container("0" * 64, "web", "sha256:0", Phase.EXITED, decode_create({}), State(), 0)
        self.view = View(container, self.descriptor)

    def unpack(self, *members: Member, at: bytes = b"/opt", rules: Rules | None = None) -> None:
        with tempfile.TemporaryFile() as spool:
            for entry, content in members:
                spool.write(tar_write.entry_header(entry._replace(size_bytes=len(content))))
                spool.write(tar_write.padded(content))
            spool.write(tar_write.END)
            spool.seek(0)
            archive = spool.read()
            spool.flush()
            items = extracting.judge(archive)
            target = paths.open_in(self.descriptor, at, os.O_RDONLY | os.O_DIRECTORY)
            try:
                jails.run_inside(
                    self.descriptor,
                    lambda: extracting.unpack(target, items, archive, spool.fileno(), rules or Rules()),
                )
            finally:
                os.close(target)

    def pack(self, path: str) -> tuple[reading.PathStat, dict[str, tuple[TarEntry, bytes]]]:
        pieces: list[bytes] = []
        with reading.found(self.view, path) as resource:
            reading.pack(self.view, resource, pieces.append)
        archive = b"".join(pieces)
        return resource.stat, {
            entry.path.decode(): (entry, archive[entry.data_offset : entry.data_offset + entry.size_bytes])
            for entry in tar.scan(archive)
        }

    def canary_is_alive(self) -> bool:
        return os.listdir(self.outside) == ["canary"] and (self.outside / "canary").read_text() == "alive"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path.resolve())
    yield made
    os.close(made.descriptor)


def file(name: bytes, content: bytes = b"new", **fields: object) -> Member:
    return TarEntry(name, **fields), content  # type: ignore[arg-type]


def folder(name: bytes, **fields: object) -> Member:
    return TarEntry(name, EntryKind.DIRECTORY, 0o755, **fields), b""  # type: ignore[arg-type]


def link(name: bytes, target: bytes) -> Member:
    return TarEntry(name, EntryKind.SYMLINK, link=target), b""


# --- in


def test_everything_about_a_file_arrives(lab: Lab) -> None:
    when = 1_600_000_000_123_456_789
    lab.unpack(
        folder(b"d", uid=3, gid=4, mtime_ns=when),
        file(b"d/f", b"x" * 200_000, mode=0o4750, uid=5, gid=6, mtime_ns=when, xattrs={b"user.k": b"v"}),
        file(b"d/tool", b"x", xattrs={b"security.capability": CAPABILITY, b"trusted.overlay.opaque": b"y"}),
        (TarEntry(b"d/same", EntryKind.HARD_LINK, link=b"d/f"), b""),
        link(b"d/l", b"/nowhere"),
        (TarEntry(b"d/null", EntryKind.CHAR, 0o666, dev_major=1, dev_minor=3), b""),
        (TarEntry(b"d/pipe", EntryKind.FIFO, 0o600), b""),
        file(b"implied/deep/f", b"y"),
    )
    top = lab.root / "opt"
    status = (top / "d/f").stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid, status.st_mtime_ns) == (0o4750, 5, 6, when)
    assert (top / "d/f").read_bytes() == b"x" * 200_000
    assert os.getxattr(top / "d/f", "user.k") == b"v"
    assert os.listxattr(top / "d/tool") == ["security.capability"]
    assert status.st_ino == (top / "d/same").stat().st_ino
    assert os.readlink(top / "d/l") == "/nowhere"
    assert stat.S_ISCHR((top / "d/null").stat().st_mode)
    assert stat.S_ISFIFO((top / "d/pipe").stat().st_mode)
    assert ((top / "d").stat().st_mtime_ns, (top / "d").stat().st_uid) == (when, 3)
    assert (top / "implied/deep/f").read_text() == "y"


def test_all_belongs_to_the_containers_user_when_asked(lab: Lab) -> None:
    lab.unpack(folder(b"d"), file(b"d/f", uid=9, gid=9), link(b"d/l", b"f"), rules=Rules(owner=(7, 8)))
    for name in ("d", "d/f", "d/l"):
        status = (lab.root / "opt" / name).lstat()
        assert (status.st_uid, status.st_gid) == (7, 8)


def test_a_sparse_entry_stays_sparse(lab: Lab) -> None:
    entry = TarEntry(b"s", data_offset=512, size_bytes=10 << 20, segments=((5 << 20, 3),))
    content = bytes(512) + b"abc" + bytes(509)
    with tempfile.TemporaryFile() as spool:
        spool.write(content)
        spool.flush()
        target = os.open(lab.root / "opt", os.O_RDONLY)
        items = [extracting.Item(entry, b"", b"s")]
        jails.run_inside(lab.descriptor, lambda: extracting.unpack(target, items, content, spool.fileno(), Rules()))
        os.close(target)
    made = (lab.root / "opt/s").stat()
    assert (made.st_size, made.st_blocks * 512 < 1 << 20) == (10 << 20, True)


@pytest.mark.parametrize(
    ("before", "member"), [("dir", file(b"x")), ("file", folder(b"x"))], ids=["file over directory", "and back"]
)
def test_kinds_are_exchanged_only_if_that_is_wanted(lab: Lab, before: str, member: Member) -> None:
    place = lab.root / "opt/x"
    if before == "dir":
        place.mkdir()
        (place / "inside").touch()
    else:
        place.touch()
    with pytest.raises(extracting.CannotReplace, match="cannot overwrite"):
        lab.unpack(member, rules=Rules(keep_kind=True))
    assert place.is_dir() == (before == "dir")
    lab.unpack(member)
    assert place.is_dir() != (before == "dir")


def test_a_link_is_replaced_and_its_target_is_not_touched(lab: Lab) -> None:
    (lab.root / "opt/x").symlink_to("/etc/passwd")
    lab.unpack(file(b"x"))
    assert (lab.root / "opt/x").read_text() == "new"
    assert not (lab.root / "opt/x").is_symlink()
    assert (lab.root / "etc/passwd").read_text() == "inside"


def test_links_on_the_way_end_inside_the_root(lab: Lab) -> None:
    outside = os.fsencode(lab.outside)
    (lab.root / "data").mkdir()
    (lab.root / "opt/old").symlink_to("/data")
    lab.unpack(file(b"old/f"))
    assert (lab.root / "data/f").read_text() == "new"
    for target in (outside, b"../../../../../../.." + outside, b"../../outside"):
        with contextlib.suppress(extracting.RefusedArchive):
            lab.unpack(link(b"way", target), file(b"way/canary"))
        assert lab.canary_is_alive()


def test_magic_links_of_proc_do_not_lead_out(lab: Lab) -> None:
    (lab.root / "proc").mkdir()

    def mounted() -> int:
        mounts.mount("proc", lab.root / "proc", "proc")
        return os.open(lab.root, os.O_RDONLY | os.O_DIRECTORY)

    root, kept = jails.with_own_mounts(mounted)
    os.close(lab.descriptor)
    lab.descriptor, lab.view = root, View(lab.view.container, root)
    inner = os.fsencode(lab.outside.relative_to("/"))
    try:
        for magic in (b"/proc/1/root/", b"/proc/self/root/", b"/proc/thread-self/root/"):
            with pytest.raises((extracting.RefusedArchive, extracting.CannotUnpack)):
                lab.unpack(link(b"way", magic + inner), file(b"way/canary"))
            with pytest.raises(reading.FileUnknown):
                lab.pack(os.fsdecode(magic + inner) + "/canary")
            assert lab.canary_is_alive()
    finally:
        os.close(kept)


def test_a_hard_link_reaches_only_what_the_root_has(lab: Lab) -> None:
    with pytest.raises(extracting.RefusedArchive):
        lab.unpack(
            link(b"way", os.fsencode(lab.outside)), (TarEntry(b"h", EntryKind.HARD_LINK, link=b"way/canary"), b"")
        )
    assert (lab.outside / "canary").stat().st_nlink == 1


# --- out


def test_names_begin_with_what_was_asked_for(lab: Lab) -> None:
    assert list(lab.pack("/etc")[1]) == ["etc/", "etc/passwd"]
    assert list(lab.pack("/etc/.")[1]) == ["./", "./passwd"]
    assert list(lab.pack("etc/passwd")[1]) == ["passwd"]
    assert list(lab.pack("/")[1])[:2] == ["/", "/etc/"]


def test_a_link_is_told_with_its_end_and_packed_as_itself(lab: Lab) -> None:
    (lab.root / "opt/a").symlink_to("../etc/passwd")
    (lab.root / "opt/broken").symlink_to("/no/such")
    (lab.root / "opt/dir").symlink_to("/etc")
    told, packed = lab.pack("/opt/a")
    assert (told.name, told.link_target) == ("a", "/etc/passwd")
    assert packed["a"][0].kind is EntryKind.SYMLINK
    assert lab.pack("/opt/broken")[0].link_target == "/no/such"
    assert list(lab.pack("/opt/dir/")[1]) == ["dir/", "dir/passwd"]


@pytest.mark.parametrize("path", ["/../../etc/passwd", "/opt/../../../etc/passwd", "/way/etc/passwd", "/up/etc/passwd"])
def test_no_path_leads_out(lab: Lab, path: str) -> None:
    (lab.root / "way").symlink_to("/")
    (lab.root / "up").symlink_to("../../../../../..")
    told, packed = lab.pack(path)
    assert packed[told.name][1] == b"inside"


def test_a_file_with_something_below_it_is_said_to_be_no_directory(lab: Lab) -> None:
    for path in ("/etc/passwd/", "/etc/passwd/x"):
        with pytest.raises(reading.NotThere, match="not a directory"):
            lab.pack(path)
    with pytest.raises(reading.FileUnknown, match="Could not find the file /nope in container web"):
        lab.pack("/nope")


# --- while the container does its worst


def test_a_directory_that_turns_into_a_link_and_back_leads_nowhere(lab: Lab) -> None:
    """CVE-2018-15664 and those after it. The canary lies outside; the container swaps as fast as it can."""
    swapped = lab.root / "opt/swap"
    (lab.root / "real").mkdir()
    (lab.root / "evil").symlink_to(lab.outside)
    deep = lab.root / "real/etc"
    deep.mkdir()
    end = threading.Event()

    def swap() -> None:
        while not end.is_set():
            for source in ("real", "evil"):
                with contextlib.suppress(OSError):
                    os.rename(lab.root / source, swapped)
                    os.rename(swapped, lab.root / source)

    attempts: list[Callable[[], object]] = [
        lambda: lab.unpack(file(b"swap/canary"), file(b"swap/etc/canary"), folder(b"swap", mtime_ns=5)),
        lambda: lab.unpack(folder(b"etc"), file(b"canary"), at=b"/opt/swap"),
        lambda: lab.pack("/opt/swap/canary"),
        lambda: lab.pack("/opt/swap/."),
    ]
    thread = threading.Thread(target=swap)
    thread.start()
    leaked = 0
    try:
        deadline = time.monotonic() + RACE_S
        while time.monotonic() < deadline:
            for attempt in attempts:
                with contextlib.suppress(
                    extracting.RefusedArchive,
                    extracting.CannotUnpack,
                    reading.FileUnknown,
                    reading.NotThere,
                    OSError,
                    Exception,
                ):
                    found = attempt()
                    leaked += isinstance(found, tuple) and any(b"alive" in body for _, body in found[1].values())
    finally:
        end.set()
        thread.join()
    assert lab.canary_is_alive()
    assert leaked == 0
