"""Stock clients against the registry: what they push they pull again, and skopeo reads the store as an OCI layout."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import shutil
import socket
import subprocess
import tarfile
import tempfile
import threading
from pathlib import Path

import pytest

from sampan.api.registry.server import Site, make_runner
from sampan.blobs.service import Blobs
from sampan.formats import oci
from sampan.formats.digest import Digest
from sampan.registry.service import Registry
from sampan.state.database import Database


def installed(program):
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


@pytest.fixture
def served(tmp_path):
    """The registry on a loopback port: gives `127.0.0.1:PORT` and a coroutine runner."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)

    database = Database.open(tmp_path / "state.db")
    blobs = Blobs(tmp_path / "registry", database)
    blobs.files.prepare()
    registry = Registry(blobs, database)
    registry.start()
    listening = socket.create_server(("127.0.0.1", 0))

    async def start():
        runner = make_runner(registry)
        await runner.setup()
        await Site(runner, listening).start()
        return runner

    runner = run(start())
    address = f"127.0.0.1:{listening.getsockname()[1]}"
    try:
        yield address, registry, run
    finally:
        run(runner.cleanup())
        run(registry.close())
        database.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def layer(text):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo("hello.txt")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
    return packed.getvalue()


def layout(folder: Path) -> Path:
    """A small OCI image layout with one image of two layers, tagged v1."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def keep(content, media_type):
        (blobs / Digest.of(content).hex).write_bytes(content)
        return {"mediaType": media_type, "digest": Digest.of(content), "size": len(content)}

    tars = [layer(b"hello"), layer(b"world" * 100_000)]
    layers = [keep(gzip.compress(tar, mtime=0), oci.OCI_LAYER_GZIP) for tar in tars]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/hello"]},
        "rootfs": {"type": "layers", "diff_ids": [Digest.of(tar) for tar in tars]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": oci.OCI_MANIFEST,
        "config": keep(json.dumps(config).encode(), oci.OCI_CONFIG),
        "layers": layers,
    }
    entry = keep(json.dumps(manifest).encode(), oci.OCI_MANIFEST)
    entry["annotations"] = {"org.opencontainers.image.ref.name": "v1"}
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return folder


@installed("skopeo")
@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_skopeo_pushes_and_pulls_the_same_image(served, tmp_path, form):
    address, _, _ = served
    source = layout(tmp_path / "source")
    there = f"docker://{address}/team/app:v1"
    run("skopeo", "copy", "--format", form, "--dest-tls-verify=false", f"oci:{source}:v1", there)
    run("skopeo", "copy", "--format", "oci", "--src-tls-verify=false", there, f"oci:{tmp_path / 'back'}:v1")
    wanted = {path.name for path in (source / "blobs" / "sha256").iterdir()}
    back = {path.name for path in (tmp_path / "back" / "blobs" / "sha256").iterdir()}
    assert len(wanted & back) >= 2  # both layers; skopeo writes the other documents anew
    inspected = json.loads(run("skopeo", "inspect", "--tls-verify=false", there))
    assert len(inspected["Layers"]) == 2


@installed("skopeo")
def test_skopeo_lists_tags_and_deletes(served, tmp_path):
    address, registry, _ = served
    source = layout(tmp_path / "source")
    for tag in ("b", "a"):
        run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{source}:v1", f"docker://{address}/app:{tag}")
    listed = json.loads(run("skopeo", "list-tags", "--tls-verify=false", f"docker://{address}/app"))
    assert listed["Tags"] == ["a", "b"]
    run("skopeo", "delete", "--tls-verify=false", f"docker://{address}/app:a")
    assert registry.tags("app").names == ()  # skopeo deletes by digest: both tags named it


@installed("skopeo")
def test_skopeo_mounts_between_repositories(served, tmp_path):
    address, registry, _ = served
    run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout(tmp_path / 'x')}:v1", f"docker://{address}/one:v1")
    two = f"docker://{address}/two:v1"
    run("skopeo", "copy", "--dest-tls-verify=false", "--src-tls-verify=false", f"docker://{address}/one:v1", two)
    assert registry.catalogue(limit=10).names == ("one", "two")


@installed("skopeo")
def test_skopeo_reads_the_store_itself_as_an_oci_layout(served, tmp_path):
    address, registry, loop_run = served
    there = f"docker://{address}/team/app:v1"
    run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout(tmp_path / 'source')}:v1", there)
    loop_run(registry.close())  # writes index.json
    inspected = json.loads(run("skopeo", "inspect", "--raw", f"oci:{tmp_path / 'registry'}:team/app:v1"))
    assert len(inspected["layers"]) == 2
    run("skopeo", "copy", f"oci:{tmp_path / 'registry'}:team/app:v1", f"dir:{tmp_path / 'out'}")


@installed("podman")
def test_podman_pushes_and_pulls(served, tmp_path):
    address, _, _ = served
    run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout(tmp_path / 'x')}:v1", f"docker://{address}/app:v1")
    with tempfile.TemporaryDirectory() as folder:  # podman refuses a run root of more than 50 characters
        storage = ("--root", str(tmp_path / "root"), "--runroot", f"{folder}/run", "--storage-driver", "vfs")
        run("podman", *storage, "pull", "--tls-verify=false", f"{address}/app:v1")
        run("podman", *storage, "push", "--tls-verify=false", f"{address}/app:v1", f"{address}/again:v1")
