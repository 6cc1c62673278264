"""The small languages of `run`'s options: ports, volumes, mounts, limits, devices, environment files. Pure.

Source: docker/cli opts/, docker/go-connections nat/.
"""

from __future__ import annotations

import posixpath
import re

from sampan.cli import failures, units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

_PORT = re.compile(
    r"(?:(?:\[(?P<six>[0-9a-fA-F:.%]+)\]|(?P<ip>[^:\[\]]*)):(?=[^:]*:))?(?:(?P<host>[0-9-]*):)?(?P<inside>[0-9-]+)"
    r"(?:/(?P<proto>[a-zA-Z]+))?\Z"
)


_SYSCTLS = frozenset(
    (
        *("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax"),
        *("kernel.shmmni", "kernel.shm_rmid_forced"),
    )
)


def bad(text: str) -> failures.BadUsage:
    """An option that cannot be read: exit 125, as docker's."""
    return failures.BadUsage(text, failures.DAEMON)


# --- ports -----------------------------------------------------------------------------------------------------------


def parse_ports(texts: Iterable[str]) -> tuple[dict[str, dict[str, str]], dict[str, list[dict[str, str]]]]:
    """`-p` -> (exposed ports, bindings). Ranges of equal length pair off; a host range for one port is passed on."""
    exposed: dict[str, dict[str, str]] = {}
    bindings: dict[str, list[dict[str, str]]] = {}
    for text in texts:
        match = _PORT.match(text)
        if match is None:
            raise bad(f"invalid publish format: {text!r}")
        protocol = (match["proto"] or "tcp").lower()
        if protocol not in ("tcp", "udp", "sctp"):
            raise bad(f"invalid proto: {match['proto']}")
        address = match["six"] or match["ip"] or ""
        first, last = parse_range(match["inside"])
        host = match["host"] or ""
        for step, port in enumerate(range(first, last + 1)):
            name = f"{port}/{protocol}"
            exposed[name] = {}
            binding = {"HostIp": address, "HostPort": _host_port(host, step, last - first + 1, text)}
            bindings.setdefault(name, []).append(binding)
    return exposed, bindings


def _host_port(host: str, step: int, count: int, text: str) -> str:
    if not host:
        return ""
    first, last = parse_range(host)
    if last - first + 1 == count:
        return str(first + step)
    if count == 1:
        return host
    raise bad(f"invalid ranges specified for container and host Ports: {text!r}")


def parse_range(text: str) -> tuple[int, int]:
    """`8000-8010` or `80`. Raises: BadUsage."""
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise bad(f"invalid containerPort: {text}")
    low, high = int(first), int(last) if dash else int(first)
    if not (0 < low <= high < 65536) and (low, high) != (0, 0):
        raise bad(f"invalid containerPort: {text}")
    return low, high


def parse_exposed(texts: Iterable[str]) -> dict[str, dict[str, str]]:
    """`--expose 80-82/udp`."""
    exposed: dict[str, dict[str, str]] = {}
    for text in texts:
        numbers, _, protocol = text.partition("/")
        first, last = parse_range(numbers)
        exposed |= {f"{port}/{(protocol or 'tcp').lower()}": {} for port in range(first, last + 1)}
    return exposed


# --- volumes and mounts ----------------------------------------------------------------------------------------------


def parse_volumes(texts: Iterable[str], directory: str) -> tuple[list[str], dict[str, dict[str, str]]]:
    """`-v` -> (binds, anonymous volumes). Relative sources are below `directory`."""
    binds: list[str] = []
    volumes: dict[str, dict[str, str]] = {}
    for text in texts:
        source, colon, rest = text.partition(":")
        if not colon:
            volumes[text] = {}
            continue
        if source in (".", "..") or source.startswith(("./", "../")):
            source = posixpath.normpath(posixpath.join(directory, source))
        binds.append(f"{source}:{rest}")
    return binds, volumes


def parse_tmpfs(texts: Iterable[str]) -> dict[str, str]:
    """`--tmpfs /run:size=64m`."""
    return {path: options for path, _, options in (text.partition(":") for text in texts)}


def parse_mount(text: str, directory: str) -> dict[str, Any]:
    """`--mount type=bind,source=/a,target=/b,readonly`."""
    import csv

    mount: dict[str, Any] = {"Type": "volume"}
    for field in next(csv.reader([text])):
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        if not equals and key not in ("readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src"):
            raise bad(f"invalid field '{field}' must be a key=value pair")
        _set_mount_field(mount, key, value, directory)
    if "Target" not in mount:
        raise bad("target is required")
    kind = mount["Type"]
    for other in ("Bind", "Volume", "Tmpfs"):
        if f"{other}Options" in mount and other.lower() != kind:
            raise bad(f"cannot mix '{other.lower()}-*' options with mount type '{kind}'")
    return mount


def check_stream(text: str) -> None:
    """A value of `-a`. Raises: BadUsage."""
    if text.lower() not in ("stdin", "stdout", "stderr"):
        raise bad("valid streams are STDIN, STDOUT and STDERR")


def check_mount(text: str) -> None:
    """A value of `--mount`. Raises: BadUsage."""
    parse_mount(text, "/")


def check_environment(text: str) -> None:
    """A value of `-e`. Raises: BadUsage."""
    if text.startswith("=") or not text:
        raise bad(f"invalid environment variable: {text}")


def check_sysctl(text: str) -> None:
    """A value of `--sysctl`: what is in a namespace. Raises: BadUsage."""
    key = text.partition("=")[0]
    if "=" not in text or not (key in _SYSCTLS or key.startswith(("net.", "fs.mqueue."))):
        raise bad(f"sysctl '{text}' is not allowed")


def check_address(text: str) -> None:
    """A value of `--dns`. Raises: BadUsage."""
    import ipaddress

    try:
        ipaddress.ip_address(text.strip())
    except ValueError as error:
        raise bad(f"IP address is not correctly formatted: {text}") from error


def is_mac_address(text: str) -> bool:
    """Six or eight pairs of digits with one separator."""
    return bool(re.fullmatch(r"[0-9a-fA-F]{2}([:-])[0-9a-fA-F]{2}(\1[0-9a-fA-F]{2}){4}((\1[0-9a-fA-F]{2}){2})?", text))


def parse_throttle(text: str, *, plain: bool = False) -> dict[str, Any]:
    """`/dev/sda:1mb`: bytes a second; `plain` for operations a second. Raises: BadUsage."""
    path, colon, rate = text.rpartition(":")
    if not colon or not path:
        raise bad(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise bad(f"bad format for device path: {text}")
    try:
        value = int(rate) if plain else units.parse_size(rate)
    except (ValueError, failures.BadUsage) as error:
        example = (
            "" if plain else "[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        )
        tail = example or ". Number must be a positive integer"
        raise bad(f"invalid rate for device: {text}. The correct format is <device-path>:<number>{tail}") from error
    return {"Path": path, "Rate": value}


def parse_weight(text: str) -> dict[str, Any]:
    """`/dev/sda:500`. Raises: BadUsage."""
    path, colon, weight = text.rpartition(":")
    if not colon or not path:
        raise bad(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise bad(f"bad format for device path: {text}")
    if not weight.isdecimal() or (int(weight) and not 10 <= int(weight) <= 1000):
        raise bad(f"invalid weight for device: {text}")
    return {"Path": path, "Weight": int(weight)}


def parse_network(text: str) -> tuple[str, dict[str, Any]]:
    """`name`, or `name=net,alias=a,ip=1.2.3.4,mac-address=…,driver-opt=k=v`. Raises: BadUsage."""
    import csv

    if "=" not in text:
        return text, {}
    name = ""
    settings: dict[str, Any] = {}
    for part in next(csv.reader([text])):
        key, _, value = part.partition("=")
        match key.strip().lower():
            case "name":
                name = value
            case "alias":
                settings.setdefault("Aliases", []).append(value)
            case "ip":
                settings.setdefault("IPAMConfig", {})["IPv4Address"] = value
            case "ip6":
                settings.setdefault("IPAMConfig", {})["IPv6Address"] = value
            case "link-local-ip":
                settings.setdefault("IPAMConfig", {}).setdefault("LinkLocalIPs", []).append(value)
            case "mac-address":
                settings["MacAddress"] = value
            case "driver-opt":
                settings.setdefault("DriverOpts", {}).update(parse_pairs([value]))
            case "gw-priority":
                settings["GwPriority"] = int(value)
            case _:
                raise bad(f"invalid field key {key}")
    if not name:
        raise bad("network name/id is not specified")
    return name, settings


def _set_mount_field(mount: dict[str, Any], key: str, value: str, directory: str) -> None:
    match key:
        case "type":
            mount["Type"] = value.lower()
        case "source" | "src":
            relative = value in (".", "..") or value.startswith(("./", "../"))
            mount["Source"] = posixpath.normpath(posixpath.join(directory, value)) if relative else value
        case "target" | "dst" | "destination":
            mount["Target"] = value
        case "readonly" | "ro":
            mount["ReadOnly"] = _switch(key, value)
        case "consistency":
            mount["Consistency"] = value.lower()
        case "bind-propagation":
            mount.setdefault("BindOptions", {})["Propagation"] = value.lower()
        case "bind-nonrecursive":
            mount.setdefault("BindOptions", {})["NonRecursive"] = _switch(key, value)
        case "volume-nocopy":
            mount.setdefault("VolumeOptions", {})["NoCopy"] = _switch(key, value)
        case "volume-label":
            labels = mount.setdefault("VolumeOptions", {}).setdefault("Labels", {})
            labels |= parse_pairs([value])
        case "volume-driver":
            mount.setdefault("VolumeOptions", {}).setdefault("DriverConfig", {})["Name"] = value
        case "volume-opt":
            driver = mount.setdefault("VolumeOptions", {}).setdefault("DriverConfig", {})
            driver.setdefault("Options", {}).update(parse_pairs([value]))
        case "tmpfs-size":
            mount.setdefault("TmpfsOptions", {})["SizeBytes"] = units.parse_size(value)
        case "tmpfs-mode":
            mount.setdefault("TmpfsOptions", {})["Mode"] = int(value, 8)
        case _:
            raise bad(f"unexpected key '{key}' in '{key}={value}'")


def _switch(key: str, value: str) -> bool:
    if value.lower() in ("", "1", "t", "true"):
        return True
    if value.lower() in ("0", "f", "false"):
        return False
    raise bad(f"invalid value for {key}: {value}")


# --- pairs, environment ----------------------------------------------------------------------------------------------


def parse_pairs(texts: Iterable[str]) -> dict[str, str]:
    """`key=value`, or `key` for an empty value."""
    return {key: value for key, _, value in (text.partition("=") for text in texts)}


def read_environment(files: Iterable[tuple[str, str]], texts: Iterable[str], ours: Mapping[str, str]) -> list[str]:
    """`--env-file`s (name, content) and `-e`s, in this order. A bare name takes our value."""
    found: list[str] = []
    for name, content in files:
        found += _environment_file(name, content, ours)
    for text in texts:
        if text.startswith("="):
            raise bad(f"invalid environment variable: {text}")
        found.append(f"{text}={ours[text]}" if "=" not in text and text in ours else text)
    return found


def _environment_file(name: str, content: str, ours: Mapping[str, str]) -> list[str]:
    found = []
    for line in content.removeprefix("\ufeff").splitlines():
        line = line.lstrip()
        if not line or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not key or re.search(r"\s", key.lstrip()):
            raise bad(f"invalid env file ({name}): variable '{key}' contains whitespaces")
        if equals:
            found.append(f"{key}={value}")
        elif key in ours:
            found.append(f"{key}={ours[key]}")
    return found


# --- single values ---------------------------------------------------------------------------------------------------


def parse_restart(text: str) -> dict[str, Any]:
    """`on-failure:3`."""
    name, colon, count = text.partition(":")
    if colon and not count.isdecimal():
        raise bad("invalid restart policy format: maximum retry count must be an integer")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def parse_ulimit(text: str) -> dict[str, Any]:
    """`nofile=1024:2048`."""
    name, equals, limits = text.partition("=")
    soft, _, hard = limits.partition(":")
    if not equals or not re.fullmatch(r"-?[0-9]+", soft) or (hard and not re.fullmatch(r"-?[0-9]+", hard)):
        raise bad(f"invalid ulimit argument: {text}")
    return {"Name": name, "Soft": int(soft), "Hard": int(hard or soft)}


def parse_device(text: str) -> dict[str, str]:
    """`/dev/fuse[:/dev/fuse[:rwm]]`."""
    parts = text.split(":")
    inside, permissions = parts[0], "rwm"
    if len(parts) == 3:
        inside, permissions = parts[1], parts[2]
    elif len(parts) == 2:
        if parts[1] and set(parts[1]) <= set("rwm"):
            permissions = parts[1]
        else:
            inside = parts[1]
    if len(parts) > 3 or not parts[0] or not set(permissions) <= set("rwm"):
        raise bad(f"invalid device specification: {text}")
    return {"PathOnHost": parts[0], "PathInContainer": inside, "CgroupPermissions": permissions}


def parse_capabilities(texts: Iterable[str]) -> list[str]:
    """In capitals with `CAP_`, each once, sorted."""
    names = {text.upper() for text in texts}
    return sorted({name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}" for name in names})


def parse_extra_host(text: str) -> str:
    """`name:address` or `name=address`, as `name:address`; square brackets of IPv6 are dropped."""
    match = re.match(r"([^:=]+)[:=](.+)\Z", text)
    if match is None:
        raise bad(f'bad format for add-host: "{text}"')
    return f"{match[1]}:{match[2].removeprefix('[').removesuffix(']')}"
