"""Connections: a Unix socket, TCP, TCP with TLS, and SSH to a machine where `sampan system dial-stdio` answers."""

from __future__ import annotations

import socket

from sampan.cli import failures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sampan.cli.client import Connect

PLAIN_PORT, TLS_PORT = 2375, 2376
# The first of these that the other machine has; both speak the protocol of dial-stdio.
REMOTE = (
    "if command -v sampan >/dev/null 2>&1; then exec sampan system dial-stdio; else exec docker system dial-stdio; fi"
)


def connector(address: str, tls: Mapping[str, Any] | None = None) -> Connect:
    """How to connect to an address. Raises: BadUsage."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        scheme, rest = ("unix", address) if address.startswith("/") else ("tcp", address)
    match scheme:
        case "unix":
            return lambda: _unix(rest)
        case "tcp" | "http" | "https":
            host, port = host_and_port(rest, TLS_PORT if tls else PLAIN_PORT)
            return (lambda: _tls(host, port, tls)) if tls else (lambda: socket.create_connection((host, port)))
        case "ssh":
            command = ssh_command(rest)
            return lambda: _program(command)
        case "fd":
            raise failures.BadUsage("fd:// is an address to listen on: connect to its socket by unix://")
        case _:
            raise failures.BadUsage(f"unable to parse docker host `{address}`: use unix://, tcp:// or ssh://")


def host_and_port(text: str, port: int) -> tuple[str, int]:
    """`[::1]:2375` or `ship`. Pure. Raises: BadUsage."""
    text = text.partition("/")[0]
    host, colon, number = text.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        return text.strip("[]") or "127.0.0.1", port
    if not number.isdecimal():
        raise failures.BadUsage(f"unable to parse docker host `tcp://{text}`: the port is a number")
    return host.strip("[]") or "127.0.0.1", int(number)


def ssh_command(text: str) -> list[str]:
    """`user@host:port/socket` as ssh's arguments. Pure. Raises: BadUsage."""
    place, _, path = text.partition("/")
    user, at, machine = place.rpartition("@")
    host, port = (machine, "") if ":" not in machine else machine.rsplit(":", 1)
    if not host or host.startswith("-") or user.startswith("-") or ":" in user or (port and not port.isdecimal()):
        raise failures.BadUsage(f"invalid SSH URL: ssh://{text}: expected ssh://[USER@]HOST[:PORT]")
    command = ["ssh", "-o", "ConnectTimeout=30", "-T"]
    command += ["-l", user] if at else []
    command += ["-p", port] if port else []
    remote = f"DOCKER_HOST='unix:///{path}' SAMPAN_HOST= ; export DOCKER_HOST SAMPAN_HOST; {REMOTE}" if path else REMOTE
    if "'" in path:
        raise failures.BadUsage(f"invalid SSH URL: ssh://{text}: a quote in the path")
    return [*command, "--", host, remote]


def _unix(path: str) -> socket.socket:
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connected.connect(path)
    except OSError:
        connected.close()
        raise
    return connected


def _tls(host: str, port: int, tls: Mapping[str, Any] | None) -> socket.socket:
    """Raises: NoDaemon, OSError."""
    import os
    import ssl

    from sampan.cli.endpoint import tls as halves

    tls = tls or {}
    context = ssl.create_default_context()
    wants = tls.get("asked") or ()
    if not tls.get("verify"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    elif tls.get("ca") and ("ca" in wants or os.path.exists(tls["ca"])):  # noqa: PTH110
        context = ssl.create_default_context(cafile=tls["ca"])
    if tls.get("cert") and ("cert" in wants or os.path.exists(tls["cert"])):  # noqa: PTH110
        context.load_cert_chain(tls["cert"], tls.get("key"))
    connected = socket.create_connection((host, port))
    try:
        return halves.join(context, connected, tls.get("name") or host)
    except ssl.SSLError as error:
        connected.close()
        raise failures.NoDaemon(f"error during connect: TLS with {host}:{port}: {error}") from error


def _program(command: list[str]) -> socket.socket:
    """The two ends of a program's standard streams as a socket."""
    import subprocess

    ours, theirs = socket.socketpair()
    with theirs:
        # Its own session: Ctrl-C here ends the conversation, not the program in the middle of it.
        subprocess.Popen(command, stdin=theirs.fileno(), stdout=theirs.fileno(), start_new_session=True)
    return ours
