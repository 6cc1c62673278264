"""Which layer driver this host uses: the one asked for if it works here, else the best that does.

A kernel's version says little (features are built in or not, and file systems differ), so a driver is tried for real.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sampan import errors
from sampan.formats import tar, tar_write
from sampan.images.drivers.erofs import ErofsDriver
from sampan.images.drivers.model import LayerDriver, TarPath
from sampan.images.drivers.overlay2 import Overlay2Driver
from sampan.kernel import libc

DRIVERS: Final = ("erofs", "overlay2")
_ALIASES: Final = {"overlay": "overlay2"}
_PROBE_CONTENT: Final = b"the layer's own tar is read through the mount\n"

Probe = Callable[[], str]  # "" if erofs works here, else why it does not


class UnknownDriver(errors.Invalid):
    """No storage driver has that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown storage driver: {name!r}", remedy=f"use one of {', '.join(DRIVERS)}")


class DriverUnusable(errors.Unsupported):
    """The storage driver that was asked for does not work on this host."""


def choose(name: str | None, probe: Probe) -> str:
    """The driver's name. `name` is what the configuration says, None for automatic."""
    wanted = None if name is None else _ALIASES.get(name, name)
    if wanted == "overlay2":
        return wanted
    if wanted not in (None, "erofs"):
        raise UnknownDriver(name or "")
    why = probe()
    if not why:
        return "erofs"
    if wanted is None:
        return "overlay2"
    raise DriverUnusable(
        "the storage driver erofs does not work here",
        why=why,
        remedy="use Linux 6.12 or later with a data root on ext4, xfs or btrfs, or --storage-driver overlay2",
    )


def make(name: str, *, layers: Path, mount_points: Path, tar_path: TarPath) -> LayerDriver:
    """The driver `choose` named, with its layers in a folder of its own below `layers`."""
    if name == "erofs":
        return ErofsDriver(layers / name, mount_points, tar_path)
    return Overlay2Driver(layers / name)


def probe_erofs(folder: Path) -> str:
    """Make a layer of one file in `folder` (which must be on the data root's file system), mount it and read it back.

    "" if that works, else why not. Nothing is left behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".probe-", dir=folder) as name:
        place = Path(name)
        blob = place / "layer.tar"
        entry = tar.TarEntry(b"file", size_bytes=len(_PROBE_CONTENT))
        content = tar_write.entry_header(entry) + tar_write.padded(_PROBE_CONTENT) + tar_write.END
        blob.write_bytes(content)
        diff_id = hashlib.sha256(content).hexdigest()
        driver = ErofsDriver(place / "layers", place / "mounts", lambda _: blob)
        try:
            driver.prepare(diff_id, blob)
            read = (driver.lower(diff_id) / "file").read_bytes()
        except (libc.KernelError, OSError) as error:
            return str(error)
        finally:
            driver.remove(diff_id)
    return "" if read == _PROBE_CONTENT else "a file read through the mount has another content than in its layer"
