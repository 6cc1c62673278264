"""Dockerfiles taken apart: directives, continuations, here-documents, flags, and what is refused with which line."""

from __future__ import annotations

import pytest

from sampan.formats import dockerfile


def rests(text: str) -> list[tuple[str, str]]:
    return [(each.name, each.rest) for each in dockerfile.parse(text).instructions]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a\nRUN b", [("FROM", "a"), ("RUN", "b")]),
        ("\ufefffrom a", [("FROM", "a")]),
        ("FROM a\r\nRUN b \\\r\n c\r\n", [("FROM", "a"), ("RUN", "b  c")]),
        ("  # comment\nFROM a\n\n  RUN   b  ", [("FROM", "a"), ("RUN", "b")]),
        ("RUN a \\\n  b \\\n# comment\n  # indented\n\n  c", [("RUN", "a   b   c")]),
        ("RUN a \\  \n b", [("RUN", "a  b")]),
        ("RUN a \\\\\nRUN b", [("RUN", "a \\\\"), ("RUN", "b")]),
        ("# escape=`\nRUN a `\n b \\\nCMD c", [("RUN", "a  b \\"), ("CMD", "c")]),
        ("# not a directive\n# escape=`\nRUN a \\\n b", [("RUN", "a  b")]),
        ("RUN a # b", [("RUN", "a # b")]),
        ("RUN a \\\n", [("RUN", "a")]),
    ],
)
def test_lines_become_instructions(text: str, expected: list[tuple[str, str]]) -> None:
    assert rests(text) == expected


def test_flags_are_taken_from_the_front_and_keep_their_blanks_in_quotes() -> None:
    only = dockerfile.parse('COPY --from=x --chown="a b":c  src --dst /').instructions[0]
    assert (only.flags, only.rest) == (("--from=x", "--chown=a b:c"), "src --dst /")


def test_heredocs_are_read_with_their_tabs_and_quotes() -> None:
    text = "RUN <<A cat <<-'B'\none $x\nA\n\ttwo\n\tB\nCMD x"
    run, command = dockerfile.parse(text).instructions
    assert [(h.name, h.content, h.expand, h.chomp) for h in run.heredocs] == [
        ("A", "one $x\n", True, False),
        ("B", "\ttwo\n", False, True),
    ]
    assert (command.name, command.line) == ("CMD", 6)


def test_a_shift_in_json_or_without_a_name_is_no_heredoc() -> None:
    for line in ('RUN ["sh", "-c", "cat <<A"]', "RUN echo $((1 << 2))", "RUN cat <<<word", "ENV a=<<A"):
        assert dockerfile.parse(line).instructions[0].heredocs == ()


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("FROM a\n\nFOO b", 3, "unknown instruction: FOO"),
        ("# only a comment\n", 2, "file with no instructions"),
        ("RUN <<A\nx", 1, "unterminated heredoc: A"),
        ("# escape=x\nFROM a", 1, "invalid escape token 'x' does not match ` or \\"),
        ("# escape=`\n# escape=`\nFROM a", 2, "only one escape parser directive can be used"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, line: int, why: str) -> None:
    with pytest.raises(dockerfile.DockerfileInvalid) as caught:
        dockerfile.parse(text)
    assert (caught.value.line, caught.value.why) == (line, why)
    assert str(caught.value) == f"dockerfile parse error on line {line}: {why}"


def test_a_line_may_end_in_bytes_that_are_no_text() -> None:
    only = dockerfile.parse(b"LABEL a=\xff").instructions[0]
    assert only.rest.encode("utf-8", "surrogateescape") == b"a=\xff"


def test_an_empty_line_in_a_continuation_warns() -> None:
    parsed = dockerfile.parse("RUN a \\\n\n b")
    assert parsed.warnings == ((1, "Empty continuation line found in: RUN a  b"),)
