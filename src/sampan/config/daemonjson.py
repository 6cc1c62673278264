"""Docker's own settings file, `/etc/docker/daemon.json`: its keys and forms, as the settings of `options`.

An option given both here and as a flag is refused, as dockerd does it: nobody should have to guess which one holds.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sampan.config import foreign
from sampan.config.failures import SettingInvalid
from sampan.config.options import table

PATH: Final = Path("/etc/docker/daemon.json")


def read(path: Path, content: str) -> tuple[dict[str, Any], list[str]]:
    """Settings by their field, and notes about keys without an effect. Raises `SettingInvalid`."""
    document = _document(path, content)
    rows = {row.metadata["key"]: row for row in table()}
    others = {row.name: row for row in foreign.TABLE}
    values: dict[str, Any] = {}
    notes: list[str] = []
    for key, value in document.items():
        source = f'{path}: "{key}"'
        if key in rows:
            values[rows[key].name] = _value(rows[key], value, source)
        elif key in others:
            notes.append(foreign.judge(others[key], value, source=source))
        else:
            raise SettingInvalid(
                f"{path}: the following directives don't match any configuration option: {key}",
                remedy="see the table in docs/settings.md",
            )
    return values, [note for note in notes if note]


def refuse_twice(path: Path, from_file: Mapping[str, Any], from_flags: Mapping[str, Any]) -> None:
    """Raises `SettingInvalid` naming every option that is given in both."""
    keys = {row.name: row.metadata["key"] for row in table()}
    twice = [
        f"{keys[name]}: (from flag: {_shown(from_flags[name])}, from file: {_shown(value)})"
        for name, value in from_file.items()
        if name in from_flags
    ]
    if twice:
        raise SettingInvalid(
            "the following directives are specified both as a flag and in the configuration file",
            why=", ".join(twice),
            remedy=f"leave one of them out, of the command line or of {path}",
        )


def _shown(value: Any) -> str:
    return f"[{' '.join(value)}]" if isinstance(value, list) else str(value).lower()


def _document(path: Path, content: str) -> dict[str, Any]:
    if not content.strip():
        return {}
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SettingInvalid(f"{path} is not JSON", why=str(error)) from error
    if not isinstance(document, dict):
        raise SettingInvalid(f"{path} holds no JSON object", remedy='write { "option": value }')
    return document


def _value(row: dataclasses.Field[Any], value: Any, source: str) -> Any:
    """In the form that the command line has. Raises `SettingInvalid` for another type than dockerd reads."""
    reader = _MAPS.get(row.metadata["key"])
    if reader is not None and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
        try:
            return reader(value)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise SettingInvalid(f"invalid value {value!r} for {source}", why=str(error)) from error
    kind = str(row.type)
    good = {
        "bool": isinstance(value, bool),
        "int": isinstance(value, int) and not isinstance(value, bool),
        "list[str]": isinstance(value, list) and all(isinstance(item, str) for item in value),
    }.get(kind, isinstance(value, str) or (row.name == "default_shm_size" and isinstance(value, int)))
    if not good:
        words = {"bool": "true or false", "int": "a number", "list[str]": "a list of strings"}.get(kind, "a string")
        raise SettingInvalid(f"invalid value {value!r} for {source}", remedy=f"use {words}")
    return str(value) if row.name == "default_shm_size" else value


def _log_options(value: Any) -> list[str]:
    return [f"{name}={text}" for name, text in _texts(value).items()]


def _ulimits(value: Any) -> list[str]:
    """`{"nofile": {"Name": "nofile", "Hard": 64000, "Soft": 64000}}`."""
    found = []
    for name, limit in value.items():
        hard, soft = int(limit["Hard"]), int(limit.get("Soft", limit["Hard"]))
        found.append(f"{limit.get('Name') or name}={soft}:{hard}")
    return found


def _pools(value: Any) -> list[str]:
    """`[{"base": "10.0.0.0/8", "size": 24}]`."""
    return [f"base={pool['base']},size={int(pool['size'])}" for pool in value]


def _runtimes(value: Any) -> list[str]:
    """`{"crun": {"path": "/usr/bin/crun"}}`."""
    found = []
    for name, runtime in value.items():
        extra: Sequence[str] = [key for key, item in runtime.items() if key != "path" and item]
        if extra:
            raise ValueError(
                f"runtime {name}: {extra[0]} is not supported; leave it out, or name a wrapper as its path"
            )
        found.append(f"{name}={runtime['path']}")
    return found


def _texts(value: Any) -> dict[str, str]:
    if not all(isinstance(text, str) for text in value.values()):
        raise ValueError("every option's value is a string")
    return dict(value)


_MAPS: Final[Mapping[str, Callable[[Any], list[str]]]] = {
    "log-opts": _log_options,
    "default-ulimits": _ulimits,
    "default-address-pools": _pools,
    "runtimes": _runtimes,
}
