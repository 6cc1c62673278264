"""`volume`: ls, create, rm, inspect, prune."""

from __future__ import annotations

from sampan.cli import filters, inspecting, output, specs, tables
from sampan.cli.common import daemon, each
from sampan.cli.line import declare
from sampan.cli.settings import file

COLUMNS = {"Driver": "DRIVER", "Name": "VOLUME NAME"}


@declare.command()
@declare.option("--filter", "-f", "chosen", kind="filter", help="Show those that match")
@declare.option("--format", "form", default="", help="table, json, or a template")
@declare.option("--quiet", "-q", is_flag=True, help="Only show names")
def list_(*, chosen: tuple[str, ...], form: str, quiet: bool) -> int:
    """List volumes."""
    found = daemon().get("/volumes", {"filters": filters.encode(chosen)})["Volumes"] or []
    rows = [
        {
            "Driver": item["Driver"],
            "Name": item["Name"],
            "Mountpoint": item["Mountpoint"],
            "Scope": item["Scope"],
            "Labels": tables.labels(item["Labels"]),
            **dict.fromkeys(("Availability", "Group", "Links", "Size", "Status"), "N/A"),
        }
        for item in sorted(found, key=lambda item: item["Name"])
    ]
    if quiet and form in ("", "table"):
        output.echo("".join(f"{item['Name']}\n" for item in rows), nl=False)
        return 0
    if not form:
        form = str(file.read().get("volumesFormat") or "")
    output.echo(tables.listing(rows, COLUMNS, form, type_name="*formatter.volumeContext"), nl=False)
    return 0


@declare.command()
@declare.option("--driver", "-d", default="local", help="Driver")
@declare.option("--label", multiple=True, help="Labels")
@declare.option("--opt", "-o", kind="map", help="Options of the driver")
@declare.argument("name", default="", metavar="[VOLUME]")
def create(name: str, *, driver: str, label: tuple[str, ...], opt: tuple[str, ...]) -> int:
    """Create a volume."""
    body = {
        "Name": name,
        "Driver": driver,
        "DriverOpts": specs.parse_pairs(opt),
        "Labels": specs.parse_pairs(label),
    }
    output.echo(daemon().post("/volumes/create", body=body)["Name"])
    return 0


@declare.command()
@declare.option("--force", "-f", is_flag=True, help="No error for a volume that does not exist")
@declare.argument("volumes", nargs=-1, required=True, offers="volume")
def remove(volumes: tuple[str, ...], *, force: bool) -> int:
    """Remove one or more volumes."""
    client = daemon()
    return each(volumes, lambda name: client.delete(f"/volumes/{name}", {"force": force}))


@declare.command()
@declare.option("--format", "-f", "form", default="", help="json or a template")
@declare.argument("volumes", nargs=-1, required=True, offers="volume")
def inspect(volumes: tuple[str, ...], *, form: str) -> int:
    """Display detailed information on volumes."""
    return inspecting.show(volumes, form, [inspecting.VOLUME])
