"""`network`: ls, create, rm, inspect, connect, disconnect, prune."""

from __future__ import annotations

from sampan.cli import failures, filters, inspecting, output, specs, tables
from sampan.cli.common import daemon
from sampan.cli.line import declare
from sampan.cli.settings import file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEADINGS = {"CreatedAt": "CREATED AT", "IPv4": "IPV4", "IPv6": "IPV6"}
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
            "IPv4": str(item.get("EnableIPv4", False)).lower(),
            "CreatedAt": go_time(item["Created"]),
            "Labels": tables.labels(item["Labels"]),
        }
        for item in sorted(found, key=lambda item: item["Name"])
    ]
    if quiet and form in ("", "table"):
        output.echo("".join(f"{item['ID']}\n" for item in rows), nl=False)
        return 0
    if not form:
        form = str(file.read().get("networksFormat") or "")
    output.echo(tables.listing(rows, COLUMNS, form, type_name="*network.networkContext", headings=HEADINGS), nl=False)
    return 0


def go_time(text: str) -> str:
    """`2026-11-24T18:29:49.9447Z` as Go prints a time. Pure."""
    day, _, rest = text.partition("T")
    return f"{day} {rest.removesuffix('Z')} +0000 UTC" if text.endswith("Z") else text


def create_body(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The body of `POST /networks/create`. Pure. Raises: BadUsage."""
    body = {
        "Name": name,
        "Driver": options["driver"],
        "Scope": options["scope"],
        "Internal": options["internal"],
        "Attachable": options["attachable"],
        "Ingress": options["ingress"],
        "ConfigOnly": options["config_only"],
        "EnableIPv6": options["ipv6"],
        "IPAM": {
            "Driver": options["ipam_driver"],
            "Options": specs.parse_pairs(options["ipam_opt"]),
            "Config": pools(options),
        },
        "Options": specs.parse_pairs(options["opt"]),
        "Labels": specs.parse_pairs(options["label"]),
    }
    if options["ipv4"] is not None:
        body["EnableIPv4"] = options["ipv4"]
    if options["config_from"]:
        body["ConfigFrom"] = {"Network": options["config_from"]}
    return body


def pools(options: dict[str, Any]) -> list[dict[str, Any]]:
    """Each subnet with the range, gateway and addresses that lie in it. Pure. Raises: BadUsage."""
    if options["subnet"] and len(options["subnet"]) < max(len(options["ip_range"]), len(options["gateway"])):
        raise failures.BadUsage("every ip-range or gateway must have a corresponding subnet")
    if not options["subnet"]:
        if options["ip_range"] or options["gateway"]:
            raise failures.BadUsage("every ip-range or gateway must have a corresponding subnet")
        return []
    if len(options["subnet"]) == 1 and not options["aux_address"]:
        range_, gateway = (next(iter(options[name]), "") for name in ("ip_range", "gateway"))
        pool = {"Subnet": options["subnet"][0], "IPRange": range_, "Gateway": gateway}
        return [{key: value for key, value in pool.items() if value}]
    import ipaddress

    try:
        found = {ipaddress.ip_network(text, strict=False): {"Subnet": text} for text in options["subnet"]}
        pairs = [("IPRange", text) for text in options["ip_range"]] + [("Gateway", text) for text in options["gateway"]]
        for member, text in pairs:
            _pool_of(text, found, member)[member] = text
        for text in options["aux_address"]:
            key, _, address = text.partition("=")
            _pool_of(address, found, "aux-address").setdefault("AuxiliaryAddresses", {})[key] = address
    except ValueError as error:
        raise failures.BadUsage(f"invalid subnet: {error}") from error
    return list(found.values())


def _pool_of(text: str, found: dict[Any, dict[str, Any]], what: str) -> dict[str, Any]:
    import ipaddress

    address = ipaddress.ip_network(text, strict=False).network_address
    for network, pool in found.items():
        if address in network and (what == "aux-address" or what not in pool):
            return pool
    raise failures.BadUsage(f"no matching subnet for {what.replace('IPRange', 'range').lower()} {text}")


@declare.command()
@declare.option("--attachable", is_flag=True, help="Allow containers to attach by hand")
@declare.option("--aux-address", kind="map", help="Addresses that are taken already (name=address)")
@declare.option("--config-from", default="", help="Network whose settings are used (swarm)")
@declare.option("--config-only", is_flag=True, help="Settings without a network (swarm)")
@declare.option("--driver", "-d", default="bridge", help="Driver")
@declare.option("--gateway", kind="strings", help="Gateway of each subnet")
@declare.option("--ingress", is_flag=True, help="Routing mesh (swarm)")
@declare.option("--internal", is_flag=True, help="No way to the outside")
@declare.option("--ip-range", kind="strings", help="Give addresses from this part of each subnet")
@declare.option("--ipam-driver", default="default", help="Driver for addresses")
@declare.option("--ipam-opt", kind="map", help="Options of the driver for addresses")
@declare.option("--ipv4", type=bool, default=None, help="Use IPv4 (default true)")
@declare.option("--ipv6", is_flag=True, help="Use IPv6 too")
@declare.option("--label", multiple=True, help="Labels")
@declare.option("--opt", "-o", kind="map", help="Options of the driver")
@declare.option("--scope", default="", help="Scope: local")
@declare.option("--subnet", kind="strings", help="Subnets in CIDR form")
@declare.argument("name", metavar="NETWORK")
def create(name: str, **options: Any) -> int:
    """Create a network."""
    output.echo(daemon().post("/networks/create", body=create_body(name, options))["Id"])
    return 0


@declare.command()
@declare.option("--force", "-f", is_flag=True, help="No error for a network that does not exist")
@declare.argument("networks", nargs=-1, required=True, offers="network")
def remove(networks: tuple[str, ...], *, force: bool) -> int:
    """Remove one or more networks."""
    client = daemon()
    code = 0
    for name in networks:
        try:
            client.delete(f"/networks/{name}")
        except failures.NoDaemon:
            raise
        except failures.DaemonError as error:
            if force and error.status == 404:
                continue
            output.echo(error, err=True)
            code = failures.GENERAL
        else:
            output.echo(name)
    if code:
        raise failures.CliError("exit status 1", code)  # docker says so
    return 0


@declare.command()
@declare.option("--format", "-f", "form", default="", help="json or a template")
@declare.option("--verbose", "-v", is_flag=True, help="More details (swarm)")
@declare.argument("networks", nargs=-1, required=True, offers="network")
def inspect(networks: tuple[str, ...], *, form: str, verbose: bool) -> int:
    """Display detailed information on networks."""
    return inspecting.show(networks, form, [inspecting.NETWORK])


@declare.command()
@declare.option("--alias", kind="strings", help="Names on the network")
@declare.option("--driver-opt", kind="strings", help="Driver options")
@declare.option("--gw-priority", type=int, default=0, help="The network with the highest gives the default gateway")
@declare.option("--ip", default="", help="IPv4 address")
@declare.option("--ip6", default="", help="IPv6 address")
@declare.option("--link", multiple=True, help="Link to another container")
@declare.option("--link-local-ip", kind="strings", help="Link-local addresses")
@declare.argument("network_name", metavar="NETWORK", offers="network")
@declare.argument("container", offers="container")
def connect(network_name: str, container: str, **options: Any) -> int:
    """Connect a container to a network."""
    addresses = {
        "IPv4Address": options["ip"],
        "IPv6Address": options["ip6"],
        "LinkLocalIPs": list(options["link_local_ip"]),
    }
    settings: dict[str, Any] = {
        "IPAMConfig": {key: value for key, value in addresses.items() if value},
        "Links": list(options["link"]),
        "Aliases": list(options["alias"]),
        "DriverOpts": specs.parse_pairs(options["driver_opt"]),
        "GwPriority": options["gw_priority"],
    }
    body = {"Container": container, "EndpointConfig": {key: value for key, value in settings.items() if value}}
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
