"""Upload files: their offset, their hash, and what a failure leaves."""

from __future__ import annotations

import os

import pytest

from sampan.blobs import uploads
from sampan.formats.digest import Digest


@pytest.fixture
def folder(tmp_path):
    return uploads.Uploads(tmp_path)


def test_what_is_written_is_hashed_on_the_way(folder):
    upload = folder.create("one", "sha256")
    upload.write([b"hello ", b"", b"world"])
    upload.write([])
    assert upload.size_bytes == 11
    assert upload.digest("sha256") == Digest.of(b"hello world")
    assert upload.path.read_bytes() == b"hello world"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_another_process_goes_on_where_this_one_ended(folder, tmp_path, algorithm):
    folder.create("one", algorithm).write([b"hello "])
    again = uploads.Uploads(tmp_path).open("one", algorithm)
    assert again.size_bytes == 6
    again.write([b"world"])
    assert again.digest(algorithm) == Digest.of(b"hello world", algorithm)


def test_a_digest_of_another_algorithm_reads_the_file_again(folder):
    upload = folder.create("one", "sha256")
    upload.write([b"hello"])
    assert upload.digest("sha512") == Digest.of(b"hello", "sha512")
    upload.write([b"!"])
    assert upload.digest("sha256") == Digest.of(b"hello!")


def test_a_failed_write_keeps_what_reached_the_file(folder, monkeypatch):
    upload = folder.create("one", "sha256")
    upload.write([b"before"])

    def torn(descriptor, pieces):
        os.write(descriptor, pieces[0][:2])
        raise OSError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(uploads, "_write_all", torn)
        with pytest.raises(OSError, match="no room"):
            upload.write([b"after"])
    assert upload.size_bytes == 8
    upload.write([b"ter"])
    assert upload.digest("sha256") == Digest.of(b"beforeafter")


def test_short_writes_are_finished(folder, monkeypatch):
    write = os.writev
    monkeypatch.setattr(os, "writev", lambda descriptor, pieces: write(descriptor, [pieces[0][:3]]))
    upload = folder.create("one", "sha256")
    upload.write([b"abcdefgh", b"i", b"jklm"])
    assert upload.path.read_bytes() == b"abcdefghijklm"


def test_only_so_many_hashes_are_remembered_and_the_others_are_made_again(folder, monkeypatch):
    monkeypatch.setattr(uploads, "REMEMBERED", 2)
    for name in ("one", "two", "three"):
        folder.create(name, "sha256").write([name.encode()])
    assert len(folder._live) == 2
    assert folder.open("one", "sha256").digest("sha256") == Digest.of(b"one")


def test_an_upload_that_is_not_there_is_unknown(folder):
    with pytest.raises(uploads.UploadFileUnknown):
        folder.open("nothing", "sha256")
    folder.forget("nothing")
