"""The least of an Engine API client: one kept connection to a Unix socket, the same requests for every engine."""

from __future__ import annotations

import http.client
import io
import json
import shutil
import socket
import tarfile
from pathlib import Path
from typing import Any

API = "/v1.41"  # what the oldest engine here speaks
IMAGE = (
    "docker.io/bench/busybox:latest"  # podman ignores the tag of an import, and takes a short name for one of localhost
)
APPLETS = ("sh", "true", "sleep", "cat", "dd", "yes", "head")


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Api:
    """One connection; not for several threads."""

    def __init__(self, path: Path, *, timeout_s: float = 300) -> None:
        self._connection = _Connection(path, timeout_s)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """The decoded answer, its text where it is no JSON. Raises: OSError, RuntimeError with what the engine says."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
        self._connection.request(method, f"{API}{path}", content, {"Content-Type": kind} if content else {})
        response = self._connection.getresponse()
        text = response.read().decode(errors="replace")
        if response.status >= 400:
            raise RuntimeError(f"{method} {path}: {response.status} {text.strip()}")
        try:
            return json.loads(text)
        except ValueError:
            return text

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def create(self, *command: str, network: str = "none", image: str = IMAGE) -> str:
        """A container; its id."""
        wanted = {"Image": image, "Cmd": list(command), "HostConfig": {"NetworkMode": network}}
        return str(self.ask("POST", "/containers/create", wanted)["Id"])

    def start(self, container: str) -> None:
        """Start it."""
        self.ask("POST", f"/containers/{container}/start")

    def wait(self, container: str) -> int:
        """Its exit code, when it has one."""
        return int(self.ask("POST", f"/containers/{container}/wait")["StatusCode"])

    def remove(self, container: str) -> None:
        """Remove it, running or not."""
        self.ask("DELETE", f"/containers/{container}?force=1")

    def import_busybox(self) -> None:
        """Make the image every engine runs."""
        name, tag = IMAGE.rsplit(":", 1)
        answer = self.ask("POST", f"/images/create?fromSrc=-&repo={name}&tag={tag}", busybox_tar())
        if "sha256:" not in str(answer):
            raise RuntimeError(f"the import of {IMAGE} failed: {answer}")


def busybox_tar() -> bytes:
    """A root directory with the host's static busybox."""
    program = shutil.which("busybox")
    if program is None:
        raise SystemExit("this needs busybox: apt-get install busybox-static")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("bin", "etc", "tmp"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(directory)
        for name, mode, content in (
            ("bin/busybox", 0o755, Path(program).read_bytes()),
            ("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n"),
            ("etc/group", 0o644, b"root:x:0:\n"),
        ):
            file = tarfile.TarInfo(name)
            file.size, file.mode = len(content), mode
            archive.addfile(file, io.BytesIO(content))
        for name in APPLETS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    return buffer.getvalue()
