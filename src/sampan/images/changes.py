"""`--change` of import and commit: instructions in Dockerfile form applied to an image's configuration. Pure.

The instructions are those that only touch the configuration. Source: the Dockerfile reference and `docker commit`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sampan import errors

_SHELL = ["/bin/sh", "-c"]
_PAIR_START = re.compile(r"[^\s=\"']+=")
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?\Z")
_UNITS_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000}

Configuration = dict[str, Any]


class InvalidChange(errors.Invalid):
    """Not an instruction that `--change` takes."""


def apply(changes: Sequence[str], config: Mapping[str, Any]) -> Configuration:
    """A new configuration: `config` (Docker's field names) with each instruction applied in order."""
    changed = dict(config)
    for change in changes:
        for line in change.splitlines():
            if line.strip() and not line.lstrip().startswith("#"):
                _apply_line(line.strip(), changed)
    return changed


def words(text: str) -> list[str]:
    """Split at blanks outside quotes; quotes and backslashes are taken away. Raises `InvalidChange`."""
    found: list[str] = []
    word: str | None = None
    quote = ""
    characters = iter(text)
    for character in characters:
        if character == "\\" and quote != "'":
            word = (word or "") + next(characters, "\\")
        elif quote:
            quote, word = ("", word) if character == quote else (quote, (word or "") + character)
        elif character in "\"'":
            quote, word = character, word or ""
        elif character.isspace():
            if word is not None:
                found.append(word)
            word = None
        else:
            word = (word or "") + character
    if quote:
        raise InvalidChange(f"a quote is not closed in {text!r}")
    return found if word is None else [*found, word]


def _apply_line(line: str, config: Configuration) -> None:
    name, _, rest = line.partition(" ")
    instruction = _INSTRUCTIONS.get(name.upper())
    if instruction is None:
        raise InvalidChange(
            f"{name[:50]} is not a valid change command", remedy=f"use one of {', '.join(_INSTRUCTIONS)}"
        )
    rest = rest.strip()
    if not rest:
        raise InvalidChange(f"{name.upper()} requires at least one argument")
    instruction(rest, config)


def _json_list(text: str) -> list[str] | None:
    if not text.startswith("["):
        return None
    try:
        items = json.loads(text)
    except ValueError:
        return None
    return items if isinstance(items, list) and all(isinstance(item, str) for item in items) else None


def _command(text: str, config: Configuration) -> list[str]:
    items = _json_list(text)
    return items if items is not None else [*(config.get("Shell") or _SHELL), text]


def _cmd(text: str, config: Configuration) -> None:
    config["Cmd"] = _command(text, config)


def _entrypoint(text: str, config: Configuration) -> None:
    config["Entrypoint"] = _command(text, config)


def _pairs(text: str, instruction: str) -> list[tuple[str, str]]:
    if not _PAIR_START.match(text) and not text.startswith(('"', "'")):
        name, _, value = text.partition(" ")  # the old form: NAME value of several words
        if not value:
            raise InvalidChange(f"{instruction} must have two arguments")
        return [(name, value.strip())]
    pairs = [word.partition("=") for word in words(text)]
    if any(not equals or not name for name, equals, _ in pairs):
        raise InvalidChange(f"Syntax error - can't find = in {text!r}", remedy="write NAME=value")
    return [(name, value) for name, _, value in pairs]


def _env(text: str, config: Configuration) -> None:
    env = list(config.get("Env") or [])
    for name, value in _pairs(text, "ENV"):
        places = [index for index, item in enumerate(env) if item.partition("=")[0] == name]
        if places:
            env[places[0]] = f"{name}={value}"
        else:
            env.append(f"{name}={value}")
    config["Env"] = env


def _label(text: str, config: Configuration) -> None:
    config["Labels"] = {**(config.get("Labels") or {}), **dict(_pairs(text, "LABEL"))}


def _expose(text: str, config: Configuration) -> None:
    ports = dict(config.get("ExposedPorts") or {})
    for word in words(text):
        match = _PORT.match(word)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if match is None or not 0 < first <= last <= 65535:
            raise InvalidChange(f"invalid port {word!r}", remedy="write EXPOSE 80/tcp")
        ports.update({f"{port}/{match[3] or 'tcp'}": {} for port in range(first, last + 1)})
    config["ExposedPorts"] = ports


def _volume(text: str, config: Configuration) -> None:
    items = _json_list(text)
    paths = items if items is not None else words(text)
    if any(not path.strip() for path in paths):
        raise InvalidChange("VOLUME specified can not be an empty string")
    config["Volumes"] = {**(config.get("Volumes") or {}), **{path: {} for path in paths}}


def _workdir(text: str, config: Configuration) -> None:
    path = " ".join(words(text))
    if not path.startswith("/"):
        path = f"{str(config.get('WorkingDir') or '').rstrip('/')}/{path}"
    config["WorkingDir"] = path.rstrip("/") or "/"


def _user(text: str, config: Configuration) -> None:
    if len(words(text)) != 1:
        raise InvalidChange("USER requires exactly one argument")
    config["User"] = words(text)[0]


def _stop_signal(text: str, config: Configuration) -> None:
    config["StopSignal"] = text


def _on_build(text: str, config: Configuration) -> None:
    if text.split()[0].upper() in ("ONBUILD", "FROM", "MAINTAINER"):
        raise InvalidChange(f"{text.split()[0]} isn't allowed as an ONBUILD trigger")
    config["OnBuild"] = [*(config.get("OnBuild") or []), text]


def _shell(text: str, config: Configuration) -> None:
    items = _json_list(text)
    if not items:
        raise InvalidChange("SHELL requires the arguments to be in JSON form")
    config["Shell"] = items


def _healthcheck(text: str, config: Configuration) -> None:
    options: Configuration = {}
    while text.startswith("--"):
        option, _, text = text.partition(" ")
        name, _, value = option[2:].partition("=")
        if name == "retries" and value.isdigit():
            options["Retries"] = int(value)
        elif name in _TIMES:
            options[_TIMES[name]] = _duration_ns(value)
        else:
            raise InvalidChange(f"unknown flag or value in HEALTHCHECK: {option}")
        text = text.lstrip()
    kind, _, command = text.partition(" ")
    if kind.upper() == "NONE":
        config["Healthcheck"] = {"Test": ["NONE"]}
        return
    if kind.upper() != "CMD" or not command.strip():
        raise InvalidChange(f"Unknown type {kind!r} in HEALTHCHECK (try CMD)")
    items = _json_list(command.strip())
    test = ["CMD", *items] if items is not None else ["CMD-SHELL", command.strip()]
    config["Healthcheck"] = {"Test": test, **options}


_TIMES = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}


def _duration_ns(text: str) -> int:
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise InvalidChange(f"invalid duration {text!r}", remedy="write a number and a unit, as in 30s")
    return int(sum(float(number) * _UNITS_NS[unit] for number, unit in parts))


_INSTRUCTIONS: dict[str, Callable[[str, Configuration], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _on_build,
    "SHELL": _shell,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
