"""`version`, `info`, `events`."""

from __future__ import annotations

import json
import platform
import signal
import time
from collections.abc import Mapping
from typing import Any

import click

from sampan import __version__
from sampan.api.engine import words
from sampan.cli import attaching, failures, filters
from sampan.cli import client as clients
from sampan.cli.common import daemon
from sampan.cli.template import Template

SETTINGS = {"help_option_names": ["--help", "-h"]}


def _format(form: str, value: Mapping[str, Any]) -> str:
    if form == "json":
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return Template(form.replace("\\t", "\t").replace("\\n", "\n")).render(value)


@click.command(context_settings=SETTINGS)
@click.option("--format", "-f", "form", default="", help="json or a template")
def version(*, form: str) -> int:
    """Show the versions of client and daemon."""
    ours = {
        "Version": __version__,
        "APIVersion": clients.API.removeprefix("/v"),
        "PythonVersion": platform.python_version(),
        "Os": "linux",
        "Arch": platform.machine(),
    }
    failure: failures.CliError | None = None
    theirs: dict[str, Any] | None = None
    try:
        theirs = daemon().get("/version")
    except failures.CliError as error:
        failure = error
    if form:
        click.echo(_format(form, {"Client": ours, "Server": theirs}))
    else:
        click.echo(version_text(ours, theirs), nl=False)
    if failure is not None:
        raise failure
    return 0


def version_text(ours: Mapping[str, str], theirs: Mapping[str, Any] | None) -> str:
    """Two blocks, as docker prints them. Pure."""
    lines = ["Client: Sampan"]
    lines += [f" {name + ':':<19}{value}" for name, value in ours.items()]
    if theirs is not None:
        names = ("Version", "ApiVersion", "MinAPIVersion", "GitCommit", "BuildTime", "Os", "Arch", "KernelVersion")
        lines += ["", f"Server: {(theirs.get('Platform') or {}).get('Name', '')}"]
        lines += [f" {name + ':':<19}{theirs[name]}" for name in names if theirs.get(name)]
    return "\n".join(lines) + "\n"


# (label, member of the answer); two spaces in front of the label mean a detail of the line above.
INFO_LINES = (
    ("Containers", "Containers"),
    (" Running", "ContainersRunning"),
    (" Paused", "ContainersPaused"),
    (" Stopped", "ContainersStopped"),
    ("Images", "Images"),
    ("Server Version", "ServerVersion"),
    ("Storage Driver", "Driver"),
    ("Logging Driver", "LoggingDriver"),
    ("Cgroup Driver", "CgroupDriver"),
    ("Cgroup Version", "CgroupVersion"),
    ("Default Runtime", "DefaultRuntime"),
    ("Init Binary", "InitBinary"),
    ("Kernel Version", "KernelVersion"),
    ("Operating System", "OperatingSystem"),
    ("OSType", "OSType"),
    ("Architecture", "Architecture"),
    ("CPUs", "NCPU"),
    ("Total Memory", "MemTotal"),
    ("Name", "Name"),
    ("ID", "ID"),
    ("Docker Root Dir", "DockerRootDir"),
    ("Debug Mode", "Debug"),
    ("Experimental", "ExperimentalBuild"),
    ("Live Restore Enabled", "LiveRestoreEnabled"),
)


@click.command(context_settings=SETTINGS)
@click.option("--format", "-f", "form", default="", help="json or a template")
def info(*, form: str) -> int:
    """Display system-wide information."""
    found = daemon().get("/info")
    click.echo(_format(form, found) if form else info_text(found).rstrip("\n"))
    for warning in found.get("Warnings") or ():
        click.echo(warning, err=True)
    return 0


def info_text(found: Mapping[str, Any]) -> str:
    """One fact a line. Pure."""
    lines = ["Server:"]
    for label, name in INFO_LINES:
        value = found.get(name)
        if value in (None, ""):
            continue
        if name == "MemTotal":
            value = words.binary_size(value)
        lines.append(f" {label}: {str(value).lower() if isinstance(value, bool) else value}")
        if name == "Driver":
            lines += [f"  {key}: {text}" for key, text in found.get("DriverStatus") or ()]
    for label, name in (("Labels", "Labels"), ("Security Options", "SecurityOptions")):
        if found.get(name):
            lines += [f" {label}:", *(f"  {text}" for text in found[name])]
    return "\n".join(lines) + "\n"


@click.command(context_settings=SETTINGS)
@click.option("--filter", "-f", "chosen", multiple=True, help="Show those that match")
@click.option("--format", "form", default="", help="json or a template")
@click.option("--since", default="", help="Show those since a time, or for as long")
@click.option("--until", default="", help="Stop at a time")
def events(*, chosen: tuple[str, ...], form: str, since: str, until: str) -> int:
    """Get events from the daemon."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    now_s = time.time()
    query = {
        "filters": filters.encode(chosen),
        "since": attaching.timestamp(since, now_s),
        "until": attaching.timestamp(until, now_s),
    }
    for line in daemon().lines("GET", "/events", query=query):
        click.echo(_format(form, line) if form else event_text(line))
    return 0


def event_text(event: Mapping[str, Any]) -> str:
    """`time type action actor (key=value, …)`. Pure."""
    seconds, fraction = divmod(event["timeNano"], words.NS)
    moment = time.strftime(f"%Y-%m-%dT%H:%M:%S.{fraction:09d}%z", time.localtime(seconds))
    zone = "Z" if moment.endswith("+0000") else f"{moment[-5:-2]}:{moment[-2:]}"
    actor = event["Actor"]
    attributes = ", ".join(f"{key}={value}" for key, value in sorted((actor["Attributes"] or {}).items()))
    text = f"{moment[:-5]}{zone} {event['Type']} {event['Action']} {actor['ID']}"
    return f"{text} ({attributes})" if attributes else text
