"""What instructions without files do to an image's configuration. Pure: a configuration in, a new one out.

Configurations are those of the image specification, with Docker's additions (Healthcheck, OnBuild, Shell).
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sampan import errors
from sampan.build.model import BuildFailed
from sampan.formats import dockerfile_words
from sampan.formats.dockerfile_instructions import (
    Cmd,
    Command,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Label,
    OnBuild,
    Shell,
    Text,
    Volume,
)

Configuration = dict[str, Any]
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHELL = ["/bin/sh", "-c"]
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/([A-Za-z]+))?\Z")
_PROTOCOLS = ("tcp", "udp", "sctp")
MOST_PORTS = 65_536
Metadata = Env | Label | Cmd | Entrypoint | Expose | Volume | Text | Shell | Healthcheck | OnBuild
Expand = Callable[[str], str]


def starting(below: Mapping[str, Any]) -> Configuration:
    """The configuration a stage begins with: that of its base, without its triggers, with a PATH."""
    config = {name: value for name, value in below.items() if name != "OnBuild"}
    env = [str(item) for item in config.get("Env") or []]
    if not any(item.startswith("PATH=") for item in env):
        env.append(f"PATH={DEFAULT_PATH}")
    config["Env"] = env
    return config


def environment(config: Mapping[str, Any]) -> dict[str, str]:
    """ENV as a mapping."""
    pairs = (str(item).partition("=") for item in config.get("Env") or [])
    return {name: value for name, _, value in pairs}


def shell(config: Mapping[str, Any]) -> list[str]:
    """What runs command texts."""
    return [str(word) for word in config.get("Shell") or DEFAULT_SHELL]


def arguments(command: Command, config: Mapping[str, Any]) -> list[str]:
    """The argument vector of a command."""
    return [*shell(config), *command.words] if command.shell else list(command.words)


def working_directory(config: Mapping[str, Any]) -> str:
    """Absolute."""
    return str(config.get("WorkingDir") or "/")


def apply(
    step: Metadata, config: Mapping[str, Any], variables: Mapping[str, str], *, escape: str, cmd_set: bool
) -> Configuration:
    """`cmd_set`: this stage has a CMD already, so ENTRYPOINT leaves it. Raises `WordInvalid`, `BuildFailed`."""
    changed = dict(config)

    def expand(word: str) -> str:
        return dockerfile_words.expand(word, variables, escape)

    match step:
        case Env():
            changed["Env"] = _with_env(changed, [(expand(name), expand(value)) for name, value in step.pairs])
        case Label():
            labels = {expand(name): expand(value) for name, value in step.pairs}
            changed["Labels"] = {**(changed.get("Labels") or {}), **labels}
        case Cmd():
            changed["Cmd"] = arguments(step.command, changed) or None
        case Entrypoint():
            changed["Entrypoint"] = arguments(step.command, changed) or None
            if not cmd_set:
                changed.pop("Cmd", None)
        case Expose():
            words = [word for text in step.words for word in dockerfile_words.expand_to_words(text, variables, escape)]
            changed["ExposedPorts"] = {**(changed.get("ExposedPorts") or {}), **_ports(words)}
        case Volume():
            paths: dict[str, dict[str, Any]] = {_volume(expand(word)): {} for word in step.words}
            changed["Volumes"] = {**(changed.get("Volumes") or {}), **paths}
        case Shell():
            changed["Shell"] = list(step.words)
        case Healthcheck():
            changed["Healthcheck"] = _health(step, changed)
        case OnBuild():
            changed["OnBuild"] = [*(changed.get("OnBuild") or []), step.trigger]
        case Text():
            _text(step, changed, expand)
    return {name: value for name, value in changed.items() if value is not None}


def _with_env(config: Mapping[str, Any], pairs: Sequence[tuple[str, str]]) -> list[str]:
    merged = dict(item.partition("=")[::2] for item in config.get("Env") or [])
    merged.update(pairs)
    return [f"{name}={value}" for name, value in merged.items()]


def _ports(words: Sequence[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for word in words:
        match = _PORT.match(word)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        protocol = (match[3] or "tcp").lower() if match else ""
        if not 0 < first <= last < MOST_PORTS or protocol not in _PROTOCOLS:
            raise BuildFailed(f"invalid containerPort: {word}", remedy="write PORT[-PORT][/tcp|udp|sctp]")
        found.update({f"{port}/{protocol}": {} for port in range(first, last + 1)})
    return found


def _volume(path: str) -> str:
    if not path.strip():
        raise BuildFailed("VOLUME specified can not be an empty string")
    return path


def _health(step: Healthcheck, config: Mapping[str, Any]) -> dict[str, Any]:
    if step.test is None:
        return {"Test": ["NONE"]}
    kind = "CMD-SHELL" if step.test.shell else "CMD"
    document: dict[str, Any] = {"Test": [kind, *step.test.words]}
    times = {
        "Interval": step.interval_ns,
        "Timeout": step.timeout_ns,
        "StartPeriod": step.start_period_ns,
        "StartInterval": step.start_interval_ns,
        "Retries": step.retries,
    }
    return {**document, **{name: value for name, value in times.items() if value}}


def _text(step: Text, config: Configuration, expand: Expand) -> None:
    text = expand(step.text) if step.kind != "MAINTAINER" else step.text
    match step.kind:
        case "USER":
            if not text:
                raise BuildFailed(
                    "USER requires exactly one argument", why="it is empty once its variables are expanded"
                )
            config["User"] = text
        case "WORKDIR":
            config["WorkingDir"] = posixpath.normpath(posixpath.join(working_directory(config), text))
        case "STOPSIGNAL":
            config["StopSignal"] = text


def describe(step: Metadata) -> str:
    """The step for the image's history, its words as they were written."""
    match step:
        case Env() | Label():
            name = "ENV" if isinstance(step, Env) else "LABEL"
            return " ".join([name, *(f"{key}={value}" for key, value in step.pairs)])
        case Cmd() | Entrypoint():
            name = "CMD" if isinstance(step, Cmd) else "ENTRYPOINT"
            return f"{name} {json.dumps(list(step.command.words))}"
        case Expose() | Volume():
            return f"{'EXPOSE' if isinstance(step, Expose) else 'VOLUME'} {' '.join(step.words)}"
        case Shell():
            return f"SHELL {json.dumps(list(step.words))}"
        case Healthcheck():
            return "HEALTHCHECK NONE" if step.test is None else f"HEALTHCHECK CMD {' '.join(step.test.words)}"
        case OnBuild():
            return f"ONBUILD {step.trigger}"
        case Text():
            return f"{step.kind} {step.text}"
    raise errors.Broken(f"no description for {step!r}")
