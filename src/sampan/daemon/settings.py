"""From the daemon's options to what each room wants to know. Reads files that options name; starts nothing."""

from __future__ import annotations

import hashlib
import logging
import os
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from sampan import errors
from sampan.config import values
from sampan.config.failures import SettingInvalid
from sampan.config.options import Options
from sampan.containers import defaulting
from sampan.containers.logdrivers import options as logoptions
from sampan.containers.room import Defaults
from sampan.containers.runtime import Runtime
from sampan.containers.wanted import LogConfig
from sampan.host import selinux as files
from sampan.images import endpoints
from sampan.networks.model import DEFAULT_POOLS, Settings
from sampan.security import confinement, selinux

log = logging.getLogger("sampan")
CERTIFICATES: Final = Path("/etc/docker/certs.d")  # where users of docker keep the authorities of their registries


def cgroup_parent(options: Options) -> str:
    """`sampan`, or a name of its own for another run root: no daemon takes another's groups for strays.

    Below `--cgroup-parent`, whose other groups are not ours.
    """
    name = "sampan"
    if options.run_root != Options().run_root:
        name = f"sampan-{hashlib.sha256(os.fsencode(options.run_root)).hexdigest()[:8]}"
    return f"{options.cgroup_parent.strip('/')}/{name}".lstrip("/")


def registries(options: Options, secret: str) -> endpoints.Settings:
    """For the images room. `secret` is what our own registry knows the engine by."""
    own = {}
    for text in options.registry:
        if text == "none":
            continue
        host, _, port = text.removeprefix("tcp://").rpartition(":")
        names = {"127.0.0.1", "localhost", host} - {"0.0.0.0", "", "[::]"}
        own.update({f"{name}:{port}": secret for name in names})
    return endpoints.Settings(
        insecure_registries=tuple(options.insecure_registries),
        mirrors=tuple(options.registry_mirrors),
        own_registry=own,
        certs_directory=CERTIFICATES,
    )


def networks(options: Options) -> Settings:
    """For the networks room."""
    pools = tuple(values.pool(text, "--default-address-pool") for text in options.default_address_pools)
    return Settings(
        bridge=options.bridge,
        bip=options.bip,
        fixed_cidr=options.fixed_cidr,
        default_gateway=options.default_gateway,
        icc=options.icc,
        host_address=IPv4Address(options.ip),
        mtu_bytes=options.mtu,
        iptables=options.iptables,
        ip_forward=options.ip_forward,
        ip_masquerade=options.ip_masq,
        pools=pools or DEFAULT_POOLS,
        dns=tuple(options.dns),
        dns_search=tuple(options.dns_search),
        dns_options=tuple(options.dns_options),
    )


def defaults(options: Options) -> Defaults:
    """For the containers room. Raises `SettingInvalid`, also for a profile that cannot be read."""
    log_options = dict(values.pair(text, "--log-opt") for text in options.log_options)
    try:
        logoptions.check(LogConfig(options.log_driver, log_options))
    except errors.Invalid as error:
        raise SettingInvalid(
            f"invalid value for --log-driver or --log-opt: {error.what}", why=error.why, remedy=error.remedy
        ) from error
    shm_bytes = values.size_bytes(options.default_shm_size, "--default-shm-size")
    wish = defaulting.Wish(
        log_driver=options.log_driver,
        log_options=log_options,
        without_bridge=options.bridge == "none",
        shm_bytes=shm_bytes,
        ipc_mode=options.default_ipc_mode,
        cgroupns_mode=options.default_cgroupns_mode,
        ulimits=tuple(values.ulimit(text, "--default-ulimit") for text in options.default_ulimits),
    )
    return Defaults(
        log_max_size_bytes=values.size_bytes(options.log_max_size, "--log-max-size") if options.log_max_size else 0,
        log_max_files=options.log_max_files,
        no_new_privileges=options.no_new_privileges,
        init=options.init,
        init_path=options.init_path,
        wish=wish,
        selinux=_selinux(options),
        seccomp_profile=_seccomp(options.seccomp_profile),
        host_gateway=options.host_gateway_ip,
    )


def _selinux(options: Options) -> selinux.Policy | None:
    """As dockerd: a host without SELinux is told in the log, and the daemon goes on without labels."""
    if not options.selinux_enabled:
        return None
    text = files.contexts()
    policy = selinux.parse_contexts(text) if text else None
    if policy is None:
        reason = "it is not on" if text is None else "its policy knows no containers (install container-selinux)"
        log.warning("--selinux-enabled: SELinux cannot be used on this host, %s: containers get no labels", reason)
    return policy


def _seccomp(named: str) -> str:
    """The profile's text, checked as a container's would be."""
    if named in ("", "builtin", "unconfined"):
        return "" if named == "builtin" else named
    try:
        text = Path(named).read_text()
        confinement.read_profile(text, frozenset(), os.uname().machine)
    except (OSError, UnicodeDecodeError, errors.Invalid) as error:
        remedy = "name a profile in Docker's form, or unconfined"
        raise SettingInvalid(f"invalid value {named!r} for --seccomp-profile", why=str(error), remedy=remedy) from error
    return text


def runtimes(options: Options) -> dict[str, Runtime]:
    """runc, crun and those added, as far as they are installed; "" is the default. Raises `Unavailable` without one."""
    added = dict(values.runtime(text, "--add-runtime") for text in options.runtimes)
    found = {}
    for name in {"runc", "crun", options.default_runtime, *added}:
        program = _which(added.get(name, name))
        if program:
            found[name] = Runtime(program, options.run_root / "runtime")
        elif name in added:
            raise SettingInvalid(
                f"invalid value {f'{name}={added[name]}'!r} for --add-runtime", remedy="name a program that exists"
            )
    if options.default_runtime not in found:
        raise errors.Unavailable(
            f"no OCI runtime {options.default_runtime!r} on this host",
            remedy="install runc, or name an installed runtime with --default-runtime",
        )
    return {"": found[options.default_runtime], **found}


def _which(name: str) -> str:
    if name.startswith("/"):
        return name if os.access(name, os.X_OK) else ""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin"
    for directory in path.split(":"):
        if directory and os.access(f"{directory}/{name}", os.X_OK):
            return f"{directory}/{name}"
    return ""
