"""Outgoing HTTP: which connections are kept, and what happens when they break."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator

import pytest

from sampan import errors
from sampan.host import http

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Answers each request with the next of `answers`; None closes the connection instead."""

    def __init__(self) -> None:
        self.answers: list[bytes | None] = []
        self.connections = 0
        self._current: socket.socket | None = None
        self.requests: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/x"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()

    def hang_up(self) -> None:
        """Break the connection in the middle of an answer."""
        assert self._current is not None
        self._current.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            self._current = connection
            with connection:
                try:
                    self._converse(connection)
                except ConnectionError:
                    pass  # the client hung up

    def _converse(self, connection: socket.socket) -> None:
        while data := connection.recv(65536):
            self.requests.append(data)
            answer = self.answers.pop(0)
            if answer is None:
                return
            connection.sendall(answer)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def client() -> Iterator[http.Http]:
    made = http.Http(lambda _origin: ssl.create_default_context(), timeout_s=5)
    yield made
    made.close()


def get(client: http.Http, url: str, read: Callable[[http.Response], bytes] = lambda each: each.read(100)) -> bytes:
    with client.request("GET", url, {}) as response:
        return read(response)


def test_a_connection_read_to_the_end_is_used_again(server: Server, client: http.Http) -> None:
    server.answers = [OK, OK]
    assert (get(client, server.url), get(client, server.url)) == (b"ok", b"ok")
    client.close()
    assert server.connections == 1


def test_a_connection_not_read_to_the_end_is_closed(server: Server, client: http.Http) -> None:
    server.answers = [OK, OK]
    get(client, server.url, lambda response: response.read(1))
    get(client, server.url)
    client.close()
    assert server.connections == 2


def test_a_kept_connection_that_the_server_closed_is_replaced_unseen(server: Server, client: http.Http) -> None:
    server.answers = [OK, None, OK]
    get(client, server.url)
    assert get(client, server.url) == b"ok"


def test_a_new_connection_that_breaks_is_an_error(server: Server, client: http.Http) -> None:
    server.answers = [None]
    with pytest.raises(http.Unreachable):
        get(client, server.url)


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked\r\n\r\n5\r\nhal", b"Content-Length: 100\r\n\r\nhalf"])
def test_a_body_that_breaks_is_an_error(server: Server, client: http.Http, framing: bytes) -> None:
    server.answers = [b"HTTP/1.1 200 OK\r\n" + framing]
    with pytest.raises(http.Unreachable, match="connection broke"), client.request("GET", server.url, {}) as response:
        server.hang_up()
        response.read_all(1000)


def test_a_body_over_the_limit_is_refused(server: Server, client: http.Http) -> None:
    server.answers = [OK]
    with pytest.raises(errors.Invalid, match="more than 1 bytes"):
        get(client, server.url, lambda response: response.read_all(1))


def test_nobody_there_is_said_as_docker_says_it(client: http.Http) -> None:
    with pytest.raises(http.Unreachable, match=r'Get "http://127\.0\.0\.1:1/x": dial tcp .* connection refused'):
        get(client, "http://127.0.0.1:1/x")


def test_a_server_without_tls_is_no_https_server(server: Server, client: http.Http) -> None:
    server.answers = [b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"]
    with pytest.raises(http.Unreachable) as caught:
        get(client, server.url.replace("http", "https"))
    assert isinstance(caught.value.reason, ssl.SSLError)


def test_a_header_cannot_be_smuggled_in(server: Server, client: http.Http) -> None:
    with pytest.raises(ValueError, match="Invalid header"):
        client.request("GET", server.url, {"A": "x\r\nB: y"})
