"""An image of about 300 MB and 20,000 files in three gzip layers, and the registry that offers it.

Made once from Debian's packages, without any network but apt's, and kept in `.work/bench` as the folder of a
docker-registry: a Debian root, C++ headers (many small files), Python's library.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

import peers
import registry_servers as servers

CACHE = peers.ROOT / ".work" / "bench"
NAME = "bench/big"
PORT = 5001  # on a box's own loopback
IMAGE = f"127.0.0.1:{PORT}/{NAME}:1"
SUITE = "bookworm"
LAYERS = (("root",), ("libboost1.74-dev",), ("libpython3.11-minimal", "libpython3.11-stdlib"))
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def prepared() -> Path:
    """The registry's folder with the image in it; made if it is missing, in about two minutes."""
    final, half = CACHE / "registry", CACHE / "half"
    if not (final / "facts.json").exists():
        print(f"making an image for this benchmark in {CACHE} (once)", flush=True)
        for leftover in (final, half):
            shutil.rmtree(leftover, ignore_errors=True)
        half.mkdir(parents=True)
        files = [_layer(half / str(number), packages) for number, packages in enumerate(LAYERS)]
        facts = _push(half / "registry", files)
        (half / "registry" / "facts.json").write_text(json.dumps(facts))
        (half / "registry").rename(final)
        shutil.rmtree(half)
    return final


def facts() -> dict[str, str]:
    """What the image holds, for the notes beside the figures."""
    found: dict[str, str] = json.loads((prepared() / "facts.json").read_text())
    return found


def program() -> str:
    """docker-registry: the host's own, else the unpacked one."""
    found = shutil.which("docker-registry") or str(peers.TOOLS / "usr/bin/docker-registry")
    if not Path(found).exists():
        raise SystemExit("no docker-registry here; run: bash tests/peers.sh")
    return found


def serve(engine: peers.Engine) -> None:
    """Offer the image on the loopback of an engine's box, until the box is closed."""
    config = engine.folder / "registry.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {prepared() / 'data'}}}, cache: {{blobdescriptor: inmemory}}}}\n"
        f"http: {{addr: '127.0.0.1:{PORT}', secret: bench}}\n"
    )
    engine.box.start([program(), "serve", config], env=peers.environment(), log=engine.folder / "registry.log")
    deadline = time.monotonic() + 20
    while not engine.box.listening(PORT):
        if time.monotonic() > deadline:
            raise SystemExit(f"docker-registry does not listen: {(engine.folder / 'registry.log').read_text()}")
        time.sleep(0.02)


def _layer(folder: Path, packages: tuple[str, ...]) -> Path:
    """One layer's tar."""
    tree = folder / "tree"
    tree.mkdir(parents=True)
    if packages == ("root",):
        uri = ["apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages"]
        lines = subprocess.run(uri, capture_output=True, text=True, check=True).stdout.splitlines()
        mirror = next(line.partition(" ")[2] for line in lines if line.startswith("Debian "))
        with (folder / "log").open("wb") as log:
            subprocess.run(["debootstrap", "--variant=minbase", SUITE, tree, mirror], stdout=log, check=True)
        for leftover in (tree / "var/cache/apt/archives").glob("*.deb"):
            leftover.unlink()
    else:
        download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *packages]
        subprocess.run(download, cwd=folder, check=True)
        for package in sorted(folder.glob("*.deb")):
            subprocess.run(["dpkg", "-x", package, tree], check=True)
    file = folder / "layer.tar"
    subprocess.run(["tar", "-C", tree, "--sort=name", "--numeric-owner", "-cf", file, "."], check=True)
    shutil.rmtree(tree)
    return file


def _push(folder: Path, layers: list[Path]) -> dict[str, str]:
    """Compress the layers and upload the image into a new registry in `folder`."""
    descriptors, diff_ids, entries, size_bytes = [], [], 0, 0
    with servers.running(*servers.peer(folder, program())) as port:
        for file in layers:
            diff_ids.append(f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}")
            size_bytes += file.stat().st_size
            with tarfile.open(file) as archive:
                entries += sum(1 for _ in archive)
            content = subprocess.run(["gzip", "-n", "-6", "-c", file], capture_output=True, check=True).stdout
            descriptors.append(_push_blob(port, content, LAYER_TYPE))
        config = {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Cmd": ["/bin/true"], "Env": [f"PATH={peers.SYSTEM_PATH}"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
        described = _push_blob(port, json.dumps(config).encode(), "application/vnd.docker.container.image.v1+json")
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": described, "layers": descriptors}
        body = json.dumps(manifest).encode()
        status, _, text = servers.ask(port, "PUT", f"/v2/{NAME}/manifests/1", body, Content_Type=MANIFEST_TYPE)
        assert status == 201, text
    os.sync()
    compressed = sum(int(str(each["size"])) for each in descriptors)
    return {"entries": str(entries), "tar bytes": str(size_bytes), "gzip bytes": str(compressed), "layers": "3"}


def _push_blob(port: int, content: bytes, media_type: str) -> dict[str, object]:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    servers.push_blob(port, NAME, content, digest)
    return {"mediaType": media_type, "size": len(content), "digest": digest}
