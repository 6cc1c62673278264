"""`man`: writes the manual pages of every command and of the daemon, made from the tables."""

from __future__ import annotations

import time
from pathlib import Path

from sampan import __version__
from sampan.cli import main, output, session, table
from sampan.cli.line import declare, manual


def pages(date: str) -> dict[str, str]:
    """Text by file name: `man1/sampan-ps.1`, …, `man8/sampand.8`."""
    members = {group: tuple(table.members(group)) for group in table.GROUPS}
    found = {
        "man1/sampan.1": manual.of_program(
            table.sections(), members, session.GLOBALS, title=main.TITLE, version=__version__, date=date
        )
    }
    for path, (_, _, line) in table.COMMANDS.items():
        if line:
            name = f"man1/sampan-{path.replace(' ', '-')}.1"
            found[name] = manual.of_command(
                path, main.load(path), table.spellings(path), version=__version__, date=date
            )
    found["man8/sampand.8"] = manual.of_daemon(_settings(), version=__version__, date=date)
    return found


def _settings() -> list[tuple[str, str, str]]:
    from sampan.config import options

    rows = []
    for field in options.table():
        about = field.metadata
        value = about["metavar"] or about["unit"]
        names = ", ".join(about["flags"])
        default = getattr(options.Options(), field.name)
        shown = ", ".join(default) if isinstance(default, list) else "" if default is False else str(default)
        rows.append((f"{names} {value}".strip(), shown, about["doc"]))
    return rows


@declare.command()
@declare.option("--date", default="", help="Date on the pages (default today)")
@declare.argument("folder", default="/usr/local/share/man", offers="file")
def man(folder: str, *, date: str) -> int:
    """Write the manual pages into a folder, in man1 and man8."""
    found = pages(date or time.strftime("%Y-%m-%d"))
    for name, text in found.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    output.echo(f"{len(found)} pages written to {folder}")
    return 0
