"""`prune` of containers, images, networks, volumes."""

from __future__ import annotations

from sampan.api.engine import words
from sampan.cli import failures, filters, output
from sampan.cli.common import daemon
from sampan.cli.line import declare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

QUESTION = "Are you sure you want to continue?"


def agreed(warning: str, what: str, *, force: bool) -> None:
    """Raises: CliError for a no."""
    if not force and not output.confirmed(f"WARNING! {warning}\n{QUESTION}"):
        raise failures.CliError(f"{what} prune has been cancelled")


def told(title: str, names: Iterable[str]) -> str:
    """A list under its title, with an empty line behind; "" for nothing. Pure."""
    listed = list(names)
    return "\n".join([title, *listed, "", ""]) if listed else ""


def image_lines(removed: Iterable[Mapping[str, str]]) -> list[str]:
    """`untagged: …` and `deleted: …`. Pure."""
    return [f"{action.lower()}: {target}" for line in removed for action, target in line.items()]


def reclaimed(found: Mapping[str, Any]) -> str:
    """The last line."""
    return f"Total reclaimed space: {words.size(found['SpaceReclaimed'] or 0)}"


@declare.command()
@declare.option("--filter", "chosen", kind="filter", help="Remove those that match (until=24h, label=x)")
@declare.option("--force", "-f", is_flag=True, help="Do not ask")
def containers(*, chosen: tuple[str, ...], force: bool) -> int:
    """Remove all stopped containers."""
    agreed("This will remove all stopped containers.", "container", force=force)
    found = daemon().post("/containers/prune", {"filters": filters.encode(chosen)})
    output.echo(told("Deleted Containers:", found["ContainersDeleted"] or ()) + reclaimed(found))
    return 0


@declare.command()
@declare.option("--all", "-a", "everything", is_flag=True, help="Remove all unused images, not only untagged ones")
@declare.option("--filter", "chosen", kind="filter", help="Remove those that match (until=24h, label=x)")
@declare.option("--force", "-f", is_flag=True, help="Do not ask")
def images(*, everything: bool, chosen: tuple[str, ...], force: bool) -> int:
    """Remove unused images."""
    which = "images without at least one container associated to them" if everything else "dangling images"
    agreed(f"This will remove all {which}.", "image", force=force)
    wanted = [*chosen, "dangling=false" if everything else "dangling=true"]
    found = daemon().post("/images/prune", {"filters": filters.encode(wanted)})
    output.echo(told("Deleted Images:", image_lines(found["ImagesDeleted"] or ())) + reclaimed(found))
    return 0


@declare.command()
@declare.option("--filter", "chosen", kind="filter", help="Remove those that match (until=24h, label=x)")
@declare.option("--force", "-f", is_flag=True, help="Do not ask")
def networks(*, chosen: tuple[str, ...], force: bool) -> int:
    """Remove all unused networks."""
    agreed("This will remove all custom networks not used by at least one container.", "network", force=force)
    found = daemon().post("/networks/prune", {"filters": filters.encode(chosen)})
    output.echo(told("Deleted Networks:", found["NetworksDeleted"] or ()), nl=False)
    return 0


@declare.command()
@declare.option("--all", "-a", "everything", is_flag=True, help="Remove named ones too")
@declare.option("--filter", "chosen", kind="filter", help="Remove those that match (label=x)")
@declare.option("--force", "-f", is_flag=True, help="Do not ask")
def volumes(*, everything: bool, chosen: tuple[str, ...], force: bool) -> int:
    """Remove unused local volumes."""
    if everything and any(text.startswith("all=") for text in chosen):
        raise failures.BadUsage("conflicting options: cannot specify both --all and --filter all=1")
    kind = "" if everything else "anonymous "
    agreed(
        f"This will remove {kind}local volumes not used by at least one container.",
        "volume",
        force=force,
    )
    wanted = [*chosen, *(["all=true"] if everything else [])]
    found = daemon().post("/volumes/prune", {"filters": filters.encode(wanted)})
    output.echo(told("Deleted Volumes:", found["VolumesDeleted"] or ()) + reclaimed(found))
    return 0
