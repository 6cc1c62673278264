"""The progress of a pull, push, import or load: a line a layer on a terminal, kept in place; else the lines with news.

Source: moby's pkg/jsonmessage, for which messages keep a place and how wide a bar is; compared with `docker` on a
terminal.
"""

from __future__ import annotations

from sampan.api.engine import words
from sampan.cli import failures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import IO, Any

CLEAR_LINE = "\x1b[2K\r"
BAR_LENGTH = 50
BAR_FROM_COLUMNS = 110  # narrower terminals get the figures alone
_DIGITS = 4


def draw(lines: Iterable[dict[str, Any]], out: IO[str], *, quiet: bool = False) -> None:
    """Raises: CliError for a failure in the middle."""
    is_terminal = out.isatty()
    columns = _columns() if is_terminal else 0
    places: dict[str, int] = {}  # id -> lines above the cursor
    for line in lines:
        if line.get("error"):
            out.flush()
            raise failures.CliError(str(line["error"]))
        if quiet:
            continue
        text = written(line, columns=columns, terminal=is_terminal)
        if text is None:
            continue
        if not (is_terminal and line.get("id") and line.get("progressDetail") is not None):
            places = {}
            out.write(text)
            continue
        key = line["id"]
        if key not in places:
            places = {known: up + 1 for known, up in places.items()} | {key: 1}
            out.write("\n")
        out.write(f"\x1b[{places[key]}A{text}\x1b[{places[key]}B")
        out.flush()
    out.flush()


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size((80, 24)).columns


def written(line: Mapping[str, Any], *, columns: int, terminal: bool) -> str | None:
    """One message, with its end; None for one that says nothing here. Pure."""
    if line.get("stream"):
        return str(line["stream"])
    if not line.get("status"):
        return None
    name = f"{line['id']}: " if line.get("id") else ""
    moved = line.get("progressDetail")
    if moved is None:
        return f"{name}{line['status']}\n"
    state = bar(moved, columns)
    if terminal:
        return f"{CLEAR_LINE}{name}{line['status']} {state}\r"
    return None if state else f"{name}{line['status']}\n"


def bar(moved: Mapping[str, Any], columns: int) -> str:
    """`[====>    ]   1.5MB/3MB`, with what is known. Pure."""
    current, total = moved.get("current") or 0, moved.get("total") or 0
    if current <= 0 and total <= 0:
        return ""
    units = moved.get("units") or ""
    if total <= 0:
        return f"{current} {units}" if units else f"{_size(current):>8}"
    done = min(int(current / total * 100), 100) // 2
    # A bar that is full keeps its head.
    shown = f"[{'=' * done}>{' ' * (BAR_LENGTH - done)}] " if columns > BAR_FROM_COLUMNS else ""
    if moved.get("hidecounts"):
        return shown
    if units:
        return f"{shown}{current}/{total} {units}" if current <= total else f"{shown}{current} {units}"
    return f"{shown}{_size(current):>8}" + (f"/{_size(total)}" if current <= total else "")


def _size(count: float) -> str:
    return words.size(count, digits=_DIGITS)
