"""The table: every setting of the daemon with its type, default, spellings and one line of explanation.

The spellings of Docker's daemon of 2014 (`-d`, `-g`, `-p`, `-s`) and today's (`--data-root`, …) mean the same. In the
file (TOML) a setting is named by its field; in the environment by `SAMPAN_` and its field in capitals.
"""

# ruff: noqa: RUF009 - `_option` makes a dataclass field, one a row

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ENVIRONMENT_PREFIX = "SAMPAN_"


def _option(default: Any, doc: str, *flags: str, unit: str = "", metavar: str = "") -> Any:
    metadata = {"flags": flags, "doc": doc, "unit": unit, "metavar": metavar}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Options:
    """All settings. Lists are given by repeating the flag."""

    config_file: str = _option("/etc/sampan/sampan.toml", "settings file (TOML)", "--config-file", metavar="FILE")
    hosts: list[str] = _option(
        ["unix:///var/run/docker.sock"],
        "where the engine listens: unix:///path, tcp://host:port, fd://; may be repeated",
        "-H",
        "--host",
        metavar="ADDRESS",
    )
    data_root: Path = _option(
        Path("/var/lib/sampan"), "directory of everything that lasts", "-g", "--graph", "--data-root", metavar="DIR"
    )
    run_root: Path = _option(
        Path("/run/sampan"), "directory of what a reboot may forget", "--run-root", "--exec-root", metavar="DIR"
    )
    pid_file: Path = _option(
        Path("/var/run/sampan.pid"), "file with the daemon's pid", "-p", "--pidfile", metavar="FILE"
    )
    debug: bool = _option(False, "log everything", "-D", "--debug")
    log_level: str = _option("info", "debug, info, warn, error", "-l", "--log-level", metavar="LEVEL")
    storage_driver: str = _option("", "erofs or overlay2; by itself the best this host can", "-s", "--storage-driver")
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
    insecure_registries: list[str] = _option(
        [], "registry (host:port or CIDR) spoken to without TLS", "--insecure-registry", metavar="HOST"
    )
    # networks
    bridge: str = _option("sampan0", "bridge of the default network; `none` for none", "-b", "--bridge", metavar="NAME")
    bip: str = _option("", "address of the default bridge, CIDR; excludes -b", "--bip", metavar="CIDR")
    icc: bool = _option(True, "containers of the default network may talk to each other", "--icc")
    ip: str = _option("0.0.0.0", "address published ports bind to", "--ip", metavar="ADDRESS")
    iptables: bool = _option(True, "write firewall rules", "--iptables")
    ip_forward: bool = _option(True, "turn IP forwarding on", "--ip-forward")
    ip_masq: bool = _option(True, "masquerade what leaves the default network", "--ip-masq")
    mtu: int = _option(1500, "MTU of the container networks", "--mtu", unit="bytes", metavar="BYTES")
    dns: list[str] = _option([], "name server of the containers", "--dns", metavar="ADDRESS")
    dns_search: list[str] = _option([], "search domain of the containers", "--dns-search", metavar="DOMAIN")
    dns_options: list[str] = _option([], "resolver option of the containers", "--dns-opt", metavar="OPTION")
    # containers
    default_runtime: str = _option("runc", "OCI runtime", "--default-runtime", metavar="NAME")
    log_max_size: str = _option("", "size at which a container's log is rotated", "--log-max-size", metavar="SIZE")
    log_max_files: int = _option(1, "log files kept for a container", "--log-max-files", metavar="COUNT")
    no_new_privileges: bool = _option(False, "no container gains privileges", "--no-new-privileges")
    stop_containers: bool = _option(False, "end all containers when the daemon stops", "--stop-containers")
    tear_down: bool = _option(
        False, "end all containers, remove mounts, networks and firewall table, and exit", "--tear-down"
    )


def table() -> list[dataclasses.Field[Any]]:
    """The rows, in the order they are explained."""
    return list(dataclasses.fields(Options))


def manual() -> str:
    """The page of the manual: one Markdown row a setting."""
    rows = ["| flags | in the file | default | meaning |", "|---|---|---|---|"]
    defaults = Options()
    for row in table():
        flags = ", ".join(f"`{flag}`" for flag in row.metadata["flags"])
        default = getattr(defaults, row.name)
        shown = ", ".join(default) if isinstance(default, list) else str(default)
        rows.append(f"| {flags} | `{row.name}` | {f'`{shown}`' if shown else ''} | {row.metadata['doc']} |")
    return "\n".join(rows) + "\n"
