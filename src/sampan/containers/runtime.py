"""The OCI runtime (runc, crun): its command lines, and what its complaints mean.

Source: runc(8). Errors are worded so that the docker CLI finds what it looks for: "executable file not found" and "no
such file or directory" become exit code 127, "permission denied" 126.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from sampan import errors
from sampan.host import process
from sampan.keeper.protocol import CONSOLE_SOCKET


class StartFailed(errors.Invalid):
    """The runtime refused the container: the command, the directory or an option is at fault."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """One runtime program with its own state directory."""

    program: str
    state: Path

    def run(self, container_id: str, *, bundle: Path, pid_file: Path, log: Path, terminal: bool) -> list[str]:
        """Create and start in one call, detached. For the keeper."""
        console = ["--console-socket", CONSOLE_SOCKET] if terminal else []
        return [
            *self._base(log),
            *("run", "--detach", "--bundle", str(bundle), "--pid-file", str(pid_file)),
            *console,
            container_id,
        ]

    def exec(self, container_id: str, *, process: Path, pid_file: Path, log: Path, terminal: bool) -> list[str]:
        """Another process in a running container, detached. For the keeper."""
        console = ["--console-socket", CONSOLE_SOCKET] if terminal else []
        return [
            *self._base(log),
            *("exec", "--detach", "--process", str(process), "--pid-file", str(pid_file)),
            *console,
            container_id,
        ]

    async def delete(self, container_id: str) -> None:
        """Kill what is left and remove the runtime's state and control groups. Nothing to delete is no error."""
        if (self.state / container_id).exists():
            await process.run([*self._base(None), "delete", "--force", container_id])

    async def update(self, container_id: str, resources: dict[str, object]) -> None:
        """Set new limits on a running container."""
        arguments = [*self._base(None), "update", "--resources", "-", container_id]
        await process.run(arguments, stdin=json.dumps(resources).encode())

    def known(self) -> set[str]:
        """Ids of the containers the runtime has state of."""
        return {entry.name for entry in self.state.iterdir()} if self.state.exists() else set()

    def _base(self, log: Path | None) -> list[str]:
        logged = ["--log", str(log), "--log-format", "json"] if log else []
        return [self.program, "--root", str(self.state), *logged]


def explain(stderr: str, log: str) -> StartFailed:
    """One sentence from the runtime's log (JSON lines, the last error counts) or its standard error."""
    message = ""
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # a torn last line
        if isinstance(entry, dict) and entry.get("level") in ("error", "fatal"):
            message = str(entry.get("msg", ""))
    message = message or stderr.strip().rpartition("\n")[2] or "the runtime gave no reason"
    return StartFailed("failed to create task for container: OCI runtime create failed", why=message)
