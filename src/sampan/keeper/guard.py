"""Readers of files whose content has not arrived yet: they wait here, also while no daemon is there to fetch it.

The daemon makes a fanotify group of pre-content events, marks files and hands the group's descriptor over. While it is
open here the kernel lets no read of a marked file through; if it were closed, holes would read as zeros. Each event
gets a number and goes, with the file's descriptor, to the daemon that asked for it last; a new daemon is told of all
that are unanswered. An answer is 0, the read goes on, or an errno, with which it fails.

The kernel tells answers apart by the number of a descriptor in the process that read the event, so events are read and
answered here only. Source: fanotify(7), include/uapi/linux/fanotify.h.
"""

from __future__ import annotations

import errno
import os
import struct

from sampan.keeper import clients, loop, protocol

# The daemon's descriptors in flight count against its user's limit, and it answers quickly: this many suffice.
MOST_WAITING = 128

_READ_BYTES = 24 + 24  # one event with its range: further ones stay in the kernel's queue
_EVENT = struct.Struct("=IBBHQii")
_INFO = struct.Struct("=BBH")
_RANGE = struct.Struct("=IQQ")
_RESPONSE = struct.Struct("=iI")
_INFO_RANGE = 6
_ALLOW, _DENY = 1, 2
_ERRNO_SHIFT = 24


class Guard:
    """The group, once there is one, and who waits."""

    def __init__(self, events: loop.Loop) -> None:
        self._loop = events
        self._group = -1
        self._watcher: clients.Client | None = None
        self._numbers = 0
        self._waiting: dict[int, tuple[int, int, int]] = {}  # number -> descriptor, first byte, count of bytes
        self._paused = False

    def take(self, group: int) -> None:
        """Hold a group from now on. Raises: Refused when there is one."""
        if self._group >= 0:
            raise protocol.Refused("Conflict", "the keeper already guards files")
        self._group = group
        self._loop.add(group, loop.READ, self._on_event)

    def group(self) -> list[int]:
        """A copy of the group's descriptor, if there is one."""
        return [os.dup(self._group)] if self._group >= 0 else []

    def watch(self, client: clients.Client) -> None:
        """Tell this client of all who wait, from now on."""
        self._watcher = client
        for number in list(self._waiting):
            self._tell(number)

    def forget(self, client: clients.Client) -> None:
        """The client is gone; who waits goes on waiting."""
        if self._watcher is client:
            self._watcher = None

    def answer(self, number: int, error: int) -> None:
        """Let one reader go on, or fail with that errno."""
        waiting = self._waiting.pop(number, None)
        if waiting is None:
            return
        descriptor = waiting[0]
        verdict = _DENY | error << _ERRNO_SHIFT if error else _ALLOW
        try:
            os.write(self._group, _RESPONSE.pack(descriptor, verdict))
        except OSError as failed:
            if failed.errno != errno.ENOENT:  # the reader was killed meanwhile
                raise
        finally:
            os.close(descriptor)
        if self._paused and len(self._waiting) < MOST_WAITING:
            self._paused = False
            self._loop.change(self._group, loop.READ)

    def _on_event(self, _events: int) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._paused = True
            self._loop.change(self._group, 0)
            return
        try:
            event = os.read(self._group, _READ_BYTES)
        except BlockingIOError:
            return
        length, _, _, head_length, _, descriptor, _ = _EVENT.unpack_from(event)
        if descriptor < 0:
            return
        self._numbers += 1
        self._waiting[self._numbers] = (descriptor, *_range(event[head_length:length]))
        self._tell(self._numbers)

    def _tell(self, number: int) -> None:
        if self._watcher is None:
            return
        descriptor, first, count = self._waiting[number]
        message: dict[str, object] = {"event": "access", "number": number, "first": first, "count": count}
        self._watcher.send(message, [os.dup(descriptor)])


def _range(infos: bytes) -> tuple[int, int]:
    """First byte and count of the read; everything when the kernel does not say."""
    while len(infos) >= _INFO.size:
        kind, _, length = _INFO.unpack_from(infos)
        if kind == _INFO_RANGE:
            _, first, count = _RANGE.unpack_from(infos, _INFO.size)
            return first, count
        if length < _INFO.size:
            break
        infos = infos[length:]
    return 0, 1 << 62
