"""nftables through libnftables in this process; `nft -f -` where the library is missing.

A run of the program costs about 4 ms, a call of the library about 0.1 ms. All commands of one text are one transaction:
the kernel takes all of them or none. A `Nft` belongs to the network namespace of the thread that made it.

Source: libnftables(3), nft(8).
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any, Final

from sampan import errors
from sampan.kernel import namespaces

NFT_CTX_OUTPUT_JSON: Final = 1 << 4  # source: nftables/libnftables.h
# libmnl waits with select(2): a socket of a higher number would end the process. Source: glibc <sys/select.h>.
FD_SETSIZE: Final = 1024
LIBRARY: Final = "libnftables.so.1"

# The library's parser keeps state outside its contexts: one call at a time in the process.
_LOCK: Final = threading.Lock()


class NftFailed(errors.Broken):
    """The kernel or the parser refused a ruleset."""


def load() -> ctypes.CDLL | None:
    """The library, or None where it is not installed."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
        getattr(library, name).restype = ctypes.c_char_p
    library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    library.nft_ctx_free.argtypes = [ctypes.c_void_p]
    library.nft_ctx_free.restype = None
    return library


_LIBRARY: Final = load()


class Nft:
    """Runs nft commands in the network namespace of the thread that made it."""

    def __init__(self, *, library: ctypes.CDLL | None = _LIBRARY) -> None:
        self._library = library
        self._context: int | None = None
        self._namespace_fd: int | None = None
        if library is not None and _next_descriptor() >= FD_SETSIZE:
            self._library = library = None
        if library is None:
            self._namespace_fd = namespaces.open_own()
            return
        with _LOCK:
            self._context = library.nft_ctx_new(0)
        if not self._context:
            raise NftFailed("nft_ctx_new() failed", why="libnftables gave no context")
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)

    def __enter__(self) -> Nft:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closing an nfnetlink socket waits for an RCU grace period, about 15 ms: a thread of its own does that.

        It runs outside the lock, which would make everybody wait: freeing touches nothing that contexts share but the
        cache of interface numbers, and that one is filled by `iif` and `oif` rules only, which Sampan never writes.
        """
        if self._context is not None and self._library is not None:
            free, context = self._library.nft_ctx_free, self._context
            threading.Thread(target=free, args=(context,), name="nft-close").start()
            self._context = None
        if self._namespace_fd is not None:
            os.close(self._namespace_fd)
            self._namespace_fd = None

    def run(self, commands: str) -> None:
        """Carry out `commands` as one transaction. Raises `NftFailed` with the first complaint."""
        self._run(commands, as_json=False)

    def read(self, command: str) -> list[dict[str, Any]]:
        """The objects that a `list` command shows, from its JSON form."""
        found = json.loads(self._run(command, as_json=True) or '{"nftables": []}')
        return list(found["nftables"])

    def _run(self, commands: str, *, as_json: bool) -> str:
        if self._library is None:
            return self._run_program(commands, as_json=as_json)
        with _LOCK:
            self._library.nft_ctx_output_set_flags(self._context, NFT_CTX_OUTPUT_JSON if as_json else 0)
            failed = self._library.nft_run_cmd_from_buffer(self._context, commands.encode())
            output = self._library.nft_ctx_get_output_buffer(self._context) or b""
            complaint = self._library.nft_ctx_get_error_buffer(self._context) or b""
        if failed:
            raise _failed(commands, complaint.decode(errors="replace"))
        return str(output.decode())

    def _run_program(self, commands: str, *, as_json: bool) -> str:
        # With -j the program would take its standard input for JSON.
        line = ["nft", "-j", *commands.split()] if as_json else ["nft", "-f", "-"]

        def start() -> subprocess.CompletedProcess[str]:
            return subprocess.run(line, input=commands, capture_output=True, text=True, check=False)

        try:  # the program inherits the namespace of the thread that starts it
            done = namespaces.run_in(Path(f"/proc/self/fd/{self._namespace_fd}"), start)
        except FileNotFoundError as error:
            remedy = "install nftables (Debian: apt install nftables), or start with --iptables=false"
            raise errors.Unavailable("nft is not installed and neither is libnftables", remedy=remedy) from error
        if done.returncode:
            raise _failed(commands, done.stderr)
        return done.stdout


def _next_descriptor() -> int:
    """The number that the next descriptor will get, give or take what other threads open meanwhile."""
    fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    os.close(fd)
    return fd + 16


def _failed(commands: str, complaint: str) -> NftFailed:
    first = next((line.strip() for line in complaint.splitlines() if line.strip()), "no reason given")
    shown = commands if len(commands) <= 200 else f"{commands[:200]}..."
    return NftFailed(f"nft {shown!r} failed", why=first)
