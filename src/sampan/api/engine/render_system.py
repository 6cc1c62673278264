"""`info`, `version`, events and disk usage as Docker shows them. Pure.

Source: Engine API 1.47, SystemInfo, SystemVersion, EventMessage.
"""

from __future__ import annotations

import ipaddress
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sampan.api.engine import versions, words
from sampan.api.engine.context import ARCHITECTURES, Facts
from sampan.events.bus import Event


@dataclass(frozen=True, slots=True)
class Counts:
    """How many containers and images there are."""

    running: int = 0
    paused: int = 0
    stopped: int = 0
    images: int = 0


def version(facts: Facts) -> dict[str, Any]:
    """The answer of `GET /version`."""
    architecture = ARCHITECTURES.get(facts.architecture, facts.architecture)
    return {
        "Platform": {"Name": "Sampan"},
        "Components": [
            {
                "Name": "Engine",
                "Version": facts.version,
                "Details": {
                    "ApiVersion": versions.text(versions.NEWEST),
                    "Arch": architecture,
                    "BuildTime": facts.built,
                    "Experimental": str(facts.experimental).lower(),
                    "GitCommit": facts.git_commit,
                    "GoVersion": f"python{platform.python_version()}",
                    "KernelVersion": facts.kernel,
                    "MinAPIVersion": versions.text(versions.OLDEST),
                    "Os": "linux",
                },
            },
            {
                "Name": facts.default_runtime,
                "Version": facts.runtime_version,
                "Details": {"GitCommit": ""},
            },
        ],
        "Version": facts.version,
        "ApiVersion": versions.text(versions.NEWEST),
        "MinAPIVersion": versions.text(versions.OLDEST),
        "GitCommit": facts.git_commit,
        "GoVersion": f"python{platform.python_version()}",
        "Os": "linux",
        "Arch": architecture,
        "KernelVersion": facts.kernel,
        "Experimental": facts.experimental,
        "BuildTime": facts.built,
    }


_PLUGINS: Mapping[str, list[str] | None] = {
    "Volume": ["local"],
    "Network": ["bridge", "host", "null"],
    "Authorization": None,
    "Log": ["journald", "json-file", "local", "none", "syslog"],
}
_LIMITS: Mapping[str, bool] = {
    "MemoryLimit": True,
    "SwapLimit": True,
    "CpuCfsPeriod": True,
    "CpuCfsQuota": True,
    "CPUShares": True,
    "CPUSet": True,
    "PidsLimit": True,
}
_NO_SWARM: Mapping[str, Any] = {
    "NodeID": "",
    "NodeAddr": "",
    "LocalNodeState": "inactive",
    "ControlAvailable": False,
    "Error": "",
    "RemoteManagers": None,
}


def info(facts: Facts, counts: Counts, now_ns: int) -> dict[str, Any]:
    """The answer of `GET /info`."""
    return {
        "ID": facts.id,
        "Containers": counts.running + counts.paused + counts.stopped,
        "ContainersRunning": counts.running,
        "ContainersPaused": counts.paused,
        "ContainersStopped": counts.stopped,
        "Images": counts.images,
        "Driver": facts.storage_driver,
        "DriverStatus": [list(pair) for pair in facts.storage_status],
        "Plugins": {kind: names and list(names) for kind, names in _PLUGINS.items()},
        **_LIMITS,
        "IPv4Forwarding": facts.ipv4_forwarding,
        "BridgeNfIptables": False,
        "BridgeNfIp6tables": False,
        "Debug": facts.debug,
        "NFd": 0,
        "OomKillDisable": facts.cgroup_version == "1",
        "NGoroutines": 0,
        "SystemTime": words.moment(now_ns),
        "LoggingDriver": facts.logging_driver,
        "CgroupDriver": facts.cgroup_driver,
        "CgroupVersion": facts.cgroup_version,
        "NEventsListener": 0,
        "KernelVersion": facts.kernel,
        "OperatingSystem": facts.operating_system,
        "OSVersion": facts.os_version,
        "OSType": "linux",
        "Architecture": facts.architecture,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": _registry_config(facts),
        "NCPU": facts.cpu_count,
        "MemTotal": facts.memory_bytes,
        "GenericResources": None,
        "DockerRootDir": facts.data_root,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": facts.hostname,
        "Labels": list(facts.labels),
        "ExperimentalBuild": facts.experimental,
        "ServerVersion": facts.version,
        "Runtimes": {name: {"path": path} for name, path in facts.runtimes.items()},
        "DefaultRuntime": facts.default_runtime,
        "Swarm": dict(_NO_SWARM),
        "LiveRestoreEnabled": facts.live_restore,
        "Isolation": "",
        "InitBinary": facts.init_binary,
        "ContainerdCommit": {"ID": "", "Expected": ""},
        "RuncCommit": {"ID": facts.runtime_version, "Expected": facts.runtime_version},
        "InitCommit": {"ID": "", "Expected": ""},
        "SecurityOptions": list(facts.security_options),
        "ProductLicense": "",
        "DefaultAddressPools": [{"Base": base, "Size": size} for base, size in facts.address_pools],
        "Warnings": list(facts.warnings) or None,
        "CDISpecDirs": [],
    }


def _registry_config(facts: Facts) -> dict[str, Any]:
    indexes = {
        name: {"Name": name, "Mirrors": [], "Secure": False, "Official": False}
        for name in facts.insecure_registries
        if not _is_network(name)
    }
    indexes["docker.io"] = {
        "Name": "docker.io",
        "Mirrors": list(facts.registry_mirrors),
        "Secure": True,
        "Official": True,
    }
    return {
        "AllowNondistributableArtifactsCIDRs": None,
        "AllowNondistributableArtifactsHostnames": None,
        "InsecureRegistryCIDRs": [name for name in facts.insecure_registries if _is_network(name)],
        "IndexConfigs": indexes,
        "Mirrors": list(facts.registry_mirrors) or None,
    }


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return "/" in text


def event(happened: Event) -> dict[str, Any]:
    """One line of `GET /events`. The members in lower case are for clients older than API 1.22's form."""
    answer: dict[str, Any] = {}
    if happened.kind in ("container", "image"):
        answer = {"status": happened.action, "id": happened.actor}
        image = happened.attributes.get("image")
        if happened.kind == "container" and image:
            answer["from"] = image
    return answer | {
        "Type": happened.kind,
        "Action": happened.action,
        "Actor": {"ID": happened.actor, "Attributes": dict(happened.attributes)},
        "scope": "local",
        "time": happened.time_ns // words.NS,
        "timeNano": happened.time_ns,
    }


def is_wanted(happened: Event, filters: Mapping[str, Iterable[str]]) -> bool:
    """Whether an event passes `--filter`s: alternatives within one key, all keys together."""
    return all(any(_passes(happened, key, value) for value in values) for key, values in filters.items())


def _without_tag(name: str) -> str:
    """`registry:5000/a/b:tag` without its tag."""
    base, colon, tag = name.rpartition(":")
    return base if colon and "/" not in tag else name


def _passes(happened: Event, key: str, value: str) -> bool:
    attributes = happened.attributes
    match key:
        case "type":
            return happened.kind == value
        case "event":
            return happened.action == value or happened.action.startswith(f"{value}:")
        case "label":
            name, equals, wanted = value.partition("=")
            return name in attributes and (not equals or attributes[name] == wanted)
        case "scope":
            return value == "local"
        case "image":
            name = attributes.get("name" if happened.kind == "image" else "image", "")
            return value in (happened.actor, name, _without_tag(happened.actor), _without_tag(name))
        case "container" | "network" | "volume" | "daemon":
            return happened.kind == key and (
                attributes.get("name", "").startswith(value) or happened.actor.startswith(value)
            )
    return True
