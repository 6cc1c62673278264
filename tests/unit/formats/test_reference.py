"""References: Docker's normalisation, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.formats import reference
from sampan.formats.digest import InvalidDigest
from sampan.formats.reference import InvalidReference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("library/busybox", "docker.io/library/busybox", "busybox"),
        ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("index.docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("someone/app", "docker.io/someone/app", "someone/app"),
        ("library/a/b", "docker.io/library/a/b", "library/a/b"),
        ("localhost/app", "localhost/app", "localhost/app"),
        ("localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1"),
        ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c"),
        ("[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app"),
        ("registry.example/app@" + DIGEST, "registry.example/app@" + DIGEST, "registry.example/app@" + DIGEST),
        ("app:v1@" + DIGEST, "docker.io/library/app:v1@" + DIGEST, "app:v1@" + DIGEST),
        ("a__b/c--d.e_f", "docker.io/a__b/c--d.e_f", "a__b/c--d.e_f"),
    ],
)
def test_a_reference_has_a_full_and_a_familiar_form(text: str, full: str, familiar: str) -> None:
    parsed = reference.parse(text)
    assert (str(parsed), parsed.familiar) == (full, familiar)
    assert reference.parse(familiar) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "App",
        "app:",
        "app@",
        ":tag",
        "a//b",
        "/app",
        "app/",
        "../../x",
        "a/../b",
        "app:-tag",
        "app:" + "t" * 129,
        "-app",
        "app_",
        "a___b",
        "host:port/app",
        "example.com/",
        "example.com:5000/App",
        "exa mple/app",
        "app\n",
        "app:latest\n",
        "a" * 64,
        "x/" * 130 + "y",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference):
        reference.parse(text)


def test_upper_case_is_refused_with_docker_s_words() -> None:
    with pytest.raises(InvalidReference, match="repository name must be lowercase"):
        reference.parse("Busybox")


def test_a_bad_digest_behind_the_name_is_refused() -> None:
    with pytest.raises(InvalidDigest):
        reference.parse("app@sha256:abc")


def test_the_default_tag_fills_only_an_empty_place() -> None:
    assert reference.parse("app").with_default_tag().familiar == "app:latest"
    assert reference.parse("app:v1").with_default_tag().familiar == "app:v1"
    assert reference.parse(f"app@{DIGEST}").with_default_tag().familiar == f"app@{DIGEST}"


def test_a_registry_is_asked_for_the_digest_before_the_tag() -> None:
    assert reference.parse(f"app:v1@{DIGEST}").version == DIGEST
    assert reference.parse("app:v1").version == "v1"
    assert reference.parse("app").version == "latest"


@given(st.text(max_size=300))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        parsed = reference.parse(text)
    except (InvalidReference, InvalidDigest):
        return
    assert reference.parse(str(parsed)) == parsed
