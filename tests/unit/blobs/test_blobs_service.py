"""The content store: what is there, who keeps it, and what is taken."""

from __future__ import annotations

import threading

import pytest

from sampan.blobs import service, store
from sampan.blobs.files import DigestMismatch
from sampan.blobs.service import Blobs, BlobUnknown
from sampan.formats.digest import Digest
from sampan.state.database import Database

HOUR_NS = int(3600e9)


class Clock:
    now_ns = 10 * HOUR_NS

    def __call__(self):
        return self.now_ns


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def database(tmp_path):
    opened = Database.open(tmp_path / "state.db")
    yield opened
    opened.close()


@pytest.fixture
def blobs(tmp_path, database, clock):
    made = Blobs(tmp_path / "store", database, now_ns=clock)
    made.files.prepare()
    return made


def hold(database, holder, *digests):
    database.write_blocking(lambda tx: store.hold(tx, holder, digests))


def test_what_is_put_is_read_again(blobs):
    digest = blobs.put(b"content")
    assert digest == Digest.of(b"content")
    assert blobs.size(digest) == 7
    assert blobs.read(digest) == b"content"
    assert blobs.require(digest)[0].read_bytes() == b"content"


def test_what_is_not_there_is_unknown(blobs):
    with pytest.raises(BlobUnknown):
        blobs.require(Digest.of(b"nothing"))
    assert blobs.size(Digest.of(b"nothing")) is None
    assert blobs.lease(Digest.of(b"nothing")) is False


def test_content_of_another_digest_leaves_nothing(blobs):
    with pytest.raises(DigestMismatch), blobs.files.writer() as writer:
        writer.write(b"content")
        blobs.commit(writer, Digest.of(b"other"))
    assert list(blobs.files.present()) == []
    assert list(blobs.files.ingest.iterdir()) == []


def test_a_holder_that_cannot_be_made_leaves_no_new_blob_and_keeps_an_old_one(blobs):
    def refuse(_):
        raise ValueError("no")

    old = blobs.put(b"old")
    for content in (b"old", b"new"):
        with pytest.raises(ValueError, match="no"), blobs.files.writer() as writer:
            writer.write(content)
            blobs.commit(writer, also=refuse)
    assert list(blobs.files.present()) == [old]
    assert blobs.read(old) == b"old"


def test_a_leased_blob_is_not_collected_until_every_lease_has_ended(blobs):
    digest = blobs.put(b"content")
    assert blobs.lease(digest)
    assert blobs.collect([digest]) == 0
    blobs.end_lease([digest])
    assert blobs.collect([digest]) == 0
    blobs.end_lease([digest])
    assert blobs.collect([digest]) == 7
    assert blobs.size(digest) is None
    assert list(blobs.files.present()) == []


def test_a_held_blob_is_not_collected(blobs, database):
    digest = blobs.put(b"content")
    hold(database, "image:x", digest)
    blobs.end_lease([digest])
    assert blobs.collect([digest]) == 0
    assert database.write_blocking(lambda tx: store.release(tx, "image:x")) == [digest]
    assert blobs.collect([digest]) == 7


def test_collecting_everything_leaves_what_is_younger_than_the_grace_period(blobs, clock):
    old = blobs.put(b"old")
    clock.now_ns += 2 * HOUR_NS
    young = blobs.put(b"young")
    blobs.end_lease([old, young])
    assert blobs.collect() == 3
    assert list(blobs.files.present()) == [young]


def test_collecting_twice_or_after_a_file_was_removed_by_hand_is_no_failure(blobs):
    digest = blobs.put(b"content")
    blobs.end_lease([digest])
    blobs.files.path(digest).unlink()
    assert blobs.collect([digest]) == 0
    assert blobs.collect([digest]) == 0
    assert blobs.size(digest) is None


def test_a_sweep_removes_files_without_a_row(blobs):
    kept = blobs.put(b"kept")
    stray = Digest.of(b"stray")
    blobs.files.path(stray).write_bytes(b"stray")
    assert blobs.sweep() == 1
    assert list(blobs.files.present()) == [kept]


def test_a_sweep_beside_a_lost_database_removes_nothing(blobs):
    digest = Digest.of(b"content")
    blobs.files.path(digest).write_bytes(b"content")
    manifest = f'{{"mediaType": "x", "digest": "{digest}", "size": 7}}'
    (blobs.files.root / "index.json").write_text(f'{{"schemaVersion": 2, "manifests": [{manifest}]}}')
    assert blobs.sweep() == 0
    assert list(blobs.files.present()) == [digest]


def test_a_blob_made_while_it_is_collected_is_whole_or_made_again(blobs, monkeypatch):
    monkeypatch.setattr(service, "GRACE_S", 0.0)
    digest = Digest.of(b"content")
    wrong = []

    def make():
        for _ in range(60):
            blobs.put(b"content")

    makers = [threading.Thread(target=make) for _ in range(2)]
    for maker in makers:
        maker.start()
    while any(maker.is_alive() for maker in makers):
        blobs.collect([digest])
        with blobs._lock(digest):
            if (blobs.size(digest) is None) == blobs.files.path(digest).exists():
                wrong.append(blobs.size(digest))
    for maker in makers:
        maker.join()
    assert wrong == []
