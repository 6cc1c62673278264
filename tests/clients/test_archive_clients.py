"""diff, export, commit, cp, save and load by the stock docker command line: the same script against Sampan and dockerd.

What both answer is the contract. Trees are compared by everything that a file has.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker as docker_py
import pytest

import harbour
import peers
from sampan.formats import tar, tar_write
from sampan.formats.tar import EntryKind, TarEntry

pytestmark = [pytest.mark.root, pytest.mark.peer]
LIMIT_S = 120
ENGINES = [name for name in ("sampan", "docker-26.1", "docker-20.10") if name in peers.available()]
OWN, OWN_PROGRAM = "own", str(Path(sys.executable).with_name("sampan"))
IMAGE = "bb:1"


class Cli:
    """A command line at one engine: the stock docker's, or our own."""

    def __init__(self, engine: peers.Engine, program: str) -> None:
        self.engine = engine
        self.program = program

    def run(self, *words: str, input: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        command = [self.program, "-H", self.engine.host, *words]
        return subprocess.run(command, input=input or b"", capture_output=True, timeout=LIMIT_S, check=False)

    def __call__(self, *words: str, input: bytes | None = None) -> bytes:
        done = self.run(*words, input=input)
        assert done.returncode == 0, f"docker {' '.join(words)}: {done.stdout!r} {done.stderr!r}"
        return done.stdout

    def text(self, *words: str) -> str:
        return self(*words).decode().strip()

    def refused(self, *words: str, input: bytes | None = None) -> str:
        done = self.run(*words, input=input)
        assert done.returncode == 1, f"docker {' '.join(words)}: {done.returncode} {done.stderr!r}"
        return done.stderr.decode()

    @property
    def ours(self) -> bool:
        return self.engine.name == "sampan"


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Cli]]:
    with peers.running(ENGINES, folder=tmp_path_factory.mktemp("engines")) as running:
        found = {name: Cli(running[name], peers.docker_cli()) for name in ENGINES}
        for cli in found.values():
            cli("import", "-c", "CMD sleep 1000", "-", IMAGE, input=harbour.busybox_tar("one"))
        yield found


@pytest.fixture(params=[*ENGINES, OWN])
def docker(request: pytest.FixtureRequest, engines: dict[str, Cli]) -> Iterator[Cli]:
    cli = engines[request.param] if request.param != OWN else Cli(engines["sampan"].engine, OWN_PROGRAM)
    yield cli
    left = cli.text("ps", "-aq").split()
    if left:
        cli("rm", "-f", "-v", *left)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tree with everything that a file can be."""
    top = tmp_path / "source"
    (top / "sub/deep").mkdir(parents=True)
    (top / "sub/deep/file").write_bytes(b"content " * 1000)
    (top / "plain").write_text("plain")
    (top / "plain").chmod(0o4751)
    os.link(top / "plain", top / "same")
    (top / "link").symlink_to("plain")
    (top / "broken").symlink_to("/no/such")
    os.mkfifo(top / "pipe", 0o640)
    with (top / "sparse").open("wb") as file:
        file.seek(5 << 20)
        file.write(b"end")
    for directory, names, files in os.walk(top):
        for name in (*names, *files):
            os.chown(Path(directory, name), 12, 34, follow_symlinks=False)
            os.utime(Path(directory, name), (1_500_000_000, 1_500_000_000), follow_symlinks=False)
    (top / "plain").chmod(0o4751)
    os.chown(top, 12, 34)
    os.utime(top, (1_500_000_000, 1_500_000_000))
    return top


def tree(top: Path, *, owners: bool = True) -> dict[str, tuple[Any, ...]]:
    """Everything about every file below a directory."""
    found: dict[str, tuple[Any, ...]] = {}
    first: dict[int, str] = {}
    for path in sorted(top.rglob("*")):
        status = path.lstat()
        name = str(path.relative_to(top))
        plain = stat.S_ISREG(status.st_mode)
        found[name] = (
            oct(status.st_mode),
            (status.st_uid, status.st_gid) if owners else (),
            int(status.st_mtime),
            path.read_bytes() if plain else os.readlink(path) if path.is_symlink() else b"",
            first.setdefault(status.st_ino, name) if plain and status.st_nlink > 1 else "",
        )
    return found


def entries(archive: bytes) -> dict[str, tuple[Any, ...]]:
    """What an archive says of each file, apart from how it is written."""
    return {
        entry.path.decode().rstrip("/"): (
            entry.kind.name, oct(entry.mode), entry.uid, entry.gid, entry.mtime_ns // 10**9, entry.link.decode(),
            archive[entry.data_offset :][: entry.size_bytes] if entry.kind is EntryKind.FILE else b"",
        )
        for entry in tar.scan(archive)
    }  # fmt: skip


# --- cp


def test_a_tree_goes_in_and_comes_out_the_same(docker: Cli, source: Path, tmp_path: Path) -> None:
    docker("run", "-d", "--name", "box", IMAGE)
    docker("cp", f"{source}", "box:/opt")  # does not exist: it becomes the copy
    docker("cp", "box:/opt", str(tmp_path / "back"))
    assert tree(tmp_path / "back", owners=False) == tree(source, owners=False)
    facts = entries(docker("cp", "box:/opt", "-"))
    assert {fact[2:4] for path, fact in facts.items()} == {(12, 34)}


@pytest.mark.parametrize("state", ["created", "running", "stopped"])
def test_where_a_copy_lands_depends_on_what_is_there(docker: Cli, source: Path, state: str) -> None:
    docker("create", "--name", "box", "-v", "vol:/vol", IMAGE, "sh", "-c", "sleep 1000")
    if state != "created":
        docker("start", "box")
    if state == "stopped":
        docker("kill", "box")
    docker("cp", str(source), "box:/tmp")  # a directory into a directory
    docker("cp", f"{source}/.", "box:/root")  # its content into a directory
    docker("cp", str(source / "plain"), "box:/tmp/renamed")  # a file under another name
    docker("cp", str(source / "plain"), "box:/tmp/")  # a file into a directory
    docker("cp", str(source / "plain"), "box:/marker")  # over a file
    docker("cp", str(source / "sub"), "box:/vol/")  # into a volume
    seen = entries(docker("cp", "box:/tmp", "-")) | entries(docker("cp", "box:/root", "-"))
    assert {"tmp/source/sub/deep/file", "root/sub/deep/file", "tmp/renamed", "tmp/plain"} <= set(seen)
    assert "tmp/source/source" not in seen
    assert entries(docker("cp", "box:/marker", "-"))["marker"][-1] == b"plain"
    assert "sub/deep/file" in entries(docker("cp", "box:/vol/sub", "-"))
    if state == "stopped":
        docker("start", "box")
        assert docker.text("exec", "box", "cat", "/vol/sub/deep/file", "/tmp/renamed").startswith("content")


def test_streams_links_and_owners(docker: Cli, source: Path, tmp_path: Path) -> None:
    docker("run", "-d", "--name", "box", "-u", "5:6", IMAGE)
    packed = subprocess.run(["tar", "-C", source, "-c", "."], capture_output=True, check=True).stdout
    docker("cp", "-", "box:/tmp", input=packed)
    assert entries(docker("cp", "box:/tmp/.", "-"))["./plain"][2:4] == (12, 34)
    if docker.ours:  # dockerd wants the user in the host's own passwd, by getent
        docker("cp", "-a", "-", "box:/root", input=packed)
        assert entries(docker("cp", "box:/root/plain", "-"))["plain"][2:4] == (5, 6)
    docker("cp", "box:/tmp/link", str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    docker("cp", "-L", "box:/tmp/link", str(tmp_path / "followed"))
    assert (tmp_path / "followed").read_text() == "plain"
    docker("cp", "-L", str(source / "link"), "box:/tmp/followed")
    assert entries(docker("cp", "box:/tmp/followed", "-"))["followed"][0] == "FILE"


@pytest.mark.parametrize("compressed", ["gzip", "bzip2", "xz", "zstd"])
def test_a_compressed_stream_is_inflated_without_the_containers_own_programs(
    docker: Cli, source: Path, compressed: str
) -> None:
    if compressed == "zstd" and docker.engine.name == "docker-20.10":
        pytest.skip("dockerd 20.10 knows no zstd here")
    docker("run", "-d", "--name", "box", IMAGE)
    trap = TarEntry(b"trap", mode=0o755, size_bytes=30), b"#!/bin/sh\ntouch /tmp/executed\n"
    for name in ("unpigz", "xz", "bzip2", "zstd"):
        member = tar_write.entry_header(trap[0]._replace(path=b"bin/" + name.encode())) + tar_write.padded(trap[1])
        docker("cp", "-", "box:/", input=member + tar_write.END)
    packed = subprocess.run(["tar", "-C", source, "-c", "plain"], capture_output=True, check=True).stdout
    sent = subprocess.run([compressed, "-c"], input=packed, capture_output=True, check=True).stdout
    docker("cp", "-", "box:/tmp", input=sent)
    assert docker.text("exec", "box", "ls", "/tmp") == "plain"


def test_what_cannot_be_copied_is_refused_with_the_same_words(docker: Cli, source: Path) -> None:
    options = ("--read-only", "-v", "ro:/ro:ro", "-v", "vol:/vol", "--name", "box")
    docker("run", "-d", *options, IMAGE)
    assert "container rootfs is marked read-only" in docker.refused("cp", str(source), "box:/etc")
    assert "mounted volume is marked read-only" in docker.refused("cp", str(source), "box:/ro")
    docker("cp", str(source / "plain"), "box:/vol/x")
    assert "Could not find the file /nope in container box" in docker.refused("cp", "box:/nope", "-")
    assert "no such" in docker.refused("cp", str(source / "nope"), "box:/tmp").lower()
    docker("run", "-d", "--name", "open", IMAGE)
    assert "No such container" in docker.refused("cp", "zzz:/etc", "-")
    complaint = docker.refused("cp", str(source / "plain"), "open:/nope/x")
    assert "Could not find the file /nope in container open" in complaint
    assert "directory" in docker.refused("cp", str(source), "open:/marker")
    assert "Could not find the file /proc/cpuinfo" in docker.refused("cp", "open:/proc/cpuinfo", "-")


def test_hostile_archives_stay_inside(docker: Cli, tmp_path: Path) -> None:
    (tmp_path / "canary").write_text("alive")
    docker("run", "-d", "--name", "box", IMAGE)
    outside = os.fsencode(tmp_path)
    for member in (
        [TarEntry(b"way", EntryKind.SYMLINK, link=outside), TarEntry(b"way/canary", size_bytes=0)],
        [TarEntry(b"../../../../.." + outside + b"/canary", size_bytes=0)],
        [TarEntry(b"hard", EntryKind.HARD_LINK, link=b"../../../../.." + outside + b"/canary"), TarEntry(b"hard")],
    ):
        archive = b"".join(tar_write.entry_header(entry) for entry in member) + tar_write.END
        docker.run("cp", "-", "box:/tmp", input=archive)
        assert (tmp_path / "canary").read_text() == "alive"
    docker("exec", "box", "/bin/busybox", "ln", "-s", str(tmp_path), "/lead")
    assert b"alive" not in docker.run("cp", "box:/lead/canary", "-").stdout
    assert b"alive" not in docker.run("cp", f"box:/../../../..{tmp_path}/canary", "-").stdout


def test_a_tmpfs_of_a_running_container_is_reached(engines: dict[str, Cli], source: Path) -> None:
    """dockerd cannot; here a running container is seen as it sees itself."""
    docker = engines["sampan"]
    docker("run", "-d", "--name", "tmpfs", "--tmpfs", "/scratch", IMAGE)
    docker("cp", str(source / "plain"), "tmpfs:/scratch/x")
    assert docker.text("exec", "tmpfs", "cat", "/scratch/x") == "plain"
    assert entries(docker("cp", "tmpfs:/scratch", "-"))["scratch/x"][-1] == b"plain"
    docker("rm", "-f", "tmpfs")


# --- diff


def test_diff_tells_the_same(docker: Cli) -> None:
    script = (
        "echo x > /etc/new; echo y >> /marker; rm /etc/passwd; mkdir -p /a/b; touch /a/b/c; chmod 700 /root;"
        "rm -r /tmp; /bin/busybox mv /bin/nc /bin/netcat"
    )
    docker("run", "--name", "box", IMAGE, "sh", "-c", script)
    lines = sorted(docker.text("diff", "box").splitlines())
    assert lines == sorted(
        [
            "A /etc/new", "C /etc", "C /marker", "D /etc/passwd", "A /a", "A /a/b", "A /a/b/c", "C /root", "D /tmp",
            "C /bin", "D /bin/nc", "A /bin/netcat",
        ]
    )  # fmt: skip
    docker("create", "--name", "fresh", IMAGE)
    assert docker.text("diff", "fresh") == ""


# --- export


@pytest.mark.parametrize("running", [True, False])
def test_an_export_has_the_whole_tree_without_what_is_mounted(docker: Cli, source: Path, *, running: bool) -> None:
    docker("run", "-d", "--name", "box", "-v", "vol:/data", "--tmpfs", "/scratch", IMAGE)
    docker("cp", str(source), "box:/opt")
    docker("exec", "box", "sh", "-c", "echo x > /data/inside; echo y > /scratch/inside")
    if not running:
        docker("kill", "box")
    seen = entries(docker("export", "box"))
    assert {"bin/busybox", "opt/sub/deep/file", "data", "etc/passwd"} <= set(seen)
    assert not {"data/inside", "scratch/inside", "proc/self"} & set(seen)
    assert seen["opt/plain"][1:5] == (oct(0o4751), 12, 34, 1_500_000_000)
    assert {seen["opt/plain"][0], seen["opt/same"][0]} == {"FILE", "HARD_LINK"}
    assert seen["opt/sparse"][-1] == bytes(5 << 20) + b"end"


def test_engines_export_the_same_archive(engines: dict[str, Cli], source: Path) -> None:
    found = {}
    for name, docker in engines.items():
        docker("create", "--name", "same", IMAGE)
        docker("cp", str(source), "same:/opt")
        exported = entries(docker("export", "same"))
        found[name] = {path: facts for path, facts in exported.items() if path.startswith("opt/")}
        docker("rm", "same")
    ours = found.pop("sampan")
    for theirs in found.values():
        assert ours == theirs


# --- commit


def test_a_commit_is_an_image_with_the_changes_and_the_configuration(docker: Cli) -> None:
    docker("run", "-d", "--name", "box", "-e", "A=1", "-w", "/tmp", "-l", "k=v", IMAGE, "sleep", "100")
    docker("exec", "box", "sh", "-c", "echo made > /made; rm /marker; chmod 4755 /bin/nc")
    words = ("commit", "-m", "why", "-a", "me", "-c", "ENV B=2", "-c", 'CMD ["cat", "/made"]', "box", "made:1")
    image_id = docker.text(*words)
    assert re.fullmatch("sha256:[0-9a-f]{64}", image_id)
    assert docker.text("run", "--rm", "made:1") == "made"
    assert docker.run("run", "--rm", "made:1", "ls", "/marker").returncode == 1
    told = json.loads(docker("image", "inspect", "made:1"))[0]
    assert (told["Id"], told["Author"], told["Comment"]) == (image_id, "me", "why")
    config = told["Config"]
    assert sorted(config["Env"]) == ["A=1", "B=2"]
    assert (config["Cmd"], config["WorkingDir"], config["Labels"]) == (["cat", "/made"], "/tmp", {"k": "v"})
    rows = [json.loads(line) for line in docker.text("history", "--format", "json", "made:1").splitlines()]
    assert [row["Comment"] for row in rows] == ["why", "Imported from -"]
    assert rows[0]["CreatedBy"] == "sleep 100"
    assert docker.text("inspect", "-f", "{{.State.Paused}}", "box") == "false"
    docker("rmi", "made:1")


def test_a_commit_of_an_unknown_container_or_to_a_bad_name_is_refused(docker: Cli) -> None:
    assert "No such container" in docker.refused("commit", "zzz")
    docker("create", "--name", "box", IMAGE)
    assert "repository name" in docker.run("commit", "box", "UPPER").stderr.decode()
    assert docker.run("commit", "-c", "RUN true", "box").returncode == 1
    assert docker.text("images", "-f", "dangling=true", "-q") == ""


# --- save and load


def test_images_travel_between_engines(engines: dict[str, Cli]) -> None:
    """Each engine saves; each other one loads it, runs it, and says the same id."""
    for name, docker in engines.items():
        docker("run", "--name", "box", IMAGE, "sh", "-c", f"echo {name} > /from")
        docker("commit", "box", f"from-{name}:1")
        docker("rm", "box")
        archive = docker("save", f"from-{name}:1")
        image_id = docker.text("inspect", "-f", "{{.Id}}", f"from-{name}:1")
        for other, target in engines.items():
            if other == name:
                continue
            assert target("load", input=archive).decode().endswith(f"Loaded image: from-{name}:1\n")
            assert target.text("inspect", "-f", "{{.Id}}", f"from-{name}:1") == image_id
            assert target.text("run", "--rm", f"from-{name}:1", "cat", "/from") == name
            target("rmi", "-f", f"from-{name}:1")
        docker("rmi", "-f", f"from-{name}:1")


def test_save_and_load_by_tag_repository_and_id(docker: Cli, tmp_path: Path) -> None:
    docker("tag", IMAGE, "other:2")
    docker("tag", IMAGE, "other:3")
    docker("save", "-o", str(tmp_path / "a.tar"), "other")
    with tarfile.open(tmp_path / "a.tar") as archive:
        manifest = archive.extractfile("manifest.json")
        assert manifest is not None
        assert sorted(json.load(manifest)[0]["RepoTags"]) == ["other:2", "other:3"]
    docker("rmi", "other:2", "other:3")
    lines = sorted(docker.text("load", "-i", str(tmp_path / "a.tar")).splitlines())
    assert lines == ["Loaded image: other:2", "Loaded image: other:3"]
    image_id = docker.text("inspect", "-f", "{{.Id}}", IMAGE)
    assert docker.text("load", "-q", "-i", str(tmp_path / "a.tar")).count("Loaded image: ") == 2
    by_id = docker("save", image_id)
    assert docker("load", input=by_id).decode() == f"Loaded image ID: {image_id}\n"
    assert "No such image: nope" in docker.refused("save", "nope")
    docker.refused("load", input=b"no archive")
    docker("rmi", "other:2", "other:3")


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="no skopeo here")
@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci"])
def test_skopeo_reads_and_writes_the_same_archives(engines: dict[str, Cli], tmp_path: Path, form: str) -> None:
    docker = engines["sampan"]
    docker("save", "-o", str(tmp_path / "ours.tar"), IMAGE)
    folder = tmp_path / "copied"
    target = {
        "docker-archive": f"docker-archive:{folder}.tar:copied:1",
        "oci-archive": f"oci-archive:{folder}.tar:copied:1",
        "oci": f"oci:{folder}:copied:1",
    }[form]
    command = ["skopeo", "--insecure-policy", "copy", f"docker-archive:{tmp_path}/ours.tar", target]
    subprocess.run(command, check=True, capture_output=True, timeout=LIMIT_S)
    if form == "oci":
        packed = subprocess.run(["tar", "-C", folder, "-c", "."], check=True, capture_output=True).stdout
    else:
        packed = (tmp_path / "copied.tar").read_bytes()
    assert b"copied:1" in docker("load", input=packed)
    assert docker.text("run", "--rm", "copied:1", "cat", "/marker") == "one"
    docker("rmi", "copied:1")


# --- docker-py


def test_docker_py_reads_writes_and_saves(docker: Cli) -> None:
    client = docker_py.DockerClient(base_url=docker.engine.host, version="1.41", timeout=LIMIT_S)
    try:
        container = client.containers.run(IMAGE, detach=True, name="py")
        archive = tar_write.entry_header(TarEntry(b"x", size_bytes=3)) + tar_write.padded(b"abc") + tar_write.END
        assert container.put_archive("/tmp", archive)
        content, told = container.get_archive("/tmp/x")
        assert (told["name"], told["size"], told["mode"]) == ("x", 3, 0o644)
        assert entries(b"".join(content))["x"][-1] == b"abc"
        assert {"Path": "/tmp/x", "Kind": 1} in container.diff()
        assert "bin/busybox" in entries(b"".join(container.export()))
        image = container.commit("py", "1", message="m", author="a", changes="ENV P=1")
        assert image.attrs["Config"]["Env"] == ["P=1"]
        saved = b"".join(image.save(named=True))
        client.images.remove("py:1", force=True)
        (loaded,) = client.images.load(io.BytesIO(saved))
        assert loaded.tags == ["py:1"]
        client.images.remove("py:1", force=True)
    finally:
        client.close()
