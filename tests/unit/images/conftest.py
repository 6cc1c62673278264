"""A registry that misbehaves on request, images made of a few bytes, and a driver that prepares nothing."""

from __future__ import annotations

import hashlib
import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sampan.blobs.service import Blobs
from sampan.events.bus import Bus
from sampan.formats import compression, oci
from sampan.images import endpoints, model
from sampan.images.drivers.model import LayerFacts
from sampan.images.service import Images
from sampan.state.database import Database


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass
class FakeRegistry:
    """Blobs and manifests of every repository together; the fields below `requests` are its faults."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    break_after_bytes: list[int] = field(default_factory=list)  # one entry for each blob answer to cut
    break_uploads: int = 0
    ranges: bool = True
    token: str = ""
    realm: str = ""
    redirect_blobs_to: str = ""
    instead: dict[str, bytes] = field(default_factory=dict)  # digest -> other content
    held: threading.Event = field(default_factory=threading.Event)  # blobs wait for it
    host: str = ""

    def __post_init__(self) -> None:
        self.held.set()

    def add(self, content: bytes) -> oci.Descriptor:
        self.blobs[digest_of(content)] = content
        return oci.Descriptor(oci.OCI_LAYER_GZIP, digest_of(content), len(content))

    def add_manifest(self, content: bytes, media_type: str, *tags: str) -> str:
        for name in (digest_of(content), *tags):
            self.manifests[name] = (content, media_type)
        return digest_of(content)

    def add_image(self, *layers: bytes, tag: str = "latest", compressed: bool = True, **config: Any) -> str:
        """Layers are given plain; returns the manifest's digest."""
        sent = [b"".join(compression.gzip_pieces([each])) if compressed else each for each in layers]
        document = {
            "architecture": "amd64",
            "os": "linux",
            "created": "2026-01-02T03:04:05Z",
            "config": {"Cmd": ["/boat"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(each) for each in layers]},
            **config,
        }
        content = json.dumps(document).encode()
        self.add(content)
        media_type = oci.OCI_LAYER_GZIP if compressed else oci.OCI_LAYER
        manifest = oci.Manifest(
            schema_version=2,
            media_type=oci.OCI_MANIFEST,
            config=oci.descriptor(oci.OCI_CONFIG, content),
            layers=[oci.Descriptor(media_type, self.add(each).digest, len(each)) for each in sent],
        )
        return self.add_manifest(oci.encode(manifest), oci.OCI_MANIFEST, tag)

    def paths(self, method: str) -> list[str]:
        return [path for verb, path, _ in self.requests if verb == method]


def _handler(registry: FakeRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def refused(self) -> bool:
            length = int(self.headers.get("Content-Length") or 0)
            self.content = self.rfile.read(length)
            if self.command == "PUT" and "/uploads/" in self.path and registry.break_uploads:
                registry.break_uploads -= 1
                self.close_connection = True
                return True
            registry.requests.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
            if self.path.startswith("/token"):
                self.answer(200, json.dumps({"token": registry.token}).encode())
                return True
            if registry.token and self.headers.get("Authorization") != f"Bearer {registry.token}":
                realm = registry.realm or f"http://{registry.host}/token"
                challenge = f'Bearer realm="{realm}",service="fake"'
                self.answer(401, b'{"errors":[{"code":"UNAUTHORIZED","message":"who?"}]}', WWW_Authenticate=challenge)
                return True
            return False

        def do_GET(self) -> None:
            if self.refused():
                return
            kind, _, name = self.path.rpartition("/")
            if kind.endswith("/manifests") and name in registry.manifests:
                content, media_type = registry.manifests[name]
                self.answer(200, content, Content_Type=media_type)
            elif kind.endswith("/blobs") and name in registry.blobs:
                self.blob(name)
            elif self.path == "/v2/":
                self.answer(200, b"{}")
            elif kind.endswith("/manifests"):
                self.answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
            else:
                self.answer(404)

        do_HEAD = do_GET

        def blob(self, name: str) -> None:
            registry.held.wait(20)
            if registry.redirect_blobs_to and self.command == "GET":
                self.answer(307, Location=registry.redirect_blobs_to + self.path)
                return
            content = registry.instead.get(name, registry.blobs[name])
            start = int(self.headers.get("Range", "bytes=0-")[6:-1]) if registry.ranges else 0
            rest = content[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            if self.command == "HEAD":
                return
            if registry.break_after_bytes:
                self.wfile.write(rest[: registry.break_after_bytes.pop(0)])
                self.close_connection = True
            else:
                self.wfile.write(rest)

        def do_POST(self) -> None:
            if self.refused():
                return
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            mount = query.get("mount", [""])[0]
            if mount in registry.blobs and "from" in query:
                self.answer(201, Location=f"/v2/x/blobs/{mount}")
            else:
                self.answer(202, Location="/v2/x/blobs/uploads/1?state=2")

        def do_PUT(self) -> None:
            if self.refused():
                return
            parts = urllib.parse.urlsplit(self.path)
            if "/manifests/" in parts.path:
                name = parts.path.rpartition("/")[2]
                registry.add_manifest(self.content, self.headers["Content-Type"], name)
            else:
                digest = urllib.parse.parse_qs(parts.query)["digest"][0]
                assert digest == digest_of(self.content)
                registry.blobs[digest] = self.content
            self.answer(201)

    return Handler


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    yield from _serve(FakeRegistry())


@pytest.fixture
def other_registry() -> Iterator[FakeRegistry]:
    yield from _serve(FakeRegistry())


def _serve(fake: FakeRegistry) -> Iterator[FakeRegistry]:
    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that went away in the middle is what some tests are about

    server = Server(("127.0.0.1", 0), _handler(fake))
    fake.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield fake
    fake.held.set()
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass
class FakeDriver:
    """Takes every tar that does not begin with `bad`; remembers what it prepared."""

    name: str = "fake"
    prepared: dict[str, int] = field(default_factory=dict)

    def prepare(self, diff_id: str, tar: Path) -> LayerFacts:
        content = tar.read_bytes()
        if content.startswith(b"bad"):
            raise compression.DamagedStream("no tar")
        self.prepared[diff_id] = len(content)
        return LayerFacts(1, len(content))

    def has(self, diff_id: str) -> bool:
        return diff_id in self.prepared

    def lower(self, diff_id: str) -> Path:
        return Path("/layers") / diff_id[:4]

    def remove(self, diff_id: str) -> None:
        self.prepared.pop(diff_id, None)

    def sweep(self, keep: Any) -> None:
        for diff_id in set(self.prepared) - set(keep):
            del self.prepared[diff_id]


@dataclass
class Host:
    """One host's content store, database and images."""

    images: Images
    blobs: Blobs
    database: Database
    driver: FakeDriver
    bus: Bus
    users: dict[str, Sequence[model.User]]

    def files(self) -> set[str]:
        """Digests with a file, and whatever was forgotten in `ingest`."""
        return {*self.blobs.files.present(), *(entry.name for entry in self.blobs.files.ingest.iterdir())}


def make_host(folder: Path, *, limits: compression.Limits | None = None, **settings: Any) -> Host:
    database = Database.open(folder / "sampan.db")
    blobs = Blobs(folder / "content", database)
    blobs.files.prepare()
    driver, bus, users = FakeDriver(), Bus(lambda: 5), {}
    clock = iter(range(1_800_000_000_000_000_000, 1_900_000_000_000_000_000, 1_000_000_000))
    images = Images(
        blobs,
        database,
        driver,
        bus,
        settings=endpoints.Settings(**settings),
        used_by=lambda image_id: users.get(image_id, ()),
        platform=oci.Platform(os="linux", architecture="amd64"),
        limits=limits,
        now_ns=lambda: next(clock),
    )
    return Host(images, blobs, database, driver, bus, users)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = make_host(tmp_path)
    yield made
    made.database.close()


@pytest.fixture
def new_host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Further hosts, beside `host`."""
    made: list[Host] = []

    def make(**options: Any) -> Host:
        folder = tmp_path / f"host{len(made)}"
        folder.mkdir()
        made.append(make_host(folder, **options))
        return made[-1]

    yield make
    for each in made:
        each.database.close()
