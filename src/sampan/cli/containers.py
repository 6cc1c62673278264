"""The verbs on containers that answer at once: ps, stop, kill, rm, …"""

from __future__ import annotations

from sampan.cli import failures, output, tables
from sampan.cli.common import daemon, each
from sampan.cli.line import declare

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass


@declare.command()
@declare.option("--signal", "-s", default="", help="Signal to send")
@declare.option("--timeout", "--time", "-t", "timeout_s", type=int, default=None, help="Seconds until it is killed")
@declare.argument("containers", nargs=-1, required=True, offers="container")
def stop(containers: tuple[str, ...], *, signal: str, timeout_s: int | None) -> int:
    """Stop one or more running containers."""
    client = daemon()
    query = {"t": timeout_s, "signal": signal}
    return each(containers, lambda name: client.post(f"/containers/{name}/stop", query))


@declare.command()
@declare.option("--signal", "-s", default="", help="Signal to send")
@declare.option("--timeout", "--time", "-t", "timeout_s", type=int, default=None, help="Seconds until it is killed")
@declare.argument("containers", nargs=-1, required=True, offers="container")
def restart(containers: tuple[str, ...], *, signal: str, timeout_s: int | None) -> int:
    """Restart one or more containers."""
    client = daemon()
    query = {"t": timeout_s, "signal": signal}
    return each(containers, lambda name: client.post(f"/containers/{name}/restart", query))


@declare.command()
@declare.option("--signal", "-s", default="KILL", help="Signal to send")
@declare.argument("containers", nargs=-1, required=True, offers="container")
def kill(containers: tuple[str, ...], *, signal: str) -> int:
    """Kill one or more running containers."""
    client = daemon()
    return each(containers, lambda name: client.post(f"/containers/{name}/kill", {"signal": signal}))


@declare.command()
@declare.option("--force", "-f", is_flag=True, help="Remove running ones too")
@declare.option("--link", "-l", is_flag=True, help="Remove the link")
@declare.option("--volumes", "-v", is_flag=True, help="Remove anonymous volumes too")
@declare.argument("containers", nargs=-1, required=True, offers="container")
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
@declare.argument("containers", nargs=-1, required=True, offers="container")
def pause(containers: tuple[str, ...]) -> int:
    """Pause all processes of one or more containers."""
    client = daemon()
    return each(containers, lambda name: client.post(f"/containers/{name}/pause"))


@declare.command()
@declare.argument("containers", nargs=-1, required=True, offers="container")
def unpause(containers: tuple[str, ...]) -> int:
    """Unpause all processes of one or more containers."""
    client = daemon()
    return each(containers, lambda name: client.post(f"/containers/{name}/unpause"))


@declare.command()
@declare.argument("containers", nargs=-1, required=True, offers="container")
def wait(containers: tuple[str, ...]) -> int:
    """Block until one or more containers stop, then print their exit codes."""
    client = daemon()
    return each(containers, lambda name: output.echo(client.post(f"/containers/{name}/wait")["StatusCode"]), show=False)


@declare.command()
@declare.argument("container", offers="container")
@declare.argument("name", metavar="NEW_NAME")
def rename(container: str, name: str) -> int:
    """Rename a container."""
    try:
        daemon().post(f"/containers/{container}/rename", {"name": name})
    except failures.DaemonError as error:
        raise failures.CliError(f"{error}\nError: failed to rename container named {container}") from error
    return 0


@declare.command(interspersed=False)
@declare.argument("container", offers="container")
@declare.argument("ps_options", nargs=-1, metavar="[ps OPTIONS]")
def top(container: str, ps_options: tuple[str, ...]) -> int:
    """Display the running processes of a container."""
    found = daemon().get(f"/containers/{container}/top", {"ps_args": " ".join(ps_options)})
    output.echo(tables.table(found["Titles"], found["Processes"] or [], narrowest=20), nl=False)
    return 0


@declare.command()
@declare.argument("container", offers="container")
@declare.argument("private", default="", metavar="[PRIVATE_PORT[/PROTO]]")
def port(container: str, private: str) -> int:
    """List port mappings, or the one of a port."""
    published = daemon().get(f"/containers/{container}/json")["NetworkSettings"]["Ports"] or {}
    number, _, protocol = private.partition("/")
    if private and not number.isdecimal():
        raise failures.CliError(
            f'Error: invalid port ({number}): strconv.ParseUint: parsing "{number}": invalid syntax'
        )
    wanted = f"{number}/{protocol or 'tcp'}" if private else ""
    if wanted and not published.get(wanted):
        raise failures.CliError(f"Error: No public port '{private}' published for {container}")
    for name in sorted(published, key=lambda text: (int(text.partition("/")[0]), text)):
        if wanted and name != wanted:
            continue
        for binding in published[name] or []:
            address = binding["HostIp"]
            place = f"{f'[{address}]' if ':' in address else address}:{binding['HostPort']}"
            output.echo(place if wanted else f"{name} -> {place}")
    return 0
