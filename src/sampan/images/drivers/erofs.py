"""The erofs driver: the tar stays one file, and a small metadata file beside it makes it mountable.

    <layers>/<digest>.erofs    metadata, some 100 bytes an entry
    <mounts>/<digest>          where it is mounted, from the first use until `remove`

Needs Linux 6.12 and a file system whose files the kernel reads through the page cache (ext4, xfs, btrfs; not tmpfs).
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Set
from contextlib import suppress
from pathlib import Path

from sampan.formats import erofs
from sampan.formats.tar_model import Buffer
from sampan.images.drivers import reading
from sampan.images.drivers.folder import LayerFolder
from sampan.images.drivers.model import LayerFacts, LayerMissing, TarPath
from sampan.kernel import libc, mounts


class ErofsDriver:
    """Layers as EROFS metadata over their tars. `tar_path` says where a layer's tar is when it must be mounted."""

    name = "erofs"

    def __init__(self, layers: Path, mount_points: Path, tar_path: TarPath) -> None:
        self._folder = LayerFolder(layers, ".erofs")
        mount_points.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._mount_points = Path(os.path.realpath(mount_points))
        self._tar_path = tar_path
        self._mounted_lock = threading.Lock()
        self._mounted = self._present_mounts()

    def prepare(self, diff_id: str, tar: Path) -> LayerFacts:
        target = self._folder.layer(diff_id)
        with self._folder.locked(diff_id):
            known = self._folder.facts(diff_id)
            if known is not None and target.exists():
                return known
            with reading.mapped(tar) as content:
                image, facts = _encode(diff_id, content)
            self._publish(diff_id, image, facts)
            return facts

    def prepare_from(self, diff_id: str, content: Buffer) -> LayerFacts:
        """`prepare` for a tar that is still to come: `content` reads like those parts of it that are needed."""
        with self._folder.locked(diff_id):
            image, facts = _encode(diff_id, content)
            self._folder.discard(diff_id)
            self._publish(diff_id, image, facts)
            return facts

    def agrees(self, diff_id: str, content: Buffer) -> bool:
        """Whether the metadata in use is what the whole tar gives."""
        return _encode(diff_id, content)[0] == self._folder.layer(diff_id).read_bytes()

    def unmount(self, diff_id: str) -> None:
        """Take the mount away, if there is one: the next use mounts the layer anew. Who uses it keeps the old one."""
        with self._folder.locked(diff_id):
            self._unmount(diff_id)

    def _publish(self, diff_id: str, image: bytes, facts: LayerFacts) -> None:
        temporary = self._folder.temporary()
        try:
            self._folder.write(temporary, image)
            self._folder.write_facts(diff_id, facts)
            self._folder.publish(temporary, diff_id)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def has(self, diff_id: str) -> bool:
        return self._folder.layer(diff_id).exists()

    def lower(self, diff_id: str) -> Path:
        metadata = self._folder.layer(diff_id)
        point = self._mount_points / diff_id
        with self._folder.locked(diff_id):
            if diff_id in self._mounted:
                return point
            if not metadata.exists():
                raise LayerMissing(diff_id)
            point.mkdir(exist_ok=True)
            try:
                mounts.erofs(metadata, point, device=self._tar_path(diff_id))
            except libc.KernelError as error:
                if error.errno != errno.ENOENT:
                    raise
                mounts.erofs(metadata, point, device=self._tar_path(diff_id))  # a tar that became whole has moved
            with self._mounted_lock:
                self._mounted.add(diff_id)
        return point

    def remove(self, diff_id: str) -> None:
        self._folder.layer(diff_id)
        with self._folder.locked(diff_id):
            self._unmount(diff_id)
            self._folder.discard(diff_id)

    def sweep(self, keep: Set[str]) -> None:
        with self._mounted_lock:
            self._mounted = self._present_mounts()
            unwanted = sorted(self._mounted - keep)
        for diff_id in unwanted:
            self._unmount(diff_id)
        for point in self._mount_points.iterdir():
            if point.name not in keep:
                with suppress(OSError):  # not empty: something that is not ours, or still mounted elsewhere
                    point.rmdir()
        self._folder.sweep(keep)

    def _unmount(self, diff_id: str) -> None:
        """Unmount a layer if it is mounted. Detached, so that a container still dying cannot hold it up."""
        point = self._mount_points / diff_id
        if diff_id in self._mounted:
            try:
                mounts.unmount(point, detach=True)
            except libc.KernelError as error:
                if error.errno not in (errno.EINVAL, errno.ENOENT):  # someone else unmounted it
                    raise
            with self._mounted_lock:
                self._mounted.discard(diff_id)
        with suppress(FileNotFoundError):
            point.rmdir()

    def _present_mounts(self) -> set[str]:
        """The layers mounted now, as mountinfo says."""
        points = [Path(os.fsdecode(mount.point)) for mount in mounts.current() if mount.file_system == "erofs"]
        return {point.name for point in points if point.parent == self._mount_points}


def _encode(diff_id: str, content: Buffer) -> tuple[bytes, LayerFacts]:
    """The metadata of a layer, and what was found in it."""
    tree = reading.read_tree(content)
    image = erofs.encode(
        tree,
        tar_size_bytes=len(content),
        read_tar=lambda offset, length: bytes(content[offset : offset + length]),
        uuid=bytes.fromhex(diff_id[:32]),
    )
    return image, reading.facts_of(tree)
