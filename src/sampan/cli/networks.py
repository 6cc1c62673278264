"""`network`: ls, create, rm, inspect, connect, disconnect, prune."""

from __future__ import annotations

from sampan.cli import filters, inspecting, output, specs, tables
from sampan.cli.common import daemon, each
from sampan.cli.line import declare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COLUMNS = {"ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE"}


@declare.command()
@declare.option("--filter", "-f", "chosen", kind="filter", help="Show those that match")
@declare.option("--format", "form", default="", help="table, json, or a template")
@declare.option("--no-trunc", is_flag=True, help="Do not shorten")
@declare.option("--quiet", "-q", is_flag=True, help="Only show ids")
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
        output.echo("".join(f"{item['ID']}\n" for item in rows), nl=False)
        return 0
    output.echo(tables.listing(rows, COLUMNS, form), nl=False)
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


@declare.command()
@declare.option("--attachable", is_flag=True, help="Allow containers to attach by hand")
@declare.option("--aux-address", multiple=True, help="Addresses that are taken already")
@declare.option("--driver", "-d", default="bridge", help="Driver")
@declare.option("--gateway", default="", help="Gateway of the subnet")
@declare.option("--internal", is_flag=True, help="No way to the outside")
@declare.option("--ip-range", default="", help="Give addresses from this part of the subnet")
@declare.option("--ipam-driver", default="default", help="Driver for addresses")
@declare.option("--ipv6", is_flag=True, help="Use IPv6 too")
@declare.option("--label", multiple=True, help="Labels")
@declare.option("--opt", "-o", multiple=True, help="Options of the driver")
@declare.option("--subnet", default="", help="Subnet in CIDR form")
@declare.argument("name")
def create(name: str, **options: Any) -> int:
    """Create a network."""
    output.echo(daemon().post("/networks/create", body=create_body(name, options))["Id"])
    return 0


@declare.command()
@declare.option("--force", "-f", is_flag=True, help="No error for a network that does not exist")
@declare.argument("networks", nargs=-1, required=True)
def remove(networks: tuple[str, ...], *, force: bool) -> int:
    """Remove one or more networks."""
    client = daemon()
    return each(networks, inspecting.unless_missing(lambda name: client.delete(f"/networks/{name}"), force=force))


@declare.command()
@declare.option("--format", "-f", "form", default="", help="json or a template")
@declare.option("--verbose", "-v", is_flag=True, hidden=True)
@declare.argument("networks", nargs=-1, required=True)
def inspect(networks: tuple[str, ...], *, form: str, verbose: bool) -> int:
    """Display detailed information on networks."""
    return inspecting.show(networks, form, [inspecting.NETWORK])


@declare.command()
@declare.option("--alias", multiple=True, help="Names on the network")
@declare.option("--driver-opt", multiple=True, help="Driver options")
@declare.option("--ip", default="", help="IPv4 address")
@declare.argument("network_name", metavar="NETWORK")
@declare.argument("container")
def connect(network_name: str, container: str, *, alias: tuple[str, ...], driver_opt: tuple[str, ...], ip: str) -> int:
    """Connect a container to a network."""
    settings: dict[str, Any] = {"Aliases": list(alias), "DriverOpts": specs.parse_pairs(driver_opt)}
    if ip:
        settings["IPAMConfig"] = {"IPv4Address": ip}
    body = {"Container": container, "EndpointConfig": settings}
    daemon().post(f"/networks/{network_name}/connect", body=body)
    return 0


@declare.command()
@declare.option("--force", "-f", is_flag=True, help="Disconnect at any cost")
@declare.argument("network_name", metavar="NETWORK")
@declare.argument("container")
def disconnect(network_name: str, container: str, *, force: bool) -> int:
    """Disconnect a container from a network."""
    daemon().post(f"/networks/{network_name}/disconnect", body={"Container": container, "Force": force})
    return 0
