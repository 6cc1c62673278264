"""TLS on tcp with the stock docker command line and our own: certificates, and streams whose ends come apart."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import peers
from harbour import Harbour, busybox_image

pytestmark = [pytest.mark.root, pytest.mark.peer, pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")]
BYTES = 5_000_000


def certificates(folder: Path) -> Path:
    """An authority, the daemon's certificate for 127.0.0.1, the client's, and one that nobody signed."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    openssl("req", "-x509", *new, "-subj", "/CN=authority", "-keyout", "ca-key.pem", "-out", "ca.pem")
    openssl("req", "-x509", *new, "-subj", "/CN=stranger", "-keyout", "other-key.pem", "-out", "other.pem")
    for name, extension in (
        ("server", "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth"),
        ("client", "extendedKeyUsage=clientAuth"),
    ):
        (folder / "ext").write_text(extension)
        openssl("req", *new, "-subj", f"/CN={name}", "-keyout", f"{name}-key.pem", "-out", "request.pem")
        signed = ("-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-extfile", "ext", "-days", "2")
        openssl("x509", "-req", "-in", "request.pem", *signed, "-out", f"{name}.pem")
    for place, name in (("client", "client"), ("other", "other")):
        home = folder / place
        home.mkdir()
        (home / "ca.pem").write_bytes((folder / "ca.pem").read_bytes())
        (home / "cert.pem").write_bytes((folder / f"{name}.pem").read_bytes())
        (home / "key.pem").write_bytes((folder / f"{name}-key.pem").read_bytes())
    return folder


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    folder = certificates(tmp_path_factory.mktemp("certificates"))
    words = ("--tlsverify", "--tlscacert", "ca.pem", "--tlscert", "server.pem", "--tlskey", "server-key.pem")
    options = [str(folder / word) if word.endswith(".pem") else word for word in words]
    # The port is left out: with TLS it is 2376.
    with Harbour(tmp_path_factory.mktemp("tls"), *options, "-H", "tcp://127.0.0.1") as one:
        one.certificates = folder  # type: ignore[attr-defined]
        one.start()
        client = one.client()
        busybox_image(client, "bb")
        client.containers.run("bb", detach=True, name="box")
        client.close()
        yield one


CLIS = {
    "docker": lambda: [peers.docker_cli()],
    "sampan": lambda: [sys.executable, "-m", "sampan.cli.main"],
}


@pytest.fixture(params=sorted(CLIS))
def cli(request: pytest.FixtureRequest) -> list[str]:
    return list(CLIS[request.param]())


def run(host: Harbour, cli: list[str], *words: str, place: str = "client", before: str = "", after: str = "") -> str:
    """A command inside the host, with Docker's environment variables; stdout and stderr."""
    folder = host.certificates / place  # type: ignore[attr-defined]
    environment = ["env", "DOCKER_HOST=tcp://127.0.0.1:2376", "DOCKER_TLS_VERIFY=1", f"DOCKER_CERT_PATH={folder}"]
    line = f"{before} {shlex.join([*environment, *cli, *words])} 2>&1 {after}; echo rc=$?"
    return host.host.run(["sh", "-c", line])


def test_a_client_with_a_certificate_is_served(host: Harbour, cli: list[str]) -> None:
    assert "box" in run(host, cli, "ps")
    assert run(host, cli, "exec", "box", "echo", "ahoy") == "ahoy\nrc=0\n"
    assert run(host, cli, "exec", "box", "sh", "-c", "exit 7").strip().endswith("rc=7")


def test_a_big_stream_comes_back_whole_after_the_end_of_input(host: Harbour, cli: list[str], tmp_path: Path) -> None:
    content = os.urandom(BYTES)
    source = tmp_path / "content"
    source.write_bytes(content)
    expected = hashlib.sha256(content).hexdigest()
    for words in (("exec", "-i", "box", "cat"), ("run", "-i", "--rm", "bb", "cat")):
        said = run(host, cli, *words, before=f"cat {source} |", after="| sha256sum")
        assert said.split()[0] == expected, words


def test_a_client_without_a_certificate_of_ours_is_refused(host: Harbour, cli: list[str]) -> None:
    said = run(host, cli, "ps", place="other")
    assert "rc=0" not in said
    assert "certificate" in said or "tls" in said.lower()
    assert "box" not in said


def test_a_client_without_tls_is_told(host: Harbour) -> None:
    program = (
        "import socket; s = socket.create_connection(('127.0.0.1', 2376));"
        "s.sendall(b'GET /_ping HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); print(s.recv(999).decode())"
    )
    said = host.host.run([sys.executable, "-c", program])
    assert said.startswith("HTTP/1.0 400 ")
    assert "HTTP request to an HTTPS server" in said
    assert "everybody who reaches this port" not in host.log_end(200), "with --tlsverify there is nothing to warn of"


def test_streams_end_with_the_client(host: Harbour) -> None:
    """A follower that goes leaves no connection behind."""
    docker = CLIS["docker"]()
    folder = host.certificates / "client"  # type: ignore[attr-defined]
    words = [*docker, "--host", "tcp://127.0.0.1:2376", "--tlsverify", "--tlscacert", str(folder / "ca.pem")]
    words += ["--tlscert", str(folder / "cert.pem"), "--tlskey", str(folder / "key.pem"), "logs", "-f", "box"]
    host.host.run(["sh", "-c", f"timeout 1 {shlex.join(words)}; true"])
    seen = "ss -Htn state established '( sport = :2376 )' | wc -l"
    line = f"for i in $(seq 100); do [ $({seen}) = 0 ] && exit 0; sleep 0.05; done; exit 1"
    host.host.run(["sh", "-c", line])
