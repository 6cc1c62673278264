"""Completion answers from the tables, in the real shells too; no reader of manual pages complains about ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from sampan.cli import failures, main, manuals, table
from sampan.cli.line import completion

NAMES = {"container": ["web", "job", "web-2"], "image": ["bb:1"], "network": ["crew"], "context": ["far"]}


def offers(kind: str) -> Iterable[str]:
    return NAMES[kind] if kind != "any" else ["web", "bb:1"]


def asked(line: str) -> list[str]:
    """The candidates for a line whose last word is being typed."""
    return [text.partition("\t")[0] for text in completion.candidates(line.split(" ")[1:], main.load, offers)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sampan ru", ["run"]),
        ("sampan container ru", ["run"]),
        ("sampan -H tcp://ship:1 ru", ["run"]),
        ("sampan -c f", ["far"]),
        ("sampan --tlsv", ["--tlsverify"]),
        ("sampan rm w", ["web", "web-2"]),
        ("sampan rm -f web jo", ["job"]),
        ("sampan container rm -fv j", ["job"]),
        ("sampan stop -t ", []),
        ("sampan stop -t 3 w", ["web", "web-2"]),
        ("sampan run --pull n", ["never"]),
        ("sampan run --pull=n", ["--pull=never"]),
        ("sampan run --network cr", ["crew"]),
        ("sampan run -it b", ["bb:1"]),
        ("sampan run bb:1 --pu", []),
        ("sampan run --memory-sw", ["--memory-swap", "--memory-swappiness"]),
        ("sampan run --env-file ", [completion.FILES]),
        ("sampan network connect cr", ["crew"]),
        ("sampan network connect crew w", ["web", "web-2"]),
        ("sampan inspect b", ["bb:1"]),
        ("sampan context use ", ["far"]),
        ("sampan nonsense ", []),
        ("sampan ps ", []),
    ],
)
def test_what_may_stand_there_is_offered(line: str, expected: list[str]) -> None:
    assert asked(line) == expected


def test_commands_come_with_their_lines() -> None:
    assert completion.candidates(["unp"], main.load, offers) == [
        "unpause\tUnpause all processes within one or more containers"
    ]


def test_without_a_daemon_nothing_is_offered_and_nothing_fails() -> None:
    def nobody(kind: str) -> Iterable[str]:
        raise failures.NoDaemon("nobody")

    assert completion.candidates(["rm", ""], main.load, nobody) == []


SHELLS = {
    "bash": "source <(sampan completion bash); COMP_WORDS=(sampan network in); COMP_CWORD=2; _sampan; echo $COMPREPLY",
    "fish": "sampan completion fish | source; complete -C 'sampan network in'",
    "zsh": "autoload -Uz compinit && compinit -u -D; source <(sampan completion zsh); print $_comps[sampan]",
}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shells_take_their_script(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run(
        [shell, "-c", SHELLS[shell]], capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    expected = "_sampan" if shell == "zsh" else "inspect"
    assert done.stdout.split()[:1] == [expected], done.stderr


PAGES = manuals.pages("2026-01-01")


def test_every_command_and_the_daemon_have_a_page() -> None:
    named = {f"man1/sampan-{path.replace(' ', '-')}.1" for path, entry in table.COMMANDS.items() if entry[2]}
    assert set(PAGES) == named | {"man1/sampan.1", "man8/sampand.8"}
    assert r"\-\-data\-root" in PAGES["man8/sampand.8"]
    assert r"\-\-publish\fR \fIlist\fR" in PAGES["man1/sampan-run.1"]


def test_mandoc_does_not_complain_about_any_page(tmp_path: Path) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    for name, text in PAGES.items():
        (tmp_path / Path(name).name).write_text(text)
    done = subprocess.run(
        ["mandoc", "-Tlint", "-Wwarning", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == ""
    shown = subprocess.run(
        ["mandoc", "-Tascii", str(tmp_path / "sampan-run.1")], capture_output=True, text=True, timeout=60, check=True
    )
    assert "SAMPAN-RUN(1)" in shown.stdout
