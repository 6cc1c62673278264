"""What a client wants of a container, in the words of the Docker Engine API, and read leniently.

The same structs decode `POST /containers/create`, are stored as JSON in the `container` row, and are shown by inspect.
Unknown fields are ignored and `null` means the default, as in dockerd. Source: Engine API 1.47, ContainerConfig,
HostConfig, NetworkingConfig.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from sampan import errors

T = TypeVar("T")


class InvalidConfiguration(errors.Invalid):
    """A container configuration with a value of the wrong type or out of range."""


class Healthcheck(msgspec.Struct, rename="pascal", omit_defaults=True):
    """Times in nanoseconds; `test` is [] (inherit), ["NONE"], ["CMD", …] or ["CMD-SHELL", line]."""

    test: list[str] = []
    interval: int = 0
    timeout: int = 0
    retries: int = 0
    start_period: int = 0
    start_interval: int = 0


class Config(msgspec.Struct, rename="pascal"):
    """The portable part: what to run, as whom, with which environment."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, dict[str, Any]] = {}
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] = []
    cmd: list[str] = []
    healthcheck: Healthcheck | None = None
    args_escaped: bool = False
    image: str = ""
    volumes: dict[str, dict[str, Any]] = {}
    working_dir: str = ""
    entrypoint: list[str] = []
    network_disabled: bool = False
    mac_address: str = ""
    on_build: list[str] = []
    labels: dict[str, str] = {}
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: list[str] = []


class PortBinding(msgspec.Struct, rename="pascal"):
    """One host side of a published port; `host_port` is "", "8080" or "8000-8010"."""

    host_ip: str = msgspec.field(default="", name="HostIp")
    host_port: str = ""


class RestartPolicy(msgspec.Struct, rename="pascal"):
    """`name` is "", no, always, unless-stopped or on-failure."""

    name: str = ""
    maximum_retry_count: int = 0


class LogConfig(msgspec.Struct, rename="pascal"):
    """`type` is "" (the default), json-file, local or none."""

    type: str = ""
    config: dict[str, str] = {}


class Device(msgspec.Struct, rename="pascal"):
    """A host device made visible."""

    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


class Ulimit(msgspec.Struct, rename="pascal"):
    """A resource limit of the container's processes."""

    name: str = ""
    hard: int = 0
    soft: int = 0


class ThrottleDevice(msgspec.Struct, rename="pascal"):
    """A block device and a rate in bytes or operations a second."""

    path: str = ""
    rate: int = 0


class WeightDevice(msgspec.Struct, rename="pascal"):
    """A block device and its weight, 10 to 1000."""

    path: str = ""
    weight: int = 0


class DeviceRequest(msgspec.Struct, rename="pascal"):
    """Devices of a driver: `--gpus`, CDI. `capabilities` are alternatives, each a list of what must be there."""

    driver: str = ""
    count: int = 0
    device_ids: list[str] = msgspec.field(default_factory=list, name="DeviceIDs")
    capabilities: list[list[str]] = []
    options: dict[str, str] = {}


class BindOptions(msgspec.Struct, rename="pascal", omit_defaults=True):
    """Of a mount of type bind. The two about read-only say what becomes of mounts below it."""

    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False


class DriverConfig(msgspec.Struct, rename="pascal", omit_defaults=True):
    """Of a volume that is made for the mount."""

    name: str = ""
    options: dict[str, str] = {}


class VolumeOptions(msgspec.Struct, rename="pascal", omit_defaults=True):
    """Of a mount of type volume."""

    no_copy: bool = False
    labels: dict[str, str] = {}
    driver_config: DriverConfig | None = None
    subpath: str = ""


class TmpfsOptions(msgspec.Struct, rename="pascal", omit_defaults=True):
    """Of a mount of type tmpfs; an option is a name, or a name and a value."""

    size_bytes: int = 0
    mode: int = 0
    options: list[list[str]] = []


class Mount(msgspec.Struct, rename="pascal", omit_defaults=True):
    """A mount of the long form (`--mount`)."""

    type: str = "bind"
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


class HostConfig(msgspec.Struct, rename="pascal"):
    """The part that depends on this host."""

    binds: list[str] = []
    container_id_file: str = msgspec.field(default="", name="ContainerIDFile")
    log_config: LogConfig = msgspec.field(default_factory=LogConfig)
    network_mode: str = ""
    port_bindings: dict[str, list[PortBinding]] = {}
    restart_policy: RestartPolicy = msgspec.field(default_factory=RestartPolicy)
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: list[str] = []
    console_size: list[int] = msgspec.field(default_factory=lambda: [0, 0])
    annotations: dict[str, str] = {}
    cap_add: list[str] = []
    cap_drop: list[str] = []
    cgroupns_mode: str = ""
    dns: list[str] = []
    dns_options: list[str] = []
    dns_search: list[str] = []
    extra_hosts: list[str] = []
    group_add: list[str] = []
    ipc_mode: str = ""
    cgroup: str = ""
    links: list[str] = []
    oom_score_adj: int = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: list[str] = []
    storage_opt: dict[str, str] = {}
    tmpfs: dict[str, str] = {}
    uts_mode: str = msgspec.field(default="", name="UTSMode")
    userns_mode: str = ""
    shm_size: int = 0
    sysctls: dict[str, str] = {}
    runtime: str = ""
    isolation: str = ""
    mounts: list[Mount] = []
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    init: bool | None = None
    # resources
    cpu_shares: int = 0
    memory: int = 0
    nano_cpus: int = 0
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: list[WeightDevice] = []
    blkio_device_read_bps: list[ThrottleDevice] = []
    blkio_device_write_bps: list[ThrottleDevice] = []
    blkio_device_read_iops: list[ThrottleDevice] = msgspec.field(default_factory=list, name="BlkioDeviceReadIOps")
    blkio_device_write_iops: list[ThrottleDevice] = msgspec.field(default_factory=list, name="BlkioDeviceWriteIOps")
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: list[Device] = []
    device_cgroup_rules: list[str] = []
    device_requests: list[DeviceRequest] = []
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    pids_limit: int | None = None
    ulimits: list[Ulimit] = []


class EndpointAddresses(msgspec.Struct, rename="pascal", omit_defaults=True):
    """Addresses that an endpoint is to have."""

    ipv4_address: str = msgspec.field(default="", name="IPv4Address")
    ipv6_address: str = msgspec.field(default="", name="IPv6Address")
    link_local_ips: list[str] = msgspec.field(default_factory=list, name="LinkLocalIPs")


class EndpointSettings(msgspec.Struct, rename="pascal"):
    """How a container joins one network."""

    ipam_config: EndpointAddresses | None = msgspec.field(default=None, name="IPAMConfig")
    links: list[str] = []
    aliases: list[str] = []
    mac_address: str = ""
    driver_opts: dict[str, str] = {}


class NetworkingConfig(msgspec.Struct, rename="pascal"):
    """Networks beside, or options for, the one named by `HostConfig.network_mode`."""

    endpoints_config: dict[str, EndpointSettings] = {}


class Wanted(msgspec.Struct):
    """One container as a client asked for it. Stored as JSON."""

    config: Config
    host: HostConfig
    networking: NetworkingConfig


def decode_create(body: dict[str, Any]) -> Wanted:
    """Read the body of `POST /containers/create`. Raises `InvalidConfiguration` naming the field."""
    body = _without_nulls(body)
    host = body.pop("HostConfig", {})
    networking = body.pop("NetworkingConfig", {})
    for field in ("Cmd", "Entrypoint"):  # Docker's StrSlice: a lone string is a list of one
        if isinstance(body.get(field), str):
            body[field] = [body[field]]
    return Wanted(_convert(body, Config), _convert(host, HostConfig), _convert(networking, NetworkingConfig))


def decode_host(body: dict[str, Any]) -> HostConfig:
    """Read a HostConfig alone (`update`, the old body of `start`). Raises `InvalidConfiguration`."""
    return _convert(_without_nulls(body), HostConfig)


def decode_endpoint(body: dict[str, Any]) -> EndpointSettings:
    """Read the settings of `POST /networks/…/connect`. Raises `InvalidConfiguration`."""
    return _convert(_without_nulls(body), EndpointSettings)


def encode(wanted: Wanted) -> str:
    """As JSON text for the row."""
    return msgspec.json.encode(wanted).decode()


def decode(text: str) -> Wanted:
    """From the row."""
    return msgspec.json.decode(text, type=Wanted)


def _convert(value: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(value, type=kind)
    except msgspec.ValidationError as error:
        raise InvalidConfiguration("invalid container configuration", why=str(error)) from error


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
