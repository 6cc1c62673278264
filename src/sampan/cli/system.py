"""`version`, `info`, `events`."""

from __future__ import annotations

import signal
import time

from sampan.api.engine import words
from sampan.cli import filters, logs, output, template
from sampan.cli.common import daemon
from sampan.cli.line import declare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


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


@declare.command()
@declare.option("--format", "-f", "form", default="", help="json or a template")
def info(*, form: str) -> int:
    """Display system-wide information."""
    found = daemon().get("/info")
    output.echo(template.formatted(form, found) if form else info_text(found).rstrip("\n"))
    for warning in found.get("Warnings") or ():
        output.echo(warning, err=True)
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


@declare.command()
@declare.option("--filter", "-f", "chosen", kind="filter", help="Show those that match")
@declare.option("--format", "form", default="", help="json or a template")
@declare.option("--since", default="", help="Show those since a time, or for as long")
@declare.option("--until", default="", help="Stop at a time")
def events(*, chosen: tuple[str, ...], form: str, since: str, until: str) -> int:
    """Get events from the daemon."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    now_s = time.time()
    query = {
        "filters": filters.encode(chosen),
        "since": logs.timestamp(since, now_s),
        "until": logs.timestamp(until, now_s),
    }
    for line in daemon().lines("GET", "/events", query=query):
        output.echo(template.formatted(form, line) if form else event_text(line))
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
