"""Manual pages in roff, from the tables. Pure.

Source: man-pages(7) for the sections; groff_man(7) for the macros.
"""

from __future__ import annotations

from sampan.cli.line import usage
from sampan.cli.line.declare import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def escaped(text: str) -> str:
    """As roff shows it: backslashes, minus signs, and a dot or quote that begins a line."""
    found = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return f"\\&{found}" if found.startswith((".", "\\(aq")) else found


def _top(name: str, section: int, version: str, title: str, date: str) -> list[str]:
    return [
        f'.TH {name.upper()} {section} {date} "Sampan {version}" "Sampan"',
        ".SH NAME",
        f"{escaped(name)} \\- {title}",
    ]


def of_command(path: str, command: Command, spellings: Sequence[str], *, version: str, date: str) -> str:
    """`sampan-PATH.1`."""
    lines = _top(f"sampan-{path.replace(' ', '-')}", 1, version, escaped(command.help), date)
    lines += [".SH SYNOPSIS", f".B sampan {escaped(path)}", escaped(command.usage()) or "\\&"]
    lines += [".SH DESCRIPTION", *_paragraphs(command.__doc__ or command.help)]
    if len(spellings) > 1:
        names = ", ".join(rf"\fBsampan {escaped(other)}\fR" for other in spellings)
        lines += [".PP", f"Spellings: {names}."]
    shown = [flag for flag in command.flags if not flag.hidden]
    if shown:
        lines += [".SH OPTIONS", *_flags(shown)]
    return "\n".join([*lines, ".SH SEE ALSO", ".BR sampan (1)", ""])


def of_program(
    sections: Mapping[str, Mapping[str, str]],
    members: Mapping[str, Sequence[str]],
    globals_: Iterable[Flag],
    *,
    title: str,
    version: str,
    date: str,
) -> str:
    """`sampan.1`."""
    lines = _top("sampan", 1, version, escaped(title), date)
    lines += [".SH SYNOPSIS", ".B sampan", "[OPTIONS] COMMAND [ARG...]"]
    lines += [".SH DESCRIPTION", "Docker\\(aqs commands, with Docker\\(aqs options, for the Sampan daemon."]
    for name, commands in sections.items():
        lines.append(f".SH {escaped(name.upper())}")
        for command, line in commands.items():
            page = "sampand (8)" if command == "daemon" else f"sampan\\-{escaped(command)} (1)"
            inner = " ".join(members.get(command, ()))
            lines += [".TP", f".B {escaped(command)}", escaped(line) + "."]
            lines += [f"Commands: {escaped(inner)}."] if inner else [f"See\n.BR {page}."]
    lines += [".SH GLOBAL OPTIONS", *_flags(globals_)]
    return "\n".join([*lines, ".SH SEE ALSO", ".BR sampand (8)", ""])


def of_daemon(rows: Iterable[tuple[str, str, str]], *, version: str, date: str) -> str:
    """`sampand.8`: (spellings, default, help) of each setting."""
    lines = _top("sampand", 8, version, "the daemon of Sampan", date)
    lines += [".SH SYNOPSIS", ".B sampan daemon", "[OPTIONS]", ".SH DESCRIPTION"]
    lines += ["Engine and registry in one process.", ".B sampan \\-d", "means the same."]
    lines.append(".SH OPTIONS")
    for names, default, text in rows:
        lines += [".TP", rf"\fB{escaped(names)}\fR", escaped(text.rstrip(".")) + "."]
        lines += [f"Default: {escaped(default)}."] if default else []
    return "\n".join([*lines, ".SH SEE ALSO", ".BR sampan (1)", ""])


def _paragraphs(text: str) -> list[str]:
    lines: list[str] = []
    for part in text.strip().split("\n\n"):
        lines += ([".PP"] if lines else []) + [escaped(" ".join(part.split()))]
    return lines


def _flags(flags: Iterable[Flag]) -> list[str]:
    lines: list[str] = []
    for flag in sorted(flags, key=lambda flag: flag.name):
        value = "" if flag.is_bool else rf" \fI{escaped(flag.kind)}\fR"
        text = usage.described(flag) or flag.name
        lines += [".TP", rf"\fB{escaped(usage.head(flag).split(f' {flag.kind}')[0].strip())}\fR{value}"]
        lines += [escaped(text.rstrip(".")) + "."]
    return lines
