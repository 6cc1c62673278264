"""`version`: what answers here and there."""

from __future__ import annotations

import os
import sys

from sampan import __version__
from sampan.cli import client as clients
from sampan.cli import failures, output, session
from sampan.cli.common import daemon
from sampan.cli.endpoint import choose
from sampan.cli.line import declare
from sampan.cli.settings import file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


@declare.command()
@declare.option("--format", "-f", "form", help="json or a template")
def version(*, form: str | None) -> int:
    """Show the versions of client and daemon."""
    failure: failures.CliError | None = None
    theirs: dict[str, Any] | None = None
    used = os.environ.get("DOCKER_API_VERSION", "").removeprefix("v") or clients.API_VERSION
    try:
        talking = daemon()
        theirs = {key: value for key, value in talking.get("/version").items() if value not in ("", False)}
        used = talking.version
    except failures.CliError as error:
        failure = error
    ours = client_facts(used)
    if form:
        from sampan.cli import template

        shown: dict[str, Any] = {"Client": ours, "Server": theirs}
        if form != "json":
            shown = named_as_in_go(shown)
        try:
            output.echo(template.formatted(form, shown, name="version", fails=" "))
        except failures.BadUsage:
            output.echo()
            raise
    else:
        output.echo(client_text(ours) + (server_text(theirs) if theirs else ""), nl=False)
    if failure is not None:
        raise failure
    return 0


def client_facts(api_version: str) -> dict[str, str]:
    """What is here, under docker's names."""
    machine = os.uname().machine
    return {
        "Version": __version__,
        "ApiVersion": api_version,
        "DefaultAPIVersion": clients.API_VERSION,
        "GitCommit": "",
        "GoVersion": "",
        "PythonVersion": ".".join(map(str, sys.version_info[:3])),
        "Os": "linux",
        "Arch": _ARCHITECTURES.get(machine, machine),
        "BuildTime": "",
        "Context": choose.context_name(session.chosen, os.environ, str(file.read().get("currentContext") or "")),
    }


def named_as_in_go(shown: dict[str, Any]) -> dict[str, Any]:
    """With the one member whose name in templates is not its name in JSON. Pure."""
    from sampan.cli import template

    sides = {
        side: facts and template.Row({**facts, "APIVersion": facts.get("ApiVersion", "")}, hidden=("APIVersion",))
        for side, facts in shown.items()
    }
    return template.Row(sides, type_name="system.versionInfo")


def client_text(ours: Mapping[str, str]) -> str:
    """The upper block. Pure."""
    facts = {
        "Version": ours["Version"],
        "API version": ours["ApiVersion"],
        "Python version": ours["PythonVersion"],
        "OS/Arch": f"{ours['Os']}/{ours['Arch']}",
        "Context": ours["Context"],
    }
    return "Client: Sampan\n" + "".join(f" {name + ':':<19}{value}\n" for name, value in facts.items())


def server_text(theirs: Mapping[str, Any]) -> str:
    """The lower block: each component with what it says of itself. Pure."""
    name = (theirs.get("Platform") or {}).get("Name") or ""
    lines = ["", f"Server: {name}" if name else "Server:"]
    for component in theirs.get("Components") or ():
        details = component.get("Details") or {}
        facts = {"Version": component.get("Version", "")} | (
            engine_facts(details) if component["Name"] == "Engine" else {"GitCommit": details.get("GitCommit", "")}
        )
        lines.append(f" {component['Name']}:")
        lines += [f"  {label + ':':<18}{value}" for label, value in facts.items()]
    return "\n".join(lines) + "\n"


def engine_facts(details: Mapping[str, Any]) -> dict[str, str]:
    """The engine's details in docker's order. Pure."""
    return {
        "API version": f"{details.get('ApiVersion', '')} (minimum version {details.get('MinAPIVersion', '')})",
        "Go version": details.get("GoVersion", ""),
        "Git commit": details.get("GitCommit", ""),
        "Built": details.get("BuildTime", ""),
        "OS/Arch": f"{details.get('Os', '')}/{details.get('Arch', '')}",
        "Experimental": details.get("Experimental", "false"),
    }
