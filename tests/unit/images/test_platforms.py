"""Platform words and the choice from an index."""

from __future__ import annotations

import pytest

from sampan.formats import oci
from sampan.images import platforms
from sampan.images.platforms import InvalidPlatform, NoMatchingManifest


def entry(text: str) -> oci.Descriptor:
    return oci.Descriptor(oci.OCI_MANIFEST, text, 1, platform=platforms.parse(text) if text != "-" else None)


@pytest.mark.parametrize(
    ("text", "described"),
    [
        ("linux/amd64", "linux/amd64"),
        ("amd64", "linux/amd64"),
        ("x86_64", "linux/amd64"),
        ("Linux/AArch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64/v8"),
        ("armhf", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("windows", "windows"),
    ],
)
def test_a_platform_is_read_as_people_write_it(text: str, described: str) -> None:
    assert platforms.describe(platforms.parse(text)) == described


@pytest.mark.parametrize("text", ["", "/", "linux/", "a/b/c/d", "li nux/amd64", "linux/amd64\n"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(InvalidPlatform):
        platforms.parse(text)


@pytest.mark.parametrize(
    ("offered", "wanted", "chosen"),
    [
        (["linux/arm64", "linux/amd64"], "linux/amd64", "linux/amd64"),
        (["-", "linux/amd64"], "linux/amd64", "linux/amd64"),
        (["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"], "linux/arm/v7", "linux/arm/v7"),
        (["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"], "linux/arm/v6", "linux/arm/v6"),
        (["linux/arm/v5", "linux/arm/v7"], "linux/arm/v6", "linux/arm/v5"),
        (["linux/arm", "linux/arm/v6"], "linux/arm", "linux/arm"),
        (["linux/arm64/v8"], "linux/arm64", "linux/arm64/v8"),
        (["linux/arm64"], "linux/arm64/v8", "linux/arm64"),
        (["linux/amd64/v3", "linux/amd64"], "linux/amd64", "linux/amd64"),
        (["linux/amd64/v2", "linux/amd64/v3", "linux/amd64/v4"], "linux/amd64/v3", "linux/amd64/v3"),
        (["windows/amd64", "linux/amd64"], "linux/amd64", "linux/amd64"),
    ],
)
def test_the_best_that_runs_is_chosen(offered: list[str], wanted: str, chosen: str) -> None:
    entries = [entry(text) for text in offered]
    assert platforms.choose(entries, platforms.parse(wanted)).digest == chosen


@pytest.mark.parametrize(
    ("offered", "wanted"),
    [
        ([], "linux/amd64"),
        (["linux/arm64"], "linux/amd64"),
        (["linux/arm/v7"], "linux/arm/v6"),
        (["linux/amd64/v2"], "linux/amd64"),
        (["-"], "linux/amd64"),
    ],
)
def test_without_a_match_the_offer_is_named(offered: list[str], wanted: str) -> None:
    with pytest.raises(NoMatchingManifest, match=f"no matching manifest for {wanted} in the manifest list entries"):
        platforms.choose([entry(text) for text in offered], platforms.parse(wanted))


def test_an_attestation_is_never_chosen() -> None:
    note = oci.Descriptor(oci.OCI_MANIFEST, "note", 1, platform=oci.Platform("unknown", "unknown"))
    assert platforms.choose([note, entry("linux/amd64")], platforms.of_machine("x86_64")).digest == "linux/amd64"
