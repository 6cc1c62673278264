"""What goes wrong on this side of the socket, and the exit codes. Pure.

Source: docker run's exit status: 125 for the daemon, 126 for a command that cannot be invoked, 127 for one that is not
found, else the container's own.
"""

from __future__ import annotations

GENERAL = 1
DAEMON = 125
NOT_INVOKABLE = 126
NOT_FOUND = 127

# Source: docker/cli, cli/command/container/run.go, toStatusError.
_NOT_FOUND = ("executable file not found", "no such file or directory", "system cannot find the file specified")
_NOT_INVOKABLE = ("permission denied", "is a directory")


class CliError(Exception):
    """Printed as it is; the exit code is `code`."""

    def __init__(self, text: str, code: int = GENERAL) -> None:
        super().__init__(text)
        self.code = code


class DaemonError(CliError):
    """The daemon refused: status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"Error response from daemon: {message}")
        self.status = status
        self.message = message


class NoDaemon(CliError):
    """Nobody answers at the address."""


class BadUsage(CliError):
    """Options that cannot be meant."""


class Cancelled(CliError):
    """A person said no: nothing to tell, and no failure."""

    def __init__(self) -> None:
        super().__init__("", 0)


class NotATerminal(BadUsage):
    """`-it` with something else at the other end."""

    def __init__(self) -> None:
        super().__init__("the input device is not a TTY")


def start_code(message: str) -> int:
    """The exit code of `run` when the container could not be started."""
    text = message.lower()
    if any(part in text for part in _NOT_FOUND):
        return NOT_FOUND
    if any(part in text for part in _NOT_INVOKABLE):
        return NOT_INVOKABLE
    return DAEMON
