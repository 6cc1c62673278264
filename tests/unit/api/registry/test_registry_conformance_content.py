"""Distribution-spec 1.1, "Content Discovery" and "Content Management": end-8 to end-10, end-12; the catalogue."""

from __future__ import annotations

import re

import pytest

from sampan.formats import oci
from sampan.formats.digest import Digest

TAGS = ["1.0", "1.1", "Latest", "_x", "a", "latest"]  # in byte order


def names(link):
    match = re.fullmatch(r'<(.*)>; rel="next"', link)
    assert match
    return match[1]


@pytest.fixture
def tagged(harbour):
    _, content = harbour.push_image("team/app", TAGS[-1])
    for tag in TAGS[:-1]:
        assert harbour.push_manifest("team/app", tag, content).status == 201
    return harbour


# --- tags ---


def test_tags_are_listed_in_byte_order(tagged):
    answer = tagged.ask("GET", "/v2/team/app/tags/list")
    assert answer.json == {"name": "team/app", "tags": TAGS}
    assert "link" not in answer.headers


@pytest.mark.parametrize(
    ("query", "listed", "more"),
    [
        ("n=2", TAGS[:2], True),
        ("n=0", [], False),
        ("n=6", TAGS, False),
        ("n=100000", TAGS, False),
        ("n=2&last=1.1", TAGS[2:4], True),
        ("last=_x", TAGS[4:], False),
        ("last=zzz", [], False),
        ("n=3&last=nosuchtag%00", [], False),
    ],
)
def test_tags_are_listed_in_parts(tagged, query, listed, more):
    answer = tagged.ask("GET", f"/v2/team/app/tags/list?{query}")
    assert (answer.status, answer.json["tags"]) == (200, listed)
    assert ("link" in answer.headers) is more


def test_following_the_links_gives_every_tag_once(tagged):
    path, listed = "/v2/team/app/tags/list?n=4", []
    while path:
        answer = tagged.ask("GET", path)
        listed += answer.json["tags"]
        path = names(answer.headers["link"]) if "link" in answer.headers else None
    assert listed == TAGS


@pytest.mark.parametrize("n", ["-1", "abc", "999999999", "1.5", "", "%C2%B2", "1e3", "100001"])
@pytest.mark.parametrize("path", ["/v2/team/app/tags/list", "/v2/_catalog"])
def test_a_number_that_is_none_is_400(tagged, path, n):
    answer = tagged.ask("GET", f"{path}?n={n}")
    assert (answer.status, answer.code) == (400, "UNSUPPORTED")


def test_tags_of_an_unknown_repository_are_404(harbour):
    answer = harbour.ask("GET", "/v2/nobody/tags/list")
    assert (answer.status, answer.code) == (404, "NAME_UNKNOWN")


# --- catalogue ---


def test_the_catalogue_lists_repositories_that_have_a_manifest(harbour):
    for name in ("b", "a/b", "a"):
        harbour.push_image(name, "v1")
    harbour.push_blob("only-a-blob", b"x")
    assert harbour.ask("GET", "/v2/_catalog").json == {"repositories": ["a", "a/b", "b"]}
    first = harbour.ask("GET", "/v2/_catalog?n=2")
    assert first.json == {"repositories": ["a", "a/b"]}
    assert harbour.ask("GET", names(first.headers["link"])).json == {"repositories": ["b"]}


# --- referrers ---


@pytest.fixture
def referred(harbour, make):
    subject, _ = harbour.push_image("app", "v1")
    reference = {"mediaType": oci.OCI_MANIFEST, "digest": subject, "size": 500}
    harbour.push_blob("app", b"signature")
    documents = {
        "by config": make.image(subject=reference, annotations={"who": "me"}),
        "by type": make.image(b"signature", subject=reference, artifactType="application/vnd.example.sbom"),
        "index": make.index(subject=reference),
    }
    for what, content in documents.items():
        media_type = oci.OCI_INDEX if what == "index" else oci.OCI_MANIFEST
        answer = harbour.push_manifest("app", Digest.of(content), content, media_type)
        assert (answer.status, answer.headers["oci-subject"]) == (201, subject)
    return harbour, subject, documents


def test_referrers_are_listed_with_type_and_annotations(referred):
    harbour, subject, documents = referred
    answer = harbour.ask("GET", f"/v2/app/referrers/{subject}")
    assert (answer.status, answer.headers["content-type"]) == (200, oci.OCI_INDEX)
    assert (answer.json["schemaVersion"], answer.json["mediaType"]) == (2, oci.OCI_INDEX)
    listed = {each["digest"]: each for each in answer.json["manifests"]}
    assert listed.keys() == {Digest.of(content) for content in documents.values()}
    by_config = listed[Digest.of(documents["by config"])]
    assert (by_config["artifactType"], by_config["annotations"]) == (oci.OCI_CONFIG, {"who": "me"})
    assert by_config["size"] == len(documents["by config"])
    assert listed[Digest.of(documents["by type"])]["artifactType"] == "application/vnd.example.sbom"
    assert "artifactType" not in listed[Digest.of(documents["index"])]


def test_referrers_are_filtered_by_type(referred):
    harbour, subject, documents = referred
    answer = harbour.ask("GET", f"/v2/app/referrers/{subject}?artifactType=application/vnd.example.sbom")
    assert answer.headers["oci-filters-applied"] == "artifactType"
    assert [each["digest"] for each in answer.json["manifests"]] == [Digest.of(documents["by type"])]
    assert harbour.ask("GET", f"/v2/app/referrers/{subject}?artifactType=no/such").json["manifests"] == []


@pytest.mark.parametrize("name", ["app", "nobody"])
def test_no_referrers_are_an_empty_list_and_never_404(harbour, name):
    harbour.push_image("app", "v1")
    answer = harbour.ask("GET", f"/v2/{name}/referrers/sha256:{'0' * 64}")
    assert (answer.status, answer.json["manifests"]) == (200, [])


def test_referrers_of_an_invalid_digest_are_400(harbour):
    answer = harbour.ask("GET", "/v2/app/referrers/sha256:nonsense")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_very_many_referrers_come_in_parts(harbour, make):
    harbour.push_blob("app", b"{}")
    subject = make.descriptor(b"subject", oci.OCI_MANIFEST)
    pushed = set()
    for number in range(3):
        content = make.image(subject=subject, annotations={"text": "x" * 2_000_000, "number": str(number)})
        assert harbour.push_manifest("app", Digest.of(content), content).status == 201
        pushed.add(Digest.of(content))
    path, listed = f"/v2/app/referrers/{subject['digest']}?artifactType={oci.OCI_CONFIG.replace('+', '%2B')}", []
    while path:
        answer = harbour.ask("GET", path)
        assert len(answer.body) <= oci.LARGEST_MANIFEST_BYTES
        listed += [each["digest"] for each in answer.json["manifests"]]
        path = names(answer.headers["link"]) if "link" in answer.headers else None
    assert sorted(listed) == sorted(pushed)


def test_a_deleted_referrer_is_no_longer_listed(referred):
    harbour, subject, documents = referred
    harbour.ask("DELETE", f"/v2/app/manifests/{Digest.of(documents['by type'])}")
    assert len(harbour.ask("GET", f"/v2/app/referrers/{subject}").json["manifests"]) == 2


# --- management ---


def test_deleting_a_tag_leaves_the_manifest(harbour):
    digest, content = harbour.push_image("app", "v1")
    assert harbour.ask("DELETE", "/v2/app/manifests/v1").status == 202
    answer = harbour.ask("GET", "/v2/app/manifests/v1")
    assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")
    assert harbour.ask("GET", f"/v2/app/manifests/{digest}").body == content


def test_deleting_a_manifest_takes_its_tags(harbour):
    digest, content = harbour.push_image("app", "v1")
    harbour.push_manifest("app", "v2", content)
    assert harbour.ask("DELETE", f"/v2/app/manifests/{digest}").status == 202
    for reference in ("v1", "v2", digest):
        assert harbour.ask("GET", f"/v2/app/manifests/{reference}").status == 404
    assert harbour.ask("GET", "/v2/app/tags/list").json["tags"] == []


def test_deleting_a_blob_is_final_for_its_repository(harbour):
    digest = harbour.push_blob("app", b"content")
    harbour.push_blob("other", b"content")
    assert harbour.ask("DELETE", f"/v2/app/blobs/{digest}").status == 202
    assert harbour.ask("GET", f"/v2/app/blobs/{digest}").status == 404
    assert harbour.ask("DELETE", f"/v2/app/blobs/{digest}").status == 404
    assert harbour.ask("GET", f"/v2/other/blobs/{digest}").body == b"content"
    assert harbour.ask("DELETE", f"/v2/other/blobs/{digest}").status == 202
    assert not harbour.blobs.files.path(digest).exists()


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v2/app/manifests/nosuchtag", "MANIFEST_UNKNOWN"),
        ("/v2/app/manifests/sha256:" + "0" * 64, "MANIFEST_UNKNOWN"),
        ("/v2/nobody/manifests/sha256:" + "0" * 64, "MANIFEST_UNKNOWN"),
        ("/v2/app/blobs/sha256:" + "0" * 64, "BLOB_UNKNOWN"),
        ("/v2/app/blobs/uploads/00000000-0000-0000-0000-000000000000", "BLOB_UPLOAD_UNKNOWN"),
    ],
)
def test_deleting_what_is_not_there_is_404(harbour, path, code):
    harbour.push_image("app", "v1")
    answer = harbour.ask("DELETE", path)
    assert (answer.status, answer.code) == (404, code)


@pytest.mark.parametrize("what", ["manifests/v1", "manifests/{digest}", "blobs/{digest}"])
def test_where_deletion_is_disabled_it_is_405(harbour_with, what):
    harbour = harbour_with(deletion=False)
    digest, _ = harbour.push_image("app", "v1")
    answer = harbour.ask("DELETE", f"/v2/app/{what.format(digest=digest)}")
    assert (answer.status, answer.code) == (405, "UNSUPPORTED")
    assert harbour.ask("GET", "/v2/app/manifests/v1").status == 200


def test_deleting_a_manifest_frees_its_blobs_after_the_grace_period(harbour, make):
    kept, _ = harbour.push_image("app", "kept", b"shared layer")
    gone, _ = harbour.push_image("app", "gone", b"shared layer", b"own layer")
    harbour.registry._work._seen.clear()  # as if nobody had asked for an hour
    harbour.now_shift_ns = int(2 * 3600 * 1e9)
    assert harbour.ask("DELETE", f"/v2/app/manifests/{gone}").status == 202
    left = set(harbour.blobs.files.present())
    assert left == {kept, Digest.of(b"{}"), Digest.of(b"shared layer")}
    assert harbour.ask("GET", f"/v2/app/blobs/{Digest.of(b'shared layer')}").status == 200
