"""Hostile requests: each is refused with the right status, and touches nothing."""

from __future__ import annotations

import errno
import json
import socket
import threading
import time
from pathlib import Path

import pytest

from sampan.api.registry import server
from sampan.blobs import service
from sampan.blobs import uploads as upload_files
from sampan.formats import oci
from sampan.formats.digest import Digest

BLOB = b"content of a blob" * 100
UNKNOWN = "sha256:" + "0" * 64


def everything(root: Path):
    """Every file below, with its size, but for what the database writes."""
    return {
        (str(path), path.stat().st_size)
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith("state.db") and path.name != "index.json"
    }


def raw(harbour, request: bytes) -> bytes:
    """The first bytes of the answer to bytes that no client library would send."""
    with socket.create_connection(("127.0.0.1", harbour.port), timeout=20) as connection:
        try:
            connection.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all was sent
        return connection.recv(4096)


# --- R1, R2, R3, R5: names that are none ---


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "path",
    [
        "/v2/../manifests/x",
        "/v2/app/../../etc/manifests/passwd",
        "/v2/%2e%2e/manifests/x",
        "/v2/app%2f..%2f..%2fx/blobs/" + UNKNOWN,
        "/v2/app/manifests/..",
        "/v2/app/manifests/%2e%2e%2fpasswd",
        "/v2/app/manifests/-x",
        "/v2/app/blobs/..%2f..%2fstate.db",
        "/v2/app/blobs/sha256:..%2f..%2f",
        "/v2/app/blobs/uploads/..",
        "/v2/app/blobs/uploads/%2e%2e%2foci-layout",
        "/v2/app/blobs/uploads/oci-layout?digest=" + UNKNOWN,
        "/v2/app/referrers/..",
        "/v2/../tags/list",
        "/v2/app%00/tags/list",
        "/v2/app%0a/tags/list",
    ],
)
def test_a_path_never_leads_out_of_the_store(harbour, method, path):
    before = everything(harbour.root)
    assert harbour.ask(method, path).status in (400, 404, 405)
    assert everything(harbour.root) == before


@pytest.mark.parametrize("name", ["App", "app/X", "a" * 256, "-a", "a//b", "a..b", "a/", "%C3%A4", "a_-b", "a%20b"])
@pytest.mark.parametrize(
    ("method", "rest"),
    [
        ("GET", "tags/list"),
        ("GET", "manifests/latest"),
        ("PUT", "manifests/latest"),
        ("GET", f"blobs/{UNKNOWN}"),
        ("POST", "blobs/uploads/"),
        ("GET", f"referrers/{UNKNOWN}"),
        ("DELETE", "manifests/latest"),
    ],
)
def test_an_invalid_repository_name_is_400(harbour, name, method, rest):
    answer = harbour.ask(method, f"/v2/{name}/{rest}")
    assert answer.status == 400, answer
    assert answer.code == "NAME_INVALID"


@pytest.mark.parametrize(
    "digest",
    ["md5:" + "0" * 32, "sha256:" + "0" * 63, "sha256:" + "0" * 65, "sha256:" + "A" * 64, "sha256:", ":", "sha256:zz"],
)
def test_an_invalid_digest_is_400(harbour, digest):
    for method, what in (("GET", "blobs"), ("DELETE", "blobs"), ("GET", "manifests"), ("GET", "referrers")):
        answer = harbour.ask(method, f"/v2/app/{what}/{digest}")
        assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    answer = harbour.ask("POST", f"/v2/app/blobs/uploads/?mount={digest}&from=other")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_an_upload_of_another_repository_is_unknown(harbour):
    location = harbour.ask("POST", "/v2/mine/blobs/uploads/").headers["location"]
    stolen = location.replace("mine", "yours")
    for method in ("GET", "PATCH", "DELETE"):
        answer = harbour.ask(method, stolen)
        assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert harbour.ask("PUT", f"{stolen}?digest={Digest.of(b'')}").status == 404
    assert harbour.ask("GET", location).status == 204


# --- R7 to R12: manifests ---


def edited(make, **fields):
    document = json.loads(make.image(BLOB))
    document.update(fields)
    return json.dumps({key: value for key, value in document.items() if value is not ...}).encode()


@pytest.fixture
def with_blobs(harbour):
    for blob in (b"{}", BLOB):
        harbour.push_blob("app", blob)
    return harbour


def test_the_unedited_manifest_is_accepted(with_blobs, make):
    assert with_blobs.push_manifest("app", "v1", edited(make)).status == 201


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"config": {"mediaType": oci.OCI_CONFIG, "digest": Digest.of(b"{}"), "size": 3}}, "SIZE_INVALID"),
        ({"config": {"mediaType": oci.OCI_CONFIG, "digest": Digest.of(b"{}"), "size": -2}}, "MANIFEST_INVALID"),
        ({"config": {"mediaType": oci.OCI_CONFIG, "digest": Digest.of(b"{}"), "size": 1 << 70}}, "SIZE_INVALID"),
        ({"config": {"mediaType": oci.OCI_CONFIG, "digest": UNKNOWN, "size": 2}}, "MANIFEST_BLOB_UNKNOWN"),
        ({"config": {"mediaType": oci.OCI_CONFIG, "digest": "../../x", "size": 2}}, "MANIFEST_INVALID"),
        ({"config": ...}, "MANIFEST_INVALID"),
        ({"config": "text"}, "MANIFEST_INVALID"),
        ({"manifests": []}, "MANIFEST_INVALID"),
        ({"layers": ..., "manifests": []}, "MANIFEST_INVALID"),
        ({"schemaVersion": 1}, "MANIFEST_INVALID"),
        ({"fsLayers": []}, "MANIFEST_INVALID"),
        ({"mediaType": oci.OCI_INDEX}, "MANIFEST_INVALID"),
        ({"mediaType": oci.DOCKER_MANIFEST}, "MANIFEST_INVALID"),
        ({"subject": {"digest": "nonsense", "size": 1}}, "MANIFEST_INVALID"),
        ({"annotations": {"a": 1}}, "MANIFEST_INVALID"),
    ],
)
def test_a_manifest_that_lies_is_400_and_leaves_nothing(with_blobs, make, fields, code):
    before = everything(with_blobs.folder)
    answer = with_blobs.push_manifest("app", "v1", edited(make, **fields))
    assert (answer.status, answer.code) == (400, code)
    assert with_blobs.ask("GET", "/v2/app/tags/list").json["tags"] == []
    assert everything(with_blobs.folder) == before


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b'{"schemaVersion": NaN}', b"1"],
)
def test_what_is_no_manifest_is_400(with_blobs, content):
    answer = with_blobs.push_manifest("app", "v1", content)
    assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")


@pytest.mark.parametrize("stated", ["", "text/plain", oci.OCI_INDEX, "application/json", "x" * 5000])
def test_a_manifest_of_another_content_type_is_400(with_blobs, make, stated):
    content = edited(make, mediaType=...) if not stated else edited(make)
    answer = with_blobs.push_manifest("app", "v1", content, stated)
    assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")


def test_parameters_of_the_content_type_are_ignored(with_blobs, make):
    assert with_blobs.push_manifest("app", "v1", edited(make), f"{oci.OCI_MANIFEST}; charset=utf-8").status == 201


def test_a_manifest_under_the_digest_of_another_is_400(with_blobs, make):
    answer = with_blobs.push_manifest("app", UNKNOWN, edited(make))
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_a_blob_of_another_repository_cannot_be_named(harbour, make):
    harbour.push_blob("secret", BLOB)
    harbour.push_blob("app", b"{}")
    answer = harbour.push_manifest("app", "v1", make.image(BLOB))
    assert (answer.status, answer.code) == (400, "MANIFEST_BLOB_UNKNOWN")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "gopher://x", "//x", "", "http://[", "ftp://x/y"])
def test_a_layer_from_a_strange_url_is_400(with_blobs, make, url):
    foreign = make.descriptor(b"far", "application/vnd.oci.image.layer.nondistributable.v1.tar", urls=[url])
    answer = with_blobs.push_manifest("app", "v1", edited(make, layers=[foreign]))
    assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")


# --- R17: heads ---


@pytest.mark.parametrize("size", [9_000, 64 << 10, 2 << 20])
def test_a_header_over_the_limit_is_431(harbour, size):
    answer = raw(harbour, b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * size + b"\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.0 431 "))


def test_too_many_headers_are_431(harbour):
    lines = b"".join(b"X-%d: y\r\n" % number for number in range(1000))
    assert b" 431 " in raw(harbour, b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n").split(b"\r\n")[0]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
def test_what_is_no_request_is_400(harbour, request_bytes):
    assert b" 400 " in raw(harbour, request_bytes).split(b"\r\n")[0]
    assert harbour.ask("GET", "/v2/").status == 200


def test_a_broken_chunked_body_is_no_upload(harbour):
    location = harbour.ask("POST", "/v2/app/blobs/uploads/").headers["location"]
    head = f"PATCH {location} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    assert b" 400 " in raw(harbour, head + b"5\r\nabcde\r\nzzz\r\n").split(b"\r\n")[0]
    assert harbour.ask("GET", location).status == 204


# --- R24: disk full, abandoned uploads ---


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_507_and_loses_nothing(harbour, monkeypatch, number):
    kept = harbour.push_blob("app", b"there before")
    location = harbour.ask("POST", "/v2/app/blobs/uploads/").headers["location"]
    write = upload_files._write_all

    def full(descriptor, pieces):
        write(descriptor, [pieces[0][:100]])
        raise OSError(number, "No space left on device")

    monkeypatch.setattr(upload_files, "_write_all", full)
    answer = harbour.ask("PATCH", location, BLOB)
    assert (answer.status, answer.code) == (507, "DENIED")
    monkeypatch.undo()
    assert harbour.ask("GET", location).headers["range"] == "0-99"
    headers = {"Content-Range": f"100-{len(BLOB) - 1}"}
    assert harbour.ask("PATCH", location, BLOB[100:], headers).status == 202
    assert harbour.ask("PUT", f"{location}?digest={Digest.of(BLOB)}").status == 201
    assert harbour.ask("GET", f"/v2/app/blobs/{kept}").body == b"there before"


def test_abandoned_uploads_expire_and_idle_ones_hold_no_descriptor(harbour):
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    locations = [harbour.ask("POST", "/v2/app/blobs/uploads/").headers["location"] for _ in range(50)]
    for location in locations[:10]:
        harbour.ask("PATCH", location, BLOB)
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 8  # connections being closed, database readers
    assert harbour.run(harbour.registry.collect()).uploads == 0
    harbour.now_shift_ns = int(25 * 3600 * 1e9)
    assert harbour.run(harbour.registry.collect()).uploads == 50
    assert harbour.ask("GET", locations[0]).status == 404
    assert list(harbour.blobs.files.uploads.iterdir()) == []


@pytest.mark.parametrize("sent", [b"", b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_client_that_never_finishes_its_first_head_is_cut_off(harbour, monkeypatch, sent):
    monkeypatch.setattr(server, "FIRST_HEAD_S", 0.1)
    with socket.create_connection(("127.0.0.1", harbour.port), timeout=20) as connection:
        connection.sendall(sent)
        try:
            assert connection.recv(1) == b""
        except ConnectionResetError:
            pass  # cut off with a reset: as good


def test_a_client_that_asked_in_time_may_take_its_time_afterwards(harbour, monkeypatch):
    monkeypatch.setattr(server, "FIRST_HEAD_S", 0.1)
    location = harbour.ask("POST", "/v2/app/blobs/uploads/").headers["location"]
    pause = threading.Event()

    def slowly():
        for byte in (b"a", b"b", b"c"):
            yield byte
            pause.wait(0.1)

    assert harbour.ask("PATCH", location, slowly()).headers["range"] == "0-2"


# --- R25: races ---


def at_once(*calls):
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


def test_of_two_pushes_of_one_tag_one_wins_and_both_manifests_are_there(with_blobs, make):
    documents = [make.image(BLOB, annotations={"number": str(number)}) for number in range(8)]
    answers = []
    at_once(*(lambda body=body: answers.append(with_blobs.push_manifest("app", "v1", body)) for body in documents))
    assert [answer.status for answer in answers] == [201] * 8
    assert with_blobs.ask("GET", "/v2/app/manifests/v1").body in documents
    for body in documents:
        assert with_blobs.ask("GET", f"/v2/app/manifests/{Digest.of(body)}").body == body


def test_collecting_while_images_are_pushed_and_deleted_never_takes_what_is_named(harbour, make, monkeypatch):
    began = time.monotonic()
    for blob in (b"{}", b"a layer to see how long it takes here"):
        harbour.push_blob("clock", blob)
    # About what two requests of a push take on this machine now: some pushes are overtaken, most are not.
    monkeypatch.setattr(service, "GRACE_S", max(0.03, 1.5 * (time.monotonic() - began)))
    stop = threading.Event()
    lost = []
    refused = []

    def collect():
        while not stop.is_set():
            harbour.run(harbour.registry.collect())

    def push(name, layer, content):
        while True:
            for blob in (b"{}", layer):
                harbour.push_blob(name, blob)
            answer = harbour.push_manifest(name, "v1", content)
            if answer.status == 201:
                return
            assert answer.code == "MANIFEST_BLOB_UNKNOWN"  # taken before it was named: the client pushes again
            refused.append(name)
            if len(refused) > 1000:
                raise AssertionError("no push ever succeeds")

    def work(name):
        for turn in range(6):
            layer = b"shared layer %d" % turn
            content = make.image(layer)
            push(name, layer, content)
            for path, body in ((f"manifests/{Digest.of(content)}", content), (f"blobs/{Digest.of(layer)}", layer)):
                answer = harbour.ask("GET", f"/v2/{name}/{path}")
                if (answer.status, answer.body) != (200, body):
                    lost.append((name, turn, path, answer))
            harbour.ask("DELETE", f"/v2/{name}/manifests/{Digest.of(content)}")

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        at_once(*(lambda name=name: work(name) for name in ("a", "b", "c")))
    finally:
        stop.set()
        collector.join()
    assert lost == []
    harbour.now_shift_ns = int(60e9)
    harbour.registry._work._seen.clear()
    harbour.run(harbour.registry.collect())
    assert list(harbour.blobs.files.present()) == []
    assert harbour.ask("GET", "/v2/_catalog").json == {"repositories": []}
