"""What a container did to its files, seen in the upper directory: as a layer, and as `docker diff` tells it."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.containers import rootfs
from sampan.containers.layout import Paths
from sampan.formats import layer, tar
from sampan.formats.tar import EntryKind, TarEntry
from sampan.images import differences, upper
from sampan.images.differences import Change, Kind
from sampan.images.drivers.overlay2 import Overlay2Driver
from sampan.kernel import mounts

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

CAPABILITY = struct.pack("<IIIII", 0x0200_0001, 1 << 10, 0, 0, 0)


class Lab:
    """Two lower directories and a container's mounted root over them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = Paths(folder / "container", folder / "run")
        self.lowers = [folder / "top", folder / "bottom"]
        for lower in self.lowers:
            lower.mkdir()

    @property
    def root(self) -> Path:
        return self.place.rootfs

    def mount(self) -> None:
        rootfs.mount(self.place, self.lowers)

    def layer(self, **options: object) -> bytes:
        pieces: list[bytes] = []
        upper.write_layer(self.place.upper, pieces.append, **options)  # type: ignore[arg-type]
        return b"".join(pieces)

    def changes(self) -> list[tuple[str, str]]:
        found = differences.changes(self.place.upper, self.lowers)
        return [("CAD"[change.kind], os.fsdecode(change.path)) for change in found]

    def applied(self) -> Path:
        """What the layer makes over the same lower directories, unpacked by our own driver."""
        content = self.layer()
        diff_id = hashlib.sha256(content).hexdigest()
        (self.folder / "tar").write_bytes(content)
        driver = Overlay2Driver(self.folder / "layers")
        driver.prepare(diff_id, self.folder / "tar")
        merged = self.folder / "merged"
        merged.mkdir()
        mounts.overlay(merged, [driver.lower(diff_id), *self.lowers])
        return merged


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    place = tmp_path.resolve()
    try:
        yield Lab(place)
    finally:
        for mount in reversed(mounts.current()):
            if mount.point.startswith(os.fsencode(place) + b"/"):
                mounts.unmount(Path(os.fsdecode(mount.point)), detach=True)


def snapshot(top: Path) -> dict[str, tuple[object, ...]]:
    """Everything about every file; files that are one have the same first name."""
    found: dict[str, tuple[object, ...]] = {}
    first: dict[int, str] = {}
    for directory, directories, files in os.walk(top):
        for name in (*directories, *files):
            path = Path(directory, name)
            status = path.lstat()
            key = str(path.relative_to(top))
            plain = path.is_file() and not path.is_symlink()
            attributes = {
                each: os.getxattr(path, each, follow_symlinks=False)
                for each in os.listxattr(path, follow_symlinks=False)
                if not each.startswith("trusted.overlay.")
            }
            found[key] = (
                status.st_mode, status.st_uid, status.st_gid, status.st_rdev, status.st_mtime_ns, attributes,
                path.read_bytes() if plain else os.readlink(path) if path.is_symlink() else None,
                first.setdefault(status.st_ino, key) if status.st_nlink > 1 and plain else None,
            )  # fmt: skip
    return found


def entries(archive: bytes) -> dict[bytes, TarEntry]:
    return {entry.path.rstrip(b"/"): entry for entry in tar.scan(archive)}


def test_a_layer_makes_the_same_files_over_the_same_layers(lab: Lab) -> None:
    bottom = lab.lowers[1]
    for name in ("etc", "gone", "replaced", "filled"):
        (bottom / name).mkdir()
        (bottom / name / "old").write_text(name)
    (bottom / "file").write_text("old")
    (bottom / "to-dir").write_text("old")
    lab.mount()
    root = lab.root
    (root / "etc/old").write_text("changed")
    (root / "etc/new").write_text("new")
    subprocess.run(["rm", "-r", root / "gone", root / "replaced", root / "to-dir", root / "file"], check=True)
    (root / "replaced").mkdir(mode=0o711)
    (root / "replaced/new").write_text("new")
    (root / "to-dir").mkdir()
    (root / "to-dir/inside").write_text("x")
    os.link(root / "etc/new", root / "filled/same")
    os.mknod(root / "null", 0o020666, os.makedev(1, 3))
    os.mkfifo(root / "fifo")
    (root / "link").symlink_to("/nowhere")
    os.chown(root / "link", 7, 8, follow_symlinks=False)
    (root / "tool").write_text("x")
    os.chown(root / "tool", 100_000, 4_000_000_000)
    (root / "tool").chmod(0o6755)
    os.setxattr(root / "tool", "security.capability", CAPABILITY)
    os.setxattr(root / "tool", "user.note", b"\xff\0")
    with (root / "sparse").open("wb") as sparse:
        sparse.truncate(10 << 20)
        sparse.seek(5 << 20)
        sparse.write(b"x")
    (root / os.fsdecode(b"caf\xe9")).write_text("x")
    for directory, names, files in os.walk(root):
        for name in (*names, *files):
            os.utime(Path(directory, name), ns=(0, 1_600_000_000_123_456_789), follow_symlinks=False)
    before = snapshot(root)
    assert snapshot(lab.applied()) == before


def test_removed_files_are_whiteouts_and_new_directories_hide_the_old(lab: Lab) -> None:
    (lab.lowers[0] / "file").touch()
    (lab.lowers[0] / "dir").mkdir()
    (lab.lowers[0] / "dir/old").touch()
    lab.mount()
    (lab.root / "file").unlink()
    subprocess.run(["rm", "-r", lab.root / "dir"], check=True)
    (lab.root / "dir").mkdir()
    found = entries(lab.layer())
    assert list(found) == [b"dir", b"dir/.wh..wh..opq", b".wh.file"]  # in the order of what they hide
    assert all(not name.startswith(b"trusted.overlay.") for name in found[b"dir"].xattrs)
    assert layer.build(tar.scan(lab.layer())).warnings == ()


def test_whiteouts_written_as_attributes_mean_the_same(lab: Lab) -> None:
    top = lab.place.upper
    top.mkdir(parents=True)
    (top / "dir").mkdir()
    os.setxattr(top / "dir", "trusted.overlay.opaque", b"x")
    (top / "dir/gone").touch()
    os.setxattr(top / "dir/gone", "trusted.overlay.whiteout", b"")
    (lab.lowers[0] / "dir").mkdir()
    (lab.lowers[0] / "dir/gone").write_text("x")
    assert list(entries(lab.layer())) == [b"dir", b"dir/.wh.gone"]
    assert ("D", "/dir/gone") in lab.changes()


def test_times_are_clamped_and_paths_left_out_when_asked(lab: Lab) -> None:
    lab.mount()
    (lab.root / "late").touch()
    (lab.root / "early").touch()
    (lab.root / "etc").mkdir()
    (lab.root / "etc/hosts").touch()
    os.link(lab.root / "late", lab.root / "later")
    os.utime(lab.root / "early", (0, 5))
    found = entries(lab.layer(clamp_mtime_s=10, omit=[b"etc/hosts"]))
    assert {path: entry.mtime_ns // 10**9 for path, entry in found.items() if b"opq" not in path} == {
        b"early": 5, b"etc": 10, b"late": 10, b"later": 10,
    }  # fmt: skip


def test_a_name_that_a_layer_reads_as_a_whiteout_is_refused(lab: Lab) -> None:
    lab.mount()
    (lab.root / ".wh.file").touch()
    with pytest.raises(upper.NotForALayer, match=r"\.wh\."):
        lab.layer()


def test_a_moved_directory_is_written_whole_whatever_the_hosts_defaults_are(lab: Lab) -> None:
    (lab.lowers[0] / "dir").mkdir()
    (lab.lowers[0] / "dir/file").write_text("x")
    lab.mount()
    subprocess.run(["mv", lab.root / "dir", lab.root / "moved"], check=True)
    (lab.root / "moved/file").chmod(0o600)
    mounted = next(mount for mount in mounts.current() if mount.point == os.fsencode(lab.root))
    assert mounted.file_system == "overlay"
    options = Path("/proc/self/mountinfo").read_text()
    assert "redirect_dir=on" not in options
    archive = lab.layer()
    assert entries(archive)[b"moved/file"].size_bytes == 1
    assert b".wh.dir" in entries(archive)


def test_a_file_copied_up_without_a_change_is_in_the_layer_and_in_no_diff(lab: Lab) -> None:
    (lab.lowers[1] / "file").write_text("same")
    lab.mount()
    with (lab.root / "file").open("r+"):
        pass
    assert lab.changes() == []
    assert list(entries(lab.layer())) == [b"file"]


def test_diff_tells_what_docker_tells(lab: Lab) -> None:
    top, bottom = lab.lowers
    for path in ("etc/app", "var/old/deep", "swap", "kept/inner"):
        (bottom / path).mkdir(parents=True)
    for path in ("etc/app/conf", "etc/removed", "var/old/deep/file", "swap/inside", "turned", "kept/inner/file"):
        (bottom / path).write_text("x")
    (top / "etc").mkdir()
    (top / "etc/second").write_text("x")
    lab.mount()
    root = lab.root
    assert lab.changes() == []
    (root / "etc/app/conf").write_text("changed")
    (root / "etc/removed").unlink()
    (root / "etc/second").chmod(0o600)
    subprocess.run(["rm", "-r", root / "var/old", root / "swap", root / "turned"], check=True)
    (root / "swap").write_text("now a file")
    (root / "turned").mkdir()
    (root / "turned/inside").write_text("x")
    (root / "new/deep").mkdir(parents=True)
    (root / "new/deep/file").write_text("x")
    (root / "kept/inner").chmod(0o700)
    assert lab.changes() == [
        ("C", "/etc"), ("C", "/etc/app"), ("C", "/etc/app/conf"), ("D", "/etc/removed"), ("C", "/etc/second"),
        ("C", "/kept"), ("C", "/kept/inner"),
        ("A", "/new"), ("A", "/new/deep"), ("A", "/new/deep/file"),
        ("C", "/swap"),
        ("C", "/turned"), ("A", "/turned/inside"),
        ("C", "/var"), ("D", "/var/old"),
    ]  # fmt: skip


def test_a_directory_made_anew_lists_what_is_missing_and_what_the_layers_removed_stays_unsaid(lab: Lab) -> None:
    top, bottom = lab.lowers
    (bottom / "dir").mkdir()
    for name in ("kept", "lost", "hidden"):
        (bottom / "dir" / name).write_text("x")
    (top / "dir").mkdir()
    os.mknod(top / "dir/hidden", 0o020000, os.makedev(0, 0))
    lab.mount()
    subprocess.run(["rm", "-r", lab.root / "dir"], check=True)
    (lab.root / "dir").mkdir()
    (lab.root / "dir/kept").write_text("other")
    assert lab.changes() == [("C", "/dir"), ("C", "/dir/kept"), ("D", "/dir/lost")]
    assert Change(Kind.DELETED, b"/dir/lost") in differences.changes(lab.place.upper, lab.lowers)


def test_a_changed_capability_is_a_change(lab: Lab) -> None:
    (lab.lowers[0] / "tool").write_text("x")
    lab.mount()
    os.setxattr(lab.root / "tool", "security.capability", CAPABILITY)
    assert lab.changes() == [("C", "/tool")]


def test_devices_of_number_zero_are_no_files_of_a_layer() -> None:
    device = TarEntry(b"dir/x", EntryKind.CHAR)
    assert [entry.path for entry in upper.as_layer(device)] == [b"dir/.wh.x"]
    assert upper.as_layer(TarEntry(b"zero", EntryKind.BLOCK_DEVICE))[0].kind is EntryKind.BLOCK_DEVICE
