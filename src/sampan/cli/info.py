"""`info`."""

from __future__ import annotations

import sys

from sampan import __version__
from sampan.api.engine import words
from sampan.cli import failures, output, session
from sampan.cli.common import daemon
from sampan.cli.line import declare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# (label, member); those with a space in front are details of the line above.
_FIRST = (
    ("Containers", "Containers"),
    (" Running", "ContainersRunning"),
    (" Paused", "ContainersPaused"),
    (" Stopped", "ContainersStopped"),
    ("Images", "Images"),
    ("Server Version", "ServerVersion"),
)
_HOST = (
    ("Kernel Version", "KernelVersion"),
    ("Operating System", "OperatingSystem"),
    ("OSType", "OSType"),
    ("Architecture", "Architecture"),
    ("CPUs", "NCPU"),
)
_PROXIES = (("HTTP Proxy", "HttpProxy"), ("HTTPS Proxy", "HttpsProxy"), ("No Proxy", "NoProxy"))


@declare.command()
@declare.option("--format", "-f", "form", default="", help="json or a template")
def info(*, form: str) -> int:
    """Display system-wide information."""
    from sampan.cli import version

    facts = version.client_facts("")
    ours: dict[str, Any] = {"Debug": bool(session.chosen["debug"]), **facts, "Plugins": [], "Warnings": None}
    try:
        found = daemon().get("/info")
    except failures.CliError as error:
        if not form:
            output.echo(client_text(ours) + "\nServer:", nl=True)
        raise failures.CliError(str(error)) from error
    if form:
        from sampan.cli import template

        output.echo(template.formatted(form, {**found, "ClientInfo": ours}, fails="template: "))
        return 0
    output.echo(client_text(ours) + "\n" + server_text(found))
    sys.stdout.flush()
    for warning in found.get("Warnings") or ():
        output.echo(warning, err=True)
    return 0


def client_text(ours: Mapping[str, Any]) -> str:
    """The upper block. Pure."""
    facts = {"Version": __version__, "Context": ours["Context"], "Debug Mode": str(ours["Debug"]).lower()}
    return "Client:\n" + "".join(f" {label + ':':<11} {value}\n" for label, value in facts.items())


def server_text(found: Mapping[str, Any]) -> str:
    """The lower block. Pure."""
    lines = ["Server:", *_facts(found, _FIRST)]
    lines += [f" Storage Driver: {found.get('Driver', '')}"]
    lines += [f"  {key}: {text}" for key, text in found.get("DriverStatus") or ()]
    lines += [f" Logging Driver: {found.get('LoggingDriver', '')}", f" Cgroup Driver: {found.get('CgroupDriver', '')}"]
    lines += [f" Cgroup Version: {found.get('CgroupVersion', '')}"]
    lines += _plugins(found.get("Plugins") or {})
    swarm = (found.get("Swarm") or {}).get("LocalNodeState") or "inactive"
    lines += [f" Swarm: {swarm}", " Runtimes: " + " ".join(sorted(found.get("Runtimes") or {}))]
    lines += [f" Default Runtime: {found.get('DefaultRuntime', '')}", f" Init Binary: {found.get('InitBinary', '')}"]
    for label, member in (("containerd", "ContainerdCommit"), ("runc", "RuncCommit"), ("init", "InitCommit")):
        lines.append(f" {label} version: {(found.get(member) or {}).get('ID', '')}")
    lines += _security(found.get("SecurityOptions") or [])
    lines += _facts(found, _HOST)
    lines += [f" Total Memory: {words.binary_size(found.get('MemTotal') or 0)}", f" Name: {found.get('Name', '')}"]
    lines += [f" ID: {found.get('ID', '')}", f" Docker Root Dir: {found.get('DockerRootDir', '')}"]
    lines += [f" Debug Mode: {_truth(found.get('Debug'))}"]
    lines += [f" {label}: {found[member]}" for label, member in _PROXIES if found.get(member)]
    if found.get("Labels"):
        lines += [" Labels:", *(f"  {text}" for text in found["Labels"])]
    lines += [
        f" Experimental: {_truth(found.get('ExperimentalBuild'))}",
        *_registries(found.get("RegistryConfig") or {}),
    ]
    lines += [f" Live Restore Enabled: {_truth(found.get('LiveRestoreEnabled'))}"]
    if found.get("DefaultAddressPools"):
        pools = [f"   Base: {pool['Base']}, Size: {pool['Size']}" for pool in found["DefaultAddressPools"]]
        lines += [" Default Address Pools:", *pools]
    if found.get("ProductLicense"):
        lines.append(f" Product License: {found['ProductLicense']}")
    return "\n".join(lines) + "\n"


def _facts(found: Mapping[str, Any], table: tuple[tuple[str, str], ...]) -> list[str]:
    return [f" {label}: {found.get(member, '')}" for label, member in table]


def _truth(value: Any) -> str:
    return str(bool(value)).lower()


def _plugins(found: Mapping[str, Any]) -> list[str]:
    lines = [" Plugins:", f"  Volume: {' '.join(found.get('Volume') or [])}"]
    lines += [f"  Network: {' '.join(found.get('Network') or [])}"]
    if found.get("Authorization"):
        lines.append(f"  Authorization: {' '.join(found['Authorization'])}")
    return [*lines, f"  Log: {' '.join(found.get('Log') or [])}"]


def _security(options: list[str]) -> list[str]:
    """`name=seccomp,profile=builtin` as a line and its details."""
    lines = [" Security Options:"] if options else []
    for text in options:
        pairs = [part.partition("=") for part in text.split(",")]
        lines += [f"  {value}" for key, _, value in pairs if key == "name"]
        lines += [f"   {key[:1].upper()}{key[1:]}: {value}" for key, _, value in pairs if key != "name"]
    return lines


def _registries(found: Mapping[str, Any]) -> list[str]:
    lines = [" Insecure Registries:"]
    configs = found.get("IndexConfigs") or {}
    lines += [f"  {name}" for name in sorted(configs) if not configs[name].get("Secure", True)]
    lines += [f"  {network}" for network in found.get("InsecureRegistryCIDRs") or []]
    if found.get("Mirrors"):
        lines += [" Registry Mirrors:", *(f"  {mirror}" for mirror in found["Mirrors"])]
    return lines
