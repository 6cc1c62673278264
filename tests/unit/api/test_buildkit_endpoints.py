"""The two doors over real sockets: upgrades, what follows them in one piece, and requests that are no upgrades."""

from __future__ import annotations

import socket
import threading
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest

from sampan.api.engine.buildkit import messages
from sampan.api.grpc import framing

LIMIT_S = 20
UPGRADE = "Host: \r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n"
SESSION = "X-Docker-Expose-Session-Uuid: abc\r\nX-Docker-Expose-Session-Grpc-Method: /grpc.health.v1.Health/Check\r\n"


def connected(harbour: Any) -> socket.socket:
    found = socket.socket(socket.AF_UNIX)
    found.settimeout(LIMIT_S)
    found.connect(harbour.url.removeprefix("unix://"))
    return found


def head_of(stream: socket.socket) -> tuple[bytes, bytes]:
    """The answer's head, and what came behind it."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = stream.recv(65536)
        assert more, data
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def ask(path: str, extra: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\n{UPGRADE}{extra}\r\n".encode()


@pytest.mark.parametrize("path", ["/grpc", "/v1.45/grpc", "/v1.47/grpc?x=y"])
def test_calls_follow_the_upgrade_even_in_one_piece(engine_harbour: Any, path: str) -> None:
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/moby.buildkit.v1.Control/ListWorkers"),
        (":authority", "x"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    client.send_headers(1, headers)
    client.send_data(1, framing.frame(b""), end_stream=True)
    with connected(engine_harbour) as stream:
        stream.sendall(ask(path) + client.data_to_send())
        head, data = head_of(stream)
        assert head == b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c"
        body, trailers = b"", {}
        while not trailers:
            for event in client.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    body += event.data
                if isinstance(event, h2.events.TrailersReceived):
                    trailers = dict(event.headers)
            data = b"" if trailers else stream.recv(65536)
        assert trailers[b"grpc-status"] == b"0"
        assert messages.Workers.decode(body[5:]).record[0].platforms[0].os == "linux"
    assert engine_harbour.call("GET", "/_ping")[0] == 200


def test_a_session_is_called_and_ends_with_its_connection(engine_harbour: Any) -> None:
    with connected(engine_harbour) as stream:
        stream.sendall(ask("/session", SESSION))
        head, data = head_of(stream)
        assert head.startswith(b"HTTP/1.1 101 ")
        while len(data) < 24:
            data += stream.recv(65536)
        assert data.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")  # the daemon is the one that calls
        with connected(engine_harbour) as second:
            second.sendall(ask("/session", SESSION))
            head, _ = head_of(second)
            assert head.startswith(b"HTTP/1.1 409 ")
    answers = threading.Event()
    for _ in range(500):
        with connected(engine_harbour) as again:
            again.sendall(ask("/session", SESSION))
            head, _ = head_of(again)
            if head.startswith(b"HTTP/1.1 101 "):
                break
        answers.wait(0.01)
    else:
        pytest.fail("the session stays although its connection is gone")


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/grpc", "Host: x\r\nContent-Length: 0\r\n", b"400"),
        ("/grpc", "Host: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n", b"400"),
        ("/session", "Host: x\r\nContent-Length: 0\r\n", b"400"),
        ("/session", UPGRADE, b"400"),  # no identifier
        ("/session", UPGRADE + "X-Docker-Expose-Session-Uuid: " + "u" * 500 + "\r\n", b"400"),
        ("/build/cancel", "Host: x\r\nContent-Length: 0\r\n", b"400"),
        ("/build/cancel?id=nothing", "Host: x\r\nContent-Length: 0\r\n", b"404"),
    ],
)
def test_what_is_no_upgrade_is_refused(engine_harbour: Any, path: str, headers: str, status: bytes) -> None:
    with connected(engine_harbour) as stream:
        stream.sendall(f"POST {path} HTTP/1.1\r\n{headers}\r\n".encode())
        head, _ = head_of(stream)
        assert head.split()[1] == status
    assert engine_harbour.call("GET", "/_ping")[0] == 200


def test_an_offer_of_http_2_elsewhere_is_not_taken_and_the_answer_comes(engine_harbour: Any) -> None:
    with connected(engine_harbour) as stream:
        offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
        stream.sendall(f"GET /v1.47/version HTTP/1.1\r\nHost: x\r\n{offer}\r\n".encode())
        head, _ = head_of(stream)
        assert head.startswith(b"HTTP/1.1 200 ")


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA_OF_NOBODY = b"\0\0\1\0\0\0\0\0\0x"


@pytest.mark.parametrize(
    ("path", "garbage"),
    [
        ("/grpc", b"GET / HTTP/1.1\r\n\r\n"),
        ("/grpc", b"\0" * 100),
        ("/grpc", PREFACE + DATA_OF_NOBODY),
        ("/session", DATA_OF_NOBODY),
        ("/session", b"\0" * 100),
    ],
)
def test_garbage_behind_the_upgrade_ends_the_connection_only(engine_harbour: Any, path: str, garbage: bytes) -> None:
    with connected(engine_harbour) as stream:
        stream.sendall(ask(path, SESSION) + garbage)
        head, _ = head_of(stream)
        assert head.startswith(b"HTTP/1.1 101 ")
        while stream.recv(65536):
            pass
    assert engine_harbour.call("GET", "/_ping")[0] == 200
