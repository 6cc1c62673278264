"""`config.json`: read once a run, written whole.

What we do not know stays as it is. Source: docker/cli's documentation of the file, and what its `login` writes.
"""

from __future__ import annotations

import json
import os

from sampan.cli import failures, session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAME = "config.json"
_read: dict[str, dict[str, Any]] = {}


def folder() -> str:
    """`--config`, DOCKER_CONFIG, or `~/.docker`."""
    given = session.chosen.get("config") or os.environ.get("DOCKER_CONFIG")
    return str(given) if given else os.path.join(os.path.expanduser("~"), ".docker")  # noqa: PTH111, PTH118


def path() -> str:
    """The file."""
    return f"{folder()}/{NAME}"


def read() -> dict[str, Any]:
    """Its members; {} where there is none. One that cannot be read is told once, then as if it were empty."""
    name = path()
    if name not in _read:
        try:
            _read[name] = _load(name)
        except (OSError, ValueError) as error:
            import sys

            sys.stderr.write(f"WARNING: Error loading config file: {name}: {error}\n")
            _read[name] = {}
    return _read[name]


def _load(name: str) -> dict[str, Any]:
    try:
        with open(name, encoding="utf-8") as opened:  # noqa: PTH123
            found = json.loads(opened.read() or "{}")
    except FileNotFoundError:
        return {}
    if not isinstance(found, dict):
        raise ValueError("it holds no object")
    return found


def write(members: dict[str, Any]) -> None:
    """Replace the file, whole and for us alone (mode 0600), through a link if it is one. Raises: CliError."""
    from pathlib import Path

    from sampan.host import files

    place = Path(path()).resolve()
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Source: Go's json.MarshalIndent with tabs, keys sorted where they are a map's.
        files.write_durably(place, json.dumps(members, indent="\t", ensure_ascii=False).encode(), mode=0o600)
    except OSError as error:
        raise failures.CliError(f"Error saving credentials: {place}: {error.strerror}") from error
    _read[path()] = members
