"""`sampan create` posts what `docker create` posts."""

from __future__ import annotations

import json
import shutil
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from sampan.cli import create, failures
from sampan.cli.line import parse
from sampan.cli.running import create as create_command

ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "SAMPAN_TEST_VALUE": "from outside"}

CASES: dict[str, list[str]] = {
    "nothing": ["busybox"],
    "command": ["busybox", "sh", "-c", "echo $HOME; true"],
    "options behind the image are the command's": ["busybox", "ls", "-l", "--name", "x"],
    "streams": ["-i", "-t", "busybox"],
    "stdin only": ["-i", "busybox"],
    "attach": ["-a", "stdout", "-a", "STDIN", "-i", "busybox"],
    "environment": [
        "-e",
        "A=1",
        "-e",
        "B=x=y",
        "-e",
        "EMPTY=",
        "-e",
        "SAMPAN_TEST_VALUE",
        "-e",
        "UNSET_HERE",
        "busybox",
    ],
    "environment file": ["--env-file", "env", "-e", "A=2", "busybox"],
    "labels": ["-l", "a=b", "--label", "bare", "--label-file", "labels", "busybox"],
    "binds": ["-v", "/srv:/srv:ro", "-v", "pantry:/data", "-v", "/anonymous", "-v", "./here:/there", "busybox"],
    "mounts": [
        "--mount",
        "type=bind,source=/a,target=/b,readonly,bind-propagation=rslave",
        "--mount",
        "type=volume,src=pantry,dst=/c,volume-nocopy,volume-label=x=y",
        "--mount",
        "type=tmpfs,destination=/d,tmpfs-size=64m,tmpfs-mode=1770",
        "busybox",
    ],
    "tmpfs": ["--tmpfs", "/run", "--tmpfs", "/tmp:size=64m,noexec", "busybox"],
    "ports": ["-p", "80", "-p", "8080:80", "-p", "127.0.0.1:8081:81/udp", "-p", "[::1]:8082:82", "busybox"],
    "port ranges": ["-p", "8000-8002:9000-9002", "-p", "7000-7010:70", "-p", "127.0.0.1::53/udp", "busybox"],
    "exposed": ["--expose", "80", "--expose", "90-92/udp", "-P", "busybox"],
    "restart": ["--restart", "on-failure:3", "busybox"],
    "restart always": ["--restart", "unless-stopped", "busybox"],
    "memory": ["-m", "512m", "--memory-reservation", "256M", "--memory-swap", "-1", "--shm-size", "1g", "busybox"],
    "swap": ["-m", "1.5g", "--memory-swap", "2g", "--memory-swappiness", "10", "busybox"],
    "processors": ["--cpus", "1.5", "-c", "512", "--cpuset-cpus", "0,1", "--pids-limit", "100", "busybox"],
    "quota": ["--cpu-quota", "50000", "--cpu-period", "100000", "--cpuset-mems", "0", "busybox"],
    "host network": ["--network", "host", "busybox"],
    "bridge network": ["--network", "bridge", "busybox"],
    "no network": ["--network", "none", "busybox"],
    "another's network": ["--network", "container:web", "busybox"],
    "own network": ["--network", "crew", "--network-alias", "a", "--network-alias", "b", "--ip", "10.0.0.9", "busybox"],
    "long network": ["--network", "name=crew,alias=a,ip=10.0.0.9", "--network", "other", "busybox"],
    "link": ["--link", "db:database", "busybox"],
    "names": [
        "-h",
        "ship",
        "--domainname",
        "sea",
        "--dns",
        "1.1.1.1",
        "--dns-search",
        "sea",
        "--dns-opt",
        "x",
        "busybox",
    ],
    "hosts": ["--add-host", "a:10.0.0.1", "--add-host", "b=10.0.0.2", "--add-host", "g:host-gateway", "busybox"],
    "user": ["-u", "1000:100", "-w", "/srv", "--group-add", "audio", "busybox"],
    "entrypoint": ["--entrypoint", "/bin/sh", "busybox", "-c", "true"],
    "no entrypoint": ["--entrypoint", "", "busybox", "true"],
    "capabilities": ["--cap-add", "net_admin", "--cap-add", "CAP_CHOWN", "--cap-drop", "ALL", "busybox"],
    "security": ["--security-opt", "no-new-privileges", "--security-opt", "seccomp=unconfined", "busybox"],
    "read only": ["--read-only", "--init", "--rm", "busybox"],
    "stop": ["--stop-signal", "SIGQUIT", "--stop-timeout", "7", "busybox"],
    "ulimits": ["--ulimit", "nofile=1024:2048", "--ulimit", "nproc=10", "busybox"],
    "devices": ["--device", "/dev/fuse", "--device", "/dev/a:/dev/b:r", "--device", "/dev/c:rw", "busybox"],
    "logging": ["--log-driver", "json-file", "--log-opt", "max-size=1m", "--log-opt", "max-file=3", "busybox"],
    "namespaces": ["--pid", "host", "--ipc", "host", "--uts", "host", "--cgroupns", "private", "busybox"],
    "sysctl": ["--sysctl", "net.ipv4.ip_forward=1", "--oom-score-adj", "100", "--oom-kill-disable", "busybox"],
    "volumes from": ["--volumes-from", "web:ro", "--cgroup-parent", "/x", "--runtime", "runc", "busybox"],
    "annotations": ["--annotation", "a=b", "busybox"],
    "health": [
        *("--health-cmd", "true", "--health-interval", "5s", "--health-retries", "2", "--health-timeout", "1m"),
        *("--health-start-period", "1h", "--health-start-interval", "500ms", "busybox"),
    ],
    "no health": ["--no-healthcheck", "busybox"],
    "gpus": ["--gpus", "all", "busybox"],
    "some gpus": ["--gpus", '"device=0,1",driver=nvidia,capabilities=utility', "busybox"],
    "throttles": [
        *("--device-read-bps", "/dev/sda:1mb", "--device-write-bps", "/dev/sda:2000", "--blkio-weight", "300"),
        *("--device-read-iops", "/dev/sda:10", "--device-write-iops", "/dev/sda:20"),
        *("--blkio-weight-device", "/dev/sda:500", "busybox"),
    ],
    "real time": ["--cpu-rt-period", "1000000", "--cpu-rt-runtime", "950000", "busybox"],
    "addresses": [
        *("--network", "crew", "--ip6", "fd00::9", "--link-local-ip", "169.254.1.1", "--link-local-ip", "fe80::1"),
        "busybox",
    ],
    "network with driver options": ["--network", "name=crew,driver-opt=a=b,mac-address=02:42:ac:11:00:09", "busybox"],
    "values behind equals signs": ["--rm=true", "--tty=false", "-i=true", "--name=x", "-ebar=1", "-p=81:81", "busybox"],
    "letters in a row": ["-itw/srv", "-eA=1", "-lx=y", "busybox"],
    "init": ["--init=false", "busybox"],
    "storage": ["--storage-opt", "size=1G", "--volume-driver", "local", "--isolation", "default", "busybox"],
    "mac": ["--mac-address", "02:42:ac:11:00:09", "busybox"],
}


class _Recorder(BaseHTTPRequestHandler):
    """Answers what `docker create` needs and keeps what it posts."""

    posted: ClassVar[list[dict[str, Any]]]

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Api-Version", "1.47")
        self.send_header("Ostype", "linux")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self._answer(200, b"OK")

    def do_GET(self) -> None:
        self._answer(200, b"{}")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        type(self).posted.append({"query": query, "body": json.loads(body)})
        self._answer(201, b'{"Id":"1234","Warnings":[]}')


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a daemon that records, and what it has recorded."""
    path = tmp_path_factory.mktemp("recorder") / "docker.sock"

    class Handler(_Recorder):
        posted: ClassVar[list[dict[str, Any]]] = []

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

        def get_request(self) -> tuple[Any, Any]:
            connection, _ = super().get_request()
            return connection, ("unix", 0)

    with Server(str(path), Handler) as server:
        serving = threading.Thread(target=lambda: server.serve_forever(0.05))
        serving.start()
        yield f"unix://{path}", Handler.posted
        server.shutdown()
        serving.join()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "env").write_text('# comment\nA=1\nQUOTED="x"\n SPACED=a b \nSAMPAN_TEST_VALUE\nUNSET_HERE\n\n')
    (tmp_path / "labels").write_text("from=file\n")
    return tmp_path


def parsed(words: list[str]) -> dict[str, Any]:
    options, rest = parse.flags(create_command.flags, words, interspersed=create_command.interspersed)
    return options | parse.arguments(create_command, rest)


def ours(words: list[str], directory: Path) -> dict[str, Any]:
    options = parsed(words)
    image, command = options.pop("image"), options.pop("command")
    files = {name: (directory / name).read_text() for name in create.files_named(options)}
    around = create.Surroundings(files, ENVIRONMENT, str(directory))
    return json.loads(json.dumps(create.body(options, image, command, around)))


def meant(value: Any) -> Any:
    """Without what says nothing: Go writes zero values that mean the same as absence."""
    if isinstance(value, dict):
        found = {key: meant(item) for key, item in value.items()}
        return {key: item for key, item in found.items() if item not in (None, "", 0, False, [], {}, [0, 0])}
    if isinstance(value, list):
        return [meant(item) for item in value]
    return value


def settled(body: dict[str, Any]) -> dict[str, Any]:
    """Comparable: keys whose empty members carry meaning are kept by name, lists without an order are sorted."""
    exposed = sorted(body.get("ExposedPorts") or {})
    volumes = sorted(body.get("Volumes") or {})
    bindings = (body.get("HostConfig") or {}).get("PortBindings") or {}
    labels = body.get("Labels") or {}
    tmpfs = (body.get("HostConfig") or {}).get("Tmpfs") or {}
    found = meant(body)
    host = found.setdefault("HostConfig", {})
    # -1 is Docker's "not said" for swappiness, and a window's size says nothing.
    if host.get("MemorySwappiness") == -1:
        del host["MemorySwappiness"]
    host.pop("ConsoleSize", None)
    found |= {"ExposedPorts": exposed, "Volumes": volumes, "Labels": labels}
    host |= {"PortBindings": {key: sorted(map(str, value)) for key, value in bindings.items()}, "Tmpfs": tmpfs}
    # Docker keeps these in maps, so their order changes from run to run.
    found["Env"] = sorted(found.get("Env", []))
    host["Binds"] = sorted(host.get("Binds", []))
    host["Ulimits"] = sorted(host.get("Ulimits", []), key=str)
    networks = (body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
    found["NetworkingConfig"] = {name: meant(value or {}) for name, value in networks.items()}
    return found


@pytest.mark.skipif(shutil.which("docker") is None, reason="the docker command line is not installed")
@pytest.mark.parametrize("words", CASES.values(), ids=CASES.keys())
def test_the_body_is_the_one_the_docker_client_posts(
    words: list[str], recorder: tuple[str, list[dict[str, Any]]], directory: Path
) -> None:
    address, posted = recorder
    posted.clear()
    command = ["docker", "-H", address, "create", "--pull", "never", *words]
    environment = {**ENVIRONMENT, "HOME": str(directory)}
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert len(posted) == 1, done.stderr
    assert settled(ours(words, directory)) == settled(posted[0]["body"])


@pytest.mark.parametrize(
    "words",
    [
        ["-p", "80:80:80:80", "x"],
        ["-p", "99999", "x"],
        ["-p", "80/icmp", "x"],
        ["-p", "1-3:1-2", "x"],
        ["-m", "much", "x"],
        ["--cpus", "many", "x"],
        ["--ulimit", "nofile", "x"],
        ["--mount", "type=bind,source=/a", "x"],
        ["--mount", "colour=red,target=/x", "x"],
        ["--device", "a:b:c:d", "x"],
        ["--restart", "always:often", "x"],
        ["--add-host", "nowhere", "x"],
        ["-a", "stdnone", "x"],
    ],
)
def test_options_that_cannot_be_read_are_refused_with_125(words: list[str], directory: Path) -> None:
    with pytest.raises(failures.BadUsage) as refused:
        ours(words, directory)
    assert refused.value.code == 125


def test_unknown_options_are_refused() -> None:
    with pytest.raises(parse.UnreadableFlag, match="unknown flag: --no-such-option"):
        parsed(["--no-such-option", "x"])
