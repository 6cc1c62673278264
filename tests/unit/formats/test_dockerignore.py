"""Ignore patterns as a table: pattern file, path, left out or not."""

from __future__ import annotations

import pytest

from sampan.formats import dockerignore


@pytest.mark.parametrize(
    ("patterns", "path", "ignored"),
    [
        ("a", "a", True),
        ("a", "a/b", True),
        ("a", "ab", False),
        ("/a", "a", True),
        ("a/", "a", True),
        ("./a", "a", True),
        ("*.md", "README.md", True),
        ("*.md", "docs/README.md", False),
        ("**/*.md", "docs/deep/README.md", True),
        ("**/*.md", "README.md", True),
        ("docs/**", "docs/a/b", True),
        ("docs/**", "docs", False),
        ("**", "anything/at/all", True),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("*/temp*", "x/temporary", True),
        ("*/temp*", "x/y/temporary", False),
        ("temp?", "temp1", True),
        ("temp?", "temp", False),
        ("[a-c]x", "bx", True),
        ("[^a-c]x", "bx", False),
        ("[^a-c]x", "dx", True),
        ("\\*", "*", True),
        ("\\*", "x", False),
        ("*\n!keep", "keep", False),
        ("*\n!keep", "lose", True),
        ("*\n!keep", "keep/below", False),
        ("!keep\n*", "keep", True),
        ("docs\n!docs/README.md", "docs/README.md", False),
        ("docs\n!docs/README.md", "docs/other", True),
        ("# comment\n\n  a  ", "a", True),
        ("a.b", "axb", False),
        ("..", "a", False),
        ("a\\", "b", None),
        ("[a", "b", None),
        ("!", "b", None),
    ],
)
def test_the_last_pattern_that_matches_decides(patterns: str, path: str, ignored: bool | None) -> None:
    if ignored is None:
        with pytest.raises(dockerignore.PatternInvalid):
            dockerignore.read(patterns)
        return
    assert dockerignore.read(patterns)(path) is ignored


def test_an_ignored_directory_is_read_only_for_exceptions_below_it() -> None:
    ignored = dockerignore.read("docs\nnode_modules\n!docs/keep/README.md")
    assert ignored.may_hold_exceptions("docs")
    assert not ignored.may_hold_exceptions("node_modules")
    assert dockerignore.read("a\n!**/keep").may_hold_exceptions("a")


def test_patterns_are_told_as_a_server_wants_them() -> None:
    assert dockerignore.lines("# x\n/a/\n!./b//c\n *.o \n") == ["a", "!b/c", "*.o"]
