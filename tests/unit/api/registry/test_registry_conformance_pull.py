"""Distribution-spec 1.1, "Pull": end-1, end-2, end-3."""

from __future__ import annotations

import pytest

from sampan.formats import oci
from sampan.formats.digest import Digest

BLOB = bytes(range(256)) * 8  # 2048 bytes


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
def test_the_base_says_that_this_is_a_registry(harbour, path):
    answer = harbour.ask("GET", path)
    assert answer.status == 200
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"


def test_a_manifest_is_pulled_by_tag_and_by_digest_as_it_was_pushed(harbour):
    digest, content = harbour.push_image("team/app", "v1")
    for reference in ("v1", digest):
        answer = harbour.ask("GET", f"/v2/team/app/manifests/{reference}", headers={"Accept": oci.OCI_MANIFEST})
        assert (answer.status, answer.body) == (200, content)
        assert answer.headers["content-type"] == oci.OCI_MANIFEST
        assert answer.headers["docker-content-digest"] == digest


def test_head_of_a_manifest_gives_length_and_digest_and_no_body(harbour):
    digest, content = harbour.push_image("app", "v1")
    for reference in ("v1", digest):
        answer = harbour.ask("HEAD", f"/v2/app/manifests/{reference}")
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["content-length"] == str(len(content))
        assert answer.headers["docker-content-digest"] == digest
        assert answer.headers["content-type"] == oci.OCI_MANIFEST


def test_a_blob_is_pulled_whole_and_head_gives_its_length(harbour):
    digest = harbour.push_blob("app", BLOB)
    answer = harbour.ask("GET", f"/v2/app/blobs/{digest}")
    assert (answer.status, answer.body) == (200, BLOB)
    assert answer.headers["docker-content-digest"] == digest
    assert answer.headers["accept-ranges"] == "bytes"
    head = harbour.ask("HEAD", f"/v2/app/blobs/{digest}")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(BLOB)))
    assert head.headers["docker-content-digest"] == digest


def test_a_large_blob_goes_out_by_sendfile_unchanged(harbour):
    content = BLOB * 2048
    digest = harbour.push_blob("app", content)
    assert harbour.ask("GET", f"/v2/app/blobs/{digest}").body == content
    part = harbour.ask("GET", f"/v2/app/blobs/{digest}", headers={"Range": "bytes=1000-3000999"})
    assert (part.status, part.body) == (206, content[1000:3001000])


def test_an_empty_blob_is_a_blob(harbour):
    digest = harbour.push_blob("app", b"")
    answer = harbour.ask("GET", f"/v2/app/blobs/{digest}")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")


@pytest.mark.parametrize(
    ("wanted", "part", "stated"),
    [
        ("bytes=500-1499", BLOB[500:1500], "bytes 500-1499/2048"),
        ("bytes=500-", BLOB[500:], "bytes 500-2047/2048"),
        ("bytes=-500", BLOB[-500:], "bytes 1548-2047/2048"),
        ("bytes=2000-5000", BLOB[2000:], "bytes 2000-2047/2048"),
        ("bytes=0-0", BLOB[:1], "bytes 0-0/2048"),
        ("bytes=-5000", BLOB, "bytes 0-2047/2048"),
    ],
)
def test_a_range_is_answered_with_that_part(harbour, wanted, part, stated):
    digest = harbour.push_blob("app", BLOB)
    answer = harbour.ask("GET", f"/v2/app/blobs/{digest}", headers={"Range": wanted})
    assert (answer.status, answer.body) == (206, part)
    assert answer.headers["content-range"] == stated
    assert answer.headers["content-length"] == str(len(part))


@pytest.mark.parametrize("wanted", ["bytes=500-0", "bytes=5000-10000", "bytes=2048-", "bytes=-0", "bytes=5-2"])
def test_a_range_outside_the_blob_is_416(harbour, wanted):
    digest = harbour.push_blob("app", BLOB)
    answer = harbour.ask("GET", f"/v2/app/blobs/{digest}", headers={"Range": wanted})
    assert answer.status == 416
    assert answer.headers["content-range"] == "bytes */2048"


@pytest.mark.parametrize("wanted", ["lines=1-2", "bytes=", "bytes=a-b", "bytes=" + ",".join(["0-1"] * 1000)])
def test_other_units_and_many_ranges_are_answered_with_the_whole(harbour, wanted):
    digest = harbour.push_blob("app", BLOB)
    answer = harbour.ask("GET", f"/v2/app/blobs/{digest}", headers={"Range": wanted})
    assert (answer.status, answer.body) == (200, BLOB)


def test_what_the_client_has_already_is_not_sent_again(harbour):
    digest, _ = harbour.push_image("app", "v1", BLOB)
    for path in (f"manifests/{digest}", "manifests/v1", f"blobs/{Digest.of(BLOB)}"):
        etag = harbour.ask("HEAD", f"/v2/app/{path}").headers["etag"]
        answer = harbour.ask("GET", f"/v2/app/{path}", headers={"If-None-Match": etag})
        assert (answer.status, answer.body) == (304, b"")


def test_a_range_of_another_version_is_answered_with_the_whole(harbour):
    digest = harbour.push_blob("app", BLOB)
    answer = harbour.ask("GET", f"/v2/app/blobs/{digest}", headers={"Range": "bytes=1-2", "If-Range": '"other"'})
    assert (answer.status, answer.body) == (200, BLOB)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v2/nobody/manifests/latest", "NAME_UNKNOWN"),
        ("/v2/app/manifests/missing", "MANIFEST_UNKNOWN"),
        ("/v2/app/manifests/sha256:" + "0" * 64, "MANIFEST_UNKNOWN"),
        ("/v2/app/blobs/sha256:" + "0" * 64, "BLOB_UNKNOWN"),
        ("/v2/app/blobs/sha512:" + "0" * 128, "BLOB_UNKNOWN"),
        ("/v2/nobody/blobs/sha256:" + "0" * 64, "BLOB_UNKNOWN"),
    ],
)
def test_what_is_not_there_is_404_for_get_and_head(harbour, path, code):
    harbour.push_image("app", "v1")
    answer = harbour.ask("GET", path)
    assert (answer.status, answer.code) == (404, code)
    assert harbour.ask("HEAD", path).status == 404


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("", 200),
        ("*/*", 200),
        ("application/json", 200),
        (oci.OCI_MANIFEST, 200),
        (f"{oci.DOCKER_MANIFEST}, {oci.OCI_MANIFEST};q=0.5", 200),
        (oci.DOCKER_MANIFEST, 404),
        ("text/html", 404),
    ],
)
def test_a_tag_of_a_type_the_client_cannot_read_is_as_good_as_missing(harbour, accept, status):
    digest, _ = harbour.push_image("app", "v1")
    headers = {"Accept": accept} if accept else {}
    assert harbour.ask("GET", "/v2/app/manifests/v1", headers=headers).status == status
    assert harbour.ask("GET", f"/v2/app/manifests/{digest}", headers=headers).status == 200


def test_a_blob_of_another_repository_is_not_shown(harbour):
    digest = harbour.push_blob("mine", BLOB)
    assert harbour.ask("GET", f"/v2/yours/blobs/{digest}").status == 404


def test_percent_encoded_references_name_the_same(harbour):
    digest, content = harbour.push_image("team/app", "v1")
    assert harbour.ask("GET", f"/v2/team/app/manifests/{digest.replace(':', '%3A')}").body == content
