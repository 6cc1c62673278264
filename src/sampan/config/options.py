"""The table: every setting of the daemon with its type, default, spellings and one line of explanation.

The spellings of Docker's daemon of 2014 (`-d`, `-g`, `-p`, `-s`) and today's (`--data-root`, …) mean the same. In the
file (TOML) a setting is named by its field; in Docker's `daemon.json` by its key, which is the last flag without its
dashes unless the row says otherwise; in the environment by `SAMPAN_` and its field in capitals.

dockerd's options that are not settings here are in `foreign`.
"""

# ruff: noqa: RUF009 - `_option` makes a dataclass field, one a row

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ENVIRONMENT_PREFIX = "SAMPAN_"


def _option(default: Any, doc: str, *flags: str, unit: str = "", metavar: str = "", key: str = "") -> Any:
    metadata = {"flags": flags, "doc": doc, "unit": unit, "metavar": metavar, "key": key or flags[-1].lstrip("-")}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Options:
    """All settings. Lists are given by repeating the flag."""

    config_file: str = _option(
        "/etc/sampan/sampan.toml", "settings file: TOML, or JSON as dockerd reads it", "--config-file", metavar="FILE"
    )
    validate: bool = _option(False, "check the settings and exit", "--validate")
    # where the engine listens
    hosts: list[str] = _option(
        ["unix:///var/run/docker.sock"],
        "where the engine listens: unix:///path, tcp://host:port, fd://; may be repeated",
        "-H",
        "--host",
        metavar="ADDRESS",
        key="hosts",
    )
    group: str = _option("", "group of the Unix socket; by itself docker, else sampan", "-G", "--group", metavar="NAME")
    tls: bool = _option(False, "TLS on tcp addresses; --tlsverify implies it", "--tls")
    tls_verify: bool = _option(False, "TLS on tcp addresses, and a certificate asked of clients", "--tlsverify")
    tls_ca_cert: str = _option(
        "", "authority that signed the clients' certificates; by itself ca.pem", "--tlscacert", metavar="FILE"
    )
    tls_cert: str = _option("", "the daemon's certificate; by itself cert.pem", "--tlscert", metavar="FILE")
    tls_key: str = _option("", "the key of the daemon's certificate; by itself key.pem", "--tlskey", metavar="FILE")
    api_cors_header: str = _option(
        "", "origins whose web pages may use the API, separated by commas", "--api-cors-header", metavar="ORIGINS"
    )
    api_enable_cors: bool = _option(False, "web pages of every origin may read from the API", "--api-enable-cors")
    # where things lie
    data_root: Path = _option(
        Path("/var/lib/sampan"), "directory of everything that lasts", "-g", "--graph", "--data-root", metavar="DIR"
    )
    run_root: Path = _option(
        Path("/run/sampan"), "directory of what a reboot may forget", "--run-root", "--exec-root", metavar="DIR"
    )
    pid_file: Path = _option(
        Path("/var/run/sampan.pid"), "file with the daemon's pid", "-p", "--pidfile", metavar="FILE"
    )
    storage_driver: str = _option("", "erofs or overlay2; by itself the best this host can", "-s", "--storage-driver")
    # the daemon's own log
    debug: bool = _option(False, "log everything", "-D", "--debug")
    log_level: str = _option("info", "debug, info, warn, error", "-l", "--log-level", metavar="LEVEL")
    log_format: str = _option("text", "text or json", "--log-format", metavar="FORMAT")
    raw_logs: bool = _option(False, "full time stamps in the daemon's log", "--raw-logs")
    labels: list[str] = _option([], "label of this daemon, shown by info", "--label", metavar="KEY=VALUE", key="labels")
    experimental: bool = _option(False, "say that experimental features are on", "--experimental")
    oom_score_adjust: int = _option(
        0, "the daemon's own preference to be killed, -1000 to 1000", "--oom-score-adjust", metavar="NUMBER"
    )
    # lazy start
    lazy_pull: str = _option(
        "off",
        "start containers before their layers have arrived from a registry of Sampan: off; auto (pulls by tag); on "
        "(pulls by digest too)",
        "--lazy-pull",
        metavar="MODE",
    )
    lazy_timeout: int = _option(
        60, "how long a reader waits for a layer whose registry does not answer", "--lazy-timeout", unit="s"
    )
    lazy_bandwidth: str = _option(
        "", "what fetching in the background may take in a second, such as 10m", "--lazy-bandwidth", metavar="SIZE"
    )
    # the registry
    registry: list[str] = _option(
        ["tcp://0.0.0.0:5000"],
        "where the private registry listens; `none` for no registry",
        "--registry",
        metavar="ADDRESS",
    )
    registry_root: str = _option(
        "", "directory of the content store; by itself `content` in the data root", "--registry-root", metavar="DIR"
    )
    # other registries
    insecure_registries: list[str] = _option(
        [],
        "registry (host:port or CIDR) spoken to without TLS",
        "--insecure-registry",
        metavar="HOST",
        key="insecure-registries",
    )
    registry_mirrors: list[str] = _option(
        [], "mirror of Docker Hub, asked before it", "--registry-mirror", metavar="URL", key="registry-mirrors"
    )
    max_concurrent_downloads: int = _option(6, "layers received at once", "--max-concurrent-downloads", metavar="COUNT")
    max_concurrent_uploads: int = _option(6, "layers sent at once", "--max-concurrent-uploads", metavar="COUNT")
    # networks
    bridge: str = _option("sampan0", "bridge of the default network; `none` for none", "-b", "--bridge", metavar="NAME")
    bip: str = _option("", "address of the default bridge, CIDR; excludes -b", "--bip", metavar="CIDR")
    fixed_cidr: str = _option(
        "", "part of the default bridge's subnet that containers get addresses from", "--fixed-cidr", metavar="CIDR"
    )
    default_gateway: str = _option(
        "", "gateway of the default network's containers; by itself the bridge", "--default-gateway", metavar="ADDRESS"
    )
    default_address_pools: list[str] = _option(
        [],
        "where networks get their subnets from, such as base=10.0.0.0/8,size=24",
        "--default-address-pool",
        metavar="POOL",
        key="default-address-pools",
    )
    icc: bool = _option(True, "containers of the default network may talk to each other", "--icc")
    ip: str = _option("0.0.0.0", "address published ports bind to", "--ip", metavar="ADDRESS")
    iptables: bool = _option(True, "write firewall rules", "--iptables")
    ip_forward: bool = _option(True, "turn IP forwarding on", "--ip-forward")
    ip_masq: bool = _option(True, "masquerade what leaves the default network", "--ip-masq")
    mtu: int = _option(1500, "MTU of the container networks", "--mtu", unit="bytes", metavar="BYTES")
    host_gateway_ip: str = _option(
        "", "address of `host-gateway` in --add-host; by itself the bridge's", "--host-gateway-ip", metavar="ADDRESS"
    )
    dns: list[str] = _option([], "name server of the containers", "--dns", metavar="ADDRESS")
    dns_search: list[str] = _option([], "search domain of the containers", "--dns-search", metavar="DOMAIN")
    dns_options: list[str] = _option(
        [], "resolver option of the containers", "--dns-opt", metavar="OPTION", key="dns-opts"
    )
    # containers
    default_runtime: str = _option("runc", "OCI runtime", "--default-runtime", metavar="NAME")
    runtimes: list[str] = _option(
        [], "one more OCI runtime, such as crun=/usr/bin/crun", "--add-runtime", metavar="NAME=PATH", key="runtimes"
    )
    exec_options: list[str] = _option(
        [], "option of the runtime: native.cgroupdriver=cgroupfs", "--exec-opt", metavar="OPTION", key="exec-opts"
    )
    cgroup_parent: str = _option(
        "", "control group in which Sampan makes its own for all containers", "--cgroup-parent", metavar="PATH"
    )
    default_ulimits: list[str] = _option(
        [], "ulimit of containers, such as nofile=1024:4096", "--default-ulimit", metavar="LIMIT", key="default-ulimits"
    )
    default_shm_size: str = _option("64m", "size of containers' /dev/shm", "--default-shm-size", metavar="SIZE")
    default_ipc_mode: str = _option("private", "private or shareable", "--default-ipc-mode", metavar="MODE")
    default_cgroupns_mode: str = _option(
        "", "private or host; by itself private with cgroup v2", "--default-cgroupns-mode", metavar="MODE"
    )
    init: bool = _option(False, "an init in every container that does not say otherwise", "--init")
    init_path: str = _option(
        "", "that init's program; by itself whichever of the known ones is installed", "--init-path", metavar="FILE"
    )
    no_new_privileges: bool = _option(False, "no container gains privileges", "--no-new-privileges")
    seccomp_profile: str = _option(
        "", "file of the default seccomp profile, or unconfined", "--seccomp-profile", metavar="FILE"
    )
    selinux_enabled: bool = _option(False, "label the containers' processes and files for SELinux", "--selinux-enabled")
    # their logs
    log_driver: str = _option("json-file", "log driver of containers", "--log-driver", metavar="NAME")
    log_options: list[str] = _option(
        [], "log option of containers, such as max-size=10m", "--log-opt", metavar="KEY=VALUE", key="log-opts"
    )
    log_max_size: str = _option("", "size at which a container's log is rotated", "--log-max-size", metavar="SIZE")
    log_max_files: int = _option(1, "log files kept for a container", "--log-max-files", metavar="COUNT")
    # the end
    stop_containers: bool = _option(False, "end all containers when the daemon stops", "--stop-containers")
    shutdown_timeout: int = _option(
        15,
        "seconds that --stop-containers and --tear-down give a container to end",
        "--shutdown-timeout",
        metavar="SECONDS",
        unit="seconds",
    )
    tear_down: bool = _option(
        False, "end all containers, remove mounts, networks and firewall table, and exit", "--tear-down"
    )


def table() -> list[dataclasses.Field[Any]]:
    """The rows, in the order they are explained."""
    return list(dataclasses.fields(Options))


def manual() -> str:
    """The page of the manual: one Markdown row a setting."""
    rows = ["| flags | in the file | in `daemon.json` | default | meaning |", "|---|---|---|---|---|"]
    defaults = Options()
    for row in table():
        flags = ", ".join(f"`{flag}`" for flag in row.metadata["flags"])
        default = getattr(defaults, row.name)
        shown = ", ".join(default) if isinstance(default, list) else str(default)
        default_cell = f"`{shown}`" if shown else ""
        key = row.metadata["key"]
        rows.append(f"| {flags} | `{row.name}` | `{key}` | {default_cell} | {row.metadata['doc']} |")
    return "\n".join(rows) + "\n"
