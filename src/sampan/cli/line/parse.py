"""Reads words by a command's table, as Docker's own command line does. Pure.

`--name=value`, `--name value`, `-n value`, `-nvalue`, `-abc` for flags without value, `--flag=false`; `--` ends
the flags.
Source: spf13/pflag's documented grammar; the messages are what `docker` 28.2 answers.
"""

from __future__ import annotations

from sampan.cli import failures
from sampan.cli.line.declare import LISTS, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))
_LARGEST = (1 << 63) - 1


class HelpWanted(Exception):
    """`--help`, or `-h` where it is nobody's: then `is_old`."""

    def __init__(self, *, is_old: bool = False) -> None:
        super().__init__()
        self.is_old = is_old


class UnreadableFlag(failures.BadUsage):
    """A flag that is unknown or whose value cannot be read."""

    def __init__(self, text: str) -> None:
        super().__init__(text, failures.DAEMON)


def flags(table: Iterable[Flag], words: Sequence[str], *, interspersed: bool) -> tuple[dict[str, Any], list[str]]:
    """Values by target, and the words that are no flags. Raises: UnreadableFlag, HelpWanted."""
    table = list(table)
    long = {name: flag for flag in table for name in (flag.name, *flag.aliases)}
    short = {flag.letter: flag for flag in table if flag.letter}
    found: dict[str, Any] = {flag.target: flag.default for flag in table}
    given: dict[str, list[str]] = {}
    rest: list[str] = []
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word == "--":
            return _with_lists(found, given), [*rest, *words[position:]]
        if len(word) < 2 or word[0] != "-":
            rest.append(word)
            if not interspersed:
                return _with_lists(found, given), [*rest, *words[position:]]
            continue
        take_next = words[position] if position < len(words) else None
        if word.startswith("--"):
            used = _long(word, take_next, long, found, given)
        else:
            used = _short(word, take_next, short, found, given)
        position += used
    return _with_lists(found, given), rest


def _with_lists(found: dict[str, Any], given: dict[str, list[str]]) -> dict[str, Any]:
    return found | {target: tuple(values) for target, values in given.items()}


def _long(
    word: str, following: str | None, table: dict[str, Flag], found: dict[str, Any], given: dict[str, list[str]]
) -> int:
    """1 if the next word was the value."""
    name, equals, value = word[2:].partition("=")
    if not name or name[0] in "-=":
        raise UnreadableFlag(f"bad flag syntax: {word}")
    flag = table.get(name)
    if flag is None:
        if name == "help":
            raise HelpWanted
        raise UnreadableFlag(f"unknown flag: --{name}")
    if equals:
        _set(flag, value, found, given)
        return 0
    if flag.is_bool:
        _set(flag, "true", found, given)
        return 0
    if following is None:
        raise UnreadableFlag(f"flag needs an argument: --{name}")
    _set(flag, following, found, given)
    return 1


def _short(
    word: str, following: str | None, table: dict[str, Flag], found: dict[str, Any], given: dict[str, list[str]]
) -> int:
    """A cluster of letters; 1 if the next word was the value of the last."""
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        flag = table.get(letter)
        if flag is None:
            if letter == "h":
                raise HelpWanted(is_old=True)
            raise UnreadableFlag(f"unknown shorthand flag: {letter!r} in {word}")
        if letters.startswith("="):
            _set(flag, letters[1:], found, given)
            return 0
        if flag.is_bool:
            _set(flag, "true", found, given)
            continue
        if letters:
            _set(flag, letters, found, given)
            return 0
        if following is None:
            raise UnreadableFlag(f"flag needs an argument: {letter!r} in {word}")
        _set(flag, following, found, given)
        return 1
    return 0


def _set(flag: Flag, text: str, found: dict[str, Any], given: dict[str, list[str]]) -> None:
    try:
        value = _value(flag.kind, text)
        if flag.check is not None:
            flag.check(text)
    except failures.CliError as error:
        raise UnreadableFlag(f'invalid argument "{text}" for "{flag.written}" flag: {error}') from error
    if flag.kind in LISTS:
        given.setdefault(flag.target, []).extend(text.split(",") if flag.kind == "strings" else [text])
    else:
        found[flag.target] = value


def _value(kind: str, text: str) -> Any:
    """The value of a kind. Raises: CliError without the flag's name."""
    match kind:
        case "bool":
            return _bool(text)
        case "int" | "int64":
            return _int(text)
        case "uint" | "uint16":
            return _uint(text, 16 if kind == "uint16" else 64)
        case "filter":
            if "=" not in text:
                raise failures.BadUsage("bad format of filter (expected name=value)")
        case "bytes" | "duration" | "decimal":
            from sampan.cli import units

            if text not in ("", "-1") or kind != "bytes":
                {"bytes": units.parse_size, "duration": units.parse_duration_ns, "decimal": units.parse_cpus}[kind](
                    text
                )
    return text


def _bool(text: str) -> bool:
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise failures.BadUsage(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def _int(text: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        if not text.lstrip("+-").isdecimal():
            raise failures.BadUsage(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
        value = int(text, 8) if set(text) <= set("+-01234567") else int(text)
    if abs(value) > _LARGEST:
        raise failures.BadUsage(f'strconv.ParseInt: parsing "{text}": value out of range')
    return value


def _uint(text: str, bits: int) -> int:
    if not text.isdecimal():
        raise failures.BadUsage(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if int(text) >> bits:
        raise failures.BadUsage(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)


def arguments(command: Command, words: Sequence[str]) -> dict[str, Any]:
    """The values of a command's arguments by name, a tuple for the one that takes many. Raises: BadUsage."""
    problem = miscounted(command, len(words))
    if problem:
        raise failures.BadUsage(problem)
    values: dict[str, Any] = {}
    left = list(words)
    for argument in command.arguments:
        if argument.many:
            values[argument.name] = tuple(left)
            left = []
        else:
            values[argument.name] = left.pop(0) if left else ""
    return values


def miscounted(command: Command, count: int) -> str:
    """What is wrong with so many words; "" if nothing is."""
    least = sum(argument.needed for argument in command.arguments)
    most = None if any(argument.many for argument in command.arguments) else len(command.arguments)
    if count >= least and (most is None or count <= most):
        return ""
    if most == 0:
        return "accepts no arguments"
    if most is None:
        return f"requires at least {least} argument{'s' * (least != 1)}"
    if least == most:
        return f"requires {least} argument{'s' * (least != 1)}"
    if least == 0:
        return f"requires at most {most} argument{'s' * (most != 1)}"
    return f"requires at least {least} and at most {most} arguments"
