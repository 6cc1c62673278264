"""Outlines of layers, as our registry serves them."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest

from sampan.formats import outline
from sampan.formats.digest import Digest

HOUR_NS = 3_700 * 10**9


def layer(content: bytes = b"x" * 3_000_000) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo("file")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def test_a_manifest_tells_that_there_are_outlines(harbour):
    harbour.push_image("app", "1", layer())
    for method in ("GET", "HEAD"):
        assert harbour.ask(method, "/v2/app/manifests/1").headers["sampan-outlines"] == "1"


@pytest.mark.parametrize("form", ["plain", "gzip"])
def test_the_outline_of_a_layer_and_the_ranges_of_its_tar_are_served(harbour, form):
    tar = layer()
    blob = tar if form == "plain" else gzip.compress(tar)
    harbour.push_image("app", "1", blob)
    path = f"/v2/app/_sampan/outlines/{Digest.of(blob)}"
    answer = harbour.ask("GET", path)
    assert (answer.status, answer.headers["content-type"]) == (200, outline.MEDIA_TYPE)
    head = harbour.ask("HEAD", path)
    assert (head.status, head.headers["content-length"]) == (200, str(len(answer.body)))
    found = outline.decode(answer.body)
    assert (found.diff_id, found.size_bytes) == (Digest.of(tar), len(tar))
    part = harbour.ask("GET", f"/v2/app/blobs/{found.diff_id}", headers={"Range": "bytes=1048576-2097151"})
    assert (part.status, part.body) == (206, tar[1 << 20 : 2 << 20])
    assert outline.matches(found.hashes, 1, part.body)


def test_a_tar_that_was_inflated_goes_after_the_grace_period_and_comes_again(harbour):
    blob = gzip.compress(layer())
    harbour.push_image("app", "1", blob)
    path = f"/v2/app/_sampan/outlines/{Digest.of(blob)}"
    diff_id = outline.whose(harbour.ask("GET", path).body)
    tar = f"/v2/app/blobs/{diff_id}"
    assert harbour.ask("HEAD", tar).status == 200
    harbour.registry._work._seen.clear()
    harbour.now_shift_ns = HOUR_NS
    harbour.run(harbour.registry.collect())
    assert harbour.ask("HEAD", tar).status == 404
    assert harbour.ask("GET", path).status == 200
    assert harbour.ask("HEAD", tar).status == 200


def test_an_outline_goes_with_its_blob(harbour):
    blob = layer()
    digest, _ = harbour.push_image("app", "1", blob)
    harbour.ask("GET", f"/v2/app/_sampan/outlines/{Digest.of(blob)}")
    kept = harbour.folder / "outlines" / Digest.of(blob).hex
    assert kept.exists()
    assert harbour.ask("DELETE", f"/v2/app/manifests/{digest}").status == 202
    harbour.registry._work._seen.clear()
    harbour.now_shift_ns = HOUR_NS
    harbour.run(harbour.registry.collect())
    assert not kept.exists()


@pytest.mark.parametrize(
    "content",
    [b"{}", b"a layer", gzip.compress(b"no tar" * 200, mtime=0), gzip.compress(layer(), mtime=0)[:-20]],
    ids=["json", "text", "gzip of no tar", "cut gzip"],
)
def test_what_is_no_layer_has_no_outline_and_changes_nothing(harbour, content):
    digest = harbour.push_blob("app", content)
    before = set(harbour.blobs.files.present())
    answer = harbour.ask("GET", f"/v2/app/_sampan/outlines/{digest}")
    assert answer.status in (400, 404), answer
    assert answer.code
    assert len(set(harbour.blobs.files.present()) - before) <= 1  # a tar that inflated, to be collected
    assert not list((harbour.folder / "outlines").glob("*"))


def test_only_who_may_pull_gets_an_outline_and_only_of_what_the_repository_shows(harbour):
    blob = layer()
    harbour.push_image("app", "1", blob)
    harbour.push_image("other", "1", layer(b"y"))
    assert harbour.ask("GET", f"/v2/other/_sampan/outlines/{Digest.of(blob)}").status == 404
    assert harbour.ask("GET", "/v2/app/_sampan/outlines/nonsense").status == 400
    assert harbour.ask("GET", f"/v2/app/_sampan/outlines/{Digest.of(b'other')}").status == 404
    assert harbour.ask("POST", f"/v2/app/_sampan/outlines/{Digest.of(blob)}").status == 405
    harbour.denied.add(("app", "pull"))
    assert harbour.ask("GET", f"/v2/app/_sampan/outlines/{Digest.of(blob)}").status == 403
