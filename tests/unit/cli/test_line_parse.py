"""Flags are read as Docker's own command line reads them, and what is wrong is told in its words."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest

from sampan.cli import failures, main
from sampan.cli.line import declare, parse, usage

FLAGS = [
    declare.flag("--all", "-a", is_flag=True),
    declare.flag("--name", "-n", default=""),
    declare.flag("--label", "-l", multiple=True),
    declare.flag("--subnet", kind="strings"),
    declare.flag("--last", type=int, default=-1),
    declare.flag("--weight", kind="uint16", default=0),
    declare.flag("--net", "--network", kind="network"),
    declare.flag("--time", "-t", "timeout_s", type=int),
]
NOTHING: dict[str, Any] = {
    "all": False,
    "name": "",
    "label": (),
    "subnet": (),
    "last": -1,
    "weight": 0,
    "net": (),
    "timeout_s": None,
}


@pytest.mark.parametrize(
    ("words", "values", "rest"),
    [
        ([], {}, []),
        (["--all"], {"all": True}, []),
        (["--all=false", "-a=true"], {"all": True}, []),
        (["-a=0"], {"all": False}, []),
        (["--name", "x", "y"], {"name": "x"}, ["y"]),
        (["--name=x=y"], {"name": "x=y"}, []),
        (["--name="], {"name": ""}, []),
        (["-nx", "-n=y"], {"name": "y"}, []),
        (["-anx"], {"all": True, "name": "x"}, []),
        (["-la=b", "--label", "c", "-l=d"], {"label": ("a=b", "c", "d")}, []),
        (["--subnet", "a,b", "--subnet=c"], {"subnet": ("a", "b", "c")}, []),
        (["--last", "-5"], {"last": -5}, []),
        (["--last=0x10"], {"last": 16}, []),
        (["--network", "crew"], {"net": ("crew",)}, []),
        (["-t3"], {"timeout_s": 3}, []),
        (["a", "--all", "b", "--", "--all"], {"all": True}, ["a", "b", "--all"]),
        (["-", "--name", "-"], {"name": "-"}, ["-"]),
    ],
)
def test_words_are_read_in_every_form(words: list[str], values: dict[str, Any], rest: list[str]) -> None:
    assert parse.flags(FLAGS, words, interspersed=True) == (NOTHING | values, rest)


def test_flags_end_at_the_first_argument_where_a_command_follows() -> None:
    found, rest = parse.flags(FLAGS, ["-a", "image", "--all=x", "-n"], interspersed=False)
    assert (found["all"], rest) == (True, ["image", "--all=x", "-n"])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--foo"], "unknown flag: --foo"),
        (["-ax"], "unknown shorthand flag: 'x' in -ax"),
        (["--name"], "flag needs an argument: --name"),
        (["-an"], "flag needs an argument: 'n' in -an"),
        (["--all=x"], 'invalid argument "x" for "-a, --all" flag: strconv.ParseBool: parsing "x": invalid syntax'),
        (["--last", "x"], 'invalid argument "x" for "--last" flag: strconv.ParseInt: parsing "x": invalid syntax'),
        (["--weight", "70000"], 'strconv.ParseUint: parsing "70000": value out of range'),
        (["--last", "9" * 20], "value out of range"),
        (["---x"], "bad flag syntax: ---x"),
    ],
)
def test_what_cannot_be_read_is_told_in_dockers_words(words: list[str], text: str) -> None:
    with pytest.raises(parse.UnreadableFlag) as refused:
        parse.flags(FLAGS, words, interspersed=True)
    assert text in str(refused.value)
    assert refused.value.code == failures.DAEMON


@declare.command("Do it")
@declare.option("--help-me", is_flag=True, help="Help with this")
@declare.argument("source")
@declare.argument("targets", nargs=-1)
def example(*, help_me: bool, source: str, targets: tuple[str, ...]) -> int:
    return 0


@pytest.mark.parametrize(
    ("arguments", "count", "text"),
    [
        ([("a", {})], 0, "requires 1 argument"),
        ([("a", {}), ("b", {})], 1, "requires 2 arguments"),
        ([("a", {"nargs": -1, "required": True})], 0, "requires at least 1 argument"),
        ([("a", {}), ("b", {"default": ""})], 3, "requires at least 1 and at most 2 arguments"),
        ([("a", {"default": ""})], 2, "requires at most 1 argument"),
        ([], 1, "accepts no arguments"),
        ([("a", {"nargs": -1})], 9, ""),
    ],
)
def test_arguments_are_counted(arguments: list[tuple[str, dict[str, Any]]], count: int, text: str) -> None:
    def function() -> None:
        """Nothing."""

    for name, keywords in reversed(arguments):
        function = declare.argument(name, **keywords)(function)  # type: ignore[assignment]
    assert parse.miscounted(declare.command()(function), count) == text


def test_help_shows_usage_aliases_and_flags() -> None:
    assert usage.of_command("sampan do", example, ["sampan x do", "sampan do"]) == (
        "Usage:  sampan do [OPTIONS] SOURCE [TARGET...]\n\nDo it\n\nAliases:\n  sampan x do, sampan do\n\n"
        "Options:\n      --help-me   Help with this\n"
    )


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main.main(["sampan", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.skipif(shutil.which("docker") is None, reason="the docker command line is not installed")
@pytest.mark.parametrize(
    "words",
    [
        "foo",
        "container foo",
        "ps --foo",
        "ps x",
        "rename a",
        "port",
        "port a b c",
        "version x",
        "pull",
        "run",
        "exec a",
        "ps --all=x",
        "ps --last",
        "ps -n",
        "ps -xa",
        "run --cpus x i",
        "run --memory x i",
        "run --pull x i",
        "run --ulimit x i",
        "run --memory-swappiness x i",
        "run --blkio-weight x i",
        "run --stop-timeout 99999999999999999999 x",
        "run -e =x i",
        "run --add-host x i",
        "run -a foo i",
        "run --mount x i",
        "run --network name=,x=y i",
        "run --label-file /nonex i",
        "run --env-file /nonex i",
        "run --cidfile /etc/passwd i",
        "run --sysctl x i",
        "run --dns x i",
        "run --mac-address x i",
        "run --gpus x=y i",
        "run --health-interval x i",
        "run --rm --restart always i",
        "run -d --attach stdin i",
        "ps --filter x",
        "network connect a",
        "top",
        "--foo",
    ],
)
def test_refusals_are_the_docker_clients(
    words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    done = subprocess.run(["docker", *words.split()], capture_output=True, text=True, timeout=30, check=False)
    code, out, err = run(capsys, *words.split())
    theirs = done.stderr.replace("docker", "sampan")
    # Some of docker's own messages end with another word for the same advice.
    for other in ("See 'sampan", "SRun 'sampan"):
        theirs = theirs.replace(other, "Run 'sampan")
    assert (code, out, err) == (done.returncode, done.stdout, theirs)
