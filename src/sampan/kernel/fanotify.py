"""fanotify's pre-content events: who reads a file waits until somebody has filled the part that is read.

One group for all files of a daemon. The descriptor is what keeps readers waiting: while any process has it open, a read
of a marked file blocks until it is answered; when the last one closes it, every waiting and later read goes through and
a hole reads as zeros. So it is handed to the keeper, which outlives the daemon and reads the events.

Needs Linux 6.14 and ext4, xfs or btrfs. A file must be marked before it is opened (mounted) by whoever shall wait.
Source: fanotify(7), fanotify_init(2), fanotify_mark(2), include/uapi/linux/fanotify.h.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
from pathlib import Path
from typing import Final

from sampan.kernel.libc import check, libc

_FAN_CLOEXEC: Final = 0x1
_FAN_NONBLOCK: Final = 0x2
_FAN_CLASS_PRE_CONTENT: Final = 0x8
_FAN_UNLIMITED_QUEUE: Final = 0x10
_FAN_UNLIMITED_MARKS: Final = 0x20
_FAN_MARK_ADD: Final = 0x1
_FAN_MARK_REMOVE: Final = 0x2
_FAN_MARK_FLUSH: Final = 0x80
_FAN_MARK_EVICTABLE: Final = 0x200
_FAN_PRE_ACCESS: Final = 0x100000
_AT_FDCWD: Final = -100

_EVENT: Final = struct.Struct("=IBBHQii")
_RESPONSE: Final = struct.Struct("=iI")
_EVENT_BYTES: Final = 4096
_DENY_WITH_EIO: Final = 2 | 5 << 24

libc.fanotify_mark.argtypes = (ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p)


def new_group() -> int:
    """A group for pre-content events; its descriptor. The files of its events are open for reading and writing, and
    writing through them wakes nobody. Raises: KernelError (EPERM without CAP_SYS_ADMIN).
    """
    flags = _FAN_CLOEXEC | _FAN_NONBLOCK | _FAN_CLASS_PRE_CONTENT | _FAN_UNLIMITED_QUEUE | _FAN_UNLIMITED_MARKS
    return check(libc.fanotify_init(flags, os.O_RDWR | os.O_CLOEXEC | os.O_LARGEFILE), "fanotify_init", hex(flags))


def guard(group: int, file: Path) -> None:
    """Let who opens the file from now on wait for its content. Raises: KernelError (EINVAL, EOPNOTSUPP: not here).

    The mark keeps no inode alive: it lasts while anybody has the file open, so mark it again before each new mount.
    """
    flags = _FAN_MARK_ADD | _FAN_MARK_EVICTABLE
    result = libc.fanotify_mark(group, flags, _FAN_PRE_ACCESS, _AT_FDCWD, os.fsencode(file))
    check(result, "fanotify_mark", "add", str(file))


def release(group: int, file: Path) -> None:
    """Undo `guard`: the file is whole. Raises: KernelError (ENOENT when it was not guarded)."""
    result = libc.fanotify_mark(group, _FAN_MARK_REMOVE, _FAN_PRE_ACCESS, _AT_FDCWD, os.fsencode(file))
    check(result, "fanotify_mark", "remove", str(file))


def release_all(group: int) -> None:
    """Undo every `guard`; who waits already goes on waiting."""
    check(libc.fanotify_mark(group, _FAN_MARK_FLUSH, 0, _AT_FDCWD, None), "fanotify_mark", "flush")


def refuse_one(group: int, timeout_s: float) -> bool:
    """Wait for one reader and let it fail with EIO: for trying whether this works here. False if nobody came."""
    poll = select.poll()
    poll.register(group, select.POLLIN)
    if not poll.poll(timeout_s * 1000):
        return False
    descriptor = _EVENT.unpack_from(os.read(group, _EVENT_BYTES))[5]
    try:
        os.write(group, _RESPONSE.pack(descriptor, _DENY_WITH_EIO))
    finally:
        os.close(descriptor)
    return True
