"""`ps`."""

from __future__ import annotations

import time

from sampan.api.engine import words
from sampan.cli import filters, output, tables
from sampan.cli.common import daemon
from sampan.cli.gotext.row import Row
from sampan.cli.line import declare
from sampan.cli.settings import file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

COLUMNS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "Ports": "PORTS",
    "Names": "NAMES",
}
HEADINGS = {
    "CreatedAt": "CREATED AT",
    "LocalVolumes": "LOCAL VOLUMES",
}
RAW = (
    ("container_id", "ID"),
    ("image", "Image"),
    ("command", "Command"),
    ("created_at", "CreatedAt"),
    ("state", "State"),
    ("status", "Status"),
    ("names", "Names"),
    ("labels", "Labels"),
    ("ports", "Ports"),
)
TYPE_NAME = "*formatter.ContainerContext"


def row(item: Mapping[str, Any], now_s: float, *, full: bool) -> Row:
    """The fields of one line. Pure."""
    command = item["Command"] if full else tables.cut(item["Command"], 20)
    labels = item.get("Labels") or {}
    networks = (item.get("NetworkSettings") or {}).get("Networks") or {}
    mounts = [mount.get("Name") or mount.get("Source", "") for mount in item.get("Mounts") or []]
    own, whole = item.get("SizeRw", 0), item.get("SizeRootFs", 0)
    fields: dict[str, Any] = {
        "Command": f'"{command}"',
        "CreatedAt": tables.clock(item["Created"]),
        "ID": item["Id"] if full else tables.short_id(item["Id"]),
        "Image": item["Image"] if full or not item["Image"].startswith("sha256:") else tables.short_id(item["Image"]),
        "Labels": tables.labels(labels),
        "LocalVolumes": str(sum(mount.get("Type") == "volume" for mount in item.get("Mounts") or [])),
        "Mounts": ",".join(mounts if full else [tables.cut(name, 15) for name in mounts]),
        "Names": ",".join(name.lstrip("/") for name in item["Names"]),
        "Networks": ",".join(sorted(networks)),
        "Platform": None,
        "Ports": tables.ports(item.get("Ports") or []),
        "RunningFor": tables.ago(item["Created"], now_s),
        "Size": words.size(own) + (f" (virtual {words.size(whole)})" if whole else ""),
        "State": item["State"],
        "Status": item["Status"],
    }
    return Row(fields, type_name=TYPE_NAME, calls={"Label": lambda name: labels.get(name, "")})


@declare.command()
@declare.option("--all", "-a", "everything", is_flag=True, help="Show stopped ones too")
@declare.option(
    "--filter", "-f", "chosen", kind="filter", help="Show those that match (status=exited, name=x, label=x)"
)
@declare.option("--format", "form", default="", help="table, json, or a template")
@declare.option("--last", "-n", type=int, default=-1, help="Show the n last created ones, in any state")
@declare.option("--latest", "-l", is_flag=True, help="Show the last created one, in any state")
@declare.option("--no-trunc", is_flag=True, help="Do not shorten")
@declare.option("--quiet", "-q", is_flag=True, help="Only show ids")
@declare.option("--size", "-s", is_flag=True, help="Show file sizes")
def ps(
    *,
    everything: bool,
    chosen: tuple[str, ...],
    form: str,
    last: int,
    latest: bool,
    no_trunc: bool,
    quiet: bool,
    size: bool,
) -> int:
    """List containers."""
    if quiet and form:
        output.echo("WARNING: Ignoring custom format, because both --format and --quiet are set.", err=True)
    if not form and not quiet:
        form = str(file.read().get("psFormat") or "")
    limit = 1 if latest else max(last, 0)
    query = {
        "all": everything,
        "limit": limit or None,
        "size": size or (not quiet and wants_size(form)),
        "filters": filters.encode(chosen),
    }
    rows = [row(item, time.time(), full=no_trunc) for item in daemon().get("/containers/json", query)]
    if quiet:
        output.echo("".join(f"{item['ID']}\n" for item in rows), nl=False)
    elif form == "raw":
        raw = (*RAW, ("size", "Size")) if size else RAW
        lines = ["".join(f"{name}: {item[field]}".rstrip() + "\n" for name, field in raw) + "\n" for item in rows]
        output.echo("".join(lines), nl=False)
    else:
        columns = COLUMNS | ({"Size": "SIZE"} if size else {})
        shown = tables.listing(
            rows,
            columns,
            form,
            type_name=TYPE_NAME,
            headings=HEADINGS,
            parsing="failed to parse template: ",
            failing="failed to execute template: ",
        )
        output.echo(shown, nl=False)
    return 0


def wants_size(form: str) -> bool:
    """Whether a format shows sizes, which are slow to measure. Pure."""
    if form in ("", "table", "json", "raw"):
        return False
    from sampan.cli.template import Template, unescaped

    return Template(unescaped(form).removeprefix("table "), what="failed to parse template: ").mentions("Size")
