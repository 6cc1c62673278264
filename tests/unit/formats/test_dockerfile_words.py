"""Variable expansion as a table: word, what it becomes."""

from __future__ import annotations

import pytest

from sampan.formats import dockerfile_words

VARIABLES = {"A": "value", "EMPTY": "", "WORDS": "one two", "PATH_": "/usr/local/bin", "DOTS": "a.b.c", "1": "first"}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("plain", "plain"),
        ("$A", "value"),
        ("${A}", "value"),
        ("$Ax", ""),
        ("${A}x", "valuex"),
        ("$1", "first"),
        ("$12", "first2"),
        ("'$A'", "$A"),
        ('"$A"', "value"),
        ("\\$A", "$A"),
        ('"\\$A"', "$A"),
        ('"\\n\\""', '\\n"'),
        ("a\\ b", "a b"),
        ("a\\", "a"),
        ("$", "$"),
        ("$-", "$-"),
        ("x$ y", "x$ y"),
        ("${UNSET:-default}", "default"),
        ("${EMPTY:-default}", "default"),
        ("${EMPTY-default}", ""),
        ("${A:-default}", "value"),
        ("${UNSET:-$A}", "value"),
        ("${UNSET:-${EMPTY:-deep}}", "deep"),
        ("${UNSET:-'}'}", "}"),
        ("${A:+set}", "set"),
        ("${EMPTY:+set}", ""),
        ("${EMPTY+set}", "set"),
        ("${UNSET+set}", ""),
        ("${A:?message}", "value"),
        ("${PATH_#*/}", "usr/local/bin"),
        ("${PATH_##*/}", "bin"),
        ("${PATH_%/*}", "/usr/local"),
        ("${PATH_%%/*}", ""),
        ("${DOTS%.*}", "a.b"),
        ("${DOTS%%.*}", "a"),
        ("${DOTS#?.}", "b.c"),
        ("${DOTS/./-}", "a-b.c"),
        ("${DOTS//./-}", "a-b-c"),
        ("${DOTS/\\./-}", "a-b.c"),
        ("${DOTS//./}", "abc"),
        ("${A/$A/new}", "new"),
    ],
)
def test_one_word(word: str, expected: str) -> None:
    assert dockerfile_words.expand(word, VARIABLES) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("$WORDS", ["one", "two"]),
        ("x$WORDS", ["xone", "two"]),
        ('"$WORDS"', ["one two"]),
        ("'a b'", ["a b"]),
        ("$EMPTY", []),
        ("a b", ["a", "b"]),
    ],
)
def test_unquoted_values_split_where_words_are_wanted(word: str, expected: list[str]) -> None:
    assert dockerfile_words.expand_to_words(word, VARIABLES) == expected


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("'a", "matching single-quote"),
        ('"a', "matching double-quote"),
        ("${A", "missing '}'"),
        ("${", "missing '}'"),
        ("${}", "bad substitution"),
        ("${A:x}", "unsupported modifier (:x)"),
        ("${UNSET:?must be there}", "UNSET: must be there"),
        ("${UNSET?}", "UNSET: not allowed to be unset"),
        ("${A//}", "missing pattern"),
    ],
)
def test_what_does_not_close_or_is_unknown_is_refused(word: str, why: str) -> None:
    with pytest.raises(dockerfile_words.WordInvalid) as caught:
        dockerfile_words.expand(word, VARIABLES)
    assert why in caught.value.why


def test_another_escape_character_leaves_backslashes_alone() -> None:
    assert dockerfile_words.expand("C:\\$A`$A", VARIABLES, "`") == "C:\\value$A"


def test_a_document_keeps_its_quotes() -> None:
    text = "\"$A\" '$A' \\$A \\n\n"
    assert dockerfile_words.expand_content(text, VARIABLES) == "\"value\" 'value' $A \\n\n"


def test_a_word_that_explodes_is_refused() -> None:
    with pytest.raises(dockerfile_words.WordInvalid):
        dockerfile_words.expand("$X" * 64, {"X": "x" * (1 << 16)})
    with pytest.raises(dockerfile_words.WordInvalid):
        dockerfile_words.expand("${U:-" * 100 + "}" * 100, {})
