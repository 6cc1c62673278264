"""`python -m sampan.keeper --socket PATH [--daemon] [--errors PATH]`: be the keeper.

With `--daemon` it listens, then goes on in a child in a session of its own; the exit code 0 of what was started means
"ready", 3 means that another keeper holds the lock. Arguments are read by hand: argparse costs 1 MiB.
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import sys

from sampan.keeper import clients, loop, protocol, server, subreaper


def main(arguments: list[str]) -> int:
    """Serve until told to stop."""
    options = _options(arguments)
    if options is None:
        sys.stderr.write(f"{__doc__}\n")
        return protocol.EXIT_USAGE
    path, daemon, errors = options
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.stderr.write(f"another keeper holds {path}.lock\n")
        return protocol.EXIT_LOCKED
    listener = clients.Listener(path)
    if daemon and not _detach(errors):
        return 0
    _prepare()
    _serve(path, listener)
    return 0


def _options(arguments: list[str]) -> tuple[str, bool, str] | None:
    path = errors = ""
    daemon = False
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word == "--daemon":
            daemon = True
        elif word == "--socket" and words:
            path = words.pop(0)
        elif word == "--errors" and words:
            errors = words.pop(0)
        else:
            return None
    # Absolute, because the keeper lives in /.
    return (path, daemon, errors or f"{path}.err") if path.startswith("/") else None


def _detach(errors: str) -> bool:
    """Whether this is the child that goes on. The socket listens already, so the parent's exit says "ready"."""
    if os.fork():
        return False
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    log = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for target, source in enumerate((null, null, log)):
        os.dup2(source, target)
    for spare in (null, log):
        if spare > 2:
            os.close(spare)
    return True


def _prepare() -> None:
    """What every later process inherits or depends on. Raises: OSError."""
    subreaper.become_subreaper()
    os.chdir("/")
    os.umask(0o022)  # a container without a umask of its own inherits this one
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _serve(path: str, listener: clients.Listener) -> None:
    events = loop.Loop()
    serving = server.Server(console_prefix=f"{path}.tty", events=events)
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    events.on_signal(signal.SIGCHLD, serving.reap)
    events.on_signal(signal.SIGTERM, serving.stop_when_idle)
    listener.serve(events, serving.connect)
    events.run()
    listener.close(events)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
