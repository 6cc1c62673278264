"""Containers as `ps` and `inspect` show them. Pure.

Source: Engine API 1.47, ContainerSummary and ContainerInspect; Go's `omitempty` and `null` as dockerd 27 writes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sampan.api.engine import render_network, words
from sampan.containers.health.plan import Health
from sampan.containers.model import Container, Phase
from sampan.containers.mountpoints import MountPoint
from sampan.containers.wanted import Config, HostConfig
from sampan.networks.model import Endpoint, PublishedPort

NS = words.NS
# Left out when empty, where other members are shown empty. Source: moby/moby, api/types/container, the json tags.
_CONFIG_OMITTED = (
    "ExposedPorts",
    "Healthcheck",
    "ArgsEscaped",
    "NetworkDisabled",
    "MacAddress",
    "StopSignal",
    "StopTimeout",
    "Shell",
)
_CONFIG_NULL = ("Cmd", "Volumes", "Entrypoint", "OnBuild")
_HOST_OMITTED = ("Annotations", "StorageOpt", "Tmpfs", "Sysctls", "Mounts", "Init")
DEFAULT_SHM_BYTES = 64 << 20  # Source: docker run --shm-size
_HOST_NULL = ("Binds", "VolumesFrom", "CapAdd", "CapDrop", "ExtraHosts", "GroupAdd", "Links", "SecurityOpt")


@dataclass(frozen=True, slots=True)
class View:
    """All that the two renderers need of one container. `sizes` are (own, with the image), None when not asked for."""

    container: Container
    image: str = ""  # the name it was made from, if that still means its image
    network_names: Mapping[str, str] = field(default_factory=dict)  # id -> name
    endpoints: Sequence[Endpoint] = ()
    published: Sequence[PublishedPort] = ()
    mounts: Sequence[MountPoint] = ()
    volumes_root: str = ""
    sizes: tuple[int, int] | None = None
    execs: Sequence[str] = ()
    log_path: str = ""
    hostname_path: str = ""
    hosts_path: str = ""
    resolv_conf_path: str = ""
    links: Sequence[str] | None = None
    linked_as: Sequence[str] = ()  # `/parent/alias`, of those that are linked to it
    storage_driver: str = ""
    cgroup_version: str = "1"
    health: Health | None = None


def state_word(container: Container) -> str:
    """Docker's word for the phase; it has none for starting."""
    if _restarts(container):
        return str(Phase.RESTARTING)
    return "created" if container.phase == Phase.STARTING else str(container.phase)


def _restarts(container: Container) -> bool:
    """Whether its policy brings it up again: the wait, and the start that follows."""
    starts_again = container.phase == Phase.STARTING and container.state.restart_count > 0
    return container.phase == Phase.RESTARTING or starts_again


def status(container: Container, now_ns: int, health: Health | None = None) -> str:
    """`Up 5 minutes (Paused)`, `Up 1 second (healthy)`, `Exited (0) 2 days ago`."""
    state = container.state
    up = words.duration((now_ns - state.started_ns) / NS)
    down = words.duration((now_ns - state.finished_ns) / NS)
    match Phase.RESTARTING if _restarts(container) else container.phase:
        case Phase.RUNNING:
            if health is None:
                return f"Up {up}"
            return f"Up {up} ({'health: ' if health.status == 'starting' else ''}{health.status})"
        case Phase.PAUSED:
            return f"Up {up} (Paused)"
        case Phase.RESTARTING:
            return f"Restarting ({state.exit_code}) {down} ago"
        case Phase.REMOVING:
            return "Removal In Progress"
        case Phase.EXITED:
            return f"Exited ({state.exit_code}) {down} ago"
    return "Created"


def summary(view: View, now_ns: int) -> dict[str, Any]:
    """One line of `GET /containers/json`."""
    container = view.container
    argv = container.entrypoint_and_command
    answer = {
        "Id": container.id,
        "Names": [f"/{container.name}", *view.linked_as],
        "Image": view.image or container.image_id,
        "ImageID": container.image_id,
        "Command": " ".join(f"'{word}'" if " " in word else word for word in argv),
        "Created": container.created_ns // NS,
        "Ports": ports_list(view),
        "Labels": dict(container.wanted.config.labels),
        "State": state_word(container),
        "Status": status(container, now_ns, view.health),
        "HostConfig": {"NetworkMode": container.wanted.host.network_mode or "default"},
        "NetworkSettings": {"Networks": networks(view)},
        "Mounts": [mount(point, view.volumes_root) for point in view.mounts if point.kind != "tmpfs"],
    }
    if view.sizes is not None:
        answer["SizeRw"], answer["SizeRootFs"] = view.sizes
    return answer


def inspect(view: View) -> dict[str, Any]:
    """The answer of `GET /containers/{id}/json`."""
    container = view.container
    argv = container.entrypoint_and_command or [""]
    answer = {
        "Id": container.id,
        "Created": words.moment(container.created_ns),
        "Path": argv[0],
        "Args": argv[1:],
        "State": state(container, view.health),
        "Image": container.image_id,
        "ResolvConfPath": view.resolv_conf_path,
        "HostnamePath": view.hostname_path,
        "HostsPath": view.hosts_path,
        "LogPath": view.log_path,
        "Name": f"/{container.name}",
        "RestartCount": container.state.restart_count,
        "Driver": view.storage_driver,
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": list(view.execs) or None,
        "HostConfig": host_config(container.wanted.host, view.cgroup_version) | _links(view),
        "GraphDriver": {"Data": None, "Name": view.storage_driver},
        "Mounts": [mount(point, view.volumes_root) for point in view.mounts if point.kind != "tmpfs"],
        "Config": config(container.wanted.config),
        "NetworkSettings": network_settings(view),
    }
    if view.sizes is not None:
        answer["SizeRw"], answer["SizeRootFs"] = view.sizes
    return answer


def state(container: Container, health: Health | None = None) -> dict[str, Any]:
    """The `State` part of inspect."""
    past = container.state
    answer = {
        "Status": state_word(container),
        "Running": container.phase in (Phase.RUNNING, Phase.PAUSED) or _restarts(container),
        "Paused": container.phase == Phase.PAUSED,
        "Restarting": _restarts(container),
        "OOMKilled": past.oom_killed,
        "Dead": False,
        "Pid": past.pid if container.alive else 0,
        "ExitCode": past.exit_code,
        "Error": past.error,
        "StartedAt": words.moment(past.started_ns),
        "FinishedAt": words.moment(past.finished_ns),
    }
    if health is not None:
        answer["Health"] = _health(health)
    return answer


def _health(health: Health) -> dict[str, Any]:
    return {
        "Status": health.status,
        "FailingStreak": health.failing_streak,
        "Log": [
            {
                "Start": words.moment(one.start_ns),
                "End": words.moment(one.end_ns),
                "ExitCode": one.exit_code,
                "Output": one.output,
            }
            for one in health.log
        ],
    }


def config(wanted: Config) -> dict[str, Any]:
    """The `Config` part, as Go would write it."""
    return _like_go(msgspec.to_builtins(wanted), _CONFIG_OMITTED, _CONFIG_NULL)


def _links(view: View) -> dict[str, Any]:
    """As dockerd: stored with ids, shown with names."""
    return {"Links": list(view.links or ()) or None}


def host_config(wanted: HostConfig, cgroup_version: str) -> dict[str, Any]:
    """The `HostConfig` part, as Go would write it, with the defaults that dockerd spells out."""
    answer = _like_go(msgspec.to_builtins(wanted), _HOST_OMITTED, _HOST_NULL)
    answer["CgroupnsMode"] = wanted.cgroupns_mode or ("private" if cgroup_version == "2" else "host")
    answer["NetworkMode"] = wanted.network_mode or "default"
    answer["IpcMode"] = wanted.ipc_mode or "private"
    answer["LogConfig"]["Type"] = wanted.log_config.type or "json-file"
    answer["RestartPolicy"]["Name"] = wanted.restart_policy.name or "no"
    answer["Runtime"] = wanted.runtime or "runc"
    answer["ShmSize"] = wanted.shm_size or DEFAULT_SHM_BYTES
    return answer


def _like_go(document: dict[str, Any], omitted: tuple[str, ...], null: tuple[str, ...]) -> dict[str, Any]:
    for name in omitted:
        if not document.get(name):
            document.pop(name, None)
    for name in null:
        document[name] = document.get(name) or None
    return document


def mount(point: MountPoint, volumes_root: str) -> dict[str, Any]:
    """One `MountPoint`."""
    answer: dict[str, Any] = {"Type": point.kind}
    if point.kind == "volume":
        answer |= {"Name": point.source, "Source": f"{volumes_root}/{point.source}/_data"}
    else:
        answer["Source"] = point.source
    answer["Destination"] = point.destination
    if point.kind == "volume":
        answer["Driver"] = "local"
    return answer | {"Mode": point.mode, "RW": not point.read_only, "Propagation": point.propagation}


def ports_map(view: View) -> dict[str, list[dict[str, str]] | None]:
    """`{"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}`; null for ports that are exposed only."""
    if not view.container.alive:
        return {}
    answer: dict[str, list[dict[str, str]] | None] = {
        name if "/" in name else f"{name}/tcp": None for name in view.container.wanted.config.exposed_ports
    }
    for entry in view.published:
        for step in range(entry.count):
            bindings = answer.get(name := f"{entry.container_port + step}/{entry.protocol}") or []
            answer[name] = [*bindings, {"HostIp": str(entry.host_address), "HostPort": str(entry.host_port + step)}]
    return answer


def ports_list(view: View) -> list[dict[str, Any]]:
    """The same, flat, as `ps` has it."""
    answer: list[dict[str, Any]] = []
    for name, bindings in ports_map(view).items():
        number, _, protocol = name.partition("/")
        if not number.isdecimal():
            continue  # an exposed range
        private = {"PrivatePort": int(number), "Type": protocol or "tcp"}
        answer += [
            {"IP": binding["HostIp"], **private, "PublicPort": int(binding["HostPort"])} for binding in bindings or []
        ]
        if not bindings:
            answer.append(private)
    return answer


def networks(view: View) -> dict[str, Any]:
    """`Networks` by name; before the first start, the ones that were asked for, without addresses."""
    wanted = view.container.wanted
    mode = wanted.host.network_mode or "default"
    asked = dict(wanted.networking.endpoints_config)
    first = "bridge" if mode == "default" else view.network_names.get(mode, mode)
    found: dict[str, Any] = {}
    for endpoint in view.endpoints:
        name = view.network_names.get(endpoint.network_id, endpoint.network_id)
        found[name] = render_network.endpoint_settings(endpoint, asked.get(name))
    if found or mode.startswith("container:"):
        return found
    return {name: render_network.endpoint_settings(None, asked.get(name)) for name in asked or [first]}


def network_settings(view: View) -> dict[str, Any]:
    """The `NetworkSettings` part of inspect; the addresses at the top are those of the default bridge."""
    by_name = networks(view)
    top = by_name.get("bridge") or {}
    return {
        "Bridge": "",
        "SandboxID": view.container.id if view.container.alive else "",
        "SandboxKey": f"/proc/{view.container.state.pid}/ns/net" if view.container.alive else "",
        "Ports": ports_map(view),
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": top.get("EndpointID", ""),
        "Gateway": top.get("Gateway", ""),
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": top.get("IPAddress", ""),
        "IPPrefixLen": top.get("IPPrefixLen", 0),
        "IPv6Gateway": "",
        "MacAddress": top.get("MacAddress", ""),
        "Networks": by_name,
    }
