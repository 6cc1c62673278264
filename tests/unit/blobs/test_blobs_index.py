"""The layout's index: what is written is read again, and what others wrote is left out."""

from __future__ import annotations

import json

import pytest

from sampan.blobs import index
from sampan.formats import oci
from sampan.formats.digest import Digest

ENTRIES = [
    index.Entry("team/app", "v1", oci.OCI_MANIFEST, Digest.of(b"1"), 1),
    index.Entry("team/app", "", oci.OCI_INDEX, Digest.of(b"2", "sha512"), 2),
]


def test_what_is_rendered_is_parsed_again():
    assert index.parse(index.render(ENTRIES)) == ENTRIES
    assert index.parse(index.render([])) == []


def test_it_is_written_and_read_as_a_file(tmp_path):
    assert index.read(tmp_path) == []
    assert not index.present(tmp_path)
    index.write(tmp_path, ENTRIES)
    assert index.read(tmp_path) == ENTRIES
    assert index.present(tmp_path)


@pytest.mark.parametrize(
    "annotations",
    [
        {},
        {index.REFERENCE: "latest"},
        {index.REFERENCE: "Upper:latest"},
        {index.REFERENCE: "../x:latest"},
        {index.REFERENCE: "app:bad tag"},
        {index.REPOSITORY: ".."},
    ],
)
def test_entries_that_name_no_repository_are_left_out(tmp_path, annotations):
    entry = {"mediaType": oci.OCI_MANIFEST, "digest": Digest.of(b""), "size": 0, "annotations": annotations}
    (tmp_path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    assert index.read(tmp_path) == []
    assert index.present(tmp_path)


def test_an_unknown_digest_is_left_out():
    entry = {"mediaType": "x", "digest": "blake3:00", "size": 0, "annotations": {index.REFERENCE: "app:v1"}}
    assert index.parse(json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()) == []
