"""A host of its own for a whole daemon: namespaces, control groups and folders that die with it.

    with Harbour(folder) as harbour:
        harbour.start()
        client = harbour.client()      # docker-py over the engine's Unix socket
        harbour.kill(); harbour.start()  # kill -9, and again

The host is one process (`init` below, pid 1 of a pid namespace) with its own network, mount, pid and cgroup namespaces;
everything runs as its child, and the kernel ends all of it when it goes. `reboot` is that: a new host over the same
data root. The registry listens on port 5000 of the private network only; the engine's socket lies in `folder`.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import docker

ROOT = Path(__file__).parents[1]
CGROUPS = Path("/sys/fs/cgroup")
REGISTRY = "127.0.0.1:5000"
BRIDGE = "harbour0"
READY_LIMIT_S = 60.0
BUSYBOX = "/bin/busybox"
APPLETS = ("cat", "chmod", "echo", "false", "ip", "ls", "mkdir", "nc", "rm", "sh", "sleep", "test", "touch", "true")
DAEMON = "import sys; from sampan.daemon.main import main; sys.exit(main(sys.argv[1:]))"


class HarbourFailed(Exception):
    """The daemon or its host does not do what a test relies on."""


class Harbour:
    """One daemon and its host. `options` are added to the daemon's command line."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.options = options
        self.data = folder / "data"
        self.run = folder / "run"
        self.socket = folder / "s.sock"
        self.log = folder / "daemon.log"
        self.pid = 0  # the daemon's, inside
        self._host: Host | None = None

    def __enter__(self) -> Harbour:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "sampan.toml").touch()
        try:
            self._host = Host(self.folder)
        except BaseException:
            self._remove_run()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.host.close()
        self._remove_run()

    @property
    def host(self) -> Host:
        assert self._host is not None, "use the harbour as a context manager"
        return self._host

    # --- the daemon

    def command(self) -> list[str]:
        """The daemon's command line."""
        return [
            *(
                sys.executable,
                "-c",
                DAEMON,
                "-H",
                f"unix://{self.socket}",
                "--config-file",
                str(self.folder / "sampan.toml"),
            ),
            *("--data-root", str(self.data), "--run-root", str(self.run), "-p", str(self.folder / "pid")),
            *("--registry", f"tcp://{REGISTRY}", "--bridge", BRIDGE, *self.options),
        ]

    def start(self, *, tracer: Sequence[str] = (), wait: bool = True) -> None:
        """Start the daemon and wait until it answers. `tracer` is a command that runs it (strace …)."""
        self.socket.unlink(missing_ok=True)
        self.pid = self.host.spawn([*tracer, *self.command()], log=self.log)
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Raises `HarbourFailed` with the end of the log."""
        deadline = time.monotonic() + READY_LIMIT_S
        while not self._answers():
            if time.monotonic() > deadline or self.host.status(self.pid) is not None:
                raise HarbourFailed(f"the daemon does not come up:\n{self.log_end()}")
            time.sleep(0.01)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End the daemon by a signal and wait until it is gone."""
        self.host.kill(self.pid, number)
        self.wait_gone()

    def wait_gone(self, limit_s: float = READY_LIMIT_S) -> int:
        """Wait until the daemon has ended by itself; its exit code, negative for a signal."""
        deadline = time.monotonic() + limit_s
        while (status := self.host.status(self.pid)) is None:
            if time.monotonic() > deadline:
                raise HarbourFailed(f"the daemon does not end:\n{self.log_end()}")
            time.sleep(0.005)
        return status

    def stop(self) -> None:
        """SIGTERM: the daemon ends, containers go on."""
        self.kill(signal.SIGTERM)

    def reboot(self) -> None:
        """The machine goes down without a word and comes up again: no process, mount or control group is left."""
        self.host.close()
        self._remove_run()
        self._host = Host(self.folder)

    def keeper_pid(self) -> int:
        """Inside. 0 if there is none."""
        found = self.host.run(["pgrep", "-f", "keeper.__main__"], check=False).split()
        return int(found[0]) if found else 0

    def log_end(self, count: int = 60) -> str:
        """The last lines of the daemon's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:]) if self.log.exists() else ""

    # --- clients

    def client(self, timeout_s: float = 60.0) -> docker.DockerClient:
        """docker-py; close it."""
        return docker.DockerClient(base_url=f"unix://{self.socket}", timeout=timeout_s, version="1.47")

    def violations(self, *arguments: str) -> list[str]:
        """What the daemon's rows and the host disagree on (`invariants.py`, run inside)."""
        words = [sys.executable, str(Path(__file__).with_name("invariants.py")), str(self.data), str(self.run)]
        return list(json.loads(self.host.run([*words, *arguments])))

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:  # docker-py leaves a socket open when nobody listens
            if probe.connect_ex(str(self.socket)):
                return False
        client = self.client(5.0)
        try:
            return bool(client.ping())
        except (docker.errors.DockerException, OSError):
            return False
        finally:
            client.close()

    def _remove_run(self) -> None:
        """The host's mounts went with its namespace."""
        shutil.rmtree(self.run, ignore_errors=True)


class Host:
    """The namespaces, held by one process that starts others on demand."""

    def __init__(self, folder: Path) -> None:
        self._groups = _make_groups(f"harbour-{os.getpid()}-{threading.get_native_id()}-{time.monotonic_ns()}")
        enter = "".join(f"echo $$ > {group}/cgroup.procs\n" for group in self._groups)
        unshare = "exec unshare --net --mount --pid --cgroup --fork --kill-child=KILL "
        program = f'{enter}{unshare} {sys.executable} {__file__} init "{folder}"'
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            environment.pop(name, None)
        self._lock = threading.Lock()
        with (folder / "host.err").open("a") as complaints:
            self._process = subprocess.Popen(
                ["sh", "-ec", program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
                env=environment,
            )
        self._ask({"do": "ping"})

    def spawn(self, command: Sequence[str], *, log: Path) -> int:
        """Start a program; its pid, as seen inside."""
        return int(self._ask({"do": "spawn", "command": list(command), "log": str(log)}))

    def status(self, pid: int) -> int | None:
        """How a spawned program ended; None while it runs."""
        return self._ask({"do": "status", "pid": pid})  # type: ignore[no-any-return]

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Signal any process inside."""
        self._ask({"do": "kill", "pid": pid, "signal": int(number)})

    def run(self, command: Sequence[str], *, check: bool = True, limit_s: float = 120.0) -> str:
        """Run a program inside to its end; what it said."""
        words = ["nsenter", "--net", "--mount", "--pid", "--cgroup", f"--target={self._first()}", "--", *command]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        done = subprocess.run(words, capture_output=True, text=True, timeout=limit_s, check=False, env=environment)
        if check and done.returncode:
            raise HarbourFailed(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def close(self) -> None:
        """End everything inside and remove the control groups."""
        for group in self._groups:
            for state in group.rglob("freezer.state"):
                if state.parent != group:
                    state.write_text("THAWED")  # a frozen process of cgroup v1 does not die
        first = self._first()
        if first:
            os.kill(first, signal.SIGKILL)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait(30)
        _remove_groups(self._groups)

    def _first(self) -> int:
        """Pid 1 of the namespace, as seen from outside: the only child of `unshare`."""
        path = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        words = path.read_text().split() if path.exists() else []
        return int(words[0]) if words else 0

    def _ask(self, message: dict[str, Any]) -> Any:
        with self._lock:
            stdin, stdout = self._process.stdin, self._process.stdout
            assert stdin is not None
            assert stdout is not None
            stdin.write(json.dumps(message) + "\n")
            stdin.flush()
            answer = stdout.readline()
        if not answer:
            raise HarbourFailed(f"the host has ended: {message}")
        reply = json.loads(answer)
        if "error" in reply:
            raise HarbourFailed(f"{message}: {reply['error']}")
        return reply["ok"]


def busybox_image(client: docker.DockerClient, repository: str, tag: str = "latest", *, marker: str = "") -> str:
    """Import an image of one layer: busybox and a file /marker. Different markers make different layers."""
    packed = busybox_tar(marker)
    client.api.import_image_from_data(packed, repository=repository, tag=tag, changes=['CMD ["sleep", "1000000"]'])
    return f"{repository}:{tag}"


def busybox_tar(marker: str = "") -> bytes:
    """The root directory as a tar."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
        tar.add(BUSYBOX, "bin/busybox")
        for name in APPLETS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for name, text in (("marker", marker), ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")):
            file = tarfile.TarInfo(name)
            file.size = len(text)
            tar.addfile(file, io.BytesIO(text.encode()))
    return packed.getvalue()


# --- control groups: a place of our own in every hierarchy, so that no other daemon's sweep meets our containers


def _make_groups(name: str) -> list[Path]:
    hierarchies = [CGROUPS] if (CGROUPS / "cgroup.controllers").exists() else _hierarchies()
    groups = []
    for root in hierarchies:
        group = root / name
        group.mkdir()
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (group / file).exists() and root != CGROUPS:
                (group / file).write_text((root / file).read_text())
        groups.append(group)
    return groups


def _hierarchies() -> list[Path]:
    return sorted({entry.resolve() for entry in CGROUPS.iterdir() if (entry / "cgroup.procs").exists()})


def _remove_groups(groups: Sequence[Path]) -> None:
    """The processes are being killed: a group goes when the last of its processes is gone."""
    deadline = time.monotonic() + 30
    for group in groups:
        while group.exists():
            for folder, _, _ in os.walk(group, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    break
            if time.monotonic() > deadline:
                raise HarbourFailed(f"{group} cannot be removed: {(group / 'cgroup.procs').read_text().split()}")
            time.sleep(0.005)


# --- inside


def init(folder: str) -> None:
    """Pid 1: mount what a host has, then start and bury processes as told on standard input."""
    _furnish()
    ended: dict[int, int] = {}

    def bury(*_: object) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            ended[pid] = os.waitstatus_to_exitcode(status)

    signal.signal(signal.SIGCHLD, bury)
    while line := sys.stdin.readline():
        print(json.dumps(_obey(json.loads(line), ended)), flush=True)


def _obey(order: dict[str, Any], ended: dict[int, int]) -> dict[str, Any]:
    try:
        match order["do"]:
            case "ping":
                return {"ok": True}
            case "status":
                return {"ok": ended.get(order["pid"])}
            case "kill":
                os.kill(order["pid"], order["signal"])
                return {"ok": True}
            case "spawn":
                with open(order["log"], "ab") as log:
                    return {"ok": _spawn(order["command"], log)}
            case other:
                return {"error": f"unknown order {other}"}
    except OSError as error:
        return {"error": str(error)}


def _spawn(command: list[str], log: IO[bytes]) -> int:
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
        (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
    ]
    return os.posix_spawnp(command[0], command, os.environ, file_actions=actions, setsid=True)


def _furnish() -> None:
    def mount(*words: str) -> None:
        subprocess.run(["mount", *words], check=True)

    controllers = [path.name for path in _hierarchies()] if not (CGROUPS / "cgroup.controllers").exists() else []
    mount("--make-rprivate", "/")
    mount("-t", "proc", "proc", "/proc")
    mount("-t", "tmpfs", "tmpfs", "/run")
    if controllers:
        mount("-t", "tmpfs", "tmpfs", str(CGROUPS))
        for name in controllers:
            place = CGROUPS / name
            place.mkdir()
            if name == "unified":
                mount("-t", "cgroup2", "cgroup2", str(place))
            else:
                mount("-t", "cgroup", "-o", "none,name=systemd" if name == "systemd" else name, "cgroup", str(place))
    else:
        mount("-t", "cgroup2", "cgroup2", str(CGROUPS))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


if __name__ == "__main__" and sys.argv[1:2] == ["init"]:
    init(sys.argv[2])
