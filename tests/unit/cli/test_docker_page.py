"""docs/docker.md says what is so: every command with its flags, every option of the daemon, and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sampan.cli import main, table
from sampan.config import options

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/docker.md").read_text()


def rows(mark: str) -> list[list[str]]:
    """The cells of the table between two marks."""
    part = PAGE.partition(f"<!-- {mark} -->")[2].partition(f"<!-- /{mark} -->")[0]
    return [[cell.strip() for cell in line.strip("| \n").split(" | ")] for line in part.strip().splitlines()[2:]]


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_command_stands_there_with_all_its_spellings() -> None:
    told = [name for row in rows("commands") for name in words(row[0])]
    assert sorted(told) == sorted(
        {name for path, entry in table.COMMANDS.items() if entry[2] for name in table.spellings(path)}
    )


@pytest.mark.parametrize("row", rows("commands"), ids=lambda row: row[0])
def test_its_flags_are_the_programs(row: list[str]) -> None:
    flags = sorted((flag for flag in main.load(words(row[0])[0]).flags if not flag.hidden), key=lambda flag: flag.name)
    shown = [(f"-{flag.letter} " if flag.letter else "") + f"--{flag.name}" for flag in flags]
    assert (words(row[1]) if shown else []) == shown


def test_every_option_of_the_daemon_stands_there() -> None:
    assert [words(row[0]) for row in rows("options")] == [list(field.metadata["flags"]) for field in options.table()]


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", PAGE))))
def test_a_test_that_is_named_exists(name: str) -> None:
    path, _, function = name.partition("::")
    assert not function or re.search(rf"^(async )?def {function}\(", (ROOT / path).read_text(), re.MULTILINE)
