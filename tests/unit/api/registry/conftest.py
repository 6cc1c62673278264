"""A registry on a loopback port, in a thread of its own, and a client that sends exactly what it is told to."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sampan.api.registry.context import Action
from sampan.api.registry.server import Site, make_runner
from sampan.blobs.service import Blobs
from sampan.events.bus import Bus, Event
from sampan.formats import oci
from sampan.formats.digest import Digest
from sampan.registry.rebuild import Rebuilt
from sampan.registry.service import Registry
from sampan.state.database import Database

SECRET = "only the engine knows"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error code; the body must have the specification's form."""
        assert self.headers["content-type"].startswith("application/json"), self
        (error,) = self.json["errors"]
        assert set(error) == {"code", "message", "detail"}
        return str(error["code"])


class Harbour:
    """One registry on its folders. `start` and `stop` may be called again and again."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.root = root
        self.folder = root / "registry"
        self.options = options
        self.denied: set[tuple[str, Action]] = set()
        self.now_shift_ns = 0
        self.rebuilt: Rebuilt | None = None
        self.swept = 0

    def start(self) -> Harbour:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="registry-loop")
        self._thread.start()
        self.run(self._serve())
        return self

    def stop(self) -> None:
        self.run(self._end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    async def _serve(self) -> None:
        now: Callable[[], int] = lambda: time.time_ns() + self.now_shift_ns  # noqa: E731
        self.database = Database.open(self.root / "state.db")
        self.blobs = Blobs(self.folder, self.database, now_ns=now)
        self.blobs.files.prepare()
        self.bus = Bus(now)
        self.registry = Registry(self.blobs, self.database, events=self.bus, now_ns=now, **self.options)
        self.rebuilt = self.registry.start()
        self.swept = self.blobs.sweep()
        self._runner = make_runner(
            self.registry, secret=SECRET, authorize=lambda _, name, action: (name, action) not in self.denied
        )
        await self._runner.setup()
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        await Site(self._runner, listening).start()

    def run_without_serving(self) -> None:
        """Open the folder as `start` does, and leave again."""
        database = Database.open(self.root / "state.db")
        try:
            blobs = Blobs(self.folder, database)
            blobs.files.prepare()
            Registry(blobs, database).start()
        finally:
            database.close()

    async def _end(self) -> None:
        await self._runner.cleanup()
        await self.registry.close()
        self.database.close()

    def events(self) -> list[Event]:
        return self.bus.past(0)

    # --- the client ---

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request. An iterable body is sent chunked."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            sent = dict(headers or {})
            if body is None and method in ("POST", "PUT", "PATCH"):
                body = b""
            connection.request(method, path, body=body, headers=sent, encode_chunked=not isinstance(body, bytes))
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def push_blob(self, name: str, content: bytes, digest: Digest | None = None) -> Digest:
        digest = digest or Digest.of(content)
        begun = self.ask("POST", f"/v2/{name}/blobs/uploads/")
        assert begun.status == 202, begun
        done = self.ask("PUT", f"{begun.headers['location']}?digest={digest}", content)
        assert done.status == 201, done
        return digest

    def push_manifest(self, name: str, reference: str, content: bytes, media_type: str = oci.OCI_MANIFEST) -> Answer:
        return self.ask("PUT", f"/v2/{name}/manifests/{reference}", content, {"Content-Type": media_type})

    def push_image(self, name: str, tag: str, *layers: bytes, **fields: Any) -> tuple[Digest, bytes]:
        content = image(*(layers or (b"a layer",)), **fields)
        for blob in (b"{}", *(layers or (b"a layer",))):
            self.push_blob(name, blob)
        answer = self.push_manifest(name, tag, content)
        assert answer.status == 201, answer
        return Digest.of(content), content


def descriptor(content: bytes, media_type: str = oci.OCI_LAYER, **fields: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content), **fields}


def image(*layers: bytes, **fields: Any) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": oci.OCI_MANIFEST,
        "config": descriptor(b"{}", oci.OCI_CONFIG),
        "layers": [descriptor(layer) for layer in layers],
        **fields,
    }
    return json.dumps(document).encode()


def index(*manifests: bytes, **fields: Any) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": oci.OCI_INDEX,
        "manifests": [descriptor(manifest, oci.OCI_MANIFEST) for manifest in manifests],
        **fields,
    }
    return json.dumps(document).encode()


class Documents:
    """Makers of documents, for tests that have no import path to this file."""

    image = staticmethod(image)
    index = staticmethod(index)
    descriptor = staticmethod(descriptor)


@pytest.fixture
def make() -> type[Documents]:
    return Documents


@pytest.fixture
def harbour(tmp_path: Path) -> Iterator[Harbour]:
    served = Harbour(tmp_path).start()
    try:
        yield served
    finally:
        served.stop()


@pytest.fixture
def harbour_with(tmp_path: Path) -> Iterator[Callable[..., Harbour]]:
    started: list[Harbour] = []

    def start(**options: Any) -> Harbour:
        started.append(Harbour(tmp_path / f"harbour-{len(started)}", **options).start())
        return started[-1]

    try:
        yield start
    finally:
        for served in started:
            served.stop()
