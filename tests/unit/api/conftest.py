"""The Docker Engine face over rooms that live in memory, served on a Unix socket from a thread."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web

from sampan import errors
from sampan.api.engine import app
from sampan.api.engine.context import Engine, Facts
from sampan.api.http import listeners
from sampan.containers.execs import Exec, ExecUnknown, ExecWish
from sampan.containers.health.plan import Health, Result
from sampan.containers.layout import Paths
from sampan.containers.model import Container, ContainerFilter, ContainerUnknown, Exit, Phase, State
from sampan.containers.mountpoints import MountPoint
from sampan.containers.wanted import Wanted, decode_create
from sampan.events.bus import Bus
from sampan.formats import oci, stdcopy
from sampan.formats.digest import Digest
from sampan.images import model as images_model
from sampan.images.remote import Remote
from sampan.networks import failures
from sampan.networks.model import Attachment, Endpoint, Network, PublishedPort
from sampan.volumes.service import VolumeUnknown
from sampan.volumes.store import Volume

NS = 1_000_000_000
LAYER = Digest.of(b"layer")
IMAGE_ID = Digest.of(b"image")
NETWORK_ID = "b" * 64


class FakeStreams:
    """Echoes its input to stdout, in capitals to stderr."""

    def __init__(self, *, terminal: bool, wants_input: bool, words: list[str]) -> None:
        self.terminal = terminal
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(4)
        self._words = words
        self._wants_input = wants_input
        self.closed = False
        self.ended = asyncio.Event()

    async def output(
        self, *, stdout: bool = True, stderr: bool = True, logs_too: bool = False, stream: bool = True
    ) -> AsyncIterator[bytes]:
        def framed(number: int, data: bytes) -> bytes:
            return data if self.terminal else stdcopy.frame(number, data)

        yield framed(1, (" ".join(self._words) + "\n").encode())
        while self._wants_input and (data := await self._queue.get()):
            if stdout:
                yield framed(1, data)
            if stderr and not self.terminal:
                yield framed(2, data.upper())
        self.ended.set()

    def detached(self) -> None:
        self.let_go = True

    async def write(self, content: bytes) -> None:
        await self._queue.put(content)

    async def end_input(self) -> None:
        await self._queue.put(b"")

    async def close(self) -> None:
        self.closed = True


class FakeExecs:
    def __init__(self, containers: FakeContainers) -> None:
        self._containers = containers
        self.items: dict[str, Exec] = {}

    def create(self, reference: str, wish: ExecWish) -> Exec:
        container = self._containers.get(reference)
        item = Exec(f"{len(self.items) + 1:064x}", container.id, wish)
        self.items[item.id] = item
        return item

    def get(self, exec_id: str) -> Exec:
        if exec_id not in self.items:
            raise ExecUnknown(f"No such exec instance: {exec_id}")
        return self.items[exec_id]

    def of(self, container_id: str) -> list[str]:
        return []

    async def start(self, exec_id: str, *, rows: int = 0, columns: int = 0) -> FakeStreams:
        item = self.get(exec_id)
        if item.wish.command == ("nonsense",):
            item.exit_code = 127
            raise errors.Invalid('exec: "nonsense": executable file not found in $PATH')
        # A runtime takes its time; the SDK for Python loses what comes together with the answer's head.
        await asyncio.sleep(0.05)
        streams = FakeStreams(terminal=item.wish.terminal, wants_input=item.wish.stdin, words=list(item.wish.command))

        async def ending() -> None:
            await streams.ended.wait()
            item.exit_code = 7
            item.ended.set()

        self._containers.tasks.append(asyncio.create_task(ending()))
        return streams

    async def resize(self, exec_id: str, rows: int, columns: int) -> None:
        self.get(exec_id)


class FakeHealth:
    """A container with a healthcheck failed once."""

    def of(self, item: Container) -> Health | None:
        if item.wanted.config.healthcheck is None:
            return None
        return Health("starting", 1, (Result(1, 2, 1, "no"),))


@dataclass
class FakeContainers:
    bus: Bus
    items: dict[str, Container] = field(default_factory=dict)
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    tasks: list[Any] = field(default_factory=list)
    waits: dict[str, list[asyncio.Future[Exit]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.execs = FakeExecs(self)
        self.health = FakeHealth()

    def put(self, name: str, wanted: Wanted, phase: Phase = Phase.CREATED) -> Container:
        id_ = f"{len(self.items) + 1:02x}" * 32
        now_ns = time.time_ns()
        state = State(pid=4242, started_ns=now_ns - 300 * NS) if phase == Phase.RUNNING else State()
        self.items[id_] = Container(id_, name, IMAGE_ID, phase, wanted, state, now_ns - 600 * NS)
        return self.items[id_]

    def get(self, reference: str) -> Container:
        for item in self.items.values():
            if reference == item.name or (reference and item.id.startswith(reference)):
                return item
        raise ContainerUnknown(f"No such container: {reference}")

    def list(self, wanted: ContainerFilter) -> list[Container]:
        return [item for item in self.items.values() if wanted.all or item.alive]

    async def create(self, name: str, wanted: Wanted, *, platform: str = "") -> tuple[Container, list[str]]:
        if wanted.config.image == "missing:latest":
            raise images_model.NoSuchImage("No such image: missing:latest")
        if any(item.name == name for item in self.items.values()):
            raise errors.Conflict(f'Conflict. The container name "/{name}" is already in use')
        return self.put(name or "eager_dory", wanted), []

    async def start(self, reference: str) -> Container:
        item = self.get(reference)
        if item.alive:
            raise errors.Unchanged("it runs")
        if item.entrypoint_and_command[:1] == ["nonsense"]:
            raise errors.Invalid('exec: "nonsense": executable file not found in $PATH')
        now_ns = time.time_ns()
        self.items[item.id] = replace(item, phase=Phase.RUNNING, state=State(pid=4242, started_ns=now_ns))
        self.bus.publish("container", "start", item.id, name=item.name, image=item.wanted.config.image)
        for future in self.waits.pop(item.id, []):
            if not future.done():
                future.set_result(Exit(3))
        return self.items[item.id]

    async def stop(self, reference: str, *, timeout_s: int | None = None, signal: str = "") -> None:
        self.calls.append(("stop", self.get(reference).name, timeout_s, signal))

    async def kill(self, reference: str, signal: str = "KILL") -> None:
        self.calls.append(("kill", self.get(reference).name, signal))

    async def remove(self, reference: str, *, force: bool = False, volumes: bool = False) -> None:
        item = self.get(reference)
        if item.alive and not force:
            raise errors.Conflict(f"cannot remove container {item.name}: container is running")
        del self.items[item.id]

    def wait(self, reference: str, condition: str) -> asyncio.Future[Exit]:
        item = self.get(reference)
        future: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        if condition == "not-running" and not item.alive:
            future.set_result(Exit(item.state.exit_code))
        else:
            self.waits.setdefault(item.id, []).append(future)
        return future

    async def attach(self, reference: str) -> FakeStreams:
        config = self.get(reference).wanted.config
        return FakeStreams(terminal=config.tty, wants_input=config.open_stdin, words=list(config.cmd))

    async def resize(self, reference: str, rows: int, columns: int) -> None:
        self.calls.append(("resize", self.get(reference).name, rows, columns))

    async def logs_chunks(self, framed: bool) -> AsyncIterator[bytes]:
        yield stdcopy.frame(1, b"out\n") if framed else b"out\n"
        yield stdcopy.frame(2, b"err\n") if framed else b"err\n"

    def logs(self, reference: str, query: Any, *, details: bool = False) -> AsyncIterator[bytes]:
        self.calls.append(("logs", query))
        return self.logs_chunks(query.multiplexed)

    def paths(self, reference: str) -> Paths:
        return Paths(Path("/data") / self.get(reference).id, Path("/run") / self.get(reference).id)

    def mounts(self, reference: str) -> tuple[MountPoint, ...]:
        return (
            MountPoint("bind", "/srv", "/srv", read_only=True, propagation="rprivate", mode="ro"),
            MountPoint("volume", "pantry", "/data"),
        )

    def links(self, item: Container) -> None:
        return None

    def linked_as(self) -> dict[str, list[str]]:
        return {}

    def network(self, reference: str) -> Attachment | None:
        item = self.get(reference)
        if not item.alive:
            return None
        endpoint = Endpoint(
            "e" * 64,
            NETWORK_ID,
            item.id,
            item.name,
            address=IPv4Interface("172.17.0.2/16"),
            gateway=IPv4Address("172.17.0.1"),
            mac="02:42:ac:11:00:02",
        )
        port = PublishedPort(endpoint.id, IPv4Address("172.17.0.2"), "tcp", IPv4Address("0.0.0.0"), 8080, 80)
        return Attachment(item.id, None, (endpoint,), (port,))

    async def size(self, reference: str) -> tuple[int, int]:
        return 10, 1010

    async def top(self, reference: str, arguments: str) -> tuple[list[str], list[list[str]]]:
        return ["PID", "CMD"], [["4242", "sleep 9"]]


class FakeImages:
    def __init__(self) -> None:
        document = {
            "created": "2026-01-02T03:04:05.5Z",
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"], "Labels": {"a": "b"}, "ExposedPorts": {"80/tcp": {}}},
            "rootfs": {"type": "layers", "diff_ids": [LAYER]},
        }
        self.image = images_model.Image(
            IMAGE_ID,
            Digest.of(b"manifest"),
            "application/vnd.oci.image.manifest.v1+json",
            ("docker.io/library/busybox:latest", f"docker.io/library/busybox@{Digest.of(b'manifest')}"),
            (LAYER,),
            4_321_000,
            NS,
            document,
            images_model.parse_config(document),
        )
        self.imported = b""

    def get(self, name: str) -> images_model.Image:
        if name in ("busybox", "busybox:latest", IMAGE_ID, "host:5000/team/app:1"):
            return self.image
        raise images_model.NoSuchImage(f"No such image: {name}")

    def list(self, filters: Any = None) -> tuple[images_model.Image, ...]:
        return (self.image,)

    def history(self, image: images_model.Image) -> tuple[images_model.HistoryItem, ...]:
        return (images_model.HistoryItem(image.created, "CMD sh", "", 4_321_000, image.id, image.tags),)

    async def distribution(self, name: str, *, credentials: Any = None) -> Remote:
        descriptor = oci.Descriptor(oci.OCI_INDEX, Digest.of(b"index"), 5)
        return Remote(descriptor, (oci.Platform("amd64", "linux"), oci.Platform("arm64", "linux", "v8")))

    async def pull(self, name: str, *, platform: str = "", credentials: Any = None) -> Any:
        if "absent" in name:
            raise images_model.NoSuchImage(f"manifest for {name} not found")
        yield images_model.Progress("Pulling from library/busybox", "latest")
        yield images_model.Progress("Downloading", "0123456789ab", 50, 100)
        yield images_model.Progress(f"Status: Downloaded newer image for {name}")
        if "halfway" in name:
            raise errors.Unavailable("the registry went away")

    async def import_(self, chunks: Any, *, name: str = "", **options: Any) -> images_model.Image:
        async for chunk in chunks:
            self.imported += chunk
        return self.image

    async def login(self, host: str, credentials: Any) -> None:
        if not credentials:
            raise errors.Unauthorized("unauthorized: incorrect username or password")

    def disk_usage(self) -> images_model.DiskUsage:
        return images_model.DiskUsage(4_321_000, {IMAGE_ID: 4_321_000}, {IMAGE_ID: 0})


class FakeTable:
    async def obstacles(self) -> tuple[str, ...]:
        return ()


class FakeNetworks:
    table = FakeTable()

    def __init__(self) -> None:
        self.items = {
            NETWORK_ID: Network(
                NETWORK_ID,
                "bridge",
                "bridge",
                NS,
                subnet=IPv4Network("172.17.0.0/16"),
                gateway=IPv4Address("172.17.0.1"),
            )
        }

    def list(self) -> tuple[Network, ...]:
        return tuple(self.items.values())

    def get(self, reference: str) -> Network:
        for item in self.items.values():
            if reference in (item.id, item.name):
                return item
        raise failures.NoSuchNetwork(reference)

    def endpoints_on(self, network: Network) -> tuple[Endpoint, ...]:
        return ()

    async def create(self, wish: Any) -> Network:
        item = Network("c" * 64, wish.name, "bridge", NS, subnet=IPv4Network(wish.subnet or "10.0.0.0/24"))
        self.items[item.id] = item
        return item


class FakeVolumes:
    root = "/data/volumes"

    def path(self, name: str) -> Path:
        return Path("/data/volumes") / name / "_data"

    def list(self) -> tuple[Volume, ...]:
        return (Volume("pantry", created_ns=NS),)

    def get(self, name: str) -> Volume:
        if name != "pantry":
            raise VolumeUnknown(f"get {name}: no such volume")
        return self.list()[0]

    def users(self, name: str) -> tuple[str, ...]:
        return ()

    async def create(self, name: str = "", **options: Any) -> Volume:
        return Volume(name or "f" * 64, labels=options.get("labels") or {}, created_ns=NS)


class FakeBuilder:
    """A build room without a cache."""

    def cache(self) -> list[Any]:
        return []

    async def prune(self, filters: Any, *, everything: bool, keep_bytes: int = 0) -> tuple[list[str], int]:
        return [], 0


class Harbour:
    """The face, served. `call` is a plain HTTP client."""

    def __init__(self, directory: Path, cors_origins: tuple[str, ...] = ()) -> None:
        self.socket = str(directory / "engine.sock")
        self.url = f"unix://{self.socket}"
        self.cors_origins = cors_origins
        self.port = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="engine face")
        self._thread.start()
        assert self._ready.wait(10)

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.bus = Bus(time.time_ns)
        self.containers = FakeContainers(self.bus)
        self.images = FakeImages()
        rooms = SimpleNamespace(
            containers=self.containers,
            images=self.images,
            networks=FakeNetworks(),
            volumes=FakeVolumes(),
            builder=FakeBuilder(),
        )
        engine = Engine(bus=self.bus, facts=Facts(hostname="harbour", git_commit="abc"), **cast(Any, vars(rooms)))
        runner = web.AppRunner(app.application(engine, cors_origins=self.cors_origins), shutdown_timeout=0.5)
        await runner.setup()
        await listeners.listen(runner, self.url)
        (tcp,) = await listeners.listen(runner, "tcp://127.0.0.1:0")
        self.port = cast(tuple[str, int], tcp.bound)[1]
        self._ready.set()
        await self._stop.wait()
        self.bus.close()
        await runner.cleanup()
        for task in self.containers.tasks:
            task.cancel()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def publish(self, kind: str, action: str, actor: str, **attributes: str) -> None:
        self.loop.call_soon_threadsafe(lambda: self.bus.publish(kind, action, actor, **attributes))

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(10)
        client.connect(self.socket)
        return client

    def call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, *, tcp: bool = False
    ) -> tuple[int, Any, Mapping[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        if not tcp:
            connection.sock = self.connect()
        sent = dict(headers or {})
        content = body
        if isinstance(body, dict):
            content = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        connection.request(method, path, content, sent)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        answered = response.headers.get_content_type() == "application/json" and text and method != "HEAD"
        try:
            return response.status, json.loads(text) if answered else text, response.headers
        except ValueError:
            return response.status, text, response.headers


@pytest.fixture
def engine_harbour(tmp_path: Path) -> Iterator[Harbour]:
    """The face over rooms in memory, with one running container `web` of busybox."""
    harbour = Harbour(tmp_path, cors_origins=("https://console.example",))
    wanted = decode_create(
        {
            "Image": "busybox",
            "Cmd": ["sleep", "9 lives"],
            "ExposedPorts": {"80/tcp": {}, "443/tcp": {}},
            "Labels": {"tier": "front"},
            "HostConfig": {"NetworkMode": "bridge"},
        }
    )
    harbour.containers.put("web", wanted, Phase.RUNNING)
    try:
        yield harbour
    finally:
        harbour.close()


@pytest.fixture
def docker_definitions() -> Mapping[str, Any]:
    """The definitions of Engine API 1.47 that answers are checked against."""
    path = Path(__file__).parents[2] / "data" / "engine-1.47.json"
    return cast(Mapping[str, Any], json.loads(path.read_text()))
