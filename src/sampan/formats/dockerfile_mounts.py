"""`RUN --mount=type=…`: what each says. Pure.

Source: the Dockerfile reference, "RUN --mount".
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import Literal

from sampan.formats.dockerfile import DockerfileInvalid

Kind = Literal["bind", "cache", "tmpfs", "secret", "ssh"]
Sharing = Literal["shared", "private", "locked"]

_KEYS: dict[str, frozenset[str]] = {
    "bind": frozenset({"target", "source", "from", "rw"}),
    "cache": frozenset({"id", "target", "ro", "rw", "sharing", "from", "source", "mode", "uid", "gid"}),
    "tmpfs": frozenset({"target", "size"}),
    "secret": frozenset({"id", "target", "required", "mode", "uid", "gid", "env"}),
    "ssh": frozenset({"id", "target", "required", "mode", "uid", "gid"}),
}
_OTHER_NAMES = {"dst": "target", "destination": "target", "src": "source", "readonly": "ro", "readwrite": "rw"}
_SWITCHES = frozenset({"ro", "rw", "required"})


@dataclass(frozen=True, slots=True)
class RunMount:
    """One mount of a RUN. `origin` is a stage, image or named context; "" is the build context (a cache's own for
    `cache`). `mode` is -1 where none is given. `size` and `target` are words to expand."""

    kind: Kind
    target: str = ""
    source: str = ""
    origin: str = ""
    id: str = ""
    read_only: bool = False
    required: bool = False
    sharing: Sharing = "shared"
    mode: int = -1
    uid: int = 0
    gid: int = 0
    size: str = ""
    variable: str = ""  # secret: the environment variable that gets it


def parse_mount(text: str, line: int) -> RunMount:
    """Raises `DockerfileInvalid`."""
    fields = _fields(text, line)
    kind = fields.pop("type", "bind")
    if kind not in _KEYS:
        raise DockerfileInvalid(line, f"unsupported mount type {kind!r}")
    for key in fields:
        if key not in _KEYS[kind]:
            raise DockerfileInvalid(line, f"unexpected key '{key}' for mount type '{kind}'")
    if kind in ("bind", "cache", "tmpfs") and not fields.get("target"):
        raise DockerfileInvalid(line, f"invalid mount: {kind} needs a target")
    sharing = fields.get("sharing", "shared")
    if sharing not in ("shared", "private", "locked"):
        raise DockerfileInvalid(line, f"unsupported sharing value {sharing!r}")
    writes = fields.get("rw") == "true" or fields.get("ro") == "false"
    return RunMount(
        kind=kind,  # type: ignore[arg-type]
        target=fields.get("target", ""),
        source=fields.get("source", ""),
        origin=fields.get("from", ""),
        id=fields.get("id", ""),
        read_only=not writes if kind == "bind" else fields.get("ro") == "true",
        required=fields.get("required") == "true",
        sharing=sharing,  # type: ignore[arg-type]
        mode=_number(fields, "mode", line, base=8),
        uid=max(0, _number(fields, "uid", line)),
        gid=max(0, _number(fields, "gid", line)),
        size=fields.get("size", ""),
        variable=fields.get("env", ""),
    )


def _fields(text: str, line: int) -> dict[str, str]:
    try:
        parts = next(csv.reader([text], strict=True))
    except (csv.Error, StopIteration) as error:
        raise DockerfileInvalid(line, f"failed to parse csv mounts: {text!r}") from error
    fields: dict[str, str] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        key = _OTHER_NAMES.get(name.strip().lower(), name.strip().lower())
        if key in _SWITCHES:
            value = value.strip().lower() if equals else "true"
            if value not in ("true", "false", "1", "0"):
                raise DockerfileInvalid(line, f"invalid value for {name}: {value}")
            value = {"1": "true", "0": "false"}.get(value, value)
        elif not equals:
            raise DockerfileInvalid(line, f"invalid field '{part}' must be a key=value pair")
        fields[key] = value.strip()
    return fields


def _number(fields: dict[str, str], key: str, line: int, *, base: int = 10) -> int:
    text = fields.get(key, "")
    if not text:
        return -1
    try:
        value = int(text, base)
    except ValueError as error:
        raise DockerfileInvalid(line, f"invalid value {text} for {key}") from error
    if not 0 <= value < 2**32 - 1:
        raise DockerfileInvalid(line, f"invalid value {text} for {key}")
    return value
