"""Digests: what parses, what is refused, what they print."""

from __future__ import annotations

import pytest

from sampan.formats.digest import Digest, InvalidDigest

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_digest_knows_its_parts() -> None:
    digest = Digest.parse(EMPTY)
    assert (digest.algorithm, digest.hex, digest.short) == ("sha256", EMPTY[7:], "e3b0c44298fc")
    assert digest == EMPTY


def test_the_digest_of_content_is_what_the_algorithm_says() -> None:
    assert Digest.of(b"") == EMPTY
    assert Digest.of(b"", "sha512").startswith("sha512:cf83e1357eefb8bd")


def test_a_digest_parses_back_from_its_own_text() -> None:
    for algorithm in ("sha256", "sha512"):
        assert Digest.parse(Digest.of(b"boat", algorithm)) == Digest.of(b"boat", algorithm)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        "sha256:",
        EMPTY[7:],
        EMPTY.upper(),
        EMPTY[:-1],
        EMPTY + "0",
        EMPTY[:-1] + "g",
        EMPTY + "\n",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "sha256:" + "../" * 21 + "a",
        "sha512:" + EMPTY[7:],
        " " + EMPTY,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidDigest):
        Digest.parse(text)


def test_a_long_text_is_not_repeated_in_the_error() -> None:
    with pytest.raises(InvalidDigest) as caught:
        Digest.parse("x" * 100_000)
    assert len(str(caught.value)) < 400
