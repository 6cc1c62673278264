"""The C library by ctypes: one loader, one way to turn a failed call into an error, and calls libc has no name for.

    fd = libc.check(libc.syscall(libc.SYS_OPEN_TREE, -1, path, flags), "open_tree", path, flags)

Every wrapper in this room goes through `check`, so that every kernel error names its call and its arguments.
"""

from __future__ import annotations

import ctypes
import errno as errno_names
import os
from typing import Final

from sampan import errors

libc: Final = ctypes.CDLL(None, use_errno=True)

# Calls that arrived with or after the unified table (Linux 5.1) have one number on every architecture but alpha.
# Source: include/uapi/asm-generic/unistd.h.
SYS_OPEN_TREE: Final = 428
SYS_MOVE_MOUNT: Final = 429
SYS_FSOPEN: Final = 430
SYS_FSCONFIG: Final = 431
SYS_FSMOUNT: Final = 432
SYS_PIDFD_OPEN: Final = 434
SYS_OPENAT2: Final = 437
SYS_MOUNT_SETATTR: Final = 442

_M_ARENA_MAX: Final = -8  # malloc.h
_MAX_SHOWN_ARGUMENT: Final = 200  # characters: an error message stays readable when an argument is an options string


class KernelError(errors.Broken):
    """A system call failed. `errno` says how; `call` says which."""

    def __init__(self, call: str, arguments: tuple[object, ...], errno: int, *, remedy: str = "") -> None:
        name = errno_names.errorcode.get(errno, str(errno))
        shown = ", ".join(_shown(argument) for argument in arguments)
        super().__init__(f"{call}({shown}) failed", why=f"{os.strerror(errno)} ({name})", remedy=remedy)
        self.call = call
        self.errno = errno


def _shown(argument: object) -> str:
    text = repr(os.fspath(argument)) if isinstance(argument, os.PathLike) else repr(argument)
    return text if len(text) <= _MAX_SHOWN_ARGUMENT else f"{text[:_MAX_SHOWN_ARGUMENT]}..."


def check(result: int, call: str, *arguments: object) -> int:
    """`result` of a C call, or `KernelError` when it is -1. Call it directly around the C call: errno is per thread."""
    if result == -1:
        raise KernelError(call, arguments, ctypes.get_errno())
    return result


def failed(error: OSError, call: str, *arguments: object) -> KernelError:
    """The `KernelError` for an `OSError` from Python's own wrappers: `raise failed(error, "link", a, b) from error`."""
    return KernelError(call, arguments, error.errno or errno_names.EIO)


def syscall(number: int, *arguments: object) -> int:
    """The raw call: its result, or -1 with errno set (give it to `check`). Integers are passed as C longs."""
    wide = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    return int(libc.syscall(ctypes.c_long(number), *wide))


libc.syscall.restype = ctypes.c_long


def share_one_heap() -> None:
    """All threads allocate from one heap of malloc's: a heap for each thread keeps a megabyte that nobody needs.

    Python's own lock makes them wait for each other anyhow. Only glibc has more than one. Source: mallopt(3).
    """
    option = getattr(libc, "mallopt", None)
    if option is not None:
        option(_M_ARENA_MAX, 1)


def give_back_memory() -> None:
    """Hand free pages of malloc's heaps back to the kernel. Only glibc can; elsewhere nothing happens."""
    trim = getattr(libc, "malloc_trim", None)
    if trim is not None:
        trim(0)
