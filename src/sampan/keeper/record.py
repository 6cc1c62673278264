"""`exit.json`: an exit that is on disk before anybody is told, so that it is known even when no daemon was alive.

Runs in a background thread of the loop: fsync on a busy disk takes tens of milliseconds, and the other containers'
output must not wait for it. The price: an exit is announced that much later.
"""

from __future__ import annotations

import json
import os

from sampan.formats import containerlog


def write_exit(directory: str, facts: dict[str, object]) -> None:
    """Write `<directory>/exit.json` so that it survives a power cut. Raises: OSError."""
    final = f"{directory}/{containerlog.EXIT_NAME}"
    temporary = f"{final}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        os.write(descriptor, json.dumps(facts).encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(temporary, final)
    _sync_directory(directory)


def remove_exit(directory: str) -> None:
    """Take away the record of an earlier run, so that it is not read as this one's. Raises: OSError."""
    try:
        os.unlink(f"{directory}/{containerlog.EXIT_NAME}")
    except FileNotFoundError:
        pass  # the first run


def _sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# pathlib would cost the keeper 1 MiB.
# ruff: noqa: PTH104, PTH108
