"""`run`'s and `create`'s options, and the body of `POST /containers/create` they make.

The options are a table of declarations; `body` is pure: files and environment come in.
Source: docker/cli, cli/command/container/opts.go.
"""

from __future__ import annotations

from sampan.cli import specs, units
from sampan.cli.line import declare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    Options = Mapping[str, Any]
    Command = Callable[..., Any]


# (declarations, keyword arguments)
_MANY = {"multiple": True}
_FLAG = {"is_flag": True}
OPTIONS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("--add-host",), _MANY | {"help": "Add a host-to-address mapping (host:ip)"}),
    (("--attach", "-a"), _MANY | {"help": "Attach to stdin, stdout or stderr"}),
    (("--blkio-weight",), {"type": int, "default": 0, "help": "Block IO weight, 10 to 1000"}),
    (("--cap-add",), _MANY | {"help": "Add a Linux capability"}),
    (("--cap-drop",), _MANY | {"help": "Drop a Linux capability"}),
    (("--cgroup-parent",), {"default": "", "help": "Parent cgroup of the container"}),
    (("--cgroupns",), {"default": "", "help": "Cgroup namespace: host or private"}),
    (("--cidfile",), {"default": "", "help": "Write the container's id to this file"}),
    (("--cpu-period",), {"type": int, "default": 0, "help": "CPU CFS period in microseconds"}),
    (("--cpu-quota",), {"type": int, "default": 0, "help": "CPU CFS quota in microseconds"}),
    (("--cpu-shares", "-c"), {"type": int, "default": 0, "help": "CPU shares (relative weight)"}),
    (("--cpus",), {"default": "", "help": "Number of CPUs"}),
    (("--cpuset-cpus",), {"default": "", "help": "CPUs that may be used (0-3, 0,1)"}),
    (("--cpuset-mems",), {"default": "", "help": "Memory nodes that may be used"}),
    (("--device",), _MANY | {"help": "Add a host device"}),
    (("--device-cgroup-rule",), _MANY | {"help": "Add a rule to the allowed devices"}),
    (("--dns",), _MANY | {"help": "DNS servers"}),
    (("--dns-option", "--dns-opt"), _MANY | {"help": "DNS options"}),
    (("--dns-search",), _MANY | {"help": "DNS search domains"}),
    (("--domainname",), {"default": "", "help": "NIS domain name"}),
    (("--entrypoint",), {"default": None, "help": "Replace the image's ENTRYPOINT"}),
    (("--env", "-e"), _MANY | {"help": "Environment variables"}),
    (("--env-file",), _MANY | {"help": "Read environment variables from a file"}),
    (("--expose",), _MANY | {"help": "Expose a port or a range of ports"}),
    (("--group-add",), _MANY | {"help": "Additional groups to join"}),
    (("--hostname", "-h"), {"default": "", "help": "Host name inside"}),
    (("--init",), _FLAG | {"help": "Run an init inside that reaps processes"}),
    (("--interactive", "-i"), _FLAG | {"help": "Keep stdin open even if not attached"}),
    (("--ip",), {"default": "", "help": "IPv4 address"}),
    (("--ipc",), {"default": "", "help": "IPC mode"}),
    (("--isolation",), {"default": "", "hidden": True}),
    (("--label", "-l"), _MANY | {"help": "Labels"}),
    (("--label-file",), _MANY | {"help": "Read labels from a file"}),
    (("--link",), _MANY | {"help": "Link to another container"}),
    (("--log-driver",), {"default": "", "help": "Log driver"}),
    (("--log-opt",), _MANY | {"help": "Log driver options"}),
    (("--mac-address",), {"default": "", "help": "MAC address"}),
    (("--memory", "-m"), {"default": "", "help": "Memory limit"}),
    (("--memory-reservation",), {"default": "", "help": "Memory soft limit"}),
    (("--memory-swap",), {"default": "", "help": "Memory and swap limit; -1 for no limit of swap"}),
    (("--memory-swappiness",), {"type": int, "default": -1, "help": "Swappiness, 0 to 100"}),
    (("--mount",), _MANY | {"help": "Attach a filesystem mount"}),
    (("--name",), {"default": "", "help": "Name of the container"}),
    (("--network", "--net"), _MANY | {"help": "Connect to a network"}),
    (("--network-alias", "--net-alias"), _MANY | {"help": "Names on the network"}),
    (("--oom-kill-disable",), _FLAG | {"help": "Disable the OOM killer"}),
    (("--oom-score-adj",), {"type": int, "default": 0, "help": "The host's OOM preference, -1000 to 1000"}),
    (("--pid",), {"default": "", "help": "PID namespace"}),
    (("--pids-limit",), {"type": int, "default": 0, "help": "Limit of processes; -1 for none"}),
    (("--platform",), {"default": "", "help": "Platform of the image"}),
    (("--privileged",), _FLAG | {"help": "Give extended privileges"}),
    (("--publish", "-p"), _MANY | {"help": "Publish ports to the host"}),
    (("--publish-all", "-P"), _FLAG | {"help": "Publish all exposed ports to random ports"}),
    (("--pull",), {"default": "missing", "values": ("always", "missing", "never"), "help": "When to pull"}),
    (("--quiet", "-q"), _FLAG | {"help": "No output of a pull"}),
    (("--read-only",), _FLAG | {"help": "Mount the root filesystem read only"}),
    (("--restart",), {"default": "no", "help": "Restart policy: no, always, unless-stopped, on-failure[:N]"}),
    (("--rm",), _FLAG | {"help": "Remove the container when it exits"}),
    (("--runtime",), {"default": "", "help": "OCI runtime"}),
    (("--security-opt",), _MANY | {"help": "Security options"}),
    (("--shm-size",), {"default": "", "help": "Size of /dev/shm"}),
    (("--stop-signal",), {"default": "", "help": "Signal to stop the container"}),
    (("--stop-timeout",), {"type": int, "default": None, "help": "Seconds until a stop becomes a kill"}),
    (("--storage-opt",), _MANY | {"help": "Storage driver options"}),
    (("--sysctl",), _MANY | {"help": "Sysctl options"}),
    (("--tmpfs",), _MANY | {"help": "Mount a tmpfs"}),
    (("--tty", "-t"), _FLAG | {"help": "Allocate a terminal"}),
    (("--ulimit",), _MANY | {"help": "Ulimits"}),
    (("--user", "-u"), {"default": "", "help": "User name or id (name|uid[:group|gid])"}),
    (("--userns",), {"default": "", "help": "User namespace"}),
    (("--uts",), {"default": "", "help": "UTS namespace"}),
    (("--volume", "-v"), _MANY | {"help": "Bind mount a volume"}),
    (("--volume-driver",), {"default": "", "help": "Volume driver"}),
    (("--volumes-from",), _MANY | {"help": "Mount the volumes of other containers"}),
    (("--workdir", "-w"), {"default": "", "help": "Working directory inside"}),
    (("--disable-content-trust",), {"type": bool, "default": True, "hidden": True}),
)


def with_options(command: Command) -> Command:
    """A decorator: all of `OPTIONS`."""
    for declarations, keywords in reversed(OPTIONS):
        command = declare.option(*declarations, **keywords)(command)
    return command


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
    exposed, bindings = specs.parse_ports(options["publish"])
    exposed |= specs.parse_exposed(options["expose"])
    binds, volumes = specs.parse_volumes(options["volume"], around.directory)
    networks = [_network(text) for text in options["network"]]
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
    answer["HostConfig"] = _host(options, around) | {"Binds": binds, "PortBindings": bindings}
    answer["HostConfig"]["NetworkMode"] = networks[0][0] if networks else "default"
    answer["NetworkingConfig"] = {"EndpointsConfig": _endpoints(options, networks)}
    return answer


def attached(options: Options, *, detached: bool) -> dict[str, bool]:
    """Which streams the client holds; stdin closes with it when it holds one."""
    wanted = {text.lower() for text in options["attach"]}
    unknown = wanted - {"stdin", "stdout", "stderr"}
    if unknown:
        raise specs.bad(f"invalid argument {unknown.pop()!r} for -a: valid streams are STDIN, STDOUT and STDERR")
    if detached:
        if wanted:
            raise specs.bad("Conflicting options: -a and -d")
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


def _network(text: str) -> tuple[str, dict[str, Any]]:
    """`name`, or `name=net,alias=a,ip=1.2.3.4,mac-address=…`."""
    if "=" not in text:
        return text, {}
    name = ""
    settings: dict[str, Any] = {}
    for part in text.split(","):
        key, _, value = part.partition("=")
        match key.lower():
            case "name":
                name = value
            case "alias":
                settings.setdefault("Aliases", []).append(value)
            case "ip":
                settings["IPAMConfig"] = {"IPv4Address": value}
            case "mac-address":
                settings["MacAddress"] = value
            case "driver-opt":
                settings.setdefault("DriverOpts", {}).update(specs.parse_pairs([value]))
            case _:
                raise specs.bad(f"invalid field key {key}")
    return name, settings


def _endpoints(options: Options, networks: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Settings by network. `--ip`, `--network-alias` and `--mac-address` belong to the first."""
    first: dict[str, Any] = {}
    if options["network_alias"]:
        first["Aliases"] = list(options["network_alias"])
    if options["ip"]:
        first["IPAMConfig"] = {"IPv4Address": options["ip"]}
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
    if options["init"]:
        host["Init"] = True
    return host | _resources(options)


def _resources(options: Options) -> dict[str, Any]:
    swap = options["memory_swap"]
    found: dict[str, Any] = {
        "BlkioWeight": options["blkio_weight"],
        "CgroupParent": options["cgroup_parent"],
        "CpuPeriod": options["cpu_period"],
        "CpuQuota": options["cpu_quota"],
        "CpuShares": options["cpu_shares"],
        "CpusetCpus": options["cpuset_cpus"],
        "CpusetMems": options["cpuset_mems"],
        "Devices": [specs.parse_device(text) for text in options["device"]],
        "DeviceCgroupRules": list(options["device_cgroup_rule"]),
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
