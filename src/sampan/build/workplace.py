"""Where builds work on this host: folders for what is received and inflated, mount points, cache mounts. Blocking.

What one build uses is gone with it; what a killed daemon leaves is swept at the next start. Only cache mounts stay.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sampan.kernel import mounts, paths

_making = threading.Lock()


@dataclass(frozen=True, slots=True)
class Workplace:
    """`data` is on disk, `run` below the run directory (gone after a reboot, as mounts are)."""

    data: Path
    run: Path

    @property
    def received(self) -> Path:
        """Contexts and what is inflated."""
        return self.data / "work"

    @property
    def caches(self) -> Path:
        """`--mount=type=cache`."""
        return self.data / "caches"

    def restore(self) -> None:
        """At start: unmount and remove what a killed daemon left."""
        below = os.fsencode(self.run) + b"/"
        for mount in reversed(mounts.current()):
            if mount.point.startswith(below):
                mounts.unmount(Path(os.fsdecode(mount.point)), detach=True)
        for directory in (self.run, self.received):
            if directory.exists():
                shutil.rmtree(directory)

    def cache(self, cache_id: str, *, mode: int, uid: int, gid: int) -> Path:
        """The folder of a cache mount, made if it is not there. Its name is not the client's."""
        place = self.caches / hashlib.sha256(cache_id.encode("utf-8", "surrogateescape")).hexdigest()
        with _making:  # stages beside each other may ask for one cache at once
            if not place.exists():
                place.mkdir(mode=0o700, parents=True)
                os.chown(place, uid, gid)
                place.chmod(mode if mode >= 0 else 0o755)
        return place

    def forget_caches(self) -> int:
        """Remove all cache mounts. Returns the freed bytes."""
        if not self.caches.exists():
            return 0
        freed_bytes = sum(path.lstat().st_blocks * 512 for path in self.caches.rglob("*"))
        aside = self.received / f"caches-{os.urandom(6).hex()}"
        aside.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.caches.rename(aside)
        shutil.rmtree(aside)
        return freed_bytes

    @contextlib.contextmanager
    def folder(self, name: str) -> Iterator[Path]:
        """A folder on disk for one build."""
        place = self.received / name
        place.mkdir(mode=0o700, parents=True)
        try:
            yield place
        finally:
            shutil.rmtree(place)


def erase(place: Path) -> None:
    """Remove a folder of ours if it is there; nothing is mounted below it."""
    if place.exists():
        shutil.rmtree(place)


@contextlib.contextmanager
def view(at: Path, lowers: Sequence[Path]) -> Iterator[int | None]:
    """An image's tree to look at, read-only: an open folder, or None if there is no layer."""
    if not lowers:
        yield None
        return
    at.mkdir(mode=0o700, parents=True)
    try:
        mounts.overlay(at, lowers)
        try:
            descriptor = os.open(at, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                yield descriptor
            finally:
                os.close(descriptor)
        finally:
            mounts.unmount(at, detach=True)
    finally:
        at.rmdir()


def bind_inside(root: int, source: bytes, target: Path, *, read_only: bool) -> None:
    """Bind what `source` is inside `root` to a path of ours. It is mounted as it was found: no name is looked up again.

    Raises `KernelError`.
    """
    found = paths.open_in(root, source or b".", os.O_PATH)
    try:
        if stat.S_ISDIR(os.fstat(found).st_mode):
            target.mkdir(mode=0o700, parents=True)
        else:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            target.touch(mode=0o600)
        mounts.bind(Path(f"/proc/self/fd/{found}"), target, read_only=read_only)
    finally:
        os.close(found)
