"""Whether lazy start works on this host: tried for real, through a mounted layer whose tar is a hole."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import threading
from pathlib import Path
from typing import Final

from sampan.formats import tar, tar_write
from sampan.images.drivers.erofs import ErofsDriver
from sampan.kernel import fanotify, libc

_CONTENT: Final = b"nobody may read this\n" * 1000
_LIMIT_S: Final = 5.0


def probe(folder: Path) -> str:
    """Mount a layer over an empty file below `folder` (on the content store's file system), read it, and see the reader
    wait and fail. "" if that works, else why not. Nothing is left behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".probe-", dir=folder) as name:
        place = Path(name)
        entry = tar.TarEntry(b"file", size_bytes=len(_CONTENT))
        content = tar_write.entry_header(entry) + tar_write.padded(_CONTENT) + tar_write.END
        hole = place / "layer.tar"
        with hole.open("wb") as file:
            file.truncate(len(content))
        diff_id = hashlib.sha256(content).hexdigest()
        driver = ErofsDriver(place / "layers", place / "mounts", lambda _: hole)
        try:
            group = fanotify.new_group()
            try:
                driver.prepare_from(diff_id, content)
                fanotify.guard(group, hole)
                return _read(group, driver.lower(diff_id) / "file")
            finally:
                os.close(group)
                driver.remove(diff_id)
        except (libc.KernelError, OSError) as error:
            return str(error)


def _read(group: int, file: Path) -> str:
    """Read one byte, in a thread that fanotify holds until it is refused."""
    ended: list[str] = []

    def read() -> None:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.read(descriptor, 1)
            ended.append("a hole could be read")
        except OSError as error:
            ended.append("" if error.errno == errno.EIO else str(error))
        finally:
            os.close(descriptor)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    while reader.is_alive() and fanotify.refuse_one(group, 0.05 if ended else _LIMIT_S):
        reader.join(0.05)
    reader.join(_LIMIT_S)
    return ended[0] if ended else "a reader was not let go"
