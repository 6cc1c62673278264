"""Mounts and paths against the running kernel. Everything mounted lies below the test's own folder and goes with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.kernel import libc, mounts, paths

root = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
pytestmark = root


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path.resolve()
    try:
        yield place
    finally:
        for mount in reversed(mounts.current()):
            if mount.point.startswith(os.fsencode(place) + b"/"):
                mounts.unmount(Path(os.fsdecode(mount.point)), detach=True)


@pytest.fixture
def descriptor(folder: Path) -> Iterator[int]:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield opened
    finally:
        os.close(opened)


def filled(path: Path, name: str, content: str = "x") -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / name).write_text(content)
    return path


def empty(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def test_mountinfo_is_read_with_its_escapes_and_optional_fields() -> None:
    text = (
        b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n"
        b"40 36 0:5 / /a\\134b rw shared:7 master:2 - tmpfs none rw\n"
        b"41 36 0:6 / /c rw - overlay overlay ro,lowerdir=/x\n"
    )
    first, second, third = mounts.parse_mountinfo(text)
    assert (first.mount_id, first.parent_id, first.root, first.point) == (36, 35, b"/mnt1", b"/mnt 2")
    assert (first.file_system, first.source, first.shared) == ("ext3", b"/dev/root", False)
    assert (second.point, second.shared) == (b"/a\\b", True)
    assert third.file_system == "overlay"
    assert mounts.parse_mountinfo(b"") == []


def test_an_overlay_of_130_layers_with_awkward_names_shows_them_all(folder: Path) -> None:
    lowers = [
        filled(folder / f"{number}-{'layer,with:odd=chars ' * 8}", f"file-{number}", f"{number}")
        for number in range(130)
    ]
    target, upper, work = (empty(folder / name) for name in ("merged", "upper,and:more", "work"))
    mounts.overlay(target, lowers, upper=upper, work=work, options={"index": "off"})
    assert len(os.listdir(target)) == 130
    assert (target / "file-77").read_text() == "77"
    (target / "file-77").write_text("changed")
    assert (upper / "file-77").read_text() == "changed"
    mounts.unmount(target)
    assert not mounts.is_mount_point(target)


def test_the_first_lower_directory_is_the_topmost(folder: Path) -> None:
    lowers = [filled(folder / name, "file", name) for name in ("top", "middle", "bottom")]
    target = empty(folder / "merged")
    mounts.overlay(target, lowers)
    assert (target / "file").read_text() == "top"
    with pytest.raises(OSError, match="Read-only"):
        (target / "new").touch()


def test_one_layer_without_an_upper_is_shown_read_only(folder: Path) -> None:
    target = empty(folder / "merged")
    mounts.overlay(target, [filled(folder / "only", "file")])
    assert os.listdir(target) == ["file"]
    with pytest.raises(OSError, match="Read-only"):
        (target / "new").touch()


def test_a_layer_name_too_long_for_a_parameter_is_mounted_all_the_same(folder: Path) -> None:
    lower = filled(folder / ("l" * 200) / ("m" * 200), "file")
    target, upper, work = (empty(folder / name) for name in ("merged", "upper", "work"))
    mounts.overlay(target, [lower], upper=upper, work=work)
    assert os.listdir(target) == ["file"]


def test_kernels_without_lowerdir_parameters_get_one_options_string(folder: Path) -> None:
    lowers = [filled(folder / name, name[:2]) for name in ("a1,x", "b2:y", "c3\\z")]
    target, upper, work = (empty(folder / name) for name in ("merged", "up,per", "wo,rk"))
    parameters = [("upperdir", os.fsencode(upper)), ("workdir", os.fsencode(work)), ("index", b"off")]
    mounts._overlay_by_options(target, lowers, parameters, read_only=False)
    assert sorted(os.listdir(target)) == ["a1", "b2", "c3"]
    with pytest.raises(libc.KernelError, match=r"6\.5"):
        mounts._overlay_by_options(target, [folder / ("n" * 100)] * 50, parameters, read_only=False)


def test_a_failed_mount_names_the_call_its_arguments_and_the_error(folder: Path) -> None:
    with pytest.raises(libc.KernelError, match=r"mount\(.*nowhere.*ENOENT") as caught:
        mounts.bind(folder / "source", folder / "nowhere")
    assert (caught.value.call, caught.value.errno) == ("mount", 2)
    with pytest.raises(libc.KernelError, match="lowerdir"):
        mounts.overlay(empty(folder / "merged"), [folder / "missing", folder / "missing-too"])
    assert not mounts.is_mount_point(folder / "merged")


def test_a_read_only_bind_covers_what_is_mounted_below_it(folder: Path) -> None:
    inner = filled(folder / "inner", "file")
    source = empty(folder / "source")
    mounts.bind(inner, empty(source / "below"))
    target = empty(folder / "target")
    mounts.bind(source, target, recursive=True, read_only=True)
    for path in (target, target / "below"):
        with pytest.raises(OSError, match="Read-only"):
            (path / "new").touch()
    (source / "below/new").touch()


def test_propagation_can_be_cut_and_joined(folder: Path) -> None:
    source, target = empty(folder / "source"), empty(folder / "target")
    mounts.bind(source, source)
    mounts.propagate(source, "private")
    mounts.propagate(source, "shared")
    mounts.bind(source, target)
    mounts.bind(filled(folder / "new", "file"), empty(source / "point"))
    assert (target / "point/file").exists()
    mounts.propagate(target, "private")
    points = {mount.point: mount.shared for mount in mounts.current()}
    assert points[os.fsencode(source)]
    assert not points[os.fsencode(target)]


def test_names_are_resolved_inside_the_root_whatever_their_links_say(folder: Path, descriptor: int) -> None:
    filled(folder / "etc", "passwd", "inside")
    os.symlink("/etc", folder / "absolute")
    os.symlink("../../../etc", folder / "climbing")
    os.symlink("/proc/self/root", folder / "magic")
    for name in (b"absolute/passwd", b"climbing/passwd", b"/etc/passwd", b"../../etc/passwd"):
        opened = paths.open_in(descriptor, name, os.O_RDONLY)
        try:
            assert os.read(opened, 100) == b"inside"
        finally:
            os.close(opened)
        assert paths.resolve_in(descriptor, name) == b"/etc/passwd"
    assert paths.resolve_in(descriptor, b"..") == b"/"
    with pytest.raises(libc.KernelError, match="ENOENT"):
        paths.open_in(descriptor, b"magic/etc/passwd", os.O_RDONLY)
    with pytest.raises(libc.KernelError, match="ELOOP"):
        paths.open_in(descriptor, b"absolute/passwd", os.O_RDONLY, resolve=paths.RESOLVE_NO_SYMLINKS)


def test_missing_directories_are_made_inside_the_root(folder: Path, descriptor: int) -> None:
    empty(folder / "real")
    os.symlink("/real", folder / "link")
    (folder / "file").touch()
    made = paths.make_directories_in(descriptor, b"/link/a/./b/../c", mode=0o711, uid=5, gid=6)
    try:
        assert paths.is_directory(made)
    finally:
        os.close(made)
    info = (folder / "real/a/c").stat()
    assert (info.st_mode & 0o777, info.st_uid, info.st_gid) == (0o711, 5, 6)
    for wrong in (b"file/x", b"file"):
        with pytest.raises(libc.KernelError):
            os.close(paths.make_directories_in(descriptor, wrong))
