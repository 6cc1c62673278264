"""What instructions mean, and Docker's words for those that mean nothing."""

from __future__ import annotations

import pytest

from sampan.formats import dockerfile
from sampan.formats import dockerfile_instructions as meaning
from sampan.formats.dockerfile_instructions import Arg, Cmd, Command, Copy, Env, From, Healthcheck, OnBuild, Run, Text
from sampan.formats.dockerfile_mounts import RunMount


def read(text: str) -> meaning.Meaning:
    parsed = dockerfile.parse(text)
    return meaning.interpret(parsed.instructions[0], parsed.escape)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a", From("a")),
        ("FROM --platform=$BUILDPLATFORM a as Builder", From("a", "builder", "$BUILDPLATFORM")),
        ("ARG A B=1 C=", Arg((("A", None), ("B", "1"), ("C", "")))),
        ('ENV A="b c" D=e', Env((("A", '"b c"'), ("D", "e")))),
        ("ENV A b c", Env((("A", "b c"),))),
        ("CMD echo hi", Cmd(Command(("echo hi",), True))),
        ('CMD ["echo", "hi"]', Cmd(Command(("echo", "hi"), False))),
        ("CMD [echo, hi]", Cmd(Command(("[echo, hi]",), True))),
        ("RUN --network=none true", Run(Command(("true",), True), (), "none")),
        ("COPY a b /c/", Copy(("a", "b"), "/c/")),
        ('ADD ["a b", "/c"]', Copy(("a b",), "/c", adds=True)),
        (
            "COPY --from=x --chown=1:2 --chmod=755 --link --exclude=*.o --parents a b",
            Copy(("a",), "b", False, "x", "1:2", "755", "", ("*.o",), True),
        ),
        ("WORKDIR a b", Text("WORKDIR", "a b")),
        ("HEALTHCHECK NONE", Healthcheck(None)),
        (
            "HEALTHCHECK --interval=1m30s --timeout=1.5s --retries=3 CMD x y",
            Healthcheck(Command(("x y",), True), 90 * 10**9, 1_500_000_000, retries=3),
        ),
        ("ONBUILD RUN x", OnBuild("RUN x")),
    ],
)
def test_meanings(text: str, expected: meaning.Meaning) -> None:
    assert read(text) == expected


def test_mounts_of_run() -> None:
    run = read(
        "RUN --mount=target=/a --mount=type=cache,dst=/c,id=x,sharing=locked,mode=0700 "
        "--mount=type=secret,id=s,required,env=S --mount=type=bind,from=b,src=/x,target=/y,rw x"
    )
    assert isinstance(run, Run)
    assert run.mounts == (
        RunMount("bind", "/a", read_only=True),
        RunMount("cache", "/c", id="x", sharing="locked", mode=0o700),
        RunMount("secret", id="s", required=True, variable="S"),
        RunMount("bind", "/y", "/x", "b"),
    )


def test_a_heredoc_alone_is_a_script_and_with_words_it_stays_the_shells() -> None:
    script, piped = read("RUN <<A\necho hi\nA"), read("RUN cat <<A >x\nhi\nA")
    assert isinstance(script, Run) and script.script is not None and script.script.content == "echo hi\n"
    assert piped == Run(Command(("cat <<A >x\nhi\nA",), True))


def test_heredocs_of_copy_are_files() -> None:
    copy = read("COPY <<A <<'B' c /d/\none\nA\ntwo\nB")
    assert isinstance(copy, Copy)
    assert (copy.sources, copy.destination) == (("c",), "/d/")
    assert [(each.name, each.content, each.expand) for each in copy.inline] == [
        ("A", "one\n", True),
        ("B", "two\n", False),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("FROM", "FROM requires either one or three arguments"),
        ("FROM a as", "FROM requires either one or three arguments"),
        ("FROM a AS 1x", 'invalid name for build stage: "1x"'),
        ("COPY a", "COPY requires at least two arguments, but only one was provided."),
        ("ADD", "ADD requires at least two arguments, but none were provided."),
        ("ENV A", "ENV must have two arguments"),
        ("ENV A=b c", 'Syntax error - can\'t find = in "c". Must be of the form: name=value'),
        ("ENV =b", "ENV names can not be blank"),
        ("ARG", "ARG requires at least one argument"),
        ("RUN", "RUN requires at least one argument"),
        ("RUN --security=insecure x", "not served"),
        ("RUN --mount=type=nfs,target=/x x", "unsupported mount type 'nfs'"),
        ("RUN --mount=type=cache x", "cache needs a target"),
        ("RUN --mount=type=bind,target=/x,size=1 x", "unexpected key 'size'"),
        ("RUN --network=x y", 'unknown network mode "x"'),
        ("COPY --frm=a b c", "unknown flag: --frm"),
        ("CMD --x y", "unknown flag: --x"),
        ("SHELL sh -c", "SHELL requires the arguments to be in JSON form"),
        ("USER", "USER requires exactly one argument"),
        ("HEALTHCHECK FOO", 'Unknown type "FOO" in HEALTHCHECK (try CMD)'),
        ("HEALTHCHECK --interval=x CMD y", 'invalid duration "x"'),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD"),
        ("ONBUILD FOO x", "unknown instruction: FOO"),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ('VOLUME [""]', "VOLUME specified can not be an empty string"),
    ],
)
def test_what_means_nothing_is_refused(text: str, why: str) -> None:
    with pytest.raises(dockerfile.DockerfileInvalid) as caught:
        read(text)
    assert why in caught.value.why
