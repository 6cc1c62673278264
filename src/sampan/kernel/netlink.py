"""rtnetlink by hand: several requests in one send, their answers by name.

    with netlink.Socket() as kernel:
        kernel.perform([links.bridge("br0", ...), links.address(...)])

One send of five requests costs about what one request costs; a library that opens namespaces by forking costs fifteen
times as much. The requests themselves are in `links`. A socket belongs to the network namespace of the thread that made
it, for good, and may be used from any thread.

Source: netlink(7), rtnetlink(7), include/uapi/linux/netlink.h.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sampan.kernel import libc

NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLM_F_REQUEST: Final = 0x1
NLM_F_ACK: Final = 0x4
NLM_F_DUMP: Final = 0x300
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
NLM_F_REPLACE: Final = 0x100
NLM_F_ACK_TLVS: Final = 0x200
NLA_F_NESTED: Final = 0x8000
NLA_TYPE_MASK: Final = 0x3FFF
NLMSGERR_ATTR_MSG: Final = 1
SOL_NETLINK: Final = 270
NETLINK_CAP_ACK: Final = 10
NETLINK_EXT_ACK: Final = 11
NETLINK_GET_STRICT_CHK: Final = 12

_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE: Final = struct.Struct("=HH")  # length, type
_RECEIVE_BYTES: Final = 1 << 16
_PATIENCE_S: Final = 30  # the kernel answers before `send` returns; only a lost answer can take longer


@dataclass(frozen=True)
class Request:
    """One message to the kernel. `call` and `arguments` are what an error names."""

    call: str
    arguments: tuple[object, ...]
    kind: int
    flags: int
    payload: bytes
    acknowledged: bool = True  # False: the kernel answers it only when it fails


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute: length, type, value, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(parts))


def text(kind: int, value: str) -> bytes:
    """A zero-terminated string attribute."""
    return attribute(kind, value.encode() + b"\0")


def attributes(data: bytes) -> dict[int, bytes]:
    """Attributes by type, the last one of a type wins. Nested ones stay bytes: read them with another call."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < 4:
            break
        found[kind & NLA_TYPE_MASK] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


class Socket:
    """A netlink socket of the calling thread's network namespace."""

    def __init__(self, family: int = socket.NETLINK_ROUTE) -> None:
        self._lock = threading.Lock()
        self._sequence = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", _PATIENCE_S, 0))
        self._socket.bind((0, 0))

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def perform(self, requests: Sequence[Request]) -> None:
        """Send all requests at once and wait for every answer.

        The kernel goes on with the next request after one that failed; the first failure is raised as `KernelError`.
        """
        found: dict[int, libc.KernelError] = {}
        with self._lock:
            sent = self._send(requests, NLM_F_ACK)
            waiting = {sequence for sequence, request in sent.items() if request.acknowledged}
            while waiting:
                for kind, flags, sequence, payload in self._receive():
                    if kind != NLMSG_ERROR or sequence not in sent:
                        continue
                    waiting.discard(sequence)
                    error = _error(sent[sequence], flags, payload)
                    if error is not None:
                        found[sequence] = error
                        if not sent[sequence].acknowledged:
                            waiting.clear()  # a transaction that failed as a whole answers nothing else
        if found:
            raise found[min(found)]

    def dump(self, request: Request) -> list[bytes]:
        """The payloads that answer a dump request."""
        with self._lock:
            waiting = self._send([request], NLM_F_DUMP)
            found: list[bytes] = []
            while waiting:
                for kind, flags, sequence, payload in self._receive():
                    if sequence not in waiting:
                        continue
                    if kind == NLMSG_DONE:
                        waiting.pop(sequence)
                    elif kind == NLMSG_ERROR:
                        waiting.pop(sequence)
                        error = _error(request, flags, payload)
                        if error is not None:
                            raise error
                    else:
                        found.append(payload)
            return found

    def _send(self, requests: Sequence[Request], extra_flags: int) -> dict[int, Request]:
        waiting: dict[int, Request] = {}
        parts: list[bytes] = []
        for request in requests:
            self._sequence += 1
            waiting[self._sequence] = request
            length = _HEADER.size + len(request.payload)
            flags = NLM_F_REQUEST | request.flags | (extra_flags if request.acknowledged else 0)
            parts.append(_HEADER.pack(length, request.kind, flags, self._sequence, 0))
            parts.append(request.payload + bytes(-length % 4))
        if parts:
            self._socket.send(b"".join(parts))
        return waiting

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except OSError as error:
            raise libc.failed(error, "recv", "netlink") from error
        at = 0
        while at + _HEADER.size <= len(data):
            length, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
            yield kind, flags, sequence, data[at + _HEADER.size : at + length]
            at += (length + 3) & ~3


def _error(request: Request, flags: int, payload: bytes) -> libc.KernelError | None:
    number = -int(struct.unpack_from("=i", payload)[0])
    if number == 0:
        return None
    error = libc.KernelError(request.call, request.arguments, number)
    if flags & NLM_F_ACK_TLVS:
        # NETLINK_CAP_ACK: only the header of our own message (16 bytes) lies between the number and the attributes.
        message = attributes(payload[4 + _HEADER.size :]).get(NLMSGERR_ATTR_MSG)
        if message:
            error.why = f"{error.why}: {message.rstrip(bytes(1)).decode(errors='replace')}"
    return error
