"""What survives a restart, and what a crash leaves behind."""

from __future__ import annotations

import json
import shutil

import pytest

from sampan.formats import oci
from sampan.formats.digest import Digest
from sampan.registry.rebuild import ForeignLayout

BLOB = bytes(range(256)) * 100


def test_an_upload_goes_on_after_a_restart(harbour):
    location = harbour.ask("POST", "/v2/app/blobs/uploads/").headers["location"]
    harbour.ask("PATCH", location, BLOB[:1000])
    harbour.stop()
    harbour.start()
    answer = harbour.ask("GET", location)
    assert (answer.status, answer.headers["range"]) == (204, "0-999")
    harbour.ask("PATCH", location, BLOB[1000:], {"Content-Range": f"1000-{len(BLOB) - 1}"})
    assert harbour.ask("PUT", f"{location}?digest={Digest.of(BLOB)}").status == 201
    assert harbour.ask("GET", f"/v2/app/blobs/{Digest.of(BLOB)}").body == BLOB


def test_everything_pushed_is_there_after_a_restart(harbour):
    _, content = harbour.push_image("team/app", "v1", BLOB)
    harbour.stop()
    harbour.start()
    assert harbour.rebuilt is None
    assert harbour.swept == 0
    assert harbour.ask("GET", "/v2/team/app/manifests/v1").body == content
    assert harbour.ask("GET", f"/v2/team/app/blobs/{Digest.of(BLOB)}").body == BLOB
    assert harbour.ask("GET", "/v2/_catalog").json == {"repositories": ["team/app"]}


def test_leftovers_of_a_crash_are_swept(harbour):
    harbour.push_image("app", "v1", BLOB)
    location = harbour.ask("POST", "/v2/app/blobs/uploads/").headers["location"]
    harbour.stop()
    stray = Digest.of(b"renamed, but its row was never committed")
    harbour.blobs.files.path(stray).write_bytes(b"x")
    (harbour.folder / "ingest" / "half").write_bytes(b"x")
    (harbour.folder / "uploads" / "without-a-row").write_bytes(b"x")
    (harbour.folder / ".tmp-half").write_bytes(b"x")
    (harbour.folder / "uploads" / location.rpartition("/")[2]).unlink()
    harbour.start()
    assert harbour.swept == 1
    assert not harbour.blobs.files.path(stray).exists()
    assert list((harbour.folder / "ingest").iterdir()) == []
    assert list((harbour.folder / "uploads").iterdir()) == []
    assert not (harbour.folder / ".tmp-half").exists()
    assert harbour.ask("GET", location).status == 404
    assert harbour.ask("GET", f"/v2/app/blobs/{Digest.of(BLOB)}").body == BLOB


def lose_the_database(harbour):
    harbour.stop()
    for file in harbour.root.glob("state.db*"):
        file.unlink()
    harbour.start()


def test_a_lost_database_is_rebuilt_from_the_folder(harbour, make):
    digest, content = harbour.push_image("team/app", "v1", BLOB)
    other, _ = harbour.push_image("team/app", "v2", b"another layer")
    untagged = make.image(BLOB, subject={"mediaType": oci.OCI_MANIFEST, "digest": digest, "size": len(content)})
    harbour.push_manifest("team/app", Digest.of(untagged), untagged)
    both = make.index(content)
    harbour.push_manifest("team/app", "all", both, oci.OCI_INDEX)
    lose_the_database(harbour)
    assert harbour.rebuilt.manifests == 4
    assert harbour.rebuilt.tags == 3
    assert harbour.rebuilt.left_out == ()
    assert harbour.ask("GET", "/v2/team/app/tags/list").json["tags"] == ["all", "v1", "v2"]
    assert harbour.ask("GET", "/v2/team/app/manifests/v1").body == content
    assert harbour.ask("GET", "/v2/team/app/manifests/all").headers["content-type"] == oci.OCI_INDEX
    assert harbour.ask("GET", f"/v2/team/app/blobs/{Digest.of(BLOB)}").body == BLOB
    referrers = harbour.ask("GET", f"/v2/team/app/referrers/{digest}").json["manifests"]
    assert [each["digest"] for each in referrers] == [Digest.of(untagged)]
    harbour.now_shift_ns = int(2 * 3600 * 1e9)
    harbour.run(harbour.registry.collect())
    assert harbour.ask("GET", f"/v2/team/app/manifests/{other}").status == 200


def test_what_is_damaged_is_left_out_of_a_rebuild_and_reported(harbour, caplog):
    _, good = harbour.push_image("app", "good", b"good layer")
    bad, _ = harbour.push_image("app", "bad", b"bad layer")
    harbour.push_image("app", "torn", b"torn layer")
    harbour.blobs.files.path(bad).write_bytes(b"{}")
    harbour.blobs.files.path(Digest.of(b"torn layer")).write_bytes(b"torn")
    lose_the_database(harbour)
    assert harbour.ask("GET", "/v2/app/tags/list").json["tags"] == ["good"]
    assert harbour.ask("GET", "/v2/app/manifests/good").body == good
    assert len(harbour.rebuilt.left_out) == 2
    assert "app:bad" in caplog.text
    assert "app:torn" in caplog.text


def test_the_images_of_another_program_are_not_touched(harbour):
    harbour.stop()
    shutil.rmtree(harbour.root)
    blob = harbour.folder / "blobs" / "sha256" / Digest.of(BLOB).hex
    blob.parent.mkdir(parents=True)
    blob.write_bytes(BLOB)
    entry = {"mediaType": oci.OCI_MANIFEST, "digest": Digest.of(BLOB), "size": len(BLOB)}
    (harbour.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    with pytest.raises(ForeignLayout):
        harbour.run_without_serving()
    assert blob.read_bytes() == BLOB
    shutil.rmtree(harbour.root)
    harbour.start()


def test_the_index_follows_pushes_and_deletions(harbour):
    digest, content = harbour.push_image("team/app", "v1")
    harbour.stop()
    (entry,) = json.loads((harbour.folder / "index.json").read_text())["manifests"]
    assert entry == {
        "mediaType": oci.OCI_MANIFEST,
        "digest": digest,
        "size": len(content),
        "annotations": {"org.opencontainers.image.ref.name": "team/app:v1"},
    }
    harbour.start()
    harbour.ask("DELETE", "/v2/team/app/manifests/v1")
    harbour.stop()
    (entry,) = json.loads((harbour.folder / "index.json").read_text())["manifests"]
    assert entry["annotations"] == {"io.sampan.repository": "team/app"}
    harbour.start()
