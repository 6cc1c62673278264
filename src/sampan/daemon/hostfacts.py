"""What `docker info` and `docker version` tell about this host, gathered once."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

from sampan.api.engine.context import Facts
from sampan.config.options import Options
from sampan.containers.runtime import Runtime
from sampan.daemon import settings
from sampan.kernel.cgroups import Hierarchy


def gather(
    options: Options, *, driver: str, hierarchy: Hierarchy, runtimes: Mapping[str, Runtime], selinux: bool
) -> Facts:
    """Blocks for a moment: asks the OCI runtime for its version."""
    release = _os_release()
    warnings = []
    if hierarchy.version == 1:
        warnings.append("WARNING: this host uses cgroup v1, which kernels and service managers give up")
    if not options.iptables:
        warnings.append("WARNING: firewall rules are off: containers are not reachable from outside")
    return Facts(
        id=_machine_id(),
        hostname=platform.node(),
        operating_system=release.get("PRETTY_NAME", "Linux"),
        os_version=release.get("VERSION_ID", ""),
        memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        cgroup_version=str(hierarchy.version),
        storage_driver=driver,
        data_root=str(options.data_root),
        runtimes={name: runtime.program for name, runtime in runtimes.items() if name},
        default_runtime=options.default_runtime,
        runtime_version=_runtime_version(runtimes[""].program),
        insecure_registries=tuple(options.insecure_registries),
        registry_mirrors=tuple(options.registry_mirrors),
        address_pools=tuple((str(base), size) for base, size in settings.networks(options).pools),
        labels=tuple(options.labels),
        logging_driver=options.log_driver,
        experimental=options.experimental,
        security_options=_security_options(options, selinux=selinux),
        warnings=tuple(warnings),
        debug=options.debug,
    )


def _security_options(options: Options, *, selinux: bool) -> tuple[str, ...]:
    profile = options.seccomp_profile or "builtin"
    more = (
        *(("name=selinux",) if selinux else ()),
        *(("name=no-new-privileges",) if options.no_new_privileges else ()),
    )
    return (f"name=seccomp,profile={profile}", *more)


def _os_release() -> dict[str, str]:
    for path in (Path("/etc/os-release"), Path("/usr/lib/os-release")):
        if path.exists():
            pairs = (line.partition("=") for line in path.read_text().splitlines() if "=" in line)
            return {name: value.strip('"') for name, _, value in pairs}
    return {}


def _machine_id() -> str:
    path = Path("/etc/machine-id")
    return path.read_text().strip() if path.exists() else platform.node()


def _runtime_version(program: str) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[0].rpartition(" ")[2] if done.stdout else ""
