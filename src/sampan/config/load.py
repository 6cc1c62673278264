"""Defaults, then the file, then the environment, then the command line: later ones win, a wrong value names itself."""

from __future__ import annotations

import argparse
import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from sampan import errors
from sampan.config.options import ENVIRONMENT_PREFIX, Options, table

TRUE = frozenset({"true", "1", "yes", "on"})
FALSE = frozenset({"false", "0", "no", "off"})


class SettingInvalid(errors.Invalid):
    """A setting that does not exist, or a value that it cannot have."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingInvalid(message, remedy="see sampan daemon --help")


def load(arguments: Sequence[str], environment: Mapping[str, str]) -> Options:
    """The settings of this start. Raises `SettingInvalid`; exits after `--help`."""
    given = vars(parser().parse_args(arguments))
    for name in ("daemon", "version"):
        given.pop(name, None)
    given = {name: value for name, value in given.items() if value is not None}
    path = Path(given.get("config_file") or environment.get("SAMPAN_CONFIG_FILE") or Options().config_file)
    explicit = "config_file" in given or "SAMPAN_CONFIG_FILE" in environment
    values = {**_from_file(path, required=explicit), **_from_environment(environment), **given}
    typed = {}
    for row in table():
        if row.name in values:
            typed[row.name] = _typed(row, values[row.name])
    options = Options(**typed)
    check(options)
    return options


def parser() -> argparse.ArgumentParser:
    """Flags of all settings. A boolean takes `--flag`, `--flag=true` and `--flag=false`."""
    result = _Parser(prog="sampan daemon", description="Serve the engine and the registry.", allow_abbrev=False)
    result.add_argument("-d", "--daemon", action="store_const", const=True, help="accepted for old habits' sake")
    defaults = Options()
    for row in table():
        flags, doc = row.metadata["flags"], row.metadata["doc"]
        default = getattr(defaults, row.name)
        shown = ", ".join(default) if isinstance(default, list) else str(default)
        text = f"{doc} [{shown}]" if shown else doc
        text = text.replace("%", "%%")
        if isinstance(default, bool):
            result.add_argument(*flags, dest=row.name, nargs="?", const="true", help=text, metavar="BOOL")
        elif isinstance(default, list):
            result.add_argument(*flags, dest=row.name, action="append", help=text, metavar=row.metadata["metavar"])
        else:
            result.add_argument(*flags, dest=row.name, help=text, metavar=row.metadata["metavar"] or None)
    return result


def check(options: Options) -> None:
    """Settings that exclude each other. Raises `SettingInvalid`."""
    if options.bip and options.bridge not in ("sampan0", ""):
        raise SettingInvalid("you specified -b and --bip, which are mutually exclusive", remedy="leave one of them out")
    if not 68 <= options.mtu <= 65535:
        raise SettingInvalid(f"invalid MTU {options.mtu}", remedy="use a number of bytes from 68 to 65535")
    if options.log_level not in ("debug", "info", "warn", "error", "fatal"):
        raise SettingInvalid(f"invalid log level {options.log_level!r}", remedy="use debug, info, warn or error")
    if options.lazy_pull not in ("off", "auto", "on"):
        raise SettingInvalid(f"invalid value {options.lazy_pull!r} for --lazy-pull", remedy="use off, auto or on")
    if options.data_root == options.run_root:
        raise SettingInvalid("the data root and the run root are the same directory", remedy="choose two")
    for name in ("data_root", "run_root", "pid_file"):
        if not getattr(options, name).is_absolute():
            raise SettingInvalid(f"{name} must be an absolute path", why=f"it is {str(getattr(options, name))!r}")


def _from_file(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        content = path.read_text()
    except FileNotFoundError as error:
        if required:
            raise SettingInvalid(f"no settings file {path}", remedy="make it, or leave --config-file out") from error
        return {}
    try:
        values = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise SettingInvalid(f"{path} is not TOML", why=str(error)) from error
    names = {row.name for row in table()}
    for name in values:
        if name not in names:
            raise SettingInvalid(f"{path}: unknown setting {name!r}", remedy=f"known are {', '.join(sorted(names))}")
    return values


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for row in table():
        text = environment.get(ENVIRONMENT_PREFIX + row.name.upper())
        if text is not None:
            values[row.name] = text.split(",") if "list" in str(row.type) else text
    return values


def _typed(row: dataclasses.Field[Any], value: Any) -> Any:
    flag = row.metadata["flags"][-1]
    match str(row.type):
        case "bool":
            if isinstance(value, bool):
                return value
            if str(value).lower() in TRUE | FALSE:
                return str(value).lower() in TRUE
            raise SettingInvalid(f"invalid value {value!r} for {flag}", remedy="use true or false")
        case "int":
            try:
                return int(value)
            except (TypeError, ValueError) as error:
                raise SettingInvalid(f"invalid value {value!r} for {flag}", remedy="use a whole number") from error
        case "Path":
            return Path(str(value))
        case "list[str]":
            if isinstance(value, list) and all(isinstance(item, str) for item in value):
                return value
            raise SettingInvalid(f"invalid value {value!r} for {row.name}", remedy="use a list of strings")
        case _:
            if isinstance(value, str):
                return value
            raise SettingInvalid(f"invalid value {value!r} for {row.name}", remedy="use a string")
