"""`volume`: ls, create, rm, inspect, prune."""

from __future__ import annotations

import click

from sampan.api.engine import words
from sampan.cli import filters, inspecting, specs, tables
from sampan.cli.common import daemon, each

SETTINGS = {"help_option_names": ["--help", "-h"]}
COLUMNS = {"Driver": "DRIVER", "Name": "VOLUME NAME"}


@click.group(context_settings=SETTINGS)
def volume() -> None:
    """Manage volumes."""


@volume.command("ls")
@click.option("--filter", "-f", "chosen", multiple=True, help="Show those that match")
@click.option("--format", "form", default="", help="table, json, or a template")
@click.option("--quiet", "-q", is_flag=True, help="Only show names")
def list_(*, chosen: tuple[str, ...], form: str, quiet: bool) -> int:
    """List volumes."""
    found = daemon().get("/volumes", {"filters": filters.encode(chosen)})["Volumes"] or []
    rows = [
        {
            "Driver": item["Driver"],
            "Name": item["Name"],
            "Mountpoint": item["Mountpoint"],
            "Scope": item["Scope"],
            "Labels": ",".join(f"{key}={value}" for key, value in sorted((item["Labels"] or {}).items())),
        }
        for item in sorted(found, key=lambda item: item["Name"])
    ]
    if quiet and form in ("", "table"):
        click.echo("".join(f"{item['Name']}\n" for item in rows), nl=False)
        return 0
    click.echo(tables.listing(rows, COLUMNS, form), nl=False)
    return 0


@volume.command()
@click.option("--driver", "-d", default="local", help="Driver")
@click.option("--label", multiple=True, help="Labels")
@click.option("--opt", "-o", multiple=True, help="Options of the driver")
@click.argument("name", default="")
def create(name: str, *, driver: str, label: tuple[str, ...], opt: tuple[str, ...]) -> int:
    """Create a volume."""
    body = {
        "Name": name,
        "Driver": driver,
        "DriverOpts": specs.parse_pairs(opt),
        "Labels": specs.parse_pairs(label),
    }
    click.echo(daemon().post("/volumes/create", body=body)["Name"])
    return 0


@volume.command("rm")
@click.option("--force", "-f", is_flag=True, help="No error for a volume that does not exist")
@click.argument("volumes", nargs=-1, required=True)
def remove(volumes: tuple[str, ...], *, force: bool) -> int:
    """Remove one or more volumes."""
    client = daemon()
    return each(volumes, lambda name: client.delete(f"/volumes/{name}", {"force": force}))


@volume.command()
@click.option("--format", "-f", "form", default="", help="json or a template")
@click.argument("volumes", nargs=-1, required=True)
def inspect(volumes: tuple[str, ...], *, form: str) -> int:
    """Display detailed information on volumes."""
    return inspecting.show(volumes, form, [inspecting.VOLUME])


@volume.command()
@click.option("--all", "-a", "everything", is_flag=True, help="Remove named ones too")
@click.option("--filter", "chosen", multiple=True, help="Remove those that match")
@click.option("--force", "-f", is_flag=True, help="Do not ask")
def prune(*, everything: bool, chosen: tuple[str, ...], force: bool) -> int:
    """Remove unused volumes."""
    if not force:
        kind = "" if everything else "anonymous "
        click.confirm(f"This will remove {kind}local volumes not used by a container. Continue?", abort=True)
    wanted = [*chosen, *(["all=true"] if everything else [])]
    found = daemon().post("/volumes/prune", {"filters": filters.encode(wanted)})
    if found["VolumesDeleted"]:
        click.echo("\n".join(["Deleted Volumes:", *found["VolumesDeleted"], ""]))
    click.echo(f"Total reclaimed space: {words.size(found['SpaceReclaimed'])}")
    return 0
