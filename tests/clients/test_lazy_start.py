"""Containers that run before their layers have arrived: what they read is right or an error, whatever dies meanwhile.

The daemon's background is held back (one byte a second), so that what arrives is what somebody reads; the registry is
`lazy_registry.py`, which can be held up, damaged and ended.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import random
import shutil
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

import harbour as harbours
from sampan.images.drivers import choose
from sampan.images.lazy import probe
from sampan.keeper import guard

NEEDED = ("runc", "nft", "ip", "unshare", "nsenter", "busybox")
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}"),
]
PORT = 5050
NAME = f"127.0.0.1:{PORT}/app"
SLOWLY = ("--lazy-pull", "auto", "--lazy-timeout", "2", "--lazy-bandwidth", "1")
QUICKLY = ("--lazy-pull", "auto", "--lazy-timeout", "2")
BIG = 5 << 20
LISTING = "cd /; /bin/busybox find bin data many -exec /bin/busybox stat -c '%n %a %u %g %s %Y %F' {} ';'"
HASHES = "cd /; /bin/busybox find bin data many -type f -exec /bin/busybox md5sum {} +"


class Lab:
    """A daemon, and a registry beside it with one image that the daemon does not have."""

    def __init__(self, harbour: harbours.Harbour, folder: Path) -> None:
        self.harbour = harbour
        self.folder = folder
        self.contents = {name: os.urandom(BIG) for name in ("one", "two")}
        self.digest = ""  # of the manifest
        self._registry = 0
        folder.mkdir()
        self.mode("go")

    def mode(self, word: str) -> None:
        """What the registry does with requests for parts."""
        (self.folder / "mode.new").write_text(word)
        (self.folder / "mode.new").rename(self.folder / "mode")

    def serve(self) -> None:
        """Start the registry."""
        program = Path(harbours.__file__).with_name("lazy_registry.py")
        self._registry = self.harbour.host.spawn(
            [sys.executable, str(program), str(self.folder), str(PORT)], log=self.folder / "log"
        )
        until(lambda: bool(self.harbour.host.run(["ss", "-Hltn", f"sport = :{PORT}"])))

    def vanish(self) -> None:
        """End the registry."""
        self.harbour.host.kill(self._registry)
        until(lambda: self.harbour.host.status(self._registry) is not None)

    def restart(self, *options: str) -> None:
        """Start the daemon again, with other options."""
        self.harbour.options = options
        self.harbour.start()

    def parts(self) -> list[tuple[int, int]]:
        """First and last bytes that were asked for."""
        path = self.folder / "parts"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(line.split()[1]), int(line.split()[2])) for line in lines]

    def pending(self) -> list[str]:
        """The files of layers that have not arrived."""
        return sorted(path.name for path in (self.harbour.data / "content" / "pending").glob("*.*"))

    def tar(self) -> bytes:
        """The image's one layer."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            with tarfile.open(fileobj=io.BytesIO(harbours.busybox_tar("lazy"))) as base:
                for member in base:
                    tar.addfile(member, base.extractfile(member) if member.isfile() else None)
            for name, content in self.contents.items():
                info = tarfile.TarInfo(f"data/{name}")
                info.size, info.mtime, info.mode = len(content), 1_700_000_000, 0o640
                tar.addfile(info, io.BytesIO(content))
            for number in range(300):
                info = tarfile.TarInfo(f"many/{number}")
                info.size, info.uid = number * 7, number
                tar.addfile(info, io.BytesIO(bytes([number % 251]) * info.size))
        return packed.getvalue()


def until(condition, limit_s=30.0):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "the condition does not come true"
        time.sleep(0.02)


@pytest.fixture
def lab(tmp_path) -> Iterator[Lab]:
    why = choose.probe_erofs(tmp_path) or probe.probe(tmp_path)
    if why:
        pytest.skip(f"no lazy start here: {why}")
    with harbours.Harbour(tmp_path / "h", *SLOWLY) as harbour:
        made = Lab(harbour, tmp_path / "registry")
        made.serve()
        harbour.start()
        with client(made) as engine:
            engine.api.import_image_from_data(made.tar(), repository=NAME, tag="1")
            last = list(engine.api.push(NAME, "1", stream=True, decode=True))[-1]
            made.digest = last["aux"]["Digest"]
            engine.images.remove(f"{NAME}:1")
        yield made


@contextlib.contextmanager
def client(lab: Lab) -> Iterator[docker.DockerClient]:
    made = lab.harbour.client()
    try:
        yield made
    finally:
        made.close()


def pull(engine: docker.DockerClient, reference: str = "1") -> list[str]:
    """Pull, and what was said."""
    said = list(engine.api.pull(NAME, reference, stream=True, decode=True))
    assert not any("error" in line for line in said), said
    return [line["status"] for line in said]


def run(engine: docker.DockerClient, command: str, **options) -> str:
    return engine.containers.run(f"{NAME}:1", ["/bin/sh", "-c", command], remove=True, **options).decode()


def read(engine: docker.DockerClient, name: str):
    """A container that hashes a file, detached."""
    return engine.containers.run(f"{NAME}:1", ["/bin/busybox", "md5sum", f"/data/{name}"], detach=True)


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def test_a_container_runs_before_its_layers_have_arrived(lab):
    with client(lab) as engine:
        said = pull(engine)
        assert any(line.startswith("Lazy: ") and "the rest arrives in the background" in line for line in said), said
        assert lab.parts() == [], "the pull fetched content"
        assert run(engine, "echo started") == "started\n"
        asked = sum(last + 1 - first for first, last in lab.parts())
        assert 0 < asked < 2 * BIG, lab.parts()
        assert run(engine, "/bin/busybox md5sum /data/one").split()[0] == md5(lab.contents["one"])
        assert len(lab.pending()) == 2, "the layer is whole, which proves nothing"


def test_everything_in_it_is_what_a_plain_pull_gives(lab):
    with client(lab) as engine:
        pull(engine)
        lazy = run(engine, LISTING), run(engine, HASHES)
        assert len(lab.pending()) == 2
        engine.images.remove(f"{NAME}:1")
        assert lab.pending() == []
        lab.harbour.stop()
        lab.restart("--lazy-pull", "off")
        pull(engine)
        assert (run(engine, LISTING), run(engine, HASHES)) == lazy
        assert lazy[0].count("\n") > 300


def test_a_reader_waits_while_the_daemon_is_killed_and_reads_the_truth_from_the_next(lab):
    with client(lab) as engine:
        pull(engine)
        run(engine, "true")
        lab.mode("hold")
        before = len(lab.parts())
        reader = read(engine, "two")
        until(lambda: len(lab.parts()) > before)
        lab.harbour.kill()
        pid = [int(word) for word in lab.harbour.host.run(["pgrep", "-f", "md5sum /data/two"]).split()]
        assert pid, "the reader has ended"
        lab.restart(*QUICKLY)
        lab.mode("go")
        reader = engine.containers.get(reader.id)
        assert reader.wait(timeout=60)["StatusCode"] == 0
        assert reader.logs().split()[0].decode() == md5(lab.contents["two"])
        until(lambda: lab.pending() == [])
        assert run(engine, "/bin/busybox md5sum /data/one").split()[0] == md5(lab.contents["one"])


def test_without_its_registry_a_reader_fails_and_never_reads_zeros(lab):
    with client(lab) as engine:
        pull(engine)
        run(engine, "true")
        lab.vanish()
        began = int(time.time())
        reader = read(engine, "two")
        assert reader.wait(timeout=60)["StatusCode"] != 0
        assert b"I/O error" in reader.logs() or b"Input/output error" in reader.logs(), reader.logs()
        events = list(engine.events(since=began, until=int(time.time()) + 1, decode=True))
        assert any(event["Action"] == "lazy-fail" for event in events), events
        lab.serve()
        again = read(engine, "two")
        assert again.wait(timeout=60)["StatusCode"] == 0
        assert again.logs().split()[0].decode() == md5(lab.contents["two"])


def test_a_damaged_piece_is_refused(lab):
    with client(lab) as engine:
        pull(engine)
        run(engine, "true")
        lab.mode("damage")
        assert read(engine, "two").wait(timeout=60)["StatusCode"] != 0
        lab.mode("go")
        again = read(engine, "two")
        assert again.wait(timeout=60)["StatusCode"] == 0
        assert again.logs().split()[0].decode() == md5(lab.contents["two"])


def test_a_forged_layer_ends_its_containers_and_is_not_kept(lab):
    lab.mode("forge")
    lab.harbour.stop()
    lab.restart(*QUICKLY)
    with client(lab) as engine:
        began = int(time.time())
        pull(engine)
        victim = None
        with contextlib.suppress(docker.errors.APIError):  # the forgery may be found before it starts
            victim = engine.containers.run(f"{NAME}:1", ["sleep", "1000"], detach=True)
        until(lambda: lab.pending() == [])
        if victim is not None:
            assert victim.wait(timeout=60)["StatusCode"] != 0
        events = list(engine.events(since=began, until=int(time.time()) + 1, decode=True))
        assert any(event["Action"] == "lazy-forged" for event in events), events
        lab.mode("go")
        pull(engine)
        assert run(engine, "/bin/busybox md5sum /data/one").split()[0] == md5(lab.contents["one"])


def test_after_a_reboot_the_rest_arrives(lab):
    with client(lab) as engine:
        pull(engine)
        assert run(engine, "/bin/busybox md5sum /data/one").split()[0] == md5(lab.contents["one"])
        lab.harbour.reboot()
        lab.serve()
        lab.restart(*QUICKLY)
        before = len(lab.parts())
        until(lambda: lab.pending() == [])
        fetched = {place for first, last in lab.parts()[before:] for place in range(first, last, 1 << 20)}
        assert len(fetched) < len(lab.tar()) >> 20, "what had arrived was fetched again"
        assert run(engine, "/bin/busybox md5sum /data/two").split()[0] == md5(lab.contents["two"])


def test_the_death_of_the_keeper_lets_nobody_read_zeros(lab):
    with client(lab) as engine:
        pull(engine)
        run(engine, "true")
        lab.mode("hold")
        before = len(lab.parts())
        reader = read(engine, "two")
        until(lambda: len(lab.parts()) > before)
        keeper = lab.harbour.keeper_pid()
        lab.harbour.host.kill(keeper)
        until(lambda: lab.harbour.keeper_pid() not in (0, keeper))
        until(lambda: engine.containers.get(reader.id).status == "exited")
        lab.mode("go")
        again = read(engine, "two")
        assert again.wait(timeout=60)["StatusCode"] == 0
        assert again.logs().split()[0].decode() == md5(lab.contents["two"])


def test_when_keeper_and_daemon_die_at_once_nothing_of_it_stays(lab):
    with client(lab) as engine:
        pull(engine)
        run(engine, "true")
        sleeper = engine.containers.run(f"{NAME}:1", ["sleep", "1000000"], detach=True)
        lab.harbour.host.kill(lab.harbour.keeper_pid())
        lab.harbour.kill()
        lab.harbour.start()
        assert engine.containers.get(sleeper.id).status == "exited"
        again = read(engine, "two")
        assert again.wait(timeout=60)["StatusCode"] == 0
        assert again.logs().split()[0].decode() == md5(lab.contents["two"])


def test_kills_at_any_moment_lose_nothing_and_leave_nothing(lab):
    lab.harbour.stop()
    lab.restart(*QUICKLY)
    lab.mode("slow")
    dice = random.Random(seed := random.randrange(1 << 30))
    for _ in range(4):
        killer = threading.Timer(dice.uniform(0, 2), lab.harbour.kill)
        killer.start()
        with client(lab) as engine, contextlib.suppress(Exception):  # whatever a client says when its daemon dies
            pull(engine)
            read(engine, "two").wait(timeout=30)
        killer.join()
        lab.harbour.start()
        with client(lab) as engine:
            pull(engine)
            for left in engine.containers.list(all=True):
                code = left.wait(timeout=60)["StatusCode"]
                said = left.logs().split()
                assert code or not said or said[0].decode() == md5(lab.contents["two"]), f"seed {seed}"
                left.remove(force=True)
            assert run(engine, "/bin/busybox md5sum /data/one").split()[0] == md5(lab.contents["one"]), f"seed {seed}"
            until(lambda: lab.pending() == [])
            assert lab.harbour.violations() == [], f"seed {seed}"
            engine.images.remove(f"{NAME}:1", force=True)


def test_a_push_waits_for_what_has_not_arrived(lab):
    with client(lab) as engine:
        lab.harbour.stop()
        lab.restart(*QUICKLY)
        lab.mode("hold")
        pull(engine)
        engine.api.tag(f"{NAME}:1", "127.0.0.1:5000/copy", "1")
        pushing = engine.api.push("127.0.0.1:5000/copy", "1", stream=True, decode=True)
        until(lambda: "Waiting for the rest" in str(next(pushing)))
        lab.mode("go")
        assert "aux" in list(pushing)[-1]
        assert lab.pending() == []


def test_a_pull_by_digest_is_plain(lab):
    with client(lab) as engine:
        said = pull(engine, lab.digest)
        assert not any(line.startswith("Lazy: ") for line in said), said
        assert lab.pending() == []


def test_a_layer_that_comes_by_another_way_is_not_waited_for(lab):
    with client(lab) as engine:
        pull(engine)
        run(engine, "true")
        before = len(lab.parts())
        engine.api.import_image_from_data(lab.tar(), repository="same", tag="1")
        lab.vanish()
        assert run(engine, "/bin/busybox md5sum /data/two").split()[0] == md5(lab.contents["two"])
        assert len(lab.parts()) == before
        engine.images.remove(f"{NAME}:1")
        assert engine.containers.run("same:1", ["/bin/busybox", "md5sum", "/data/one"], remove=True).split()[0]


def test_more_readers_than_the_keeper_lets_wait_are_all_served(lab):
    readers = "for i in $(/bin/busybox seq 100 299); do (/bin/busybox md5sum < /many/$i > /tmp/$i) & done; wait"
    with client(lab) as engine:
        pull(engine)
        run(engine, "true")
        lab.mode("hold")
        before = len(lab.parts())
        command = f"{readers}; /bin/busybox cat /tmp/1?? /tmp/2??"
        crowd = engine.containers.run(f"{NAME}:1", ["/bin/sh", "-c", command], detach=True)
        until(lambda: len(lab.parts()) > before)
        until(lambda: len(engine.containers.get(crowd.id).top()["Processes"]) > guard.MOST_WAITING)
        lab.mode("go")
        assert crowd.wait(timeout=60)["StatusCode"] == 0
        wanted = [md5(bytes([number % 251]) * number * 7) for number in range(100, 300)]
        assert [line.split()[0].decode() for line in crowd.logs().splitlines()] == wanted
