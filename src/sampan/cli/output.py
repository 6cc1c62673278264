"""What commands print, and the questions they ask."""

from __future__ import annotations

import sys


def echo(text: object = "", *, nl: bool = True, err: bool = False) -> None:
    """A line to standard output, or to standard error."""
    (sys.stderr if err else sys.stdout).write(f"{text}\n" if nl else str(text))


def confirmed(warning: str) -> bool:
    """Ask, as docker does; anything but y or yes is a no."""
    sys.stdout.write(f"{warning} [y/N] ")
    sys.stdout.flush()
    answer = sys.stdin.readline()
    return answer.strip().lower() in ("y", "yes")
