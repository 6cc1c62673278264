"""One suite over both layer drivers: what GNU tar makes of a layer, what is refused, what a crash leaves."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampan import errors
from sampan.formats import tar_write
from sampan.formats.tar import EntryKind, TarEntry
from sampan.images.drivers import choose
from sampan.images.drivers.model import BadDiffId, LayerDriver, LayerMissing
from sampan.kernel import mounts

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

Members = list[tuple[TarEntry, bytes]]
Snapshot = dict[str, tuple[object, ...]]


class Place:
    """A folder with a blob store and a driver; the mounts made in it go away with it."""

    def __init__(self, path: Path, driver_name: str) -> None:
        self.path = path
        self.blobs = path / "blobs"
        self.blobs.mkdir()
        self.driver_name = driver_name
        self.layers = path / driver_name
        self.driver = self.new_driver()

    def new_driver(self) -> LayerDriver:
        return choose.make(
            self.driver_name,
            layers=self.path,
            mount_points=self.path / "mounts",
            tar_path=lambda diff_id: self.blobs / diff_id,
        )

    def store(self, content: bytes) -> tuple[str, Path]:
        diff_id = hashlib.sha256(content).hexdigest()
        (self.blobs / diff_id).write_bytes(content)
        return diff_id, self.blobs / diff_id

    def layer(self, content: bytes) -> Path:
        diff_id, blob = self.store(content)
        self.driver.prepare(diff_id, blob)
        return self.driver.lower(diff_id)

    def close(self) -> None:
        for mount in reversed(mounts.current()):
            if mount.point.startswith(os.fsencode(self.path) + b"/"):
                mounts.unmount(Path(os.fsdecode(mount.point)), detach=True)


@pytest.fixture(params=["erofs", "overlay2"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "erofs":
        why = choose.probe_erofs(tmp_path)
        if why:
            pytest.skip(why)
    made = Place(tmp_path.resolve(), request.param)
    try:
        yield made
    finally:
        made.close()


def archive(members: Members) -> bytes:
    parts = [
        tar_write.entry_header(entry._replace(size_bytes=len(content))) + tar_write.padded(content)
        for entry, content in members
    ]
    return b"".join(parts) + tar_write.END


def file(path: bytes, content: bytes = b"content", **values: object) -> tuple[TarEntry, bytes]:
    return TarEntry(path)._replace(**values), content  # type: ignore[arg-type]


def other(path: bytes, kind: EntryKind, link: bytes = b"", **values: object) -> tuple[TarEntry, bytes]:
    return TarEntry(path, kind, 0o755, link=link)._replace(**values), b""  # type: ignore[arg-type]


def directory(path: bytes, **values: object) -> tuple[TarEntry, bytes]:
    return other(path, EntryKind.DIRECTORY, **values)


def symlink(path: bytes, target: bytes) -> tuple[TarEntry, bytes]:
    return other(path, EntryKind.SYMLINK, target)


def snapshot(root: Path) -> Snapshot:
    """Everything the file system says about a tree, by relative path."""
    seen: Snapshot = {}
    for folder, names, files in os.walk(root):
        for path in [Path(folder), *(Path(folder) / name for name in files + names)]:
            seen[str(path.relative_to(root))] = describe(path)
    return seen


def describe(path: Path) -> tuple[object, ...]:
    info = path.lstat()
    content: object = None
    size = 0
    if stat.S_ISREG(info.st_mode):
        content, size = hashlib.sha256(path.read_bytes()).hexdigest(), info.st_size
    elif stat.S_ISLNK(info.st_mode):
        content = os.readlink(path)
    names = sorted(os.listxattr(path, follow_symlinks=False))
    xattrs = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
    owner = (info.st_uid, info.st_gid)
    return info.st_mode, owner, info.st_mtime_ns, size, content, info.st_nlink, info.st_rdev, xattrs


def gnu_tar(source: Path, *options: str) -> bytes:
    command = ["tar", "--create", "--file=-", "--sort=name", "--numeric-owner", *options, f"--directory={source}", "."]
    return subprocess.run(command, check=True, capture_output=True).stdout


def extracted(content: bytes, target: Path) -> Path:
    target.mkdir()
    command = ["tar", "--extract", "--file=-", "--preserve-permissions", "--numeric-owner", "--xattrs"]
    command += ["--xattrs-include=*", f"--directory={target}"]
    subprocess.run(command, input=content, check=True, capture_output=True)
    return target


def rich_tree(root: Path) -> None:
    """One of everything a layer may hold."""
    root.mkdir()
    (root / "empty").write_bytes(b"")
    (root / "one-block").write_bytes(b"x" * 512)
    (root / "odd").write_bytes(os.urandom(70_001))
    os.link(root / "odd", root / "odd-again")
    os.symlink("odd", root / "link")
    os.symlink("/" + "long/" * 150 + "end", root / "long-link")
    os.symlink("dangling", root / "hard-linked-link")
    os.link(root / "hard-linked-link", root / "its-other-name", follow_symlinks=False)
    os.mkfifo(root / "fifo", 0o640)
    os.mknod(root / "char", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "block", stat.S_IFBLK | 0o600, os.makedev(259, 70_000))
    many = root / "many"
    many.mkdir()
    for number in range(200):
        (many / f"{number:03d}-{'n' * (number % 200)}").write_bytes(bytes([number]) * number)
    deep = root / "deep"
    for _ in range(12):
        deep = deep / ("d" * 40)
    deep.mkdir(parents=True)
    (deep / ("f" * 255)).write_text("deep down")
    (root / os.fsdecode(b"latin-\xe9\n\\")).write_text("bytes")
    (root / "owned").write_text("x")
    os.chown(root / "owned", 70_000, 4_000_000_000)
    (root / "setuid").write_text("x")
    os.chmod(root / "setuid", 0o4711)
    (root / "sticky").mkdir()
    os.chmod(root / "sticky", 0o1777)
    os.utime(root / "owned", ns=(0, 1_234_567_890_123_456_789))


def test_a_layer_equals_what_gnu_tar_extracts(place: Place) -> None:
    source = place.path / "source"
    rich_tree(source)
    for name in ("gnu", "pax"):
        content = gnu_tar(source, f"--format={name}")
        expected = snapshot(extracted(content, place.path / f"expected-{name}"))
        assert snapshot(place.layer(content)) == expected


def test_extended_attributes_are_kept(place: Place) -> None:
    source = place.path / "source"
    source.mkdir()
    (source / "ping").write_text("x")
    capability = b"\1\0\0\2\0\x20\0\0" + bytes(12)
    os.setxattr(source / "ping", "security.capability", capability)
    os.setxattr(source / "ping", "user.note", b"v" * 700)
    os.setxattr(source, "trusted.note", b"")
    content = gnu_tar(source, "--format=pax", "--xattrs", "--xattrs-include=*")
    lower = place.layer(content)
    assert snapshot(lower) == snapshot(source)
    assert os.getxattr(lower / "ping", "security.capability") == capability


@pytest.mark.parametrize("sparse_version", ["0.0", "0.1", "1.0", "old"])
def test_sparse_files_have_their_holes_and_their_content(place: Place, sparse_version: str) -> None:
    source = place.path / "source"
    source.mkdir()
    pieces = {
        "aligned": [(0, 4096), (1 << 20, 8192), (3 << 20, 100)],
        "askew": [(5 * 4096, 4096), (9 * 4096, 4096), (20 * 4096 + 7, 1000)],
        "many": [(n * 12288, 4096) for n in range(60)],
    }
    for name, segments in pieces.items():
        with (source / name).open("wb") as out:
            for offset, length in segments:
                out.seek(offset)
                out.write(os.urandom(length))
            out.truncate(4 << 20)
    (source / "hole").touch()
    os.truncate(source / "hole", 1 << 30)
    kind = ["--format=gnu"] if sparse_version == "old" else ["--format=pax", f"--sparse-version={sparse_version}"]
    content = gnu_tar(source, "--sparse", *kind)
    assert len(content) < 2 << 20
    os.truncate(source / "hole", 1 << 20)
    lower = place.layer(content)
    assert (lower / "hole").stat().st_size == 1 << 30
    for name in pieces:
        assert (lower / name).read_bytes() == (source / name).read_bytes(), name


names = st.binary(min_size=1, max_size=60).filter(lambda name: not set(name) & {0, 47} and name not in (b".", b".."))
names = names.filter(lambda name: not name.startswith(b".wh."))
leaves = st.one_of(
    st.binary(max_size=3000),
    st.sampled_from([("symlink", b"x" * 5), ("symlink", b"y/" * 300), ("fifo", b"")]),
)
trees = st.dictionaries(
    names,
    st.recursive(leaves, lambda inner: st.dictionaries(names, inner, max_size=6), max_leaves=20),
    max_size=8,
)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=trees, form=st.sampled_from(["gnu", "pax", "ustar"]), seed=st.integers(0, 2**31))
def test_any_tree_equals_what_gnu_tar_extracts(place: Place, tree: dict[bytes, object], form: str, seed: int) -> None:
    source, expected = place.path / "source", place.path / "expected"
    for old in (source, expected):
        shutil.rmtree(old, ignore_errors=True)
    source.mkdir()
    plant(os.fsencode(source), tree, seed)
    command = ["tar", "--create", "--file=-", f"--format={form}", "--numeric-owner", f"--directory={source}", "."]
    done = subprocess.run(command, capture_output=True)
    if done.returncode != 0 and form == "ustar":
        return  # a name or a link target that ustar cannot hold
    assert done.returncode == 0, done.stderr
    assert snapshot(place.layer(done.stdout)) == snapshot(extracted(done.stdout, expected))


def plant(folder: bytes, tree: dict[bytes, object], seed: int) -> None:
    for number, (name, value) in enumerate(tree.items()):
        path = folder + b"/" + name
        if isinstance(value, dict):
            os.mkdir(path)
            plant(path, value, seed + number)
        elif isinstance(value, tuple) and value[0] == "symlink":
            os.symlink(value[1], path)
        elif isinstance(value, tuple):
            os.mkfifo(path)
        else:
            with open(path, "wb") as out:
                out.write(value)  # type: ignore[arg-type]
            os.chmod(path, seed % 0o10000)
        os.chown(path, seed % 100_000, number, follow_symlinks=False)
        os.utime(path, ns=(0, (seed + number) * 1_000_000_007), follow_symlinks=False)


paths_of_a_layer = st.lists(
    st.sampled_from([b"a", b"b", b"c", b".wh.a", b".wh..wh..opq", b"."]), min_size=1, max_size=3
)
members_of_a_layer = st.builds(
    lambda path, kind, link, seed: TarEntry(
        b"/".join(path), kind, seed % 0o10000, seed, seed // 2, seed * 10**8, 0, b"/".join(link),
        1, seed % 300, {b"trusted.n": b"%d" % seed} if seed % 3 == 0 else {},
    ),
    paths_of_a_layer, st.sampled_from(EntryKind), paths_of_a_layer, st.integers(0, 100_000),
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(entries=st.lists(members_of_a_layer, max_size=12), content=st.binary(max_size=2000))
def test_both_drivers_make_the_same_of_any_entries(tmp_path: Path, entries: list[TarEntry], content: bytes) -> None:
    if why := choose.probe_erofs(tmp_path / "probe"):
        pytest.skip(why)
    archived = archive([(entry, content if entry.kind is EntryKind.FILE else b"") for entry in entries])
    results: list[object] = []
    for name in ("erofs", "overlay2"):
        folder = tmp_path / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        made = Place(folder.resolve(), name)
        try:
            results.append(snapshot(made.layer(archived)))
        except errors.Invalid as refusal:
            results.append(str(refusal))
        finally:
            made.close()
    assert results[0] == results[1]


def fsck_erofs() -> list[str]:
    """The command line of an fsck.erofs that knows blocks of 512 bytes: the host's, or the one of `tests/peers.sh`."""
    unpacked = Path(__file__).parents[2] / ".work" / "peers" / "erofs-1.8"
    loader = next(unpacked.glob("usr/lib*/**/ld-linux*.so*"), None)
    if loader is not None:
        libraries = ":".join(map(str, unpacked.glob("usr/lib/*-linux-gnu")))
        return [str(loader), "--library-path", libraries, str(unpacked / "usr" / "bin" / "fsck.erofs")]
    program = shutil.which("fsck.erofs")
    said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout if program else "none"
    if not program or re.search(r" 1\.[0-5]\b", said):
        pytest.skip(f"no fsck.erofs that knows 512-byte blocks (found {said.strip()}); run: bash tests/peers.sh")
    return [program]


def test_fsck_finds_nothing_wrong_with_the_metadata(tmp_path: Path) -> None:
    rich_tree(tmp_path / "source")
    place = Place(tmp_path.resolve(), "erofs")
    diff_id, blob = place.store(gnu_tar(tmp_path / "source", "--format=pax", "--xattrs"))
    place.driver.prepare(diff_id, blob)
    metadata = tmp_path / "erofs" / f"{diff_id}.erofs"
    done = subprocess.run([*fsck_erofs(), f"--device={blob}", metadata], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_deepest_layer_is_made_and_removed(place: Place) -> None:
    diff_id, blob = place.store(archive([file(b"d/" * 255 + b"f", b"deep", mtime_ns=2**62 * 10**9)]))
    place.driver.prepare(diff_id, blob)
    assert (place.driver.lower(diff_id) / ("d/" * 255) / "f").read_text() == "deep"
    place.driver.remove(diff_id)
    assert list((place.layers).iterdir()) == []


NOT_IN_A_LAYER: dict[str, Members] = {
    "a name that climbs": [file(b"../../x")],
    "a name that climbs after going down": [file(b"a/../../x")],
    "a hard link to a climbing name": [other(b"x", EntryKind.HARD_LINK, b"../../canary")],
    "a hard link to an absolute host path": [other(b"x", EntryKind.HARD_LINK, b"/etc/passwd")],
    "a hard link through a link to the host": [
        symlink(b"d", b"/etc"),
        other(b"x", EntryKind.HARD_LINK, b"d/passwd"),
    ],
    "a hard link to a directory": [directory(b"d"), other(b"x", EntryKind.HARD_LINK, b"d")],
    "a file below a file": [file(b"a"), file(b"a/b")],
    "a whiteout of nothing": [file(b".wh.")],
    "a whiteout of the directory itself": [file(b".wh..")],
    "a whiteout of the directory above": [file(b"d/.wh...")],
    "a raw overlay whiteout": [other(b"x", EntryKind.CHAR)],
    "a malformed capability": [file(b"x", xattrs={b"security.capability": b"junk"})],
    "a root that is a link": [symlink(b".", b"/")],
    "a component of 256 bytes": [file(b"c" * 256)],
    "two thousand directories": [file(b"d/" * 2000 + b"f")],
    "a write through a link that leaves the layer": [symlink(b"d", b"/nowhere"), file(b"d/x")],
    "links in a circle": [symlink(b"a", b"b"), symlink(b"b", b"a"), file(b"a/x")],
    "an id beyond 32 bits": [file(b"x", uid=1 << 32)],
    "a device number beyond what Linux has": [other(b"x", EntryKind.BLOCK_DEVICE, dev_major=4096)],
}


@pytest.mark.parametrize("what", NOT_IN_A_LAYER)
def test_what_may_not_be_in_a_layer_is_refused_and_leaves_nothing(place: Place, what: str) -> None:
    diff_id, blob = place.store(archive([file(b"before"), *NOT_IN_A_LAYER[what]]))
    with pytest.raises(errors.Invalid):
        place.driver.prepare(diff_id, blob)
    assert not place.driver.has(diff_id)
    assert list((place.layers).iterdir()) == []


@pytest.mark.parametrize(
    "entry_path", [b"/etc/canary", b"link/etc/canary", b"chain/etc/canary", b"./link/./etc/canary"]
)
def test_absolute_names_and_links_end_inside_the_layer(place: Place, entry_path: bytes) -> None:
    canary = place.path / "canary"
    canary.write_text("untouched")
    escape = os.fsencode(place.path)
    content = archive(
        [
            directory(escape),
            symlink(b"link", b"/"),
            symlink(b"up", b"../../../.."),
            symlink(b"chain", b"up/link"),
            file(entry_path, b"written"),
            symlink(b"home", escape),
            file(b"home/canary", b"written"),
        ]
    )
    lower = place.layer(content)
    assert (lower / "etc/canary").read_bytes() == b"written"
    assert (lower / os.fsdecode(escape).lstrip("/") / "canary").read_bytes() == b"written"
    assert canary.read_text() == "untouched"
    assert not Path("/etc/canary").exists()


def test_of_two_entries_with_one_name_the_last_wins(place: Place) -> None:
    content = archive(
        [
            file(b"a", b"old"), file(b"a", b"new"),
            symlink(b"l", b"/etc/passwd"), file(b"l", b"plain"),
            directory(b"d"), file(b"d/inside"), file(b"d", b"file now"),
            file(b"f"), directory(b"f"), file(b"f/inside", b"x"),
            directory(b"k", mode=0o700), file(b"k/inside", b"kept"), directory(b"k", mode=0o711),
            file(b"one", b"1"), other(b"two", EntryKind.HARD_LINK, b"one"), file(b"one", b"replaced"),
        ]
    )  # fmt: skip
    lower = place.layer(content)
    assert (lower / "a").read_bytes() == b"new"
    assert not (lower / "l").is_symlink()
    assert (lower / "l").read_bytes() == b"plain"
    assert (lower / "d").read_bytes() == b"file now"
    assert (lower / "f/inside").read_bytes() == b"x"
    assert (lower / "k/inside").read_bytes() == b"kept"
    assert stat.S_IMODE((lower / "k").stat().st_mode) == 0o711
    assert (lower / "two").read_bytes() == b"1"
    assert (lower / "one").stat().st_nlink == (lower / "two").stat().st_nlink == 1


def test_overlay_attributes_are_left_out_with_a_warning(place: Place) -> None:
    hostile = {b"trusted.overlay.redirect": b"/etc", b"user.overlay.opaque": b"y", b"user.fine": b"1"}
    diff_id, blob = place.store(archive([directory(b"d", xattrs=hostile)]))
    facts = place.driver.prepare(diff_id, blob)
    assert len(facts.warnings) == 2
    assert os.listxattr(place.driver.lower(diff_id) / "d") == ["user.fine"]


def test_aufs_bookkeeping_is_passed_over(place: Place) -> None:
    content = archive([directory(b".wh..wh.plnk"), file(b".wh..wh.plnk/1.2"), file(b"d/.wh..wh.aufs"), file(b"kept")])
    assert sorted(os.listdir(place.layer(content))) == ["kept"]


def test_odd_owners_and_times_are_kept_and_the_id_of_no_one_becomes_root(place: Place) -> None:
    before_epoch = -5_000_000_001
    lower = place.layer(
        archive([file(b"old", mtime_ns=before_epoch), file(b"last", uid=2**32 - 2), file(b"none", uid=2**32 - 1)])
    )
    assert (lower / "old").stat().st_mtime_ns == before_epoch
    assert (lower / "last").stat().st_uid == 2**32 - 2
    assert (lower / "none").stat().st_uid == 0


@pytest.mark.parametrize("content", [b"", bytes(1024), bytes(10240)])
def test_a_layer_without_entries_is_an_empty_directory(place: Place, content: bytes) -> None:
    lower = place.layer(content)
    assert os.listdir(lower) == []
    assert stat.S_IMODE(lower.stat().st_mode) == 0o755


def test_a_stack_of_layers_shows_deletions_opaque_directories_and_changes_of_kind(place: Place) -> None:
    base = [
        directory(b"etc"), file(b"etc/gone"), file(b"etc/kept", b"base"), directory(b"cache"), file(b"cache/old"),
        file(b"kind", b"a file"), directory(b"tree"), file(b"tree/leaf"), directory(b"both"), file(b"both/below"),
    ]  # fmt: skip
    change = [
        file(b"etc/.wh.gone", b""), file(b"cache/.wh..wh..opq", b""), file(b"cache/new", b"1"),
        directory(b"kind"), file(b"kind/inside", b"dir now"), file(b"tree", b"file now"),
        directory(b"both"), file(b"both/above"), file(b".wh.both", b""),
    ]  # fmt: skip
    again = [file(b"etc/gone", b"back"), file(b".wh.tree", b"")]
    lowers = [place.layer(archive(members)) for members in (again, change, base)]
    merged, upper, work = (place.path / name for name in ("merged", "upper", "work"))
    for folder in (merged, upper, work):
        folder.mkdir()
    mounts.overlay(merged, lowers, upper=upper, work=work)
    assert sorted(os.listdir(merged)) == ["both", "cache", "etc", "kind"]
    assert (merged / "etc/gone").read_text() == "back"
    assert (merged / "etc/kept").read_text() == "base"
    assert os.listdir(merged / "cache") == ["new"]
    assert os.listdir(merged / "kind") == ["inside"]
    assert os.listdir(merged / "both") == ["above"]
    (merged / "etc/kept").write_text("changed above")
    assert (lowers[2] / "etc/kept").read_text() == "base"


def test_preparing_again_gives_the_same_facts_and_a_new_driver_finds_the_layer(place: Place) -> None:
    diff_id, blob = place.store(archive([file(b"a", b"12345"), directory(b"d")]))
    first = place.driver.prepare(diff_id, blob)
    assert (first.entries, first.content_bytes) == (2, 5)
    lower = place.driver.lower(diff_id)
    again = place.new_driver()
    assert again.has(diff_id)
    assert again.prepare(diff_id, blob) == first
    assert again.lower(diff_id) == lower
    assert sum(mount.point == os.fsencode(lower) for mount in mounts.current()) <= 1


def test_one_layer_wanted_by_many_threads_is_made_once(place: Place) -> None:
    diff_id, blob = place.store(archive([file(b"a")]))
    seen: list[Path] = []

    def use() -> None:
        place.driver.prepare(diff_id, blob)
        seen.append(place.driver.lower(diff_id))

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert sum(mount.point == os.fsencode(seen[0]) for mount in mounts.current()) <= 1
    assert len([entry for entry in (place.layers).iterdir() if entry.name.endswith(".facts")]) == 1


def test_removing_a_layer_leaves_no_mount_and_no_file(place: Place) -> None:
    diff_id, blob = place.store(archive([file(b"a")]))
    place.driver.prepare(diff_id, blob)
    place.driver.lower(diff_id)
    place.driver.remove(diff_id)
    place.driver.remove(diff_id)
    assert list((place.layers).iterdir()) == []
    assert not [mount for mount in mounts.current() if mount.point.startswith(os.fsencode(place.path) + b"/")]
    with pytest.raises(LayerMissing):
        place.driver.lower(diff_id)


def test_a_sweep_keeps_what_is_wanted_and_nothing_else(place: Place) -> None:
    kept, kept_blob = place.store(archive([file(b"a")]))
    gone, gone_blob = place.store(archive([file(b"b")]))
    for diff_id, blob in ((kept, kept_blob), (gone, gone_blob)):
        place.driver.prepare(diff_id, blob)
        place.driver.lower(diff_id)
    folder = place.layers
    (folder / ".tmp-half").mkdir()
    (folder / ".tmp-half/file").write_text("unfinished")
    (folder / ".tmp-written").write_text("unfinished")
    fresh = place.new_driver()
    fresh.sweep({kept})
    assert fresh.has(kept)
    assert not fresh.has(gone)
    assert (fresh.lower(kept) / "a").read_text() == "content"
    assert {entry.name[:64] for entry in folder.iterdir()} == {kept}


CHANGES = {"open", "os.rename", "os.mkdir", "os.rmdir", "os.chown", "os.chmod", "os.link", "os.symlink", "os.utime"}
CHANGES |= {"os.setxattr", "os.truncate", "os.remove"}


def killed_at(point: int, work: Callable[[], object]) -> bool:
    """Run `work` in a child that kills itself before its `point`-th file system change. Whether it got that far."""
    child = os.fork()
    if child == 0:
        seen = 0

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            if event in CHANGES:
                seen += 1
                if seen == point:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(hook)
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_a_layer_is_there_whole_or_not_at_all_wherever_prepare_is_killed(place: Place) -> None:
    members = [
        directory(b"d", xattrs={b"user.x": b"1"}), file(b"d/a", b"12345"), other(b"b", EntryKind.HARD_LINK, b"d/a"),
        symlink(b"l", b"d/a"), file(b".wh.gone", b""), file(b"d/.wh..wh..opq", b""),
    ]  # fmt: skip
    diff_id, blob = place.store(archive(members))
    expected = snapshot(place.layer(archive(members)))
    place.driver.remove(diff_id)
    point = 1
    while killed_at(point, lambda: place.driver.prepare(diff_id, blob)):
        survivor = place.new_driver()
        if survivor.has(diff_id):
            assert snapshot(survivor.lower(diff_id)) == expected, point
        survivor.sweep(set())
        assert list((place.layers).iterdir()) == [], point
        point += 1
    assert point > 5
    assert snapshot(place.new_driver().lower(diff_id)) == expected


def test_removing_is_finished_by_a_sweep_wherever_it_is_killed(place: Place) -> None:
    diff_id, blob = place.store(archive([directory(b"d"), file(b"d/a")]))
    point = 1
    while True:
        place.driver.prepare(diff_id, blob)
        if not killed_at(point, lambda: place.driver.remove(diff_id)):
            break
        fresh = place.new_driver()
        whole = fresh.has(diff_id)
        fresh.sweep({diff_id})
        assert fresh.has(diff_id) == whole
        if whole:
            assert (fresh.lower(diff_id) / "d/a").read_text() == "content"
        fresh.sweep(set())
        assert list((place.layers).iterdir()) == [], point
        point += 1
    assert point > 1


def test_setuid_bits_and_devices_of_a_layer_work_in_the_overlay(place: Place) -> None:
    shell = Path("/usr/bin/id").resolve().read_bytes()
    lower = place.layer(
        archive([file(b"id", shell, mode=0o4755), other(b"null", EntryKind.CHAR, mode=0o666, dev_major=1, dev_minor=3)])
    )
    merged, upper, work = (place.path / name for name in ("merged", "upper", "work"))
    for folder in (merged, upper, work):
        folder.mkdir()
    mounts.overlay(merged, [lower], upper=upper, work=work)
    # A descriptor gets the other user past the test's folder, which is closed to it.
    descriptor = os.open(merged / "id", os.O_PATH)
    try:
        command = [f"/proc/self/fd/{descriptor}"]
        done = subprocess.run(command, user=65534, group=65534, pass_fds=[descriptor], check=True, capture_output=True)
    finally:
        os.close(descriptor)
    assert b"euid=0(root)" in done.stdout
    assert (merged / "null").read_bytes() == b""


@pytest.mark.parametrize("name", ["", "../" * 22, "A" * 64, "0" * 63, "0" * 64 + "/x"])
def test_a_layer_name_that_is_no_digest_is_refused(place: Place, name: str) -> None:
    uses: list[Callable[[], object]] = [
        lambda: place.driver.has(name),
        lambda: place.driver.lower(name),
        lambda: place.driver.remove(name),
        lambda: place.driver.prepare(name, place.path / "no.tar"),
    ]
    for use in uses:
        with pytest.raises(BadDiffId):
            use()


def test_the_probe_finds_erofs_or_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    why = choose.probe_erofs(tmp_path / "probe")
    assert why == "" or "mount" in why
    assert list((tmp_path / "probe").iterdir()) == []
    assert choose.choose(None, lambda: why) == ("overlay2" if why else "erofs")


def test_the_probe_says_why_when_mounting_is_not_allowed() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folder is closed to other users
        os.chown(name, 65534, 65534)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setresuid(65534, 65534, 65534)
                code = 0 if "EPERM" in choose.probe_erofs(Path(name)) and not os.listdir(name) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_explicit_driver_that_does_not_work_names_the_remedy() -> None:
    assert choose.choose(None, lambda: "no such device") == "overlay2"
    assert choose.choose("overlay", lambda: "no such device") == "overlay2"
    assert choose.choose("erofs", lambda: "") == "erofs"
    with pytest.raises(choose.DriverUnusable, match=r"6\.12"):
        choose.choose("erofs", lambda: "no such device")
    with pytest.raises(choose.UnknownDriver, match="zfs"):
        choose.choose("zfs", lambda: "")
