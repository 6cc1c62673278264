"""Settings that exclude each other, and values that no setting can have. Pure.

A wrong value names the option, the value and the remedy.
"""

from __future__ import annotations

from sampan.config import values
from sampan.config.failures import SettingInvalid
from sampan.config.options import Options


def check(options: Options) -> None:
    """Raises `SettingInvalid`."""
    _exclusions(options)
    _paths(options)
    _networks(options)
    _containers(options)
    values.one_of(options.log_format, "--log-format", ("text", "json"))
    if options.log_level not in ("debug", "info", "warn", "error", "fatal"):
        raise SettingInvalid(f"invalid log level {options.log_level!r}", remedy="use debug, info, warn or error")
    values.one_of(options.lazy_pull, "--lazy-pull", ("off", "auto", "on"))
    values.between(options.oom_score_adjust, "--oom-score-adjust", -1000, 1000)
    values.between(options.max_concurrent_downloads, "--max-concurrent-downloads", 1, 1000)
    values.between(options.max_concurrent_uploads, "--max-concurrent-uploads", 1, 1000)
    values.between(options.shutdown_timeout, "--shutdown-timeout", -1, 1 << 31)
    for text in options.labels:
        values.pair(text, "--label")
    for text in options.registry_mirrors:
        _mirror(text)


def _exclusions(options: Options) -> None:
    foreign_bridge = options.bridge not in ("sampan0", "")
    if options.bip and foreign_bridge:
        raise SettingInvalid("you specified -b and --bip, which are mutually exclusive", remedy="leave one of them out")
    if not options.iptables and not options.icc:
        raise SettingInvalid(
            "you specified --iptables=false with --icc=false, which are mutually exclusive",
            why="it is firewall rules that keep containers apart",
            remedy="leave one of them out",
        )
    if options.bridge == "none":
        for name, flag in (("fixed_cidr", "--fixed-cidr"), ("default_gateway", "--default-gateway")):
            if getattr(options, name):
                raise SettingInvalid(f"you specified -b none and {flag}, which are mutually exclusive")


def _paths(options: Options) -> None:
    if options.data_root == options.run_root:
        raise SettingInvalid("the data root and the run root are the same directory", remedy="choose two")
    for name in ("data_root", "run_root", "pid_file"):
        if not getattr(options, name).is_absolute():
            raise SettingInvalid(f"{name} must be an absolute path", why=f"it is {str(getattr(options, name))!r}")


def _networks(options: Options) -> None:
    if not 68 <= options.mtu <= 65535:
        raise SettingInvalid(f"invalid MTU {options.mtu}", remedy="use a number of bytes from 68 to 65535")
    values.address(options.ip, "--ip")
    if options.host_gateway_ip:
        values.address(options.host_gateway_ip, "--host-gateway-ip")
    for text in options.dns:
        values.server(text, "--dns")
    for text in options.default_address_pools:
        values.pool(text, "--default-address-pool")
    subnet = values.interface(options.bip, "--bip").network if options.bip else None
    if options.fixed_cidr:
        inner = values.network(options.fixed_cidr, "--fixed-cidr")
        if subnet is not None and not inner.subnet_of(subnet):
            raise SettingInvalid(
                f"invalid value {options.fixed_cidr!r} for --fixed-cidr",
                why=f"it is not within {subnet}, the subnet of --bip",
                remedy="use a part of that subnet",
            )
        subnet = subnet or inner
    if options.default_gateway:
        gateway = values.address(options.default_gateway, "--default-gateway")
        if subnet is not None and gateway not in subnet and not options.fixed_cidr:
            raise SettingInvalid(
                f"invalid value {options.default_gateway!r} for --default-gateway", remedy=f"use an address of {subnet}"
            )


def _containers(options: Options) -> None:
    for text in options.runtimes:
        values.runtime(text, "--add-runtime")
    for text in options.default_ulimits:
        values.ulimit(text, "--default-ulimit")
    for text in options.log_options:
        values.pair(text, "--log-opt")
    values.size_bytes(options.default_shm_size, "--default-shm-size")
    for text, flag in ((options.log_max_size, "--log-max-size"), (options.lazy_bandwidth, "--lazy-bandwidth")):
        if text:
            values.size_bytes(text, flag)
    values.one_of(options.default_ipc_mode, "--default-ipc-mode", ("private", "shareable"))
    if options.default_cgroupns_mode:
        values.one_of(options.default_cgroupns_mode, "--default-cgroupns-mode", ("private", "host"))
    for text in options.exec_options:
        if text == "native.cgroupdriver=cgroupfs":
            continue
        if text == "native.cgroupdriver=systemd":
            raise SettingInvalid(
                f"invalid value {text!r} for --exec-opt",
                why="Sampan makes control groups itself, without systemd",
                remedy="use native.cgroupdriver=cgroupfs",
            )
        raise SettingInvalid(f"invalid value {text!r} for --exec-opt", remedy="use native.cgroupdriver=cgroupfs")
    parent = options.cgroup_parent
    if parent and (parent.endswith(".slice") or ".." in parent.split("/")):
        raise SettingInvalid(
            f"invalid value {parent!r} for --cgroup-parent",
            why="Sampan makes control groups itself, without systemd",
            remedy="use a path such as /containers",
        )


def _mirror(text: str) -> None:
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in ("http", "https") or not rest.strip("/") or "@" in rest:
        raise SettingInvalid(
            f"invalid value {text!r} for --registry-mirror", remedy="write http://HOST[:PORT] or https://HOST[:PORT]"
        )
