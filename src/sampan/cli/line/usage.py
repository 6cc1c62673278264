"""What `--help` prints, in the layout of Docker's command line. Pure."""

from __future__ import annotations

from sampan.cli.line.declare import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

WIDTH = 80
_NO_DEFAULT = (None, "", False, (), 0)


def of_command(program: str, command: Command, spellings: Sequence[str], *, width: int = WIDTH) -> str:
    """The whole help of a command. `program` has the path (`sampan container ls`); `spellings` are all its paths."""
    parts = [f"Usage:  {program} {command.usage()}".rstrip(), "", command.help]
    if len(spellings) > 1:
        parts += ["", "Aliases:", "  " + ", ".join(spellings)]
    shown = options(command.flags, width=width)
    return "\n".join([*parts, *(["", "Options:", shown] if shown else []), ""])


def of_group(program: str, title: str, commands: Mapping[str, str]) -> str:
    """The help of a group: its commands, a line each."""
    lines = [f"Usage:  {program} COMMAND", "", title, "", "Commands:", *_lines(commands), ""]
    return "\n".join([*lines, f"Run '{program} COMMAND --help' for more information on a command.", ""])


def of_program(
    title: str, sections: Mapping[str, Mapping[str, str]], globals_: Iterable[Flag], *, width: int = WIDTH
) -> str:
    """The help of the program."""
    lines = ["Usage:  sampan [OPTIONS] COMMAND", "", title]
    for name, commands in sections.items():
        lines += ["", f"{name}:", *_lines(commands)]
    lines += ["", "Global Options:", options(globals_, width=width)]
    return "\n".join([*lines, "", "Run 'sampan COMMAND --help' for more information on a command.", ""])


def _lines(commands: Mapping[str, str]) -> list[str]:
    wide = max((len(name) for name in commands), default=0)
    return [f"  {name.ljust(wide)}   {line}".rstrip() for name, line in commands.items()]


def options(flags: Iterable[Flag], *, width: int = WIDTH) -> str:
    """The flags that are shown, by name, their descriptions wrapped behind the widest."""
    shown = sorted((flag for flag in flags if not flag.hidden), key=lambda flag: flag.name)
    names = [head(flag) for flag in shown]
    wide = max((len(name) for name in names), default=0) + 3
    lines: list[str] = []
    for name, flag in zip(names, shown, strict=True):
        first, *more = _wrapped(described(flag), max(24, width - wide)) or [""]
        lines.append(f"{name.ljust(wide)}{first}".rstrip())
        lines += [" " * wide + text for text in more]
    return "\n".join(lines)


def head(flag: Flag) -> str:
    """`  -a, --all` or `      --format string`."""
    letter = f"-{flag.letter}, " if flag.letter else "    "
    return f"  {letter}--{flag.name}{'' if flag.is_bool else f' {flag.kind}'}"


def described(flag: Flag) -> str:
    """Its help, with the default if it says something."""
    if flag.default in _NO_DEFAULT:
        return flag.help
    shown = f'"{flag.default}"' if isinstance(flag.default, str) else str(flag.default).lower()
    return f"{flag.help} (default {shown})"


def _wrapped(text: str, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
