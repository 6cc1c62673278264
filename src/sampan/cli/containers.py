"""The verbs on containers that answer at once: ps, stop, kill, rm, …"""

from __future__ import annotations

import time

from sampan.api.engine import words
from sampan.cli import failures, filters, output, tables
from sampan.cli.common import daemon, each
from sampan.cli.line import declare

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


def row(item: Mapping[str, Any], now_s: float, *, full: bool) -> dict[str, str]:
    """The fields of one line of `ps`. Pure."""
    command = item["Command"] if full else tables.cut(item["Command"], 20)
    labels = item.get("Labels") or {}
    networks = (item.get("NetworkSettings") or {}).get("Networks") or {}
    mounts = [mount.get("Name") or mount.get("Source", "") for mount in item.get("Mounts") or []]
    own, whole = item.get("SizeRw", 0), item.get("SizeRootFs", 0)
    size = words.size(own) + (f" (virtual {words.size(whole)})" if whole else "")
    return {
        "ID": item["Id"] if full else tables.short_id(item["Id"]),
        "Image": item["Image"] if full or not item["Image"].startswith("sha256:") else tables.short_id(item["Image"]),
        "Command": f'"{command}"',
        "RunningFor": tables.ago(item["Created"], now_s),
        "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(item["Created"])),
        "Status": item["Status"],
        "State": item["State"],
        "Ports": tables.ports(item.get("Ports") or []),
        "Names": ",".join(name.lstrip("/") for name in item["Names"]),
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        "Networks": ",".join(sorted(networks)),
        "Mounts": ",".join(mounts if full else [tables.cut(name, 15) for name in mounts]),
        "Size": size,
        "LocalVolumes": str(sum(mount.get("Type") == "volume" for mount in item.get("Mounts") or [])),
    }


@declare.command()
@declare.option("--all", "-a", "everything", is_flag=True, help="Show stopped ones too")
@declare.option("--filter", "-f", "chosen", kind="filter", help="Show those that match")
@declare.option("--format", "form", default="", help="table, json, or a template")
@declare.option("--last", "-n", type=int, default=-1, help="Show the n last created ones")
@declare.option("--latest", "-l", is_flag=True, help="Show the last created one")
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
    limit = 1 if latest else max(last, 0)
    query = {
        "all": everything,
        "limit": limit or None,
        "size": size or ".Size" in form,
        "filters": filters.encode(chosen),
    }
    rows = [row(item, time.time(), full=no_trunc) for item in daemon().get("/containers/json", query)]
    if quiet and form in ("", "table"):
        output.echo("".join(f"{item['ID']}\n" for item in rows), nl=False)
        return 0
    columns = COLUMNS | ({"Size": "SIZE"} if size else {})
    output.echo(tables.listing(rows, columns, form), nl=False)
    return 0


@declare.command()
@declare.option("--signal", "-s", default="", help="Signal to send")
@declare.option("--timeout", "--time", "-t", "timeout_s", type=int, default=None, help="Seconds until it is killed")
@declare.argument("containers", nargs=-1, required=True)
def stop(containers: tuple[str, ...], *, signal: str, timeout_s: int | None) -> int:
    """Stop one or more running containers."""
    client = daemon()
    query = {"t": timeout_s, "signal": signal}
    return each(containers, lambda name: client.post(f"/containers/{name}/stop", query))


@declare.command()
@declare.option("--signal", "-s", default="", help="Signal to send")
@declare.option("--timeout", "--time", "-t", "timeout_s", type=int, default=None, help="Seconds until it is killed")
@declare.argument("containers", nargs=-1, required=True)
def restart(containers: tuple[str, ...], *, signal: str, timeout_s: int | None) -> int:
    """Restart one or more containers."""
    client = daemon()
    query = {"t": timeout_s, "signal": signal}
    return each(containers, lambda name: client.post(f"/containers/{name}/restart", query))


@declare.command()
@declare.option("--signal", "-s", default="KILL", help="Signal to send")
@declare.argument("containers", nargs=-1, required=True)
def kill(containers: tuple[str, ...], *, signal: str) -> int:
    """Kill one or more running containers."""
    client = daemon()
    return each(containers, lambda name: client.post(f"/containers/{name}/kill", {"signal": signal}))


@declare.command()
@declare.option("--force", "-f", is_flag=True, help="Remove running ones too")
@declare.option("--link", "-l", is_flag=True, help="Remove the link")
@declare.option("--volumes", "-v", is_flag=True, help="Remove anonymous volumes too")
@declare.argument("containers", nargs=-1, required=True)
def rm(containers: tuple[str, ...], *, force: bool, link: bool, volumes: bool) -> int:
    """Remove one or more containers."""
    client = daemon()

    def remove(name: str) -> None:
        try:
            client.delete(f"/containers/{name}", {"force": force, "link": link, "v": volumes})
        except failures.DaemonError as error:
            if not (force and error.status == 404):
                raise
            output.echo(str(error), err=True)  # told, but no failure
        else:
            output.echo(name)

    return each(containers, remove, show=False)


@declare.command()
@declare.argument("containers", nargs=-1, required=True)
def pause(containers: tuple[str, ...]) -> int:
    """Pause all processes of one or more containers."""
    client = daemon()
    return each(containers, lambda name: client.post(f"/containers/{name}/pause"))


@declare.command()
@declare.argument("containers", nargs=-1, required=True)
def unpause(containers: tuple[str, ...]) -> int:
    """Unpause all processes of one or more containers."""
    client = daemon()
    return each(containers, lambda name: client.post(f"/containers/{name}/unpause"))


@declare.command()
@declare.argument("containers", nargs=-1, required=True)
def wait(containers: tuple[str, ...]) -> int:
    """Block until one or more containers stop, then print their exit codes."""
    client = daemon()
    return each(containers, lambda name: output.echo(client.post(f"/containers/{name}/wait")["StatusCode"]), show=False)


@declare.command()
@declare.argument("container")
@declare.argument("name")
def rename(container: str, name: str) -> int:
    """Rename a container."""
    daemon().post(f"/containers/{container}/rename", {"name": name})
    return 0


@declare.command(interspersed=False)
@declare.argument("container")
@declare.argument("ps_options", nargs=-1)
def top(container: str, ps_options: tuple[str, ...]) -> int:
    """Display the running processes of a container."""
    found = daemon().get(f"/containers/{container}/top", {"ps_args": " ".join(ps_options)})
    output.echo(tables.table(found["Titles"], found["Processes"] or [], narrowest=20), nl=False)
    return 0


@declare.command()
@declare.argument("container")
@declare.argument("private", default="", metavar="[PRIVATE_PORT[/PROTO]]")
def port(container: str, private: str) -> int:
    """List port mappings, or the one of a port."""
    published = daemon().get(f"/containers/{container}/json")["NetworkSettings"]["Ports"] or {}
    wanted = private if "/" in private or not private else f"{private}/tcp"
    if wanted and not published.get(wanted):
        raise failures.CliError(f"Error: No public port '{wanted}' published for {container}")
    for name in sorted(published, key=lambda text: (int(text.partition("/")[0]), text)):
        if wanted and name != wanted:
            continue
        for binding in published[name] or []:
            address = binding["HostIp"]
            place = f"{f'[{address}]' if ':' in address else address}:{binding['HostPort']}"
            output.echo(place if wanted else f"{name} -> {place}")
    return 0
