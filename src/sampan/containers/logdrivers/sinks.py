"""Receivers of forwarded lines: the journal, and syslog daemons near and far. They wait without blocking the loop.

Any OSError means that the receiver is away: open it again and send the line once more.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Mapping
from typing import Protocol

from sampan.containers.logdrivers import options, tags
from sampan.containers.logdrivers.lines import Line
from sampan.containers.model import Container
from sampan.formats import journal, logshape, stdcopy, syslogline
from sampan.kernel import readiness

JOURNAL = "/run/systemd/journal/socket"
CONNECT_LIMIT_S = 10.0


class Sink(Protocol):
    """Where the lines of one container go."""

    async def open(self) -> None:
        """Connect. Raises OSError."""

    async def send(self, line: Line) -> None:
        """Raises OSError."""

    def close(self) -> None:
        """A second call does nothing."""


def sink_of(container: Container) -> Sink:
    """For a container with a forwarding driver."""
    wanted = container.wanted.host.log_config
    attributes = options.attributes(wanted, container.wanted.config)
    tag = tags.render(wanted.config.get("tag") or tags.DEFAULT, container)
    if wanted.type == "journald":
        return Journal(container, tag, attributes)
    return Syslog(wanted.config, tag)


class _Datagrams:
    """A connected datagram socket."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def connect(self, family: int, address: str | tuple[str, int]) -> None:
        """Raises OSError."""
        self.close()
        connected = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            connected.connect(address)
        except BaseException:
            connected.close()
            raise
        self._socket = connected

    async def send(self, datagram: bytes) -> None:
        """Waits while the receiver's queue is full."""
        if self._socket is None:
            raise ConnectionError("not connected")
        while True:
            try:
                self._socket.send(datagram)
                return
            except BlockingIOError:
                await readiness.wait(self._socket.fileno(), reading=False)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Journal:
    """systemd-journald, in its native protocol. Field names are those of docker's journald driver."""

    def __init__(self, container: Container, tag: str, attributes: Mapping[str, str], path: str = JOURNAL) -> None:
        self._path = path
        self._datagrams = _Datagrams()
        self._fields = {
            "CONTAINER_ID": container.short_id,
            "CONTAINER_ID_FULL": container.id,
            "CONTAINER_NAME": container.name,
            "CONTAINER_TAG": tag,
            "IMAGE_NAME": container.wanted.config.image,
            "SYSLOG_IDENTIFIER": tag,
        }
        for key, value in attributes.items():
            if name := journal.field_name(key):
                self._fields.setdefault(name, value)

    async def open(self) -> None:
        self._datagrams.connect(socket.AF_UNIX, self._path)

    async def send(self, line: Line) -> None:
        severity = syslogline.ERROR if line.stream == stdcopy.STDERR else syslogline.INFORMATION
        fields = {
            "MESSAGE": line.content,
            "PRIORITY": str(severity).encode(),
            "SYSLOG_TIMESTAMP": logshape.rfc3339_nano(line.time_ns),
            **{name: value.encode() for name, value in self._fields.items()},
        }
        if line.partial:
            fields["CONTAINER_PARTIAL_MESSAGE"] = b"true"
        await self._datagrams.send(journal.encode(fields))

    def close(self) -> None:
        self._datagrams.close()


class Syslog:
    """A syslog daemon: its Unix socket, UDP, TCP, or TCP with TLS."""

    def __init__(self, given: Mapping[str, str], tag: str) -> None:
        self._given = given
        self._tag = tag
        self._address = options.address(given)
        self._facility = options.facility(given)
        self._form = next(one for one in syslogline.FORMS if one == given.get("syslog-format", ""))
        self._hostname = socket.gethostname()
        self._datagrams: _Datagrams | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        self.close()
        async with asyncio.timeout(CONNECT_LIMIT_S):
            await self._connect()

    async def _connect(self) -> None:
        to = self._address
        if to.scheme == "unixgram":
            self._datagrams = _Datagrams()
            try:
                self._datagrams.connect(socket.AF_UNIX, to.path)
            except OSError as error:
                if error.errno != errno.EPROTOTYPE:  # it is a stream socket
                    raise
                self._datagrams = None
                _, self._writer = await asyncio.open_unix_connection(to.path)
        elif to.scheme == "unix":
            _, self._writer = await asyncio.open_unix_connection(to.path)
        elif to.scheme == "udp":
            found = await asyncio.get_running_loop().getaddrinfo(to.host, to.port, type=socket.SOCK_DGRAM)
            self._datagrams = _Datagrams()
            self._datagrams.connect(found[0][0], (to.host, to.port))
        else:
            context = self._tls() if to.scheme == "tcp+tls" else None
            _, self._writer = await asyncio.open_connection(to.host, to.port, ssl=context)

    def _tls(self) -> ssl.SSLContext:
        """Raises OSError for files that cannot be read (ssl.SSLError is one)."""
        context = ssl.create_default_context(cafile=self._given.get("syslog-tls-ca-cert") or None)
        if self._given.get("syslog-tls-skip-verify", "").lower() in ("1", "t", "true"):
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if certificate := self._given.get("syslog-tls-cert"):
            context.load_cert_chain(certificate, self._given.get("syslog-tls-key"))
        return context

    async def send(self, line: Line) -> None:
        text = syslogline.line(
            line.content,
            form=self._form,
            facility=self._facility,
            severity=syslogline.ERROR if line.stream == stdcopy.STDERR else syslogline.INFORMATION,
            time_ns=line.time_ns,
            hostname=self._hostname,
            tag=self._tag,
            pid=os.getpid(),
        )
        if self._datagrams is not None:
            await self._datagrams.send(text)
        elif self._writer is not None and not self._writer.is_closing():
            self._writer.write(text)
            await self._writer.drain()
        else:
            raise ConnectionError("not connected")

    def close(self) -> None:
        if self._datagrams is not None:
            self._datagrams.close()
            self._datagrams = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
