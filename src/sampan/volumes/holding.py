"""Volumes that are mounts: made for the first container that uses one, taken away with the last. Blocking.

A plain volume is a directory and passes through here untouched. Who holds what is known only in memory: a daemon that
comes up is told by the containers that run (`adopt`); after a reboot there is neither mount nor holder.
"""

from __future__ import annotations

import os
import socket
import threading
from collections import defaultdict
from pathlib import Path

from sampan import errors
from sampan.kernel import libc, mounts
from sampan.volumes import options
from sampan.volumes.store import Volume


class MountFailed(errors.Invalid):
    """The options of a volume ask for a mount that cannot be made."""


class Holders:
    """Who uses which mounted volume. Called from worker threads."""

    def __init__(self) -> None:
        self._holders: dict[str, set[str]] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)  # a hanging server stops no others

    def hold(self, volume: Volume, path: Path, container_id: str) -> None:
        """Mount it if its options say so and it is not yet. Raises `MountFailed`."""
        wish = options.wanted(volume.options)
        if wish is None:
            return
        with self._locks[volume.name]:
            if not mounts.is_mount_point(path):
                _mount(wish, path)
            self._holders.setdefault(volume.name, set()).add(container_id)

    def adopt(self, name: str, container_id: str) -> None:
        """A container that ran before this daemon did uses it."""
        self._holders.setdefault(name, set()).add(container_id)

    def let_go(self, name: str, path: Path, container_id: str) -> None:
        """The container does not run any more. The last one takes the mount along, also one of a former daemon's time.

        Every running container must have been adopted by then.
        """
        with self._locks[name]:
            holders = self._holders.get(name, set())
            holders.discard(container_id)
            if not holders:
                self._holders.pop(name, None)
                unmount(path)


def unmount(path: Path) -> None:
    """Take away whatever is mounted there: what is deleted next must be ours."""
    while mounts.is_mount_point(path):  # `os.path.ismount` does not see a bind within one file system
        mounts.unmount(path, detach=True)


def _mount(wish: options.Wanted, path: Path) -> None:
    data = wish.data
    if wish.host:
        try:
            data = options.with_address(wish, socket.gethostbyname(wish.host))
        except (OSError, UnicodeError) as error:
            raise MountFailed(
                "error resolving passed in network volume address", why=f"{wish.host}: {error}"
            ) from error
    try:
        mounts.mount(wish.source, path, wish.file_system, flags=wish.flags, data=data.encode())
    except libc.KernelError as error:
        raise MountFailed(
            f"failed to mount local volume: mount {wish.source}:{path}, data: {data}",
            why=os.strerror(error.errno),
            remedy="look at the volume's options (docker volume inspect)",
        ) from error
