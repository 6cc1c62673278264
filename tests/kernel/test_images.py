"""Images with real drivers, real mounts and real registries: our own beside the engine, Debian's, and skopeo.

Needs root. The parts with Debian's `docker-registry` and `skopeo` are skipped where these programs are missing.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sampan.api.registry import server
from sampan.blobs.service import Blobs
from sampan.events.bus import Bus
from sampan.formats import oci
from sampan.formats.digest import Digest
from sampan.images import documents, endpoints, model
from sampan.images.drivers.erofs import ErofsDriver
from sampan.images.drivers.model import LayerDriver
from sampan.images.drivers.overlay2 import Overlay2Driver
from sampan.images.service import Images
from sampan.registry.service import Registry
from sampan.state.database import Database

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

T = TypeVar("T")
SECRET = "of this daemon only"


def tar_of(files: dict[str, bytes]) -> bytes:
    """A tar of a few files, as GNU tar and docker make them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


LOWER = tar_of({"etc/boat": b"sampan", "usr/share/big": os.urandom(3 << 20), "etc/gone": b"x"})
UPPER = tar_of({"etc/boat": b"junk", "etc/.wh.gone": b"", "home/me": b"here"})


@dataclass
class Host:
    images: Images
    blobs: Blobs
    database: Database
    driver: LayerDriver

    def content(self) -> set[str]:
        return set(self.blobs.files.present())


def make_host(folder: Path, kind: str, **settings: Any) -> Host:
    database = Database.open(folder / "sampan.db")
    blobs = Blobs(folder / "content", database)
    blobs.files.prepare()
    driver: LayerDriver
    if kind == "erofs":
        (folder / "mounted").mkdir()
        driver = ErofsDriver(
            folder / "layers", folder / "mounted", lambda diff_id: blobs.files.path(Digest(f"sha256:{diff_id}"))
        )
    else:
        driver = Overlay2Driver(folder / "layers")
    images = Images(blobs, database, driver, Bus(time.time_ns), settings=endpoints.Settings(**settings))
    return Host(images, blobs, database, driver)


@pytest.fixture(params=["erofs", "overlay2"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    made = make_host(tmp_path, request.param)
    yield made
    clean(made)


def clean(host: Host) -> None:
    host.driver.sweep(set())
    host.database.close()
    assert str(host.blobs.files.root.parent) not in Path("/proc/self/mountinfo").read_text()


def run(host: Host, work: Coroutine[Any, Any, T]) -> T:
    async def whole() -> T:
        try:
            return await work
        finally:
            await host.images.close()

    return asyncio.run(whole())


async def pull(host: Host, name: str) -> list[model.Progress]:
    return [progress async for progress in host.images.pull(name)]


async def push(host: Host, name: str) -> list[model.Progress]:
    return [progress async for progress in host.images.push(name)]


async def chunks(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 100_000):
        yield content[start : start + 100_000]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def own_registry(host: Host, listening: socket.socket) -> AsyncIterator[None]:
    """Our registry over the same content store, as the daemon runs it."""
    registry = Registry(host.blobs, host.database)
    registry.start()
    runner = server.make_runner(registry, secret=SECRET)
    await runner.setup()
    try:
        await server.Site(runner, listening).start()
        yield
    finally:
        await runner.cleanup()
        await registry.close()


@pytest.fixture
def debian_registry(tmp_path: Path) -> Iterator[str]:
    """Debian's registry on a free port; its address."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("needs docker-registry")
    address = f"127.0.0.1:{free_port()}"
    configuration = tmp_path / "registry.json"
    document = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
        "http": {"addr": address},
        "log": {"level": "error", "accesslog": {"disabled": True}},
    }
    configuration.write_text(json.dumps(document))
    with subprocess.Popen([program, "serve", configuration], stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(address)
            yield address
        finally:
            process.terminate()


def wait_for(address: str, limit_s: float = 10) -> None:
    host, _, port = address.partition(":")
    deadline = time.monotonic() + limit_s
    while True:
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, f"{address} does not answer"
            time.sleep(0.01)


def layout(folder: Path, layers: list[bytes]) -> Path:
    """An OCI layout with one image `1` of gzip layers as another client would make it."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(content: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    config = {
        "architecture": os.uname().machine.replace("x86_64", "amd64").replace("aarch64", "arm64"),
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [Digest.of(each) for each in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": oci.OCI_MANIFEST,
        "config": put(json.dumps(config).encode(), oci.OCI_CONFIG),
        "layers": [put(gzip.compress(each, mtime=7), oci.OCI_LAYER_GZIP) for each in layers],
        "annotations": {"made.by": "another client"},
    }
    entry = put(json.dumps(manifest, indent=2).encode(), oci.OCI_MANIFEST)
    entry["annotations"] = {"org.opencontainers.image.ref.name": "1"}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


def skopeo(*arguments: object) -> bytes:
    program = shutil.which("skopeo")
    if program is None:
        pytest.skip("needs skopeo")
    return subprocess.run([program, *map(str, arguments)], check=True, capture_output=True).stdout


def merged(lowers: tuple[Path, ...], folder: Path) -> dict[str, bytes]:
    """The files of an overlay of these directories."""
    folder.mkdir()
    options = "ro,lowerdir=" + ":".join(map(str, lowers)) + (f":{folder}" if len(lowers) == 1 else "")
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, folder], check=True)
    try:
        return {
            str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
        }
    finally:
        subprocess.run(["umount", folder], check=True)


def test_an_imported_tar_is_mounted(host: Host, tmp_path: Path) -> None:
    async def work() -> tuple[Path, ...]:
        image = await host.images.import_(chunks(gzip.compress(LOWER)), name="boat")
        return await host.images.lowers(image.id)

    assert merged(run(host, work()), tmp_path / "merged")["etc/boat"] == b"sampan"


def test_what_is_no_tar_is_refused_and_leaves_nothing(host: Host) -> None:
    async def work() -> None:
        with pytest.raises(Exception, match=r"tar|header|ends"):
            await host.images.import_(chunks(os.urandom(5000)), name="boat")

    run(host, work())
    assert host.content() == set()
    assert host.images.list() == ()


def test_a_committed_layer_covers_the_one_below(host: Host, tmp_path: Path) -> None:
    async def work() -> tuple[Path, ...]:
        base = await host.images.import_(chunks(LOWER))
        image = await host.images.commit(base.id, chunks(UPPER), name="boat")
        return await host.images.lowers(image.id)

    files = merged(run(host, work()), tmp_path / "merged")
    assert (files["etc/boat"], files["home/me"]) == (b"junk", b"here")
    assert "etc/gone" not in files


def test_a_push_to_our_own_registry_and_a_pull_from_it_move_no_layer(tmp_path: Path) -> None:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{listening.getsockname()[1]}"
    host = make_host(tmp_path, "erofs", own_registry={address: SECRET})
    sent: list[str] = []

    async def work() -> tuple[model.Image, list[model.Progress], list[model.Progress], set[str]]:
        async with own_registry(host, listening):
            image = await host.images.import_(chunks(LOWER), name=f"{address}/team/boat")
            tar, before = host.blobs.files.path(image.layers[0]), host.content()
            inode = tar.stat().st_ino
            pushed = await push(host, f"{address}/team/boat")
            assert tar.stat().st_ino == inode
            sent.extend(host.content() - before)
            await host.images.remove(f"{address}/team/boat")
            held = host.content()
            return image, pushed, await pull(host, f"{address}/team/boat"), held

    image, pushed, pulled, held = run(host, work())
    try:
        assert sent == []  # the registry's manifest is the image's own, byte for byte
        assert "Mounted from this host" in [line.status for line in pushed]
        assert not [line for line in pushed + pulled if line.status in ("Pushing", "Downloading")]
        assert held == {image.id, image.manifest_digest, *image.layers}
        assert host.images.get(f"{address}/team/boat").manifest_digest == image.manifest_digest
    finally:
        clean(host)


def test_an_image_from_another_registry_goes_to_our_own_byte_for_byte(tmp_path: Path, debian_registry: str) -> None:
    skopeo("copy", "--dest-tls-verify=false", "--preserve-digests", f"oci:{layout(tmp_path / 'oci', [LOWER, UPPER])}:1",
           f"docker://{debian_registry}/boat:1")  # fmt: skip
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{listening.getsockname()[1]}"
    host = make_host(tmp_path, "erofs", own_registry={address: SECRET})

    async def work() -> tuple[bytes, list[model.Progress]]:
        async with own_registry(host, listening):
            await pull(host, f"{debian_registry}/boat:1")
            await host.images.tag(f"{debian_registry}/boat:1", f"{address}/boat:1")
            lines = await push(host, f"{address}/boat:1")
            raw = await asyncio.to_thread(
                skopeo, "inspect", "--raw", "--tls-verify=false", f"docker://{address}/boat:1"
            )
            return raw, lines

    try:
        raw, lines = run(host, work())
        assert raw == skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{debian_registry}/boat:1")
        assert not [line for line in lines if line.status in ("Pushing", "Pushed")]
    finally:
        clean(host)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_an_image_of_another_client_is_pulled_mounted_and_pushed_again_byte_for_byte(
    host: Host, tmp_path: Path, debian_registry: str, compression: str
) -> None:
    source = f"oci:{layout(tmp_path / 'oci', [LOWER, UPPER])}:1"
    if compression == "zstd":
        skopeo("copy", "--dest-compress-format=zstd", "--dest-compress", source, f"oci:{tmp_path / 'zstd'}:1")
        source = f"oci:{tmp_path / 'zstd'}:1"
    skopeo("copy", "--dest-tls-verify=false", "--preserve-digests", source, f"docker://{debian_registry}/boat:1")

    async def work() -> tuple[Path, ...]:
        await pull(host, f"{debian_registry}/boat:1")
        image = host.images.get(f"{debian_registry}/boat:1")
        await host.images.tag(image.id, f"{debian_registry}/again:1")
        await push(host, f"{debian_registry}/again:1")
        return await host.images.lowers(image.id)

    lowers = run(host, work())
    files = merged(lowers, tmp_path / "merged")
    assert (files["etc/boat"], "etc/gone" in files) == (b"junk", False)
    first = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{debian_registry}/boat:1")
    again = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{debian_registry}/again:1")
    assert first == again
    assert host.images.list()[0].manifest_digest == Digest.of(first)


def test_an_imported_image_is_read_by_skopeo(host: Host, tmp_path: Path, debian_registry: str) -> None:
    async def work() -> model.Image:
        image = await host.images.import_(chunks(LOWER), name=f"{debian_registry}/made:1", changes=["CMD x"])
        await push(host, f"{debian_registry}/made:1")
        return image

    image = run(host, work())
    skopeo("copy", "--src-tls-verify=false", f"docker://{debian_registry}/made:1", f"oci:{tmp_path / 'copy'}:1")
    raw = skopeo("inspect", "--raw", f"oci:{tmp_path / 'copy'}:1")
    manifest = documents.read(raw, oci.OCI_MANIFEST)
    assert isinstance(manifest, oci.Manifest)
    assert manifest.config.digest == image.id
    blob = tmp_path / "copy" / "blobs" / "sha256" / manifest.layers[0].digest.partition(":")[2]
    assert gzip.decompress(blob.read_bytes()) == LOWER


def test_removing_an_image_frees_its_mounts_and_content(host: Host) -> None:
    async def work() -> None:
        image = await host.images.import_(chunks(LOWER), name="boat")
        await host.images.lowers(image.id)
        await host.images.remove("boat")

    run(host, work())
    assert host.content() == set()
    assert str(host.blobs.files.root.parent) not in Path("/proc/self/mountinfo").read_text()


def test_the_unpacking_driver_keeps_no_tar_of_a_pulled_layer(tmp_path: Path, debian_registry: str) -> None:
    host = make_host(tmp_path, "overlay2")
    source = f"oci:{layout(tmp_path / 'oci', [LOWER])}:1"
    skopeo("copy", "--dest-tls-verify=false", "--preserve-digests", source, f"docker://{debian_registry}/boat:1")

    async def work() -> list[model.Progress]:
        await pull(host, f"{debian_registry}/boat:1")
        return await pull(host, f"{debian_registry}/boat:1")

    lines = run(host, work())
    try:
        assert "Already exists" in [line.status for line in lines]
        assert Digest.of(LOWER) not in host.content()
        assert len(host.content()) == 3  # manifest, configuration, compressed layer
    finally:
        clean(host)


def test_an_empty_layer_is_a_layer(host: Host) -> None:
    async def work() -> tuple[Path, ...]:
        base = await host.images.import_(chunks(LOWER))
        image = await host.images.commit(base.id, chunks(b""), name="boat")
        return await host.images.lowers(image.id)

    top, below = run(host, work())
    assert (list(top.iterdir()), (below / "etc/boat").read_bytes()) == ([], b"sampan")


PULL = """
import asyncio, sys, time
from pathlib import Path
from sampan.blobs.service import Blobs
from sampan.events.bus import Bus
from sampan.images.drivers.overlay2 import Overlay2Driver
from sampan.images.service import Images
from sampan.state.database import Database

folder = Path(sys.argv[1])
database = Database.open(folder / "sampan.db")
blobs = Blobs(folder / "content", database)
blobs.files.prepare()
images = Images(blobs, database, Overlay2Driver(folder / "layers"), Bus(time.time_ns))

async def pull():
    async for progress in images.pull(sys.argv[2]):
        print(progress.status.partition(":")[0], flush=True)

asyncio.run(pull())
"""


@pytest.mark.parametrize("status", ["Pulling from", "Pulling fs layer", "Extracting", "Pull complete", "Digest"])
def test_a_pull_that_is_killed_leaves_an_image_whole_or_not_at_all(
    tmp_path: Path, debian_registry: str, status: str
) -> None:
    source = f"oci:{layout(tmp_path / 'oci', [LOWER, UPPER])}:1"
    skopeo("copy", "--dest-tls-verify=false", "--preserve-digests", source, f"docker://{debian_registry}/boat:1")
    name = f"{debian_registry}/boat:1"
    command = [sys.executable, "-c", PULL, tmp_path, name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(status):
                process.kill()
    host = make_host(tmp_path, "overlay2")
    host.blobs.sweep()
    host.images.restore()
    present = host.images.list()
    assert bool(present) or status != "Digest"
    lowers = run(host, lowers_after_pull(host, name))
    try:
        assert [(path / "etc/boat").read_bytes() for path in lowers] == [b"junk", b"sampan"]
        assert list(host.blobs.files.ingest.iterdir()) == []
        assert not [entry for entry in (tmp_path / "layers").iterdir() if entry.name.startswith(".tmp")]
    finally:
        clean(host)


async def lowers_after_pull(host: Host, name: str) -> tuple[Path, ...]:
    await pull(host, name)
    return await host.images.lowers(host.images.get(name).id)
