"""Where the daemon listens: `unix:///path`, `tcp://host:port`, `fd://` (sockets handed over by systemd).

A socket file left by a daemon that died is replaced only when nobody answers on it.
"""

from __future__ import annotations

import asyncio
import grp
import logging
import os
import socket
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from sampan import errors
from sampan.api.http import hijack, tls

log = logging.getLogger(__name__)

SOCKET_MODE = 0o660
GROUPS = ("docker", "sampan")  # the first that exists may use the socket
FIRST_DESCRIPTOR = 3  # Source: sd_listen_fds(3)
DEFAULT_PORT, DEFAULT_TLS_PORT = 2375, 2376
BACKLOG = 512


class InvalidAddress(errors.Invalid):
    """Not an address to listen on."""


class AddressTaken(errors.Conflict):
    """Something else listens there, or the address is not this host's."""


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed listener address: `scheme` is unix, tcp or fd."""

    scheme: str
    path: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return f"tcp://{self.host}:{self.port}" if self.scheme == "tcp" else f"{self.scheme}://{self.path}"


@dataclass(frozen=True, slots=True)
class Doors:
    """How addresses are opened: with which TLS on tcp, and who may use the Unix socket ("" for the usual group)."""

    tls: ssl.SSLContext | None = None
    group: str = ""

    @property
    def asks_clients(self) -> bool:
        """Whether clients on tcp need a certificate."""
        return self.tls is not None and self.tls.verify_mode is ssl.CERT_REQUIRED


def parse(text: str, *, tls: bool = False) -> Address:
    """Read `-H`. A bare `host:port` is tcp, a bare absolute path is unix; `tls` chooses the port that is left out.

    Raises: InvalidAddress.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = ("unix", text) if text.startswith("/") else ("tcp", text)
    if scheme == "fd":
        return Address("fd", path=rest)
    if scheme == "unix":
        if not rest.startswith("/"):
            raise InvalidAddress(f"invalid address {text!r}", why="a Unix socket needs an absolute path")
        return Address("unix", path=rest)
    if scheme != "tcp":
        raise InvalidAddress(f"invalid address {text!r}", why="the scheme must be unix, tcp or fd")
    host, colon, port = rest.rstrip("/").rpartition(":")
    if not colon:
        host, port = rest.rstrip("/"), str(DEFAULT_TLS_PORT if tls else DEFAULT_PORT)
    if not port.isdecimal() or int(port) > 65535:
        raise InvalidAddress(f"invalid address {text!r}", why=f"{port!r} is no port")
    return Address("tcp", host=host.strip("[]") or "127.0.0.1", port=int(port))


class Listener(web.BaseSite):
    """One listening socket of a runner, whose connections can be taken over."""

    __slots__ = ("_name", "_socket", "_tls")

    def __init__(
        self, runner: web.BaseRunner, listening: socket.socket, name: str, *, with_tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(runner, backlog=BACKLOG)
        self._socket = listening
        self._name = name
        self._tls = with_tls

    @property
    def name(self) -> str:
        """The address, as it was given."""
        return self._name

    @property
    def bound(self) -> object:
        """The socket's own address: the port that was chosen for port 0."""
        return self._socket.getsockname()

    async def start(self) -> None:
        """Accept connections."""
        await super().start()
        server = self._runner.server
        assert server is not None
        make: tls.Factory = hijack.factory(server)
        if self._tls is not None:
            make = tls.front(self._tls, make)
        loop = asyncio.get_running_loop()
        if self._socket.family == socket.AF_UNIX:
            self._server = await loop.create_unix_server(make, sock=self._socket, backlog=BACKLOG)
        else:
            self._server = await loop.create_server(make, sock=self._socket, backlog=BACKLOG)


async def listen(runner: web.BaseRunner, address: str, doors: Doors | None = None) -> list[Listener]:
    """Open `address` and serve `runner`, which must be set up. Raises: InvalidAddress, AddressTaken."""
    doors = doors or Doors()
    parsed = parse(address, tls=doors.tls is not None)
    if parsed.scheme == "unix":
        sockets = [_unix_socket(Path(parsed.path), doors.group)]
    elif parsed.scheme == "tcp":
        sockets = [tcp_socket(parsed)]
    else:
        sockets = _handed_over(parsed, dict(os.environ), os.getpid())
    listeners = [_listener(runner, listening, parsed, doors) for listening in sockets]
    for listener in listeners:
        await listener.start()
        log.info("listening on %s", listener.name)
    return listeners


def _listener(runner: web.BaseRunner, listening: socket.socket, address: Address, doors: Doors) -> Listener:
    """A Unix socket has no TLS, also one that was handed over."""
    if listening.family == socket.AF_UNIX:
        return Listener(runner, listening, str(address))
    if not doors.asks_clients:
        lack = "asks clients for no certificate" if doors.tls is not None else "has no TLS"
        log.warning(
            "%s %s: everybody who reaches this port is root on this host. Use a Unix socket, ssh or --tlsverify.",
            address,
            lack,
        )
    return Listener(runner, listening, str(address), with_tls=doors.tls)


def _unix_socket(path: Path, group_name: str) -> socket.socket:
    group = group_number(group_name)
    _remove_stale(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The mode must be right from the first moment; fchmod before bind sets it for the file that bind makes.
        os.fchmod(listening.fileno(), 0o600)
        listening.bind(str(path))
        if group is not None:
            os.chown(path, -1, group)
        path.chmod(SOCKET_MODE)
    except OSError as error:
        listening.close()
        raise AddressTaken(f"cannot listen on unix://{path}", why=str(error)) from error
    listening.setblocking(False)
    return listening


def _remove_stale(path: Path) -> None:
    """Remove a socket file nobody listens on. Raises: AddressTaken."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise AddressTaken(f"cannot listen on unix://{path}", why="the path exists and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise AddressTaken(f"cannot listen on unix://{path}", why=f"connecting to it: {error}") from error
    raise AddressTaken(
        f"cannot listen on unix://{path}",
        why="a daemon answers there",
        remedy="stop it, or choose another socket with -H",
    )


def group_number(wanted: str) -> int | None:
    """The group's number; that of the first usual one where none is named. Raises: InvalidAddress."""
    if wanted.isdecimal():
        return int(wanted)
    for name in (wanted,) if wanted else GROUPS:
        try:
            return grp.getgrnam(name).gr_gid
        except KeyError:
            continue
    if wanted:
        raise InvalidAddress(
            f"invalid value {wanted!r} for --group", why="there is no such group", remedy=f"make it: groupadd {wanted}"
        )
    return None


def tcp_socket(address: Address) -> socket.socket:
    """A bound socket. Raises: InvalidAddress, AddressTaken."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InvalidAddress(f"cannot listen on {address}", why=str(error)) from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
    except OSError as error:
        listening.close()
        raise AddressTaken(f"cannot listen on {address}", why=str(error)) from error
    listening.setblocking(False)
    return listening


def _handed_over(address: Address, environment: dict[str, str], pid: int) -> list[socket.socket]:
    """The sockets systemd opened for us. Raises: InvalidAddress when there are none."""
    count = environment.get("LISTEN_FDS", "")
    if not count.isdecimal() or int(count) == 0 or environment.get("LISTEN_PID", str(pid)) != str(pid):
        raise InvalidAddress(
            f"cannot listen on {address}", why="no sockets were handed over", remedy="start by a systemd socket unit"
        )
    every = range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(count))
    if address.path not in ("", "*"):
        if not address.path.isdecimal() or int(address.path) not in every:
            raise InvalidAddress(
                f"invalid address {address}",
                why=f"the sockets handed over have the numbers {every.start} to {every.stop - 1}",
                remedy="use fd:// for all of them",
            )
        every = range(int(address.path), int(address.path) + 1)
    try:
        sockets = [socket.socket(fileno=number) for number in every]
    except OSError as error:
        raise InvalidAddress(
            f"cannot listen on {address}", why=f"what was handed over is no socket: {error}"
        ) from error
    for listening in sockets:
        listening.setblocking(False)
        os.set_inheritable(listening.fileno(), False)
    return sockets
