"""Paths and ranges, without a server."""

from __future__ import annotations

import pytest

from sampan.api.registry import ranges
from sampan.api.registry.errors import BadParameter, RangeUnsatisfiable
from sampan.api.registry.routes import Endpoint, Target, parse

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/v2/", Target(Endpoint.BASE)),
        ("/v2", Target(Endpoint.BASE)),
        ("/v2/_catalog", Target(Endpoint.CATALOGUE)),
        ("/v2/a/tags/list", Target(Endpoint.TAGS, "a")),
        ("/v2/a/b/c/manifests/v1", Target(Endpoint.MANIFEST, "a/b/c", "v1")),
        (f"/v2/a/blobs/{DIGEST}", Target(Endpoint.BLOB, "a", DIGEST)),
        ("/v2/a/blobs/uploads/", Target(Endpoint.UPLOADS, "a")),
        ("/v2/a/blobs/uploads", Target(Endpoint.UPLOADS, "a")),
        ("/v2/a/b/blobs/uploads/x-1", Target(Endpoint.UPLOAD, "a/b", "x-1")),
        (f"/v2/a/referrers/{DIGEST}", Target(Endpoint.REFERRERS, "a", DIGEST)),
        ("/v2/manifests/blobs/manifests/tags", Target(Endpoint.MANIFEST, "manifests/blobs", "tags")),
        ("/v2/a/blobs/uploads/manifests/v1", Target(Endpoint.MANIFEST, "a/blobs/uploads", "v1")),
        ("/v2/blobs/uploads/blobs/uploads/", Target(Endpoint.UPLOADS, "blobs/uploads")),
        ("/v2/a/tags/list/tags/list", Target(Endpoint.TAGS, "a/tags/list")),
        ("/v2/a%2Fb/manifests/v1", Target(Endpoint.MANIFEST, "a/b", "v1")),
        ("/v2/a/manifests/sha256%3Aff", Target(Endpoint.MANIFEST, "a", "sha256:ff")),
        ("/v2/manifests/v1", None),
        ("/v2/a/manifests/", None),
        ("/v2/a", None),
        ("/v1/_ping", Target(Endpoint.OLD_PING)),
        ("/v1/search", Target(Endpoint.SEARCH)),
        ("/v1/users", None),
        ("/", None),
        ("", None),
    ],
)
def test_a_path_is_read_from_its_end(path, target):
    assert parse(path) == target


@pytest.mark.parametrize(
    ("header", "size", "part"),
    [
        (None, 10, None),
        ("bytes=0-3", 10, (0, 3)),
        ("bytes=3-", 10, (3, 9)),
        ("bytes=-3", 10, (7, 9)),
        ("bytes=-30", 10, (0, 9)),
        ("bytes=5-99999999999999999", 10, (5, 9)),
        ("bytes = 0 - 3", 10, (0, 3)),
        ("bytes=0-1,3-4", 10, None),
        ("bytes=99999999999999999999999-", 10, None),
        ("items=0-3", 10, None),
    ],
)
def test_a_range_names_first_and_last_byte(header, size, part):
    assert ranges.wanted(header, size) == part


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=0-", 0), ("bytes=-1", 0), ("bytes=4-3", 10)])
def test_a_range_without_a_byte_is_unsatisfiable(header, size):
    with pytest.raises(RangeUnsatisfiable):
        ranges.wanted(header, size)


@pytest.mark.parametrize(
    ("header", "length", "chunk"),
    [
        (None, 5, None),
        ("0-4", 5, (0, 5)),
        ("5-9", None, (5, 5)),
        ("bytes 5-9/*", 5, (5, 5)),
        ("bytes=5-9", 5, (5, 5)),
    ],
)
def test_a_chunk_has_an_offset_and_a_length(header, length, chunk):
    assert ranges.chunk(header, length) == chunk


@pytest.mark.parametrize(("header", "length"), [("0-4", 4), ("4-0", None), ("a-b", None), ("0 - 4", 5), ("", 0)])
def test_a_chunk_that_does_not_fit_is_refused(header, length):
    with pytest.raises(BadParameter):
        ranges.chunk(header, length)
