"""The keeper's part in lazy start, without a kernel that knows of it: a pipe stands for the group of events."""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sampan.keeper import clients, loop, protocol, server

EVENT = struct.Struct("=IBBHQii")
RANGE = struct.Struct("=BBHIQQ")


class House:
    """A keeper's loop in a thread; `group` is a socket whose other end plays the kernel."""

    def __init__(self, root: str) -> None:
        self.path = f"{root}/k.sock"
        self.events = loop.Loop()
        self.server = server.Server(console_prefix=f"{root}/tty", events=self.events)
        self.listener = clients.Listener(self.path)
        self.listener.serve(self.events, self.server.connect)
        self.kernel, self.group = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.group.setblocking(False)
        self.kernel.settimeout(10)
        self.thread = threading.Thread(target=self.events.run)
        self.thread.start()

    def close(self) -> None:
        with self.client() as client:
            self.ask(client, "stop")
        self.thread.join(10)
        for left in list(self.server._clients):
            left.close()
        self.listener.close(self.events)
        self.kernel.close()
        self.group.close()

    def client(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        made.settimeout(10)
        made.connect(self.path)
        return made

    def ask(self, client: socket.socket, verb: str, descriptors: list[int] | None = None, **fields: object):
        socket.send_fds(client, [protocol.encode({"id": 7, "do": verb, **fields})], descriptors or [])
        return receive(client)

    def event(self, first: int, count: int) -> int:
        """An event as the kernel writes it; the descriptor it carries."""
        descriptor = os.open("/dev/null", os.O_RDWR)
        info = RANGE.pack(6, 0, RANGE.size, 0, first, count)
        self.kernel.send(EVENT.pack(EVENT.size + len(info), 3, 0, EVENT.size, 0x100000, descriptor, 1) + info)
        return descriptor

    def verdict(self) -> tuple[int, int]:
        return struct.unpack("=iI", self.kernel.recv(100))  # type: ignore[return-value]


def receive(client: socket.socket):
    packet, descriptors, _, _ = socket.recv_fds(client, protocol.MAX_PACKET_BYTES, 4)
    for descriptor in descriptors:
        os.close(descriptor)
    return json.loads(packet), len(descriptors)


@pytest.fixture
def house() -> Iterator[House]:
    with tempfile.TemporaryDirectory() as root:
        made = House(root)
        yield made
        made.close()


def test_a_group_is_held_for_the_next_daemon(house: House) -> None:
    with house.client() as first:
        assert house.ask(first, "guard") == ({"id": 7, "ok": {"held": False}}, 0)
        assert house.ask(first, "guard", [house.group.fileno()]) == ({"id": 7, "ok": {"held": True}}, 1)
    with house.client() as second:
        assert house.ask(second, "guard") == ({"id": 7, "ok": {"held": True}}, 1)
        refused, _ = house.ask(second, "guard", [house.group.fileno()])
        assert refused["error"]["kind"] == "Conflict"


def test_a_reader_is_told_of_until_it_is_answered(house: House) -> None:
    with house.client() as first:
        house.ask(first, "guard", [house.group.fileno()])
        descriptor = house.event(1 << 20, 4096)
        message, count = receive(first)
        assert (message["event"], message["first"], message["count"], count) == ("access", 1 << 20, 4096, 1)
    with house.client() as second:  # the first daemon is gone without an answer
        house.ask(second, "guard")
        again, count = receive(second)
        assert (again["number"], again["first"], count) == (message["number"], 1 << 20, 1)
        assert house.ask(second, "answer", number=again["number"], errno=0)[0] == {"id": 7, "ok": {}}
        assert house.verdict() == (descriptor, 1)
        house.ask(second, "answer", number=again["number"], errno=0)  # twice is once
        other = house.event(0, 1)
        house.ask(second, "answer", number=receive(second)[0]["number"], errno=errno.EIO)
        assert house.verdict() == (other, 2 | errno.EIO << 24)


@pytest.mark.parametrize("wrong", [-1, 1, 999, "5", None, True])
def test_an_answer_the_kernel_does_not_take_is_refused(house: House, wrong: object) -> None:
    with house.client() as client:
        house.ask(client, "guard", [house.group.fileno()])
        house.event(0, 1)
        number = receive(client)[0]["number"]
        assert house.ask(client, "answer", number=number, errno=wrong)[0]["error"]["kind"] == "Invalid"
        house.ask(client, "answer", number=number, errno=0)


def test_descriptors_that_nobody_asked_for_are_closed(house: House) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with house.client() as client:
        for _ in range(20):
            house.ask(client, "hello", [house.group.fileno()])
    until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before + 1)


def until(condition: Callable[[], bool]) -> None:
    done = threading.Event()
    for _ in range(500):
        if condition():
            return
        done.wait(0.02)
    raise AssertionError("the condition does not come true")
