"""Distribution-spec 1.1, "Push": end-4 to end-7, end-11, end-13, end-14."""

from __future__ import annotations

import http.client
import json
import socket

import pytest

from sampan.api.registry.context import ENGINE_HEADER
from sampan.formats import oci
from sampan.formats.digest import Digest

BLOB = bytes(range(256)) * 12
SHA512 = Digest.of(BLOB, "sha512")


def begin(harbour, name="app", query=""):
    answer = harbour.ask("POST", f"/v2/{name}/blobs/uploads/{query}")
    assert answer.status == 202, answer
    return answer.headers["location"]


def pulled(harbour, digest, name="app"):
    answer = harbour.ask("GET", f"/v2/{name}/blobs/{digest}")
    return answer.body if answer.status == 200 else None


# --- monolithic ---


@pytest.mark.parametrize("digest", [Digest.of(BLOB), SHA512])
def test_post_then_put_makes_a_blob(harbour, digest):
    location = begin(harbour)
    answer = harbour.ask("PUT", f"{location}?digest={digest}", BLOB, {"Content-Type": "application/octet-stream"})
    assert answer.status == 201
    assert answer.headers["docker-content-digest"] == digest
    assert harbour.ask("GET", answer.headers["location"]).body == BLOB


@pytest.mark.parametrize("digest", [Digest.of(BLOB), SHA512])
def test_a_single_post_makes_a_blob(harbour, digest):
    answer = harbour.ask("POST", f"/v2/app/blobs/uploads/?digest={digest}", BLOB)
    assert answer.status == 201
    assert harbour.ask("GET", answer.headers["location"]).body == BLOB


def test_a_digest_in_percent_encoding_is_the_same_digest(harbour):
    location = begin(harbour)
    answer = harbour.ask("PUT", f"{location}?digest={Digest.of(BLOB).replace(':', '%3A')}", BLOB)
    assert answer.status == 201


def test_a_blob_pushed_twice_is_one_blob(harbour):
    harbour.push_blob("app", BLOB)
    harbour.push_blob("app", BLOB)
    assert list(harbour.blobs.files.present()) == [Digest.of(BLOB)]


@pytest.mark.parametrize("way", ["post", "put", "patch"])
def test_content_of_another_digest_is_refused_and_leaves_nothing(harbour, way):
    digest = Digest.of(b"something else")
    location = begin(harbour)
    if way == "post":
        answer = harbour.ask("POST", f"/v2/app/blobs/uploads/?digest={digest}", BLOB)
        harbour.ask("DELETE", location)
    elif way == "put":
        answer = harbour.ask("PUT", f"{location}?digest={digest}", BLOB)
    else:
        harbour.ask("PATCH", location, BLOB)
        answer = harbour.ask("PUT", f"{location}?digest={digest}")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert pulled(harbour, digest) is None
    assert pulled(harbour, Digest.of(BLOB)) is None
    assert harbour.ask("GET", location).status == 404
    assert list(harbour.blobs.files.uploads.iterdir()) == []
    assert list(harbour.blobs.files.present()) == []


@pytest.mark.parametrize("digest", ["", "sha256:short", "md5:" + "0" * 32, "sha256:" + "A" * 64, "nonsense"])
def test_closing_with_an_invalid_digest_is_400(harbour, digest):
    answer = harbour.ask("PUT", f"{begin(harbour)}?digest={digest}", BLOB)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_an_upload_begun_for_an_unknown_algorithm_is_400(harbour):
    answer = harbour.ask("POST", "/v2/app/blobs/uploads/?digest-algorithm=crc32")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


# --- chunked ---


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("last_in_put", [False, True])
def test_chunks_in_order_make_a_blob(harbour, algorithm, last_in_put):
    location = begin(harbour, query=f"?digest-algorithm={algorithm}")
    digest = Digest.of(BLOB, algorithm)
    for first in range(0, len(BLOB), 1000):
        chunk = BLOB[first : first + 1000]
        last = first + len(chunk) - 1
        headers = {"Content-Range": f"{first}-{last}", "Content-Type": "application/octet-stream"}
        if last_in_put and last == len(BLOB) - 1:
            answer = harbour.ask("PUT", f"{location}?digest={digest}", chunk, headers)
            break
        answer = harbour.ask("PATCH", location, chunk, headers)
        assert (answer.status, answer.headers["range"]) == (202, f"0-{last}")
        location = answer.headers["location"]
    else:
        answer = harbour.ask("PUT", f"{location}?digest={digest}")
    assert answer.status == 201
    assert pulled(harbour, digest) == BLOB


def test_a_stream_of_unknown_length_makes_a_blob(harbour):
    location = begin(harbour)
    answer = harbour.ask("PATCH", location, iter([BLOB[:100], BLOB[100:2000], BLOB[2000:]]))
    assert (answer.status, answer.headers["range"]) == (202, f"0-{len(BLOB) - 1}")
    assert harbour.ask("PUT", f"{location}?digest={Digest.of(BLOB)}").status == 201
    assert pulled(harbour, Digest.of(BLOB)) == BLOB


def test_a_stream_of_many_megabytes_makes_a_blob(harbour):
    content = BLOB * 4096  # twelve pieces of a mebibyte
    location = begin(harbour)
    pieces = (content[first : first + 300_001] for first in range(0, len(content), 300_001))
    assert harbour.ask("PATCH", location, pieces).status == 202
    assert harbour.ask("PUT", f"{location}?digest={Digest.of(content)}").status == 201
    assert pulled(harbour, Digest.of(content)) == content


@pytest.mark.parametrize(("have", "stated"), [(0, "1000-1999"), (1000, "0-999"), (1000, "1001-2000"), (0, "5-6")])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_chunk_out_of_order_is_416_and_the_upload_goes_on(harbour, have, stated, method):
    location = begin(harbour)
    if have:
        harbour.ask("PATCH", location, BLOB[:have], {"Content-Range": f"0-{have - 1}"})
    first, last = map(int, stated.split("-"))
    path = location if method == "PATCH" else f"{location}?digest={Digest.of(BLOB)}"
    answer = harbour.ask(method, path, BLOB[first : last + 1], {"Content-Range": stated})
    assert (answer.status, answer.code) == (416, "BLOB_UPLOAD_INVALID")
    status = harbour.ask("GET", location)
    assert (status.status, status.headers["range"]) == (204, f"0-{max(have - 1, 0)}")
    rest = harbour.ask("PATCH", status.headers["location"], BLOB[have:], {"Content-Range": f"{have}-{len(BLOB) - 1}"})
    assert rest.status == 202
    assert harbour.ask("PUT", f"{location}?digest={Digest.of(BLOB)}").status == 201


@pytest.mark.parametrize("stated", ["x", "5", "0-", "-5", "5-2", "0-1", "0-99999999999999999999999"])
def test_a_content_range_that_does_not_fit_is_400(harbour, stated):
    answer = harbour.ask("PATCH", begin(harbour), BLOB, {"Content-Range": stated})
    assert answer.status == 400


def test_a_streamed_chunk_shorter_than_it_said_is_refused(harbour):
    location = begin(harbour)
    answer = harbour.ask("PATCH", location, iter([BLOB[:10]]), {"Content-Range": "0-99"})
    assert (answer.status, answer.code) == (400, "SIZE_INVALID")


def test_an_upload_can_be_cancelled(harbour):
    location = begin(harbour)
    harbour.ask("PATCH", location, BLOB)
    assert harbour.ask("DELETE", location).status == 204
    for method in ("GET", "PATCH", "DELETE"):
        answer = harbour.ask(method, location)
        assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert list(harbour.blobs.files.uploads.iterdir()) == []


def test_a_client_that_goes_away_leaves_an_upload_that_can_go_on(harbour):
    location = begin(harbour)
    with socket.create_connection(("127.0.0.1", harbour.port)) as broken:
        head = f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BLOB)}\r\n\r\n"
        broken.sendall(head.encode() + BLOB[:2000])
    for _ in range(1000):
        answer = harbour.ask("GET", location)
        if answer.headers["range"] == "0-1999":
            break
    assert answer.headers["range"] == "0-1999"
    headers = {"Content-Range": f"2000-{len(BLOB) - 1}"}
    for _ in range(1000):
        answer = harbour.ask("PATCH", location, BLOB[2000:], headers)
        if answer.status != 409:  # until the first connection's end has been noticed
            break
    assert answer.status == 202
    assert harbour.ask("PUT", f"{location}?digest={Digest.of(BLOB)}").status == 201


def test_a_client_that_waits_for_it_is_told_to_send(harbour):
    location = begin(harbour)
    head = f"PUT {location}?digest={Digest.of(BLOB)} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BLOB)}\r\n"
    with socket.create_connection(("127.0.0.1", harbour.port), timeout=20) as connection:
        connection.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert connection.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BLOB)
        assert connection.recv(4096).startswith(b"HTTP/1.1 201 ")


def test_two_requests_may_not_send_to_one_upload_at_once(harbour):
    location = begin(harbour)
    first = http.client.HTTPConnection("127.0.0.1", harbour.port, timeout=30)
    first.putrequest("PATCH", location)
    first.putheader("Content-Length", str(len(BLOB)))
    first.endheaders(BLOB[:10])
    for _ in range(1000):
        answer = harbour.ask("DELETE", location)
        if answer.status == 409 or answer.status == 204:
            break
    assert (answer.status, answer.code) == (409, "BLOB_UPLOAD_INVALID")
    first.send(BLOB[10:])
    assert first.getresponse().status == 202
    first.close()


# --- mount ---


def test_a_blob_is_mounted_from_another_repository(harbour):
    digest = harbour.push_blob("base/os", BLOB)
    answer = harbour.ask("POST", f"/v2/app/blobs/uploads/?mount={digest}&from=base/os")
    assert answer.status == 201
    assert answer.headers["docker-content-digest"] == digest
    assert harbour.ask("GET", answer.headers["location"]).body == BLOB


@pytest.mark.parametrize("source", ["&from=other", "&from=nobody", "&from=..", "&from=../base", "&from=", ""])
def test_a_mount_that_cannot_be_done_begins_an_upload(harbour, source):
    digest = harbour.push_blob("base/os", BLOB)
    harbour.push_blob("other", b"something else")
    answer = harbour.ask("POST", f"/v2/app/blobs/uploads/?mount={digest}{source}")
    assert answer.status == 202
    assert harbour.ask("PUT", f"{answer.headers['location']}?digest={digest}", BLOB).status == 201


def test_a_blob_the_repository_has_already_is_mounted_from_itself(harbour):
    digest = harbour.push_blob("app", BLOB)
    assert harbour.ask("POST", f"/v2/app/blobs/uploads/?mount={digest}").status == 201


def test_a_source_the_client_may_not_read_is_answered_as_if_it_had_no_such_blob(harbour):
    digest = harbour.push_blob("secret", BLOB)
    harbour.denied.add(("secret", "pull"))
    answer = harbour.ask("POST", f"/v2/app/blobs/uploads/?mount={digest}&from=secret")
    assert answer.status == 202
    assert pulled(harbour, digest) is None


@pytest.mark.parametrize(("shown", "status"), [("only the engine knows", 201), ("a guess", 202), ("", 202), ("ü", 202)])
def test_only_the_engine_mounts_from_the_whole_store(harbour, shown, status):
    digest = harbour.blobs.put(BLOB)  # an image layer of the engine: no repository has it
    headers = {ENGINE_HEADER: shown.encode()} if shown else {}
    answer = harbour.ask("POST", f"/v2/app/blobs/uploads/?mount={digest}", b"", headers)
    assert answer.status == status
    assert (pulled(harbour, digest) == BLOB) is (status == 201)


# --- manifests ---


def test_a_manifest_pushed_by_tag_answers_with_its_location_and_digest(harbour, make):
    harbour.push_blob("app", b"{}")
    content = make.image()
    answer = harbour.push_manifest("app", "v1", content)
    assert answer.status == 201
    assert answer.headers["docker-content-digest"] == Digest.of(content)
    assert harbour.ask("GET", answer.headers["location"]).body == content


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_manifest_is_pushed_by_digest_and_has_no_tag(harbour, make, algorithm):
    harbour.push_blob("app", b"{}")
    content = make.image()
    digest = Digest.of(content, algorithm)
    assert harbour.push_manifest("app", digest, content).status == 201
    assert harbour.ask("GET", f"/v2/app/manifests/{digest}").body == content
    assert harbour.ask("GET", "/v2/app/tags/list").json == {"name": "app", "tags": []}


def test_a_push_by_digest_may_name_tags(harbour, make):
    harbour.push_blob("app", b"{}")
    content = make.image()
    tags = [f"1.{number}" for number in range(12)]
    query = "&".join(f"tag={tag}" for tag in tags)
    answer = harbour.push_manifest("app", f"{Digest.of(content)}?{query}", content)
    assert answer.status == 201
    assert answer.headers["oci-tag"].split(", ") == tags
    assert harbour.ask("GET", "/v2/app/tags/list").json["tags"] == sorted(tags)


def test_unknown_fields_and_odd_spacing_are_kept_byte_for_byte(harbour, make):
    harbour.push_blob("app", b"{}")
    content = b"\n " + make.image(org_example={"deep": [1, None]}).replace(b", ", b" ,\t") + b"\n"
    assert harbour.push_manifest("app", "v1", content).status == 201
    assert harbour.ask("GET", "/v2/app/manifests/v1").body == content


def test_an_index_needs_its_manifests_first(harbour, make):
    one = make.image(b"a layer")
    content = make.index(one)
    refused = harbour.push_manifest("app", "all", content, oci.OCI_INDEX)
    assert (refused.status, refused.code) == (400, "MANIFEST_BLOB_UNKNOWN")
    harbour.push_image("app", "amd64")
    assert harbour.push_manifest("app", "all", content, oci.OCI_INDEX).status == 201
    answer = harbour.ask("GET", "/v2/app/manifests/all")
    assert (answer.body, answer.headers["content-type"]) == (content, oci.OCI_INDEX)


def test_an_index_may_name_blobs_as_build_caches_do(harbour, make):
    harbour.push_blob("cache", b"a layer")
    content = json.dumps({"schemaVersion": 2, "manifests": [make.descriptor(b"a layer")]}).encode()
    assert harbour.push_manifest("cache", "latest", content, oci.OCI_INDEX).status == 201


def test_a_sparse_index_is_accepted_where_that_is_allowed(harbour_with, make):
    harbour = harbour_with(sparse=True)
    assert harbour.push_manifest("app", "all", make.index(make.image(b"a layer")), oci.OCI_INDEX).status == 201
    assert harbour.push_manifest("app", "one", make.image(b"a layer")).status == 201


@pytest.mark.parametrize("list_type", [oci.OCI_INDEX, oci.DOCKER_LIST])
def test_docker_documents_are_kept_too(harbour, make, list_type):
    harbour.push_blob("app", b"{}")
    content = make.image(mediaType=oci.DOCKER_MANIFEST)
    assert harbour.push_manifest("app", "v1", content, oci.DOCKER_MANIFEST).status == 201
    both = make.index(content, mediaType=list_type)
    assert harbour.push_manifest("app", "all", both, list_type).status == 201


def test_layers_may_be_missing_or_null(harbour, make):
    harbour.push_blob("app", b"{}")
    for layers in ([], None):
        assert harbour.push_manifest("app", "v1", make.image(layers=layers)).status == 201


def test_a_layer_that_may_not_be_distributed_need_not_be_there(harbour, make):
    harbour.push_blob("app", b"{}")
    foreign = make.descriptor(
        b"windows", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", urls=["https://example.com/layer"]
    )
    assert harbour.push_manifest("app", "v1", make.image(layers=[foreign])).status == 201


def test_a_manifest_of_four_mebibytes_is_kept_and_a_larger_one_is_413(harbour, make):
    harbour.push_blob("app", b"{}")
    content = make.image()
    whole = content + b" " * ((4 << 20) - len(content))
    assert harbour.push_manifest("app", "large", whole).status == 201
    assert harbour.ask("GET", "/v2/app/manifests/large").body == whole
    for body in (whole + b" ", iter([whole, b" "])):
        answer = harbour.push_manifest("app", "larger", body)
        assert (answer.status, answer.code) == (413, "MANIFEST_INVALID")


def test_a_subject_that_does_not_exist_is_accepted_and_acknowledged(harbour, make):
    harbour.push_blob("app", b"{}")
    subject = make.descriptor(b"not there", oci.OCI_MANIFEST)
    answer = harbour.push_manifest("app", "signature", make.image(subject=subject))
    assert (answer.status, answer.headers["oci-subject"]) == (201, subject["digest"])


def test_a_push_tells_the_events(harbour):
    digest, _ = harbour.push_image("app", "v1")
    (event,) = harbour.events()
    assert (event.kind, event.action, event.actor, event.attributes["digest"]) == ("registry", "push", "app:v1", digest)
