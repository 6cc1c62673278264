"""`sampan`: finds the command in the table, reads its words, calls it, and turns what happened into an exit code.

`sampan-ps` (a link to this program) means `sampan ps`. `sampan daemon …` and `sampan -d …` hand everything behind to
the daemon's own parser.
"""

from __future__ import annotations

import sys

from sampan.cli import failures, session, table
from sampan.cli.line import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from sampan.cli.line.declare import Command

TITLE = "A private container cloud: registry, Docker-compatible engine, networks and stacks"
INTERRUPTED = 130
NOBODY_READS = 141
DAEMON_WORDS = ("-d", "--daemon", "-d=true", "--daemon=true")


def arguments(argv: Sequence[str]) -> list[str]:
    """The words behind the program's name; `sampan-ps` contributes `ps`. Pure."""
    name = argv[0].rpartition("/")[2]
    _, dash, command = name.removesuffix(".py").partition("sampan-")
    is_known = command in table.COMMANDS or command in table.GROUPS or command == "daemon"
    return [command, *argv[1:]] if dash and is_known else list(argv[1:])


def daemon_arguments(words: Sequence[str]) -> list[str] | None:
    """What the daemon's parser gets, or None when this is a client's command. Pure.

    `-d` was Docker's way to say daemon; other options and their values may stand before it: `-D -g /srv -d`. What
    stands behind a command's name is the command's.
    """
    if words and words[0] == "daemon":
        return list(words[1:])
    for position, word in enumerate(words):
        if word in DAEMON_WORDS:
            return [*words[:position], *words[position + 1 :]]
        is_address = position > 0 and words[position - 1] in ("-H", "--host")
        is_value = position > 0 and words[position - 1].startswith("-") and "=" not in words[position - 1]
        if not word.startswith("-") and not is_address and (word in table.COMMANDS or not is_value):
            return None
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """The entry point. Returns the exit code."""
    words = arguments(sys.argv if argv is None else argv)
    for_daemon = daemon_arguments(words)
    if for_daemon is not None:
        from sampan.daemon.main import main as run_daemon

        return run_daemon(for_daemon)
    try:
        code = _client(words)
        sys.stdout.flush()
    except failures.CliError as error:
        if str(error):
            sys.stderr.write(f"{error}\n")
        return error.code
    except (EOFError, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return NOBODY_READS
    return code


def _forget_output() -> None:
    """Nobody reads: the interpreter must not try again when it ends."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _client(words: list[str]) -> int:
    """Raises: CliError."""
    try:
        chosen, rest = parse.flags(session.GLOBALS, words, interspersed=False)
    except parse.HelpWanted:
        return _help()
    except parse.UnreadableFlag as error:
        raise failures.CliError(
            f"{error}\n\nUsage:  sampan [OPTIONS] COMMAND [ARG...]\n\nRun 'sampan --help' for more information",
            error.code,
        ) from error
    session.chosen.update(chosen)
    if chosen["version"]:
        from sampan import __version__

        sys.stdout.write(f"Sampan version {__version__}\n")
        return 0
    return _dispatch(rest) if rest else _help()


def _dispatch(words: list[str]) -> int:
    """Find the command of these words and call it."""
    first = words[0]
    if first not in table.GROUPS:
        return _call(first, words[1:]) if first in table.COMMANDS else _unknown("sampan", first)
    if len(words) == 1 or words[1] in ("--help", "-h"):
        from sampan.cli.line import usage

        sys.stdout.write(usage.of_group(f"sampan {first}", table.GROUPS[first], table.members(first)))
        return 0
    path = f"{first} {words[1]}"
    path = table.ALIASES.get(path, path)
    return _call(path, words[2:]) if path in table.COMMANDS else _unknown(f"sampan {first}", words[1])


def _unknown(program: str, word: str) -> int:
    if word.startswith("-"):
        raise failures.CliError(
            f"unknown flag: {word}\n\nUsage:  {program}\n\nRun '{program} --help' for more information", failures.DAEMON
        )
    usage = f"\n\nUsage:  {program}" if " " in program else ""
    raise failures.CliError(
        f"sampan: unknown command: {program} {word}{usage}\n\nRun '{program} --help' for more information"
    )


def load(path: str) -> Command:
    """Import a command."""
    module, attribute, _ = table.COMMANDS[path]
    return getattr(__import__(f"sampan.cli.{module}", fromlist=[attribute]), attribute)  # type: ignore[no-any-return]


def _call(path: str, words: Sequence[str]) -> int:
    command, program = load(path), f"sampan {path}"
    more = f"Usage:  {program} {command.usage()}".rstrip() + f"\n\nRun '{program} --help' for more information"
    try:
        options, rest = parse.flags(command.flags, words, interspersed=command.interspersed)
    except parse.HelpWanted as wanted:
        return _command_help(path, command, is_old=wanted.is_old)
    except parse.UnreadableFlag as error:
        raise failures.CliError(f"{error}\n\n{more}", error.code) from error
    problem = parse.miscounted(command, len(rest))
    if problem:
        raise failures.CliError(f"sampan: '{program}' {problem}\n\n{more}")
    result = command.function(**parse.arguments(command, rest), **options)
    return result if isinstance(result, int) else 0


# --- help ------------------------------------------------------------------------------------------------------------


def _width() -> int:
    import shutil

    from sampan.cli.line import usage

    return min(shutil.get_terminal_size((usage.WIDTH, 0)).columns, 120) if sys.stdout.isatty() else usage.WIDTH


def _help() -> int:
    from sampan.cli.line import usage

    sys.stdout.write(usage.of_program(TITLE, table.sections(), session.GLOBALS, width=_width()))
    return 0


def _command_help(path: str, command: Any, *, is_old: bool) -> int:
    from sampan.cli.line import usage

    if is_old:
        sys.stderr.write("Flag shorthand -h has been deprecated, use --help\n")
    spellings = [f"sampan {other}" for other in table.spellings(path)]
    sys.stdout.write(usage.of_command(f"sampan {path}", command, spellings, width=_width()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
