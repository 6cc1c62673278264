"""`network`: ls, create, rm, inspect, connect, disconnect, prune."""

from __future__ import annotations

from typing import Any

import click

from sampan.cli import filters, inspecting, specs, tables
from sampan.cli.common import daemon, each

SETTINGS = {"help_option_names": ["--help", "-h"]}
COLUMNS = {"ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE"}


@click.group(context_settings=SETTINGS)
def network() -> None:
    """Manage networks."""


@network.command("ls")
@click.option("--filter", "-f", "chosen", multiple=True, help="Show those that match")
@click.option("--format", "form", default="", help="table, json, or a template")
@click.option("--no-trunc", is_flag=True, help="Do not shorten")
@click.option("--quiet", "-q", is_flag=True, help="Only show ids")
def list_(*, chosen: tuple[str, ...], form: str, no_trunc: bool, quiet: bool) -> int:
    """List networks."""
    found = daemon().get("/networks", {"filters": filters.encode(chosen)})
    rows = [
        {
            "ID": item["Id"] if no_trunc else tables.short_id(item["Id"]),
            "Name": item["Name"],
            "Driver": item["Driver"],
            "Scope": item["Scope"],
            "Internal": str(item["Internal"]).lower(),
            "IPv6": str(item["EnableIPv6"]).lower(),
            "CreatedAt": item["Created"],
            "Labels": ",".join(f"{key}={value}" for key, value in sorted((item["Labels"] or {}).items())),
        }
        for item in sorted(found, key=lambda item: item["Name"])
    ]
    if quiet and form in ("", "table"):
        click.echo("".join(f"{item['ID']}\n" for item in rows), nl=False)
        return 0
    click.echo(tables.listing(rows, COLUMNS, form), nl=False)
    return 0


def create_body(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The body of `POST /networks/create`. Pure."""
    pool = {
        "Subnet": options["subnet"],
        "IPRange": options["ip_range"],
        "Gateway": options["gateway"],
        "AuxiliaryAddresses": specs.parse_pairs(options["aux_address"]),
    }
    pool = {key: value for key, value in pool.items() if value}
    return {
        "Name": name,
        "Driver": options["driver"],
        "Internal": options["internal"],
        "Attachable": options["attachable"],
        "EnableIPv6": options["ipv6"],
        "IPAM": {"Driver": options["ipam_driver"], "Options": {}, "Config": [pool] if pool else []},
        "Options": specs.parse_pairs(options["opt"]),
        "Labels": specs.parse_pairs(options["label"]),
    }


@network.command()
@click.option("--attachable", is_flag=True, help="Allow containers to attach by hand")
@click.option("--aux-address", multiple=True, help="Addresses that are taken already")
@click.option("--driver", "-d", default="bridge", help="Driver")
@click.option("--gateway", default="", help="Gateway of the subnet")
@click.option("--internal", is_flag=True, help="No way to the outside")
@click.option("--ip-range", default="", help="Give addresses from this part of the subnet")
@click.option("--ipam-driver", default="default", help="Driver for addresses")
@click.option("--ipv6", is_flag=True, help="Use IPv6 too")
@click.option("--label", multiple=True, help="Labels")
@click.option("--opt", "-o", multiple=True, help="Options of the driver")
@click.option("--subnet", default="", help="Subnet in CIDR form")
@click.argument("name")
def create(name: str, **options: Any) -> int:
    """Create a network."""
    click.echo(daemon().post("/networks/create", body=create_body(name, options))["Id"])
    return 0


@network.command("rm")
@click.option("--force", "-f", is_flag=True, help="No error for a network that does not exist")
@click.argument("networks", nargs=-1, required=True)
def remove(networks: tuple[str, ...], *, force: bool) -> int:
    """Remove one or more networks."""
    client = daemon()
    return each(networks, inspecting.unless_missing(lambda name: client.delete(f"/networks/{name}"), force=force))


@network.command()
@click.option("--format", "-f", "form", default="", help="json or a template")
@click.option("--verbose", "-v", is_flag=True, hidden=True)
@click.argument("networks", nargs=-1, required=True)
def inspect(networks: tuple[str, ...], *, form: str, verbose: bool) -> int:
    """Display detailed information on networks."""
    return inspecting.show(networks, form, [inspecting.NETWORK])


@network.command()
@click.option("--alias", multiple=True, help="Names on the network")
@click.option("--driver-opt", multiple=True, help="Driver options")
@click.option("--ip", default="", help="IPv4 address")
@click.argument("network_name", metavar="NETWORK")
@click.argument("container")
def connect(network_name: str, container: str, *, alias: tuple[str, ...], driver_opt: tuple[str, ...], ip: str) -> int:
    """Connect a container to a network."""
    settings: dict[str, Any] = {"Aliases": list(alias), "DriverOpts": specs.parse_pairs(driver_opt)}
    if ip:
        settings["IPAMConfig"] = {"IPv4Address": ip}
    body = {"Container": container, "EndpointConfig": settings}
    daemon().post(f"/networks/{network_name}/connect", body=body)
    return 0


@network.command()
@click.option("--force", "-f", is_flag=True, help="Disconnect at any cost")
@click.argument("network_name", metavar="NETWORK")
@click.argument("container")
def disconnect(network_name: str, container: str, *, force: bool) -> int:
    """Disconnect a container from a network."""
    daemon().post(f"/networks/{network_name}/disconnect", body={"Container": container, "Force": force})
    return 0


@network.command()
@click.option("--filter", "chosen", multiple=True, help="Remove those that match")
@click.option("--force", "-f", is_flag=True, help="Do not ask")
def prune(*, chosen: tuple[str, ...], force: bool) -> int:
    """Remove all unused networks."""
    if not force:
        click.confirm("This will remove all custom networks not used by a container. Continue?", abort=True)
    found = daemon().post("/networks/prune", {"filters": filters.encode(chosen)})
    if found["NetworksDeleted"]:
        click.echo("\n".join(["Deleted Networks:", *found["NetworksDeleted"], ""]))
    return 0
