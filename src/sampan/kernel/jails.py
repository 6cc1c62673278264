"""A thread with a root directory, or with mounts, of its own: for work on files that a stranger keeps changing.

`unshare` and `chroot` change the calling thread alone once it shares its directories with no other. Such a thread ends
with its work and is never given back to a pool. Source: unshare(2), CLONE_FS; mount_namespaces(7).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Final, TypeVar

from sampan.kernel import libc, mounts

T = TypeVar("T")

_CLONE_FS: Final = 0x200  # include/uapi/linux/sched.h
_CLONE_NEWNS: Final = 0x20000
_OWN_MOUNTS: Final = "/proc/thread-self/ns/mnt"


def run_inside(root: int, work: Callable[[], T]) -> T:
    """Run `work` in a thread whose root is the directory `root`: every path it resolves ends inside. Blocks.

    Magic links of /proc would lead out: open with `paths.open_at`, which refuses them.
    """

    def enter() -> T:
        libc.check(libc.libc.unshare(_CLONE_FS), "unshare", "CLONE_FS")
        os.fchdir(root)
        os.chroot(".")
        return work()

    return _in_own_thread(enter)


def with_own_mounts(work: Callable[[], T]) -> tuple[T, int]:
    """Run `work` in a thread with a copy of this process's mounts, which nobody else sees. Blocks.

    Returns its result and a descriptor of the mount namespace: the mounts stay until that is closed, and with them the
    directories that `work` opened.
    """

    def enter() -> tuple[T, int]:
        libc.check(libc.libc.unshare(_CLONE_NEWNS), "unshare", "CLONE_NEWNS")
        mounts.propagate(Path("/"), "private", recursive=True)
        kept = os.open(_OWN_MOUNTS, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return work(), kept
        except BaseException:
            os.close(kept)
            raise

    return _in_own_thread(enter)


def _in_own_thread(work: Callable[[], T]) -> T:
    done: Future[T] = Future()

    def body() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - raised again in the waiting caller
            done.set_exception(error)
        else:
            done.set_result(result)

    thread = threading.Thread(target=body, name="jail", daemon=True)
    thread.start()
    try:
        return done.result()
    finally:
        thread.join()
