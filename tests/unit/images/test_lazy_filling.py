"""Filling pending layers from a registry that misbehaves; without a guard, so that nothing here needs root."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sampan.blobs.service import Blobs
from sampan.formats import outline, tar, tar_write
from sampan.formats.digest import Digest
from sampan.host.http import Unreachable
from sampan.images import client, endpoints
from sampan.images.drivers.erofs import ErofsDriver
from sampan.images.lazy import filling, pending
from sampan.images.lazy.service import Lazy, Limits
from sampan.state.database import Database

SOURCE = pending.Source("registry.lan", "app", "sha256:" + "0" * 64)


def layer() -> bytes:
    entries = [(f"file{number}".encode(), os.urandom(700_000)) for number in range(6)]
    entries.append((b"zeros", bytes(3 << 20)))
    packed = [
        tar_write.entry_header(tar.TarEntry(name, size_bytes=len(data))) + tar_write.padded(data)
        for name, data in entries
    ]
    return b"".join([*packed, tar_write.END])


class Registry:
    """Sends parts of one tar, as `faults` say: each is called with a part before it is sent, and gives another."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.faults: list[Callable[[bytes], bytes]] = []
        self.asked: list[tuple[int, int]] = []
        self.outlines = 0

    def part(self, _repository: str, _digest: str, start: int, stop: int) -> Iterator[bytes]:
        self.asked.append((start, stop))
        piece = self.content[start:stop]
        if self.faults:
            piece = self.faults.pop(0)(piece)
        for place in range(0, len(piece), 300_000):
            yield piece[place : place + 300_000]

    def outline(self, _repository: str, _digest: str) -> bytes:
        self.outlines += 1
        return b""

    def close(self) -> None:
        """Nothing is open."""


class Place:
    def __init__(self, root: Path) -> None:
        self.content = layer()
        self.registry = Registry(self.content)
        self.database = Database.open(root / "state.db")
        self.blobs = Blobs(root / "content", self.database)
        self.blobs.files.prepare()
        self.driver = ErofsDriver(root / "layers", root / "mounts", lambda _: Path())
        recorder = outline.Recorder(self.content)
        self.driver.prepare_from(hashlib.sha256(self.content).hexdigest(), recorder.buffer)
        self.outline = outline.record(self.content, recorder.spans)
        self.name = self.outline.diff_id.hex
        self.blobs.files.pending.mkdir()
        self.told: list[str] = []

    def pending(self) -> pending.Pending:
        made = pending.create(self.blobs.files.pending, outline.encode(self.outline), self.outline, SOURCE)
        with made.path.open("r+b") as file:
            made.lend(file.fileno())
        return made

    def filler(self, limit_s: float = 10.0) -> filling.Filler:
        made = filling.Filler(lambda _: self.registry, lambda _: None, limit_s=limit_s, pace=filling.Pace(0))  # type: ignore[arg-type,return-value]
        made.hush = lambda: None  # type: ignore[method-assign]
        return made

    def lazy(self) -> Lazy:
        """A service of a kernel without a guard: it only makes whole what is left."""
        made = Lazy(self.blobs, endpoints.Settings(), Limits(), capable=False)
        made.driver = self.driver
        made.tell = lambda what, _diff_id, _why: self.told.append(what)
        made._registries[SOURCE.host] = self.registry  # type: ignore[assignment]
        return made


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.database.close()


def refuse(error: Exception) -> Callable[[bytes], bytes]:
    def fault(_piece: bytes) -> bytes:
        raise error

    return fault


def until(condition: Callable[[], bool]) -> None:
    limit_s = time.monotonic() + 30
    waiting = threading.Event()
    while not condition():
        assert time.monotonic() < limit_s, "the condition does not come true"
        waiting.wait(0.02)


def test_only_what_is_asked_for_is_fetched_and_holes_are_not(place):
    layer = place.pending()
    place.filler().serve(layer, 2 << 20, 10)
    assert place.registry.asked == [(2 << 20, 4 << 20)]
    assert layer.here(2 << 20, 2 << 20)
    assert not layer.here(0, 1)
    zeros = next(number for number in range(len(layer.states)) if outline.is_zeros(layer.hashes, number))
    place.filler().serve(layer, zeros << 20, 1)
    assert (zeros << 20, (zeros + 1) << 20) not in place.registry.asked
    layer.end("done")
    layer.close()


@pytest.mark.parametrize(
    "fault",
    [
        lambda piece: piece[:-1],
        lambda piece: b"\0" + piece[1:],
        lambda piece: b"",
        refuse(Unreachable("gone", ConnectionRefusedError())),
        refuse(client.RegistryFailed("no")),
    ],
)
def test_a_fault_of_the_registry_is_met_by_asking_again(place, fault):
    layer = place.pending()
    place.registry.faults = [fault]
    place.filler().serve(layer, 0, 1 << 20)
    assert layer.path.read_bytes()[: 1 << 20] == place.content[: 1 << 20]
    layer.end("done")
    layer.close()


def test_a_piece_that_stays_wrong_is_refused_and_never_written(place):
    layer = place.pending()
    place.registry.faults = [lambda piece: bytes(len(piece))] * 10
    with pytest.raises(pending.WrongChunk):
        place.filler().serve(layer, 0, 1)
    assert not layer.here(0, 1)
    assert layer.path.read_bytes()[: 1 << 20] == bytes(1 << 20)
    assert os.stat(layer.path).st_blocks == 0
    layer.end("done")
    layer.close()


def test_a_registry_that_stays_away_makes_a_reader_fail_at_the_limit(place):
    layer = place.pending()
    place.registry.faults = [refuse(Unreachable("gone", ConnectionRefusedError()))] * 100
    with pytest.raises(pending.NotHere, match="gone"):
        place.filler(0.2).serve(layer, 0, 1)
    layer.end("done")
    layer.close()


def test_a_tar_that_the_registry_dropped_is_asked_for_by_its_outline(place):
    layer = place.pending()
    place.registry.faults = [refuse(client.NotInRegistry("blob unknown"))]
    place.filler().serve(layer, 0, 1)
    assert place.registry.outlines == 1
    layer.end("done")
    layer.close()


def test_after_a_restart_only_what_has_the_right_content_counts_as_here(place):
    layer = place.pending()
    place.filler().serve(layer, 0, 3 << 20)
    with layer.path.open("r+b") as file:  # a crash of the machine: one piece was lost, one half written
        file.seek(1 << 20)
        file.write(bytes(1 << 20))
        file.seek((2 << 20) + 100)
        file.write(b"?" * 5000)
    layer.close()
    place.registry.asked.clear()
    lazy = place.lazy()
    assert lazy.restore({place.name}) == 1
    lazy.attach(Path("unused"))
    until(lambda: place.told == ["lazy-complete"])
    assert place.registry.asked[0][0] == 1 << 20, "what was here was fetched again"
    assert place.blobs.size(Digest(f"sha256:{place.name}")) == len(place.content)
    assert place.blobs.files.path(Digest(f"sha256:{place.name}")).read_bytes() == place.content
    assert list(place.blobs.files.pending.iterdir()) == []
    lazy.close()


def test_what_no_image_uses_and_what_is_a_blob_already_is_pending_no_more(place):
    place.pending().close()
    assert place.lazy().restore(set()) == 0
    assert list(place.blobs.files.pending.iterdir()) == []
    place.pending().close()
    with place.blobs.files.writer() as writer:
        writer.write(place.content)
        place.blobs.commit(writer)
    assert place.lazy().restore({place.name}) == 0
    assert list(place.blobs.files.pending.iterdir()) == []


def test_a_damaged_record_is_no_pending_layer(place):
    layer = place.pending()
    layer.close()
    for damage in (b"", b"{}\nnothing", layer.record.read_bytes()[:-10]):
        layer.record.write_bytes(damage)
        assert pending.load(place.blobs.files.pending, layer.diff_id) is None


def test_an_outline_that_lied_about_files_is_found_out(place):
    other = bytearray(place.content)
    other[0:5] = b"elif0"  # another name in the first header; its checksum stays right
    tree = outline.Recorder(bytes(other))
    assert sum(other[:512]) == sum(place.content[:512])
    place.driver.remove(place.name)
    place.driver.prepare_from(place.name, tree.buffer)
    place.pending().close()
    lazy = place.lazy()
    lazy.restore({place.name})
    lazy.attach(Path("unused"))
    until(lambda: place.told != [])
    assert place.told == ["lazy-forged"]
    assert not place.driver.has(place.name)
    assert place.blobs.size(Digest(f"sha256:{place.name}")) is None
    lazy.close()
