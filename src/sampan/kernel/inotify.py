"""inotify for the event loop: one instance for all watches of a loop, and an event to wait on for each watch.

One instance, because the kernel's default allows 128 per user and every follower of a log needs a watch.
Source: inotify(7).
"""

from __future__ import annotations

import asyncio
import os
import struct
from typing import Final

from sampan.kernel.libc import check, libc

IN_MODIFY: Final = 0x2
IN_MOVED_FROM: Final = 0x40
IN_MOVED_TO: Final = 0x80
IN_CREATE: Final = 0x100

_IN_NONBLOCK: Final = os.O_NONBLOCK
_IN_CLOEXEC: Final = os.O_CLOEXEC
_EVENT: Final = struct.Struct("iIII")
_IN_Q_OVERFLOW: Final = 0x4000
_READ_BYTES: Final = 65536


class Watches:
    """All watches of one event loop. Use from that loop only."""

    def __init__(self) -> None:
        """Raises: KernelError (EMFILE when the user has too many instances)."""
        self._descriptor = check(libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC), "inotify_init1")
        self._changed: dict[int, list[asyncio.Event]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._descriptor, self._on_ready)

    def add(self, path: str, mask: int, changed: asyncio.Event) -> int:
        """Set `changed` whenever something in `mask` happens to `path`; the watch's number, for `remove`.

        Watches of one inode share a number, so all of them must ask for the same mask. Raises: KernelError.
        """
        number = check(
            libc.inotify_add_watch(self._descriptor, os.fsencode(path), mask), "inotify_add_watch", path, hex(mask)
        )
        self._changed.setdefault(number, []).append(changed)
        return number

    def remove(self, number: int, changed: asyncio.Event) -> None:
        """Undo one `add`."""
        waiting = self._changed[number]
        waiting.remove(changed)
        if not waiting:
            del self._changed[number]
            # Fails when the inode is gone, and the kernel has removed the watch by itself.
            libc.inotify_rm_watch(self._descriptor, number)

    def close(self) -> None:
        """End all watches."""
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._changed.clear()

    def _on_ready(self) -> None:
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(data):
            number, mask, _, name_bytes = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size + name_bytes
            lost = mask & _IN_Q_OVERFLOW
            for changed in self._everyone() if lost else self._changed.get(number, []):
                changed.set()

    def _everyone(self) -> list[asyncio.Event]:
        """After an overflow of the queue anything may have happened to anyone."""
        return [changed for waiting in self._changed.values() for changed in waiting]
