"""The engines that are compared, each running in a box of its own: ours, dockerd of `tests/peers.sh`, podman's service.

podman is Debian's own package: it has no daemon, but `podman system service` speaks Docker's API.

SAMPAN_PROGRAM names another `sampan` to measure than the one beside this Python.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import box
import engine_api

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".work" / "peers"
TOOLS = PEERS / "tools"
OURS = "sampan"
LAZY = "sampan-lazy"  # ours, pulling lazily; only where a benchmark asks for it
PODMAN = "podman"
READY_LIMIT_S = 60.0
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Engine:
    """A running engine."""

    name: str
    box: box.Box
    socket: Path
    folder: Path

    @property
    def host(self) -> str:
        """What `DOCKER_HOST` says to reach it."""
        return f"unix://{self.socket}"

    def api(self) -> engine_api.Api:
        """A connection of its own."""
        return engine_api.Api(self.socket)


def available() -> list[str]:
    """Names of all contenders here, ours first."""
    dockerds = sorted(folder.name for folder in PEERS.glob("docker-*") if (folder / ".packages").exists())
    return [OURS, *dockerds, *([PODMAN] if shutil.which(PODMAN) else [])]


def docker_cli() -> str:
    """The docker command line: the host's own, else an unpacked one."""
    found = shutil.which("docker")
    unpacked = [PEERS / name / "usr/bin/docker" for name in ("docker-26.1", "docker-20.10")]
    for program in [Path(found)] if found else unpacked:
        if program.exists():
            return str(program)
    raise SystemExit("no docker command line here; run: bash tests/peers.sh")


def docker_cli_version() -> str:
    """What goes with the figures."""
    return subprocess.run([docker_cli(), "--version"], capture_output=True, text=True, check=True).stdout.strip()


@contextlib.contextmanager
def running(names: Sequence[str], *, folder: Path | None = None) -> Iterator[dict[str, Engine]]:
    """Start engines with empty data in a temporary folder (below `folder`); stop them and remove it after the block."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the clean-up below happens
    with contextlib.ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sampan-bench-", dir=folder)))
        yield {name: stack.enter_context(_one(name, base / name)) for name in names}


@contextlib.contextmanager
def _one(name: str, folder: Path) -> Iterator[Engine]:
    folder.mkdir(mode=0o711)
    with box.opened(name) as home:
        engine = Engine(name, home, folder / "engine.sock", folder)
        command, path = {OURS: _ours, LAZY: _lazy, PODMAN: _podman}.get(name, _dockerd)(engine)
        log = folder / "log"
        pid = home.start(command, env=environment(path), log=log)
        try:
            _until_ready(engine, pid, log)
            yield engine
        finally:
            home.stop(pid)


def _ours(engine: Engine) -> tuple[list[str | Path], list[Path]]:
    program = os.environ.get("SAMPAN_PROGRAM") or Path(sys.executable).parent / "sampan"
    command: list[str | Path] = [program, "daemon", "-H", engine.host, "--data-root", engine.folder / "data"]
    command += ["--run-root", "/run/sampan", "--pidfile", "/run/sampan.pid", "--registry", "tcp://127.0.0.1:5000"]
    return command, []


def _lazy(engine: Engine) -> tuple[list[str | Path], list[Path]]:
    command, path = _ours(engine)
    return [*command, "--lazy-pull", "auto"], path


def _dockerd(engine: Engine) -> tuple[list[str | Path], list[Path]]:
    """It starts its own containerd, found by the search path; the cgroupfs driver needs no systemd."""
    unpacked = PEERS / engine.name
    command: list[str | Path] = [unpacked / "usr/sbin/dockerd", "-H", engine.host]
    command += ["--data-root", engine.folder / "data", "--exec-root", "/run/docker", "--pidfile", "/run/docker.pid"]
    command += ["--exec-opt", "native.cgroupdriver=cgroupfs", "--storage-driver", "overlay2"]
    return command, [unpacked / "usr/bin", unpacked / "usr/sbin"]


def _podman(engine: Engine) -> tuple[list[str | Path], list[Path]]:
    """Its service, with runc as for the others; it finds an unpacked iptables by the search path."""
    command: list[str | Path] = [PODMAN, "--root", engine.folder / "data", "--runroot", "/run/podman"]
    command += ["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]
    command += ["--runtime", "runc", "system", "service", "--time=0", engine.host]
    return command, [TOOLS / "bin"]


def environment(path: Sequence[Path] = ()) -> dict[str, str]:
    """Nothing of the caller's own. Unpacked tools come before the host's only for a program that is unpacked too."""
    if not path:
        return {"PATH": SYSTEM_PATH, "HOME": "/root", "LANG": "C.UTF-8"}
    libraries = [*TOOLS.glob("usr/lib/*-linux-gnu"), *TOOLS.glob("lib/*-linux-gnu")]
    searched = [*map(str, path), *(str(TOOLS / name) for name in ("bin", "usr/bin", "usr/sbin")), SYSTEM_PATH]
    return {
        "PATH": ":".join(searched),
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
        "XTABLES_LIBDIR": ":".join(str(each / "xtables") for each in libraries if (each / "xtables").exists()),
        "HOME": "/root",
        "LANG": "C.UTF-8",
    }


def _until_ready(engine: Engine, pid: int, log: Path) -> None:
    deadline = time.monotonic() + READY_LIMIT_S
    while time.monotonic() < deadline:
        if engine.box.ended(pid):
            break
        api = engine.api()
        try:
            api.ask("GET", "/info")
            return
        except (OSError, RuntimeError):
            time.sleep(0.05)
        finally:
            api.close()
    last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise SystemExit(f"{engine.name} is not ready:\n{last}")


def chosen(text: str) -> list[str]:
    """The contenders named in a comma-separated list, all when it is empty. Ours is always one."""
    names = [name for name in text.split(",") if name] or available()
    unknown = set(names) - set(available())
    if unknown:
        raise SystemExit(f"not here: {', '.join(sorted(unknown))}; run: bash tests/peers.sh")
    if os.geteuid() != 0:
        raise SystemExit("this needs root: it starts engines")
    return [OURS, *(name for name in names if name != OURS)]
