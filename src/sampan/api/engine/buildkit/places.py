"""Directories below an open one, by a path whose parts are all directories themselves: no link is followed."""

from __future__ import annotations

import os

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def descend(root: int, path: str) -> int:
    """A descriptor for the directory at a relative path, "" for another one of `root`. Close it. Raises OSError."""
    descriptor = os.dup(root)
    for part in path.split("/") if path else []:
        try:
            below = os.open(os.fsencode(part), DIRECTORY, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor
