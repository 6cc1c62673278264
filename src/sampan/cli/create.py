"""`run`'s and `create`'s options, and the body of `POST /containers/create` they make.

The options are a table (`create_options.py`); `body` is pure: files and environment come in.
Source: docker/cli, cli/command/container/opts.go.
"""

from __future__ import annotations

from sampan.cli import requests, specs, units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Options = Mapping[str, Any]


class Surroundings:
    """What `body` needs of the world: files by name, environment, working directory."""

    def __init__(self, files: Mapping[str, str], environment: Mapping[str, str], directory: str) -> None:
        self.files, self.environment, self.directory = files, environment, directory


def files_named(options: Options) -> list[str]:
    """The files that `body` reads."""
    profiles = [text.partition("=")[2] for text in options["security_opt"] if text.startswith("seccomp=")]
    names = [*options["env_file"], *options["label_file"]]
    return names + [name for name in profiles if name not in ("unconfined", "builtin", "")]


def body(
    options: Options, image: str, command: Sequence[str], around: Surroundings, *, detached: bool = False
) -> dict[str, Any]:
    """The whole body. Raises: BadUsage."""
    check(options)
    exposed, bindings = specs.parse_ports(options["publish"])
    exposed |= specs.parse_exposed(options["expose"])
    binds, volumes = specs.parse_volumes(options["volume"], around.directory)
    networks = [specs.parse_network(text) for text in options["network"]]
    answer: dict[str, Any] = {"Image": image, "Tty": options["tty"], "OpenStdin": options["interactive"]}
    answer |= attached(options, detached=detached)
    answer["Env"] = specs.read_environment(
        [(name, around.files[name]) for name in options["env_file"]], options["env"], around.environment
    )
    if command:
        answer["Cmd"] = list(command)
    if options["entrypoint"] is not None:
        # Docker sends [""] for an empty one: it takes the image's away.
        answer["Entrypoint"] = [options["entrypoint"]]
    answer["Labels"] = specs.parse_pairs([*_label_lines(options, around), *options["label"]])
    answer |= {
        "Hostname": options["hostname"],
        "Domainname": options["domainname"],
        "User": options["user"],
        "WorkingDir": options["workdir"],
        "StopSignal": options["stop_signal"],
        "ExposedPorts": exposed,
        "Volumes": volumes,
    }
    if options["stop_timeout"] is not None:
        answer["StopTimeout"] = options["stop_timeout"]
    health = requests.health(options)
    if health:
        answer["Healthcheck"] = health
    answer["HostConfig"] = _host(options, around) | {"Binds": binds, "PortBindings": bindings}
    answer["HostConfig"]["NetworkMode"] = networks[0][0] if networks else "default"
    answer["NetworkingConfig"] = {"EndpointsConfig": _endpoints(options, networks)}
    return answer


def check(options: Options) -> None:
    """Options that exclude each other. Raises: BadUsage."""
    if options["pull"] not in ("always", "missing", "never"):
        raise specs.bad(f'invalid pull option: \'{options["pull"]}\': must be one of "always", "missing" or "never"')
    if options["rm"] and options["restart"] not in ("", "no"):
        raise specs.bad("conflicting options: cannot specify both --restart and --rm")
    if options["mac_address"] and not specs.is_mac_address(options["mac_address"]):
        raise specs.bad(f"{options['mac_address']} is not a valid mac address")
    if not -1 <= options["memory_swappiness"] <= 100:
        raise specs.bad(f"invalid value: {options['memory_swappiness']}. Valid memory swappiness range is 0-100")
    if options["use_api_socket"]:
        raise specs.bad("--use-api-socket is experimental in docker and not served: bind the socket by -v instead")


def attached(options: Options, *, detached: bool) -> dict[str, bool]:
    """Which streams the client holds; stdin closes with it when it holds one."""
    wanted = {text.lower() for text in options["attach"]}
    if detached:
        return {"AttachStdin": False, "AttachStdout": False, "AttachStderr": False, "StdinOnce": False}
    if not wanted:
        wanted = {"stdout", "stderr"} | ({"stdin"} if options["interactive"] else set())
    stdin = "stdin" in wanted
    return {
        "AttachStdin": stdin,
        "AttachStdout": "stdout" in wanted,
        "AttachStderr": "stderr" in wanted,
        "StdinOnce": stdin and options["interactive"],
    }


def _label_lines(options: Options, around: Surroundings) -> list[str]:
    lines = [line.strip() for name in options["label_file"] for line in around.files[name].splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _endpoints(options: Options, networks: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Settings by network. `--ip`, `--network-alias` and `--mac-address` belong to the first."""
    first: dict[str, Any] = {}
    if options["network_alias"]:
        first["Aliases"] = list(options["network_alias"])
    addresses = {"IPv4Address": options["ip"], "IPv6Address": options["ip6"], "LinkLocalIPs": options["link_local_ip"]}
    addresses = {key: list(value) if isinstance(value, tuple) else value for key, value in addresses.items() if value}
    if addresses:
        first["IPAMConfig"] = addresses
    if options["mac_address"]:
        first["MacAddress"] = options["mac_address"]
    if options["link"] and networks and networks[0][0] not in ("default", "bridge"):
        first["Links"] = list(options["link"])
    listed = list(networks) or [("default", {})]
    found = {name: settings | (first if number == 0 else {}) for number, (name, settings) in enumerate(listed)}
    only = listed[0][0]
    is_own = only not in ("bridge", "host", "none") and not only.startswith("container:")
    return found if is_own or len(listed) > 1 or found[only] else {}


def _host(options: Options, around: Surroundings) -> dict[str, Any]:
    log_options = specs.parse_pairs(options["log_opt"])
    host: dict[str, Any] = {
        "AutoRemove": options["rm"],
        "Privileged": options["privileged"],
        "PublishAllPorts": options["publish_all"],
        "ReadonlyRootfs": options["read_only"],
        "RestartPolicy": specs.parse_restart(options["restart"]),
        "LogConfig": {"Type": options["log_driver"], "Config": log_options},
        "ContainerIDFile": options["cidfile"],
        "CapAdd": specs.parse_capabilities(options["cap_add"]),
        "CapDrop": specs.parse_capabilities(options["cap_drop"]),
        "Dns": list(options["dns"]),
        "DnsOptions": list(options["dns_option"]),
        "DnsSearch": list(options["dns_search"]),
        "ExtraHosts": [specs.parse_extra_host(text) for text in options["add_host"]],
        "GroupAdd": list(options["group_add"]),
        "Links": list(options["link"]),
        "SecurityOpt": [_security(text, around) for text in options["security_opt"]],
        "StorageOpt": specs.parse_pairs(options["storage_opt"]),
        "Sysctls": specs.parse_pairs(options["sysctl"]),
        "Tmpfs": specs.parse_tmpfs(options["tmpfs"]),
        "VolumesFrom": list(options["volumes_from"]),
        "VolumeDriver": options["volume_driver"],
        "IpcMode": options["ipc"],
        "PidMode": options["pid"],
        "UTSMode": options["uts"],
        "UsernsMode": options["userns"],
        "CgroupnsMode": options["cgroupns"],
        "Runtime": options["runtime"],
        "ShmSize": units.parse_size(options["shm_size"]) if options["shm_size"] else 0,
        "Mounts": [specs.parse_mount(text, around.directory) for text in options["mount"]],
    }
    if options["init"] is not None:
        host["Init"] = options["init"]
    if options["annotation"]:
        host["Annotations"] = specs.parse_pairs(options["annotation"])
    return host | _resources(options)


def _resources(options: Options) -> dict[str, Any]:
    swap = options["memory_swap"]
    found: dict[str, Any] = {
        "BlkioDeviceReadBps": [specs.parse_throttle(text) for text in options["device_read_bps"]],
        "BlkioDeviceReadIOps": [specs.parse_throttle(text, plain=True) for text in options["device_read_iops"]],
        "BlkioDeviceWriteBps": [specs.parse_throttle(text) for text in options["device_write_bps"]],
        "BlkioDeviceWriteIOps": [specs.parse_throttle(text, plain=True) for text in options["device_write_iops"]],
        "BlkioWeight": options["blkio_weight"],
        "BlkioWeightDevice": [specs.parse_weight(text) for text in options["blkio_weight_device"]],
        "CgroupParent": options["cgroup_parent"],
        "CpuCount": options["cpu_count"],
        "CpuPercent": options["cpu_percent"],
        "CpuPeriod": options["cpu_period"],
        "CpuQuota": options["cpu_quota"],
        "CpuRealtimePeriod": options["cpu_rt_period"],
        "CpuRealtimeRuntime": options["cpu_rt_runtime"],
        "CpuShares": options["cpu_shares"],
        "CpusetCpus": options["cpuset_cpus"],
        "CpusetMems": options["cpuset_mems"],
        "Devices": [specs.parse_device(text) for text in options["device"]],
        "DeviceCgroupRules": list(options["device_cgroup_rule"]),
        "DeviceRequests": [request for text in options["gpus"] for request in requests.gpus(text)],
        "IOMaximumBandwidth": units.parse_size(options["io_maxbandwidth"]) if options["io_maxbandwidth"] else 0,
        "IOMaximumIOps": options["io_maxiops"],
        "Isolation": options["isolation"],
        "KernelMemory": units.parse_size(options["kernel_memory"]) if options["kernel_memory"] else 0,
        "Memory": units.parse_size(options["memory"]) if options["memory"] else 0,
        "MemoryReservation": units.parse_size(options["memory_reservation"]) if options["memory_reservation"] else 0,
        "MemorySwap": -1 if swap == "-1" else units.parse_size(swap) if swap else 0,
        "NanoCpus": units.parse_cpus(options["cpus"]) if options["cpus"] else 0,
        "OomScoreAdj": options["oom_score_adj"],
        "PidsLimit": options["pids_limit"],
        "Ulimits": [specs.parse_ulimit(text) for text in options["ulimit"]],
    }
    if options["oom_kill_disable"]:
        found["OomKillDisable"] = True
    if options["memory_swappiness"] != -1:
        found["MemorySwappiness"] = options["memory_swappiness"]
    return found


def _security(text: str, around: Surroundings) -> str:
    """A seccomp profile travels as its content."""
    key, equals, value = text.partition("=")
    if key == "seccomp" and equals and value in around.files:
        return f"seccomp={around.files[value]}"
    return text.replace(":", "=", 1) if not equals and ":" in text else text
