"""The daemon's own command line: `sampan daemon …`, and as in 2014, `sampan -d …`.

Runs in the foreground and logs to standard error; a service manager, or `&`, does the rest. SIGTERM and SIGINT end it:
it stops accepting, finishes what is under way and leaves the containers running.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from sampan import __version__, errors
from sampan.config import load
from sampan.config.options import Options
from sampan.daemon import assembly, logbook, reload, serving, settings, teardown
from sampan.host import files, service_manager
from sampan.kernel import libc

log = logging.getLogger("sampan")
LOCKS = Path("/run/lock")
SETTLE_LIMIT_S = 30.0  # how long a stopping daemon waits for work under way


def main(arguments: Sequence[str]) -> int:
    """Run until told to stop. Returns the exit code: 0, or 1 with a message."""
    if set(arguments) & {"-v", "--version", "-v=true", "--version=true"}:
        print(f"Sampan version {__version__}")
        return 0
    try:
        loaded = load.read(arguments, os.environ)
        options = loaded.options
        if options.validate:
            validate(options)
            print("configuration OK", file=sys.stderr)
            return 0
        logbook.start(options)
        for note in loaded.notes:
            log.warning("%s", note)
        if os.geteuid() != 0:
            raise errors.Forbidden(
                "the daemon needs root", why="it makes mounts, namespaces and networks", remedy="use sudo"
            )
        libc.share_one_heap()
        with alone(options):
            adjust_oom_score(options)
            asyncio.run(teardown.tear_down(options) if options.tear_down else run(options, arguments))
    except errors.SampanError as error:
        print(f"sampan daemon: {error}", file=sys.stderr)
        return 1
    return 0


def validate(options: Options) -> None:
    """Everything that can be checked without starting. Raises `SampanError`."""
    settings.networks(options)
    settings.defaults(options)
    settings.runtimes(options)
    serving.doors_of(options)


def adjust_oom_score(options: Options) -> None:
    """`--oom-score-adjust`. Raises `Forbidden` where the kernel wants more rights for it."""
    if not options.oom_score_adjust:
        return
    try:
        Path("/proc/self/oom_score_adj").write_text(f"{options.oom_score_adjust}\n")
    except OSError as error:
        raise errors.Forbidden(
            f"cannot set --oom-score-adjust={options.oom_score_adjust}",
            why=str(error),
            remedy="leave it out, or start the daemon with CAP_SYS_RESOURCE",
        ) from error


async def run(options: Options, arguments: Sequence[str] = ()) -> None:
    """Start, serve, stop. `arguments` are read again at SIGHUP."""
    began = time.monotonic()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # its default would end a daemon that is coming up
    serving.doors_of(options)  # certificates that cannot be read are told before anything is made
    harbour = assembly.assemble(options)  # blocks, but nobody is served yet
    loop.add_signal_handler(signal.SIGHUP, lambda: reload.reload(harbour, arguments, os.environ))
    try:
        await serving.restore(harbour)
        async with serving.listeners(harbour):
            settle_memory()
            service_manager.notify("READY=1", os.environ)
            log.info("Sampan %s is ready after %.2f s", __version__, time.monotonic() - began)
            await stop.wait()
            service_manager.notify("STOPPING=1", os.environ)
            log.info("stopping: containers go on")
        if options.stop_containers:
            await harbour.containers.stop_all(timeout_s=options.shutdown_timeout)
    finally:
        async with asyncio.timeout(SETTLE_LIMIT_S):
            await serving.close(harbour)


def settle_memory() -> None:
    """What the start made stays for good: later collections need not look at it, and what it left over goes back."""
    gc.collect()
    gc.freeze()
    libc.give_back_memory()


@contextlib.contextmanager
def alone(options: Options) -> Iterator[None]:
    """One daemon a data root, a run root and a network namespace, by locks that end with the process.

    Bridges and the firewall table are named once in a network namespace: a second daemon would take the first one's
    for strays. The pid file is for people and scripts.
    """
    files.make_directories(options.data_root, mode=0o711)
    here = Path("/proc/self/ns/net").stat().st_ino
    held = [_lock(options.data_root / "lock", f"another daemon uses {options.data_root}")]
    try:
        LOCKS.mkdir(parents=True, exist_ok=True)
        files.make_directories(options.run_root, mode=0o711)
        held.append(_lock(options.run_root / "lock", f"another daemon uses {options.run_root}"))
        held.append(_lock(LOCKS / f"sampan-net-{here}.lock", "another Sampan daemon runs in this network namespace"))
        with _pid_file(options.pid_file):
            yield
    finally:
        for descriptor in held:
            os.close(descriptor)


def _lock(path: Path, taken: str) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise errors.Conflict(taken, why=f"{path} is locked", remedy="stop it first") from error
    return descriptor


@contextlib.contextmanager
def _pid_file(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_scratch(path, f"{os.getpid()}\n".encode())
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
