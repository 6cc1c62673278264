"""Distribution-spec 1.1, "Error Codes" and "Endpoints": the table, the form, and who answers what."""

from __future__ import annotations

import inspect

import pytest

from sampan import errors as kinds
from sampan.api.registry import errors
from sampan.registry import model

# Source: distribution-spec 1.1, "Error Codes", code-1 to code-14.
SPECIFIED = {
    "BLOB_UNKNOWN": "blob unknown to registry",
    "BLOB_UPLOAD_INVALID": "blob upload invalid",
    "BLOB_UPLOAD_UNKNOWN": "blob upload unknown to registry",
    "DIGEST_INVALID": "provided digest did not match uploaded content",
    "MANIFEST_BLOB_UNKNOWN": "manifest references a manifest or blob unknown to registry",
    "MANIFEST_INVALID": "manifest invalid",
    "MANIFEST_UNKNOWN": "manifest unknown to registry",
    "NAME_INVALID": "invalid repository name",
    "NAME_UNKNOWN": "repository name not known to registry",
    "SIZE_INVALID": "provided length did not match content length",
    "UNAUTHORIZED": "authentication required",
    "DENIED": "requested access to the resource is denied",
    "UNSUPPORTED": "the operation is unsupported",
    "TOOMANYREQUESTS": "too many requests",
}


def test_the_codes_are_those_of_the_specification():
    assert {code.name: code.value for code in errors.Code} == SPECIFIED


def test_every_failure_of_the_registry_has_its_own_row():
    failures = [
        each
        for _, each in inspect.getmembers(model, inspect.isclass)
        if issubclass(each, kinds.SampanError) and each.__module__ == model.__name__
    ]
    assert failures
    by_kind = {model.DeletionDisabled}  # Unsupported: 405
    assert [each for each in failures if each not in errors.TABLE and each not in by_kind] == []


def test_every_kind_has_a_row():
    assert [kind for kind in kinds.KINDS if kind not in errors.TABLE] == []


def test_an_unforeseen_failure_tells_a_stranger_nothing():
    answer = errors.response(RuntimeError("password=hunter2"))
    assert answer.status == 500
    assert b"hunter2" not in answer.body


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v2/", "GET, HEAD"),
        ("DELETE", "/v2/_catalog", "GET, HEAD"),
        ("PUT", "/v2/app/tags/list", "GET, HEAD"),
        ("POST", "/v2/app/manifests/v1", "GET, HEAD, PUT, DELETE"),
        ("PUT", "/v2/app/blobs/sha256:" + "0" * 64, "GET, HEAD, DELETE"),
        ("GET", "/v2/app/blobs/uploads/", "POST"),
        ("POST", "/v2/app/blobs/uploads/some-id", "GET, PATCH, PUT, DELETE"),
        ("OPTIONS", "/v2/app/referrers/sha256:" + "0" * 64, "GET, HEAD"),
        ("TRACE", "/v2/", "GET, HEAD"),
    ],
)
def test_another_method_is_405_and_names_those_there_are(harbour, method, path, allowed):
    answer = harbour.ask(method, path)
    assert (answer.status, answer.code, answer.headers["allow"]) == (405, "UNSUPPORTED", allowed)


@pytest.mark.parametrize(
    "path", ["/", "/v1/users", "/v2/app", "/v2/manifests/x", "/v2//blobs/x", "/v3/", "/v2/app/manifests/"]
)
def test_other_paths_are_404(harbour, path):
    answer = harbour.ask("GET", path)
    assert answer.status == 404
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"


@pytest.mark.parametrize(
    ("action", "method", "path"),
    [
        ("pull", "GET", "/v2/app/manifests/v1"),
        ("pull", "GET", "/v2/app/blobs/sha256:" + "0" * 64),
        ("pull", "GET", "/v2/app/tags/list"),
        ("pull", "GET", "/v2/app/referrers/sha256:" + "0" * 64),
        ("push", "PUT", "/v2/app/manifests/v1"),
        ("push", "POST", "/v2/app/blobs/uploads/"),
        ("push", "PATCH", "/v2/app/blobs/uploads/some-id"),
        ("push", "GET", "/v2/app/blobs/uploads/some-id"),
        ("push", "PUT", "/v2/app/blobs/uploads/some-id"),
        ("push", "DELETE", "/v2/app/blobs/uploads/some-id"),
        ("delete", "DELETE", "/v2/app/manifests/v1"),
        ("delete", "DELETE", "/v2/app/blobs/sha256:" + "0" * 64),
    ],
)
def test_rights_are_asked_for_before_every_action(harbour, action, method, path):
    harbour.push_image("app", "v1")
    harbour.denied.add(("app", action))
    answer = harbour.ask(method, path)
    assert (answer.status, answer.code) == (403, "DENIED")
