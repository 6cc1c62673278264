"""The verbs on containers that answer at once: ps, stop, kill, rm, …"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import click

from sampan.api.engine import words
from sampan.cli import failures, filters, tables
from sampan.cli.common import daemon, each

SETTINGS = {"help_option_names": ["--help", "-h"]}
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


@click.command(context_settings=SETTINGS)
@click.option("--all", "-a", "everything", is_flag=True, help="Show stopped ones too")
@click.option("--filter", "-f", "chosen", multiple=True, help="Show those that match")
@click.option("--format", "form", default="", help="table, json, or a template")
@click.option("--last", "-n", type=int, default=-1, help="Show the n last created ones")
@click.option("--latest", "-l", is_flag=True, help="Show the last created one")
@click.option("--no-trunc", is_flag=True, help="Do not shorten")
@click.option("--quiet", "-q", is_flag=True, help="Only show ids")
@click.option("--size", "-s", is_flag=True, help="Show file sizes")
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
        click.echo("".join(f"{item['ID']}\n" for item in rows), nl=False)
        return 0
    columns = COLUMNS | ({"Size": "SIZE"} if size else {})
    click.echo(tables.listing(rows, columns, form), nl=False)
    return 0


@click.command(context_settings=SETTINGS)
@click.option("--signal", "-s", default="", help="Signal to send")
@click.option("--timeout", "--time", "-t", "timeout_s", type=int, default=None, help="Seconds until it is killed")
@click.argument("containers", nargs=-1, required=True)
def stop(containers: tuple[str, ...], *, signal: str, timeout_s: int | None) -> int:
    """Stop one or more running containers."""
    client = daemon()
    query = {"t": timeout_s, "signal": signal}
    return each(containers, lambda name: client.post(f"/containers/{name}/stop", query))


@click.command(context_settings=SETTINGS)
@click.option("--signal", "-s", default="", help="Signal to send")
@click.option("--timeout", "--time", "-t", "timeout_s", type=int, default=None, help="Seconds until it is killed")
@click.argument("containers", nargs=-1, required=True)
def restart(containers: tuple[str, ...], *, signal: str, timeout_s: int | None) -> int:
    """Restart one or more containers."""
    client = daemon()
    query = {"t": timeout_s, "signal": signal}
    return each(containers, lambda name: client.post(f"/containers/{name}/restart", query))


@click.command(context_settings=SETTINGS)
@click.option("--signal", "-s", default="KILL", help="Signal to send")
@click.argument("containers", nargs=-1, required=True)
def kill(containers: tuple[str, ...], *, signal: str) -> int:
    """Kill one or more running containers."""
    client = daemon()
    return each(containers, lambda name: client.post(f"/containers/{name}/kill", {"signal": signal}))


@click.command(context_settings=SETTINGS)
@click.option("--force", "-f", is_flag=True, help="Remove running ones too")
@click.option("--link", "-l", is_flag=True, help="Remove the link")
@click.option("--volumes", "-v", is_flag=True, help="Remove anonymous volumes too")
@click.argument("containers", nargs=-1, required=True)
def rm(containers: tuple[str, ...], *, force: bool, link: bool, volumes: bool) -> int:
    """Remove one or more containers."""
    client = daemon()

    def remove(name: str) -> None:
        try:
            client.delete(f"/containers/{name}", {"force": force, "link": link, "v": volumes})
        except failures.DaemonError as error:
            if not (force and error.status == 404):
                raise
            click.echo(str(error), err=True)  # told, but no failure
        else:
            click.echo(name)

    return each(containers, remove, show=False)


@click.command(context_settings=SETTINGS)
@click.argument("containers", nargs=-1, required=True)
def pause(containers: tuple[str, ...]) -> int:
    """Pause all processes of one or more containers."""
    client = daemon()
    return each(containers, lambda name: client.post(f"/containers/{name}/pause"))


@click.command(context_settings=SETTINGS)
@click.argument("containers", nargs=-1, required=True)
def unpause(containers: tuple[str, ...]) -> int:
    """Unpause all processes of one or more containers."""
    client = daemon()
    return each(containers, lambda name: client.post(f"/containers/{name}/unpause"))


@click.command(context_settings=SETTINGS)
@click.argument("containers", nargs=-1, required=True)
def wait(containers: tuple[str, ...]) -> int:
    """Block until one or more containers stop, then print their exit codes."""
    client = daemon()
    return each(containers, lambda name: click.echo(client.post(f"/containers/{name}/wait")["StatusCode"]), show=False)


@click.command(context_settings=SETTINGS)
@click.argument("container")
@click.argument("name")
def rename(container: str, name: str) -> int:
    """Rename a container."""
    daemon().post(f"/containers/{container}/rename", {"name": name})
    return 0


@click.command(context_settings=SETTINGS | {"ignore_unknown_options": True})
@click.argument("container")
@click.argument("ps_options", nargs=-1, type=click.UNPROCESSED)
def top(container: str, ps_options: tuple[str, ...]) -> int:
    """Display the running processes of a container."""
    found = daemon().get(f"/containers/{container}/top", {"ps_args": " ".join(ps_options)})
    click.echo(tables.table(found["Titles"], found["Processes"] or [], narrowest=20), nl=False)
    return 0


@click.command(context_settings=SETTINGS)
@click.argument("container")
@click.argument("private", default="", metavar="[PRIVATE_PORT[/PROTO]]")
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
            click.echo(place if wanted else f"{name} -> {place}")
    return 0


@click.command(context_settings=SETTINGS)
@click.option("--filter", "chosen", multiple=True, help="Remove those that match")
@click.option("--force", "-f", is_flag=True, help="Do not ask")
def prune(*, chosen: tuple[str, ...], force: bool) -> int:
    """Remove all stopped containers."""
    if not force:
        click.confirm("This will remove all stopped containers. Continue?", abort=True)
    found = daemon().post("/containers/prune", {"filters": filters.encode(chosen)})
    _tell("Deleted Containers:", found["ContainersDeleted"])
    click.echo(f"Total reclaimed space: {words.size(found['SpaceReclaimed'])}")
    return 0


def _tell(title: str, names: list[str] | None) -> None:
    if names:
        click.echo("\n".join([title, *names, ""]))
