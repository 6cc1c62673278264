"""The TLS front alone: both directions of a connection end apart, whatever the protocol behind it does."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
import subprocess
from collections.abc import Callable

import pytest

from sampan.api.http import tls
from sampan.cli.endpoint import tls as client_tls

BYTES = 3_000_000
LIMIT_S = 30.0


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tls.Files:
    folder = tmp_path_factory.mktemp("tls")
    words = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=x"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(["openssl", "req", "-x509", *words, *names], cwd=folder, check=True, capture_output=True)
    return tls.Files(str(folder / "cert.pem"), str(folder / "key.pem"))


class Digest(asyncio.Protocol):
    """Answers with the sum of everything once the client has ended its side; pauses on the way as hijack does."""

    def __init__(self) -> None:
        self.sum, self.count = hashlib.sha256(), 0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        self.sum.update(data)
        self.count += 1
        if self.count % 3 == 0:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(0, self.transport.resume_reading)

    def eof_received(self) -> bool:
        assert self.transport is not None
        self.transport.write(self.sum.digest() + bytes(BYTES))
        self.transport.close()
        return True


class Talker(Digest):
    """Ends its side first, then goes on listening."""

    heard = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.write(b"all I have to say")
        self.transport.write_eof()

    def data_received(self, data: bytes) -> None:
        Talker.heard += data

    def eof_received(self) -> bool:
        return False


def talk(files: tls.Files, protocol: type[asyncio.Protocol], client: Callable[[int], bytes]) -> bytes:
    async def serve() -> bytes:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(tls.front(tls.context(files), protocol), "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await asyncio.wait_for(asyncio.to_thread(client, port), LIMIT_S)

    return asyncio.run(serve())


def connect(files: tls.Files, port: int) -> socket.socket:
    context = ssl.create_default_context(cafile=files.certificate)
    joined = client_tls.join(context, socket.create_connection(("127.0.0.1", port)), "127.0.0.1")
    joined.settimeout(LIMIT_S)
    return joined


def read_all(connected: socket.socket) -> bytes:
    found = bytearray()
    while data := connected.recv(1 << 16):
        found += data
    return bytes(found)


def test_the_answer_after_the_clients_end_comes_whole(files: tls.Files) -> None:
    content = os.urandom(BYTES)

    def client(port: int) -> bytes:
        with connect(files, port) as connected:
            connected.sendall(content)
            connected.shutdown(socket.SHUT_WR)
            return read_all(connected)

    answer = talk(files, Digest, client)
    assert answer[:32] == hashlib.sha256(content).digest()
    assert len(answer) == 32 + BYTES


def test_a_server_that_ended_its_side_still_hears(files: tls.Files) -> None:
    Talker.heard = b""

    def client(port: int) -> bytes:
        with connect(files, port) as connected:
            said = read_all(connected)
            connected.sendall(b"and I say this")
            connected.shutdown(socket.SHUT_WR)
            deadline = asyncio.run(wait_heard())
            assert deadline
            return said

    async def wait_heard() -> bool:
        async with asyncio.timeout(LIMIT_S):
            while Talker.heard != b"and I say this":
                await asyncio.sleep(0.01)
        return True

    assert talk(files, Talker, client) == b"all I have to say"


def test_a_client_without_tls_gets_a_hint(files: tls.Files) -> None:
    def client(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), LIMIT_S) as connected:
            connected.sendall(b"GET / HTTP/1.1\r\n\r\n")
            return read_all(connected)

    assert b"HTTP request to an HTTPS server" in talk(files, Digest, client)


def test_a_connection_that_says_nothing_and_goes_is_forgotten(files: tls.Files) -> None:
    def client(port: int) -> bytes:
        socket.create_connection(("127.0.0.1", port), LIMIT_S).close()
        with connect(files, port) as connected:
            connected.shutdown(socket.SHUT_WR)
            return read_all(connected)[:32]

    assert talk(files, Digest, client) == hashlib.sha256(b"").digest()


@pytest.mark.parametrize(
    ("certificate", "key", "authority", "option"),
    [("/no/such", "", "", "--tlscert"), ("", "/no/such", "", "--tlskey"), ("", "", "/no/such", "--tlscacert")],
)
def test_a_file_that_cannot_be_used_is_named(
    files: tls.Files, certificate: str, key: str, authority: str, option: str
) -> None:
    broken = tls.Files(certificate or files.certificate, key or files.key, authority)
    with pytest.raises(tls.CertificateInvalid, match=option) as caught:
        tls.context(broken)
    assert "/no/such" in str(caught.value)


def test_an_authority_makes_clients_show_a_certificate(files: tls.Files) -> None:
    assert tls.context(files).verify_mode is ssl.CERT_NONE
    asked = tls.context(tls.Files(files.certificate, files.key, files.certificate))
    assert asked.verify_mode is ssl.CERT_REQUIRED
