"""`--log-driver` and `--log-opt`: which exist, which values they take, what they mean for the log that is kept. Pure.

Source: docker's pages on logging drivers; dockerd's words where it refuses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote_plus, urlsplit

from sampan import errors
from sampan.containers.logdrivers import tags
from sampan.containers.wanted import Config, LogConfig
from sampan.formats import sizes, syslogline

DEFAULT = "json-file"
_ANY = frozenset({"mode", "max-buffer-size"})
_ATTRIBUTES = frozenset({"labels", "labels-regex", "env", "env-regex", "tag"})
_CACHE = frozenset({"cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"})
_FILES = frozenset({"max-size", "max-file", "compress"})
_TLS = frozenset({"syslog-tls-ca-cert", "syslog-tls-cert", "syslog-tls-key", "syslog-tls-skip-verify"})
DRIVERS: Mapping[str, frozenset[str]] = {
    "none": frozenset(),
    "json-file": _FILES | _ATTRIBUTES,
    "local": _FILES,
    "journald": _ATTRIBUTES | _CACHE,
    "syslog": _ATTRIBUTES | _CACHE | _TLS | {"syslog-address", "syslog-facility", "syslog-format"},
}
FORWARDED = frozenset({"journald", "syslog"})
SCHEMES = {"unix": 0, "unixgram": 0, "udp": 514, "tcp": 514, "tcp+tls": 6514}
LOCAL_MAX_SIZE_BYTES = 20 << 20  # of `local`, and of what is kept beside a forwarding driver, as in dockerd
LOCAL_MAX_FILES = 5


class LogOptionInvalid(errors.Invalid):
    """A log driver or an option of one that does not exist, or a value that it cannot have."""


@dataclass(frozen=True, slots=True)
class Files:
    """How much is kept. 0 bytes: all."""

    max_size_bytes: int
    max_files: int


def check(wanted: LogConfig) -> None:
    """Raises `LogOptionInvalid`."""
    driver, options = wanted.type or DEFAULT, wanted.config
    if driver not in DRIVERS:
        # Without a remedy: the SDK for Python's own tests compare the whole sentence.
        raise LogOptionInvalid(f'error looking up logging plugin {driver}: plugin "{driver}" not found')
    for name in options:
        if name not in DRIVERS[driver] | _ANY:
            raise LogOptionInvalid(f"unknown log opt '{name}' for {driver} log driver")
    _check_mode(options)
    files(wanted, Files(0, 1))
    for name in ("labels-regex", "env-regex"):
        try:
            re.compile(options.get(name, ""))
        except re.error as error:
            raise LogOptionInvalid(f"invalid log opt {name}: {options[name][:200]!r}", why=str(error)) from error
    tags.check(options.get("tag", ""))
    if driver == "syslog":
        _check_syslog(options)


def _check_mode(options: Mapping[str, str]) -> None:
    mode = options.get("mode", "")
    if mode not in ("", "blocking", "non-blocking"):
        raise LogOptionInvalid(f"logger: logging mode not supported: {mode}", remedy="use blocking or non-blocking")
    if "max-buffer-size" in options:
        if mode != "non-blocking":
            raise LogOptionInvalid("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
        parse_size(options["max-buffer-size"])


def _check_syslog(options: Mapping[str, str]) -> None:
    address(options)
    if options.get("syslog-format", "") not in syslogline.FORMS:
        raise LogOptionInvalid(f"Invalid syslog format: {options['syslog-format']!r}", remedy="use rfc3164 or rfc5424")
    facility(options)


def facility(options: Mapping[str, str]) -> int:
    """Of syslog. Raises `LogOptionInvalid`."""
    text = options.get("syslog-facility", "") or "daemon"
    try:
        return syslogline.facility(text)
    except ValueError as error:
        raise LogOptionInvalid(f"invalid syslog facility: {text!r}", remedy="use a name such as local0") from error


@dataclass(frozen=True, slots=True)
class Address:
    """Where a syslog daemon listens; `path` for the two kinds of Unix socket."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""


def address(options: Mapping[str, str]) -> Address:
    """`syslog-address`; the host's own daemon where there is none. Raises `LogOptionInvalid`."""
    text = options.get("syslog-address", "")
    if not text:
        return Address("unixgram", path="/dev/log")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise LogOptionInvalid(f"unable to parse syslog address {text[:200]!r}", why=str(error)) from error
    if parts.scheme not in SCHEMES:
        raise LogOptionInvalid(
            f"unsupported scheme: '{parts.scheme}'",
            why=f"in syslog-address={text[:200]!r}",
            remedy="use udp://host:514",
        )
    if parts.scheme in ("unix", "unixgram"):
        if not parts.path.startswith("/"):
            raise LogOptionInvalid(f"unable to parse syslog address {text[:200]!r}", why="no path to a socket is in it")
        return Address(parts.scheme, path=parts.path)
    if not parts.hostname:
        raise LogOptionInvalid(f"unable to parse syslog address {text[:200]!r}", why="no host is in it")
    return Address(parts.scheme, parts.hostname, port or SCHEMES[parts.scheme])


def files(wanted: LogConfig, default: Files) -> Files:
    """How much log is kept; `default` holds for json-file. Raises `LogOptionInvalid`."""
    driver, options = wanted.type or DEFAULT, wanted.config
    if driver != DEFAULT:
        default = Files(LOCAL_MAX_SIZE_BYTES, LOCAL_MAX_FILES)
    prefix = "cache-" if driver in FORWARDED else ""
    size, count = options.get(f"{prefix}max-size"), options.get(f"{prefix}max-file", str(default.max_files))
    if not count.isdecimal() or int(count) < 1:
        raise LogOptionInvalid(f"invalid log option {prefix}max-file: {count!r}", remedy="use a number from 1")
    for name in ("compress", "cache-compress", "cache-disabled"):
        if options.get(name, "true").lower() not in ("true", "false", "1", "0", "t", "f"):
            raise LogOptionInvalid(f"invalid log option {name}: {options[name]!r}", remedy="use true or false")
    return Files(default.max_size_bytes if size is None else parse_size(size), int(count))


def readable(wanted: LogConfig) -> bool:
    """Whether `logs` works."""
    return wanted.type != "none" and wanted.config.get("cache-disabled", "").lower() not in ("true", "1", "t")


def attributes(wanted: LogConfig, config: Config) -> dict[str, str]:
    """What `labels`, `env` and their patterns choose, for every line."""
    options = wanted.config
    environment = dict(item.partition("=")[::2] for item in config.env)
    chosen = _chosen(config.labels, options.get("labels", ""), options.get("labels-regex", ""))
    return chosen | _chosen(environment, options.get("env", ""), options.get("env-regex", ""))


def _chosen(values: Mapping[str, str], names: str, pattern: str) -> dict[str, str]:
    found = {name: values[name] for name in names.split(",") if name in values}
    if pattern:
        found |= {name: value for name, value in values.items() if re.search(pattern, name)}
    return found


def details(attributes: Mapping[str, str]) -> bytes:
    """What `logs --details` puts in front of a line. Source: dockerd, sorted and escaped as in a URL's query."""
    pairs = (f"{quote_plus(key)}={quote_plus(value)}" for key, value in sorted(attributes.items()))
    return ",".join(pairs).encode() + b" "


def parse_size(text: str) -> int:
    """`10m`, `1.5g`, `512` -> bytes (binary units). Raises `LogOptionInvalid`."""
    try:
        return sizes.parse(text)
    except ValueError as error:
        raise LogOptionInvalid(f"invalid size: {text[:100]!r}", remedy="write a number and k, m or g") from error
