"""This process's own terminal: raw mode, its size, and the streams between it and a container."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import termios
import threading
import tty

from sampan.api.engine.detach import Detector
from sampan.formats import stdcopy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from sampan.cli.client import Client, Stream

CHUNK_BYTES = 1 << 16
# Not passed on: they are about this process. Source: docker/cli, signals.go.
_OWN = {signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG, signal.SIGWINCH, signal.SIGKILL, signal.SIGSTOP}
_OWN |= {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGSEGV, signal.SIGFPE, signal.SIGILL, signal.SIGBUS}


class Detached(Exception):
    """The detach keys were typed."""


@contextlib.contextmanager
def raw(*, wanted: bool) -> Iterator[None]:
    """Pass every key on, while it lasts."""
    if not wanted or not os.isatty(0):
        yield
        return
    before = termios.tcgetattr(0)
    try:
        tty.setraw(0)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def copy(stream: Stream, *, stdin: bool, keys: bytes = b"") -> None:
    """Until the container's output ends. Our input is read beside it; its end closes our half. Raises: Detached."""
    detached = threading.Event()
    if stdin:
        threading.Thread(target=_send, args=(stream, Detector(keys) if keys else None, detached), daemon=True).start()
    else:
        with contextlib.suppress(OSError):
            stream.socket.shutdown(1)
    decoder = stdcopy.Decoder()
    while data := stream.receive():
        if not stream.multiplexed:
            write(1, data)
            continue
        for number, payload in decoder.feed(data):
            write(1 if number == stdcopy.STDOUT else 2, payload)
    if detached.is_set():
        raise Detached


def _send(stream: Stream, detector: Detector | None, detached: threading.Event) -> None:
    try:
        while data := os.read(0, CHUNK_BYTES):
            stream.socket.sendall(detector.feed(data) if detector else data)
            if detector and detector.found:
                detached.set()
                stream.socket.shutdown(2)
                return
        stream.socket.shutdown(1)
    except OSError:
        return  # the container no longer reads; its output tells the rest


def write(descriptor: int, data: bytes) -> None:
    """All of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def size() -> tuple[int, int]:
    """Rows and columns."""
    columns, rows = shutil.get_terminal_size((0, 0))
    return rows, columns


@contextlib.contextmanager
def resizing(client: Client, path: str) -> Iterator[None]:
    """Tell the container this terminal's size, now and when it changes."""

    def tell(*_: Any) -> None:
        rows, columns = size()
        if rows and columns:
            with contextlib.suppress(Exception):  # a size is no reason to end a session
                client.post(path, {"h": rows, "w": columns})

    before = signal.signal(signal.SIGWINCH, tell)
    try:
        tell()
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


@contextlib.contextmanager
def proxied(send: Callable[[str], None], *, wanted: bool = True) -> Iterator[None]:
    """Pass the signals we get on to the container."""
    before: dict[signal.Signals, Any] = {}

    def pass_on(number: int, _: Any) -> None:
        with contextlib.suppress(Exception):  # the container may have ended this moment
            send(signal.Signals(number).name.removeprefix("SIG"))

    for one in signal.valid_signals() - _OWN if wanted else ():
        if isinstance(one, signal.Signals):
            with contextlib.suppress(OSError, ValueError):
                before[one] = signal.signal(one, pass_on)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def check_tty(*, wants_input: bool, wants_terminal: bool) -> bool:
    """Whether stdin is a terminal when one is needed."""
    return not (wants_input and wants_terminal) or sys.stdin.isatty()
