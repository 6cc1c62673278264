"""Drawing the progress of a pull, push or import: a line a layer on a terminal, else the lines that say news."""

from __future__ import annotations

from sampan.cli import failures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import IO, Any


def draw(lines: Iterable[dict[str, Any]], out: IO[str], *, quiet: bool = False) -> None:
    """Raises: DaemonError for a failure in the middle."""
    places: dict[str, int] = {}
    moving = out.isatty()
    for line in lines:
        if line.get("error"):
            raise failures.CliError(str(line["error"]))
        if line.get("stream"):
            places.clear()
            out.write(line["stream"])
            continue
        if quiet or not line.get("status"):
            continue
        key = line.get("id", "")
        text = f"{key}: {line['status']}" if key else line["status"]
        if not moving:
            if not line.get("progress"):
                out.write(f"{text}\n")
            continue
        if not key:
            places.clear()
            out.write(f"{text}\n")
            continue
        if key not in places:
            places = {known: up + 1 for known, up in places.items()} | {key: 1}
            out.write("\n")
        up = places[key]
        out.write(f"\x1b[{up}A\r\x1b[2K{text} {line.get('progress', '')}\x1b[{up}B\r")
        out.flush()
    out.flush()
