"""Defaults, then the files, then the environment, then the command line: later ones win, a wrong value names itself.

Two files are read where none is named: Docker's `/etc/docker/daemon.json`, then our own (TOML). `--config-file` names
one instead of both, in either form.
"""

from __future__ import annotations

import argparse
import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from sampan.config import daemonjson, foreign
from sampan.config.check import check
from sampan.config.failures import SettingInvalid
from sampan.config.options import ENVIRONMENT_PREFIX, Options, table

TRUE = frozenset({"true", "1", "yes", "on", "t"})
FALSE = frozenset({"false", "0", "no", "off", "f"})
_FOREIGN = "foreign "  # in front of a foreign option's name in the parser's answer


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings of a start, and what is to be said in the log about options that have no effect."""

    options: Options
    notes: tuple[str, ...] = ()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingInvalid(message, remedy="see sampan daemon --help")


def load(arguments: Sequence[str], environment: Mapping[str, str]) -> Options:
    """`read` without the notes."""
    return read(arguments, environment).options


def read(arguments: Sequence[str], environment: Mapping[str, str], *, daemon_json: Path = daemonjson.PATH) -> Loaded:
    """The settings of this start. Raises `SettingInvalid`; exits after `--help`."""
    given = {name: value for name, value in vars(parser().parse_args(arguments)).items() if value is not None}
    notes = [_judge(name, given.pop(name)) for name in list(given) if name.startswith(_FOREIGN)]
    for name in ("daemon", "version"):
        given.pop(name, None)
    named = given.get("config_file") or environment.get("SAMPAN_CONFIG_FILE")
    sources: dict[str, Any] = {}
    for path in (Path(named),) if named else (daemon_json, Path(Options().config_file)):
        values, more = _from_file(path, given, required=bool(named))
        sources |= values
        notes += more
    sources |= {**_from_environment(environment), **given}
    typed = {row.name: _typed(row, sources[row.name]) for row in table() if row.name in sources}
    options = _with_certificates(Options(**typed), environment)
    check(options)
    return Loaded(options, tuple(note for note in notes if note))


def parser() -> argparse.ArgumentParser:
    """Flags of all settings. A boolean takes `--flag`, `--flag=true` and `--flag=false`."""
    result = _Parser(prog="sampan daemon", description="Serve the engine and the registry.", allow_abbrev=False)
    result.add_argument("-d", "--daemon", nargs="?", const="true", metavar="BOOL", help="accepted for old habits' sake")
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
    for other in foreign.TABLE:
        count: dict[str, Any] = {"nargs": "?", "const": "true"} if other.switch else {}
        result.add_argument(*other.flags, dest=_FOREIGN + other.name, help=argparse.SUPPRESS, **count)
    return result


def _judge(name: str, value: str) -> str:
    row = next(row for row in foreign.TABLE if _FOREIGN + row.name == name)
    return foreign.judge(row, value, source=row.flags[-1])


def _from_file(path: Path, flags: Mapping[str, Any], *, required: bool) -> tuple[dict[str, Any], list[str]]:
    """Settings by their field, and notes."""
    try:
        content = path.read_text()
    except FileNotFoundError as error:
        if required:
            raise SettingInvalid(f"no settings file {path}", remedy="make it, or leave --config-file out") from error
        return {}, []
    except (OSError, UnicodeDecodeError) as error:
        raise SettingInvalid(f"cannot read {path}", why=str(error)) from error
    if path.suffix == ".json" or content.lstrip().startswith("{"):
        values, notes = daemonjson.read(path, content)
        daemonjson.refuse_twice(path, values, flags)
        return values, notes
    return _from_toml(path, content), []


def _from_toml(path: Path, content: str) -> dict[str, Any]:
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
    if environment.get("DOCKER_TLS_VERIFY"):
        values.setdefault("tls_verify", True)
    return values


def _with_certificates(options: Options, environment: Mapping[str, str]) -> Options:
    """Docker's places for the three files where TLS is asked for and they are not named."""
    if not (options.tls or options.tls_verify):
        return options
    home = Path(environment.get("DOCKER_CERT_PATH") or Path(environment.get("HOME") or "/root") / ".docker")
    return dataclasses.replace(
        options,
        tls=True,
        tls_ca_cert=options.tls_ca_cert or str(home / "ca.pem"),
        tls_cert=options.tls_cert or str(home / "cert.pem"),
        tls_key=options.tls_key or str(home / "key.pem"),
    )


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
