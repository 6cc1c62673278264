"""Files that are either wholly there or not there, through `kill -9` and a power cut.

The order is always: write a temporary file in the same directory, flush it, rename it, flush the directory. Without the
first flush a renamed file is empty after a power cut on ext4 and xfs; without the last the name may be missing.
"""

from __future__ import annotations

import mmap
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY = ".tmp-"  # prefix of files that a crash may leave; sweepers remove them


def sync_directory(directory: Path) -> None:
    """Flush a directory, so that names made or removed in it last."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` by `content`; afterwards either the old or the new content is there, never a mixture."""
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_scratch(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a file that is made anew after a crash (run-time files under /run): atomic, not flushed."""
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def make_directories(path: Path, *, mode: int = 0o755) -> None:
    """Make `path` and its missing parents, durably."""
    missing = []
    step = path
    while not step.exists():
        missing.append(step)
        step = step.parent
    for directory in reversed(missing):
        directory.mkdir(mode=mode, exist_ok=True)
        sync_directory(directory.parent)


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap | bytes]:
    """A file's bytes without reading them. It must not shrink meanwhile: blobs of the content store never do."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_size == 0:
            yield b""  # an empty file cannot be mapped
            return
        with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as content:
            yield content
    finally:
        os.close(descriptor)
