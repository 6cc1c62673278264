"""dockerd's options that are no settings here: each is accepted without an effect, or refused by name with the remedy.

Nothing of dockerd's is an unknown word, so that a command line or a `daemon.json` that served dockerd says exactly what
is different. A value that asks for nothing (`--ipv6=false`, an empty list) is accepted in any case.

Source: dockerd --help of 20.10, 26.1 and moby's HEAD; docker -d of 2014.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sampan.config.failures import SettingInvalid

ASKS_NOTHING: Final[tuple[Any, ...]] = ("", "0", "false", "False", "none", [], {}, None, False, 0)


@dataclass(frozen=True, slots=True)
class Foreign:
    """One option. Without a `remedy` it has no effect; `why` says the reason in both cases."""

    flags: tuple[str, ...]
    why: str
    remedy: str = ""
    key: str = ""  # in daemon.json, where it is not the flag's
    switch: bool = False  # the flag takes no value, or one behind `=`

    @property
    def refused(self) -> bool:
        return bool(self.remedy)

    @property
    def name(self) -> str:
        """The key in `daemon.json`, and the parser's name for it."""
        return self.key or self.flags[-1].lstrip("-")


_SWARM: Final = "Sampan is one host, no member of a swarm"
_IPV6: Final = "Sampan's networks are IPv4 only"
_CONTAINERD: Final = "Sampan starts containers itself, without containerd"
_LEAVE: Final = "leave it out"

TABLE: Final = (
    # no effect
    Foreign(("--live-restore",), "containers always go on when the daemon ends; see --stop-containers", switch=True),
    Foreign(("--userland-proxy",), "published ports need no proxy process", switch=True),
    Foreign(("--userland-proxy-path",), "published ports need no proxy process"),
    Foreign(("--ip6tables",), _IPV6, switch=True),
    Foreign(("--ip-forward-no-drop",), "Sampan never sets the policy of the host's FORWARD chain", switch=True),
    Foreign(("--containerd",), _CONTAINERD),
    Foreign(("--containerd-namespace",), _CONTAINERD),
    Foreign(("--containerd-plugins-namespace",), _CONTAINERD, key="containerd-plugin-namespace"),
    Foreign(("--max-download-attempts",), "a broken download goes on where it broke"),
    Foreign(("--allow-nondistributable-artifacts",), "every layer is pushed", key="allow-nondistributable-artifacts"),
    Foreign(("--feature",), "there are no features to turn on", key="features"),
    Foreign(("--builder",), "the build cache is pruned by `builder prune`", key="builder"),
    Foreign(("-e", "--exec-driver"), "containers are started by an OCI runtime; see --default-runtime"),
    Foreign(("-r", "--restart"), "restart policies belong to containers: run --restart", switch=True),
    Foreign(("--network-control-plane-mtu",), _SWARM),
    # refused
    Foreign(("--ipv6",), _IPV6, _LEAVE, switch=True),
    Foreign(("--bip6",), _IPV6, "use --bip"),
    Foreign(("--fixed-cidr-v6",), _IPV6, "use --fixed-cidr"),
    Foreign(("--default-gateway-v6",), _IPV6, "use --default-gateway"),
    Foreign(("--swarm-default-advertise-addr",), _SWARM, _LEAVE),
    Foreign(("--swarm-raft-heartbeat-tick",), _SWARM, _LEAVE),
    Foreign(("--swarm-raft-election-tick",), _SWARM, _LEAVE),
    Foreign(("--node-generic-resource",), _SWARM, _LEAVE, key="node-generic-resources"),
    Foreign(("--cluster-store",), _SWARM, _LEAVE),
    Foreign(("--cluster-advertise",), _SWARM, _LEAVE),
    Foreign(("--cluster-store-opt",), _SWARM, _LEAVE, key="cluster-store-opts"),
    Foreign(
        ("--metrics-addr",), "there is no metrics page", "read GET /containers/NAME/stats, or the host's control groups"
    ),
    Foreign(("--network-diagnostic-port",), "there is no diagnostic server", _LEAVE),
    Foreign(("--userns-remap",), "containers use the host's user ids", "run containers as another user with --user"),
    Foreign(("--rootless",), "the daemon makes mounts, namespaces and networks", "run it as root", switch=True),
    Foreign(
        ("--authorization-plugin",),
        "there are no plug-ins",
        "ask for client certificates with --tlsverify",
        key="authorization-plugins",
    ),
    Foreign(("--storage-opt",), "the storage drivers have no options", _LEAVE, key="storage-opts"),
    Foreign(("--cri-containerd",), _CONTAINERD, _LEAVE, switch=True),
    Foreign(("--cpu-rt-period",), "real-time scheduling is not shared out", _LEAVE),
    Foreign(("--cpu-rt-runtime",), "real-time scheduling is not shared out", _LEAVE),
    Foreign(("--default-stop-timeout",), "it is 10 seconds", "set it for a container: run --stop-timeout"),
    Foreign(
        ("--default-network-opt",),
        "networks have no common options",
        "network create --opt",
        key="default-network-opts",
    ),
    Foreign(
        ("--allow-direct-routing",),
        "the outside reaches published ports only",
        "publish the ports",
        switch=True,
    ),
    Foreign(("--bridge-accept-fwmark",), "the firewall table knows no marks", "publish the ports"),
    Foreign(("--firewall-backend",), "the firewall table is nftables", "leave it out, or use --iptables=false"),
    Foreign(("--cdi-spec-dir",), "there are no CDI devices", "pass device nodes by --device", key="cdi-spec-dirs"),
    Foreign(("--nri-opts",), "there are no NRI plug-ins", _LEAVE, key="nri-opts"),
    Foreign(("--min-api-version",), "every version from 1.24 is served", _LEAVE, key="min-api-version"),
    Foreign(("--resolv-conf",), "containers get the host's", "use --dns", key="resolv-conf"),
    Foreign(("--http-proxy",), "registries are spoken to directly", "use --registry-mirror"),
    Foreign(("--https-proxy",), "registries are spoken to directly", "use --registry-mirror"),
    Foreign(("--no-proxy",), "registries are spoken to directly", _LEAVE),
    Foreign(("--proxies",), "registries are spoken to directly", "use registry-mirrors", key="proxies"),
)


def judge(row: Foreign, value: Any, *, source: str) -> str:
    """A note for the log, "" where the value asks for nothing. Raises `SettingInvalid` for what is refused.

    `source` names where the value was given: the flag, or the file and its key.
    """
    if row.name == "firewall-backend" and value == "nftables":
        return ""
    if not row.refused:
        return f"{source} has no effect: {row.why}"
    if value in ASKS_NOTHING or value == ["false"]:
        return ""
    raise SettingInvalid(f"{source} is not supported by Sampan", why=row.why, remedy=row.remedy)


def manual() -> str:
    """The page of the manual: one Markdown row an option."""
    rows = ["| option of dockerd | here | why | instead |", "|---|---|---|---|"]
    for row in TABLE:
        flags = ", ".join(f"`{flag}`" for flag in row.flags)
        verdict = "refused" if row.refused else "no effect"
        remedy = row.remedy if row.remedy != _LEAVE else ""
        rows.append(f"| {flags} | {verdict} | {row.why} | {remedy} |")
    return "\n".join(rows) + "\n"
