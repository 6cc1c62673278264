"""`prune` of containers, images, networks, volumes."""

from __future__ import annotations

from sampan.api.engine import words
from sampan.cli import failures, filters, output, units
from sampan.cli.common import daemon
from sampan.cli.line import declare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

QUESTION = "Are you sure you want to continue?"


def agreed(warning: str, *, force: bool, joint: str = "\n") -> None:
    """Raises: Cancelled."""
    if not force and not output.confirmed(f"WARNING! {warning}{joint}{QUESTION}"):
        raise failures.Cancelled


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
    agreed("This will remove all stopped containers.", force=force)
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
    agreed(f"This will remove all {which}.", force=force)
    wanted = [*chosen, "dangling=false" if everything else "dangling=true"]
    found = daemon().post("/images/prune", {"filters": filters.encode(wanted)})
    output.echo(told("Deleted Images:", image_lines(found["ImagesDeleted"] or ())) + reclaimed(found))
    return 0


@declare.command()
@declare.option("--filter", "chosen", kind="filter", help="Remove those that match (until=24h, label=x)")
@declare.option("--force", "-f", is_flag=True, help="Do not ask")
def networks(*, chosen: tuple[str, ...], force: bool) -> int:
    """Remove all unused networks."""
    agreed("This will remove all custom networks not used by at least one container.", force=force)
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
    kind = "all " if everything else "anonymous "
    agreed(
        f"This will remove {kind}local volumes not used by at least one container.",
        force=force,
    )
    wanted = [*chosen, *(["all=true"] if everything else [])]
    found = daemon().post("/volumes/prune", {"filters": filters.encode(wanted)})
    output.echo(told("Deleted Volumes:", found["VolumesDeleted"] or ()) + reclaimed(found))
    return 0


@declare.command()
@declare.option("--all", "-a", "everything", is_flag=True, help="Remove all of the cache, not only what nothing uses")
@declare.option("--filter", "chosen", kind="filter", help="Remove what matches (until=24h)")
@declare.option("--force", "-f", is_flag=True, help="Do not ask")
@declare.option("--keep-storage", kind="bytes", default="", help="Keep so much of the cache")
def builds(*, everything: bool, chosen: tuple[str, ...], force: bool, keep_storage: str) -> int:
    """Remove build cache."""
    which = "all build cache" if everything else "all dangling build cache"
    agreed(f"This will remove {which}.", force=force, joint=" ")
    keep = units.parse_size(keep_storage) if keep_storage else None
    found = daemon().post(
        "/build/prune",
        {"all": everything, "filters": filters.encode(chosen), "keep-storage": keep, "reserved-space": keep},
    )
    output.echo(told("Deleted build cache objects:", found["CachesDeleted"] or ()), nl=False)
    output.echo(f"Total:  {words.size(found['SpaceReclaimed'] or 0)}")
    return 0


def system_warning(*, everything: bool, volumes: bool, chosen: Iterable[str]) -> str:
    """What `system prune` is going to remove. Pure."""
    lines = ["all stopped containers", "all networks not used by at least one container"]
    lines += ["all anonymous volumes not used by at least one container"] if volumes else []
    lines += [
        "all images without at least one container associated to them" if everything else "all dangling images",
        "all build cache" if everything else "unused build cache",
    ]
    text = "This will remove:\n" + "".join(f"  - {line}\n" for line in lines)
    conditions = [f"  - {text}\n" for text in sorted(chosen)]
    if conditions:
        text += "\n  Items to be pruned will be filtered with:\n" + "".join(conditions)
    return text


@declare.command()
@declare.option("--all", "-a", "everything", is_flag=True, help="Remove all unused images, not only untagged ones")
@declare.option("--filter", "chosen", kind="filter", help="Remove what matches (until=24h, label=x)")
@declare.option("--force", "-f", is_flag=True, help="Do not ask")
@declare.option("--volumes", "with_volumes", is_flag=True, help="Remove anonymous volumes too")
def unused(*, everything: bool, chosen: tuple[str, ...], force: bool, with_volumes: bool) -> int:
    """Remove unused data."""
    if with_volumes and any(text.startswith("until=") for text in chosen):
        raise failures.BadUsage('the "until" filter is not supported with "--volumes"')
    agreed(system_warning(everything=everything, volumes=with_volumes, chosen=chosen), force=force)
    client = daemon()
    plain = filters.encode(chosen)
    dangling = filters.encode([*chosen, f"dangling={'false' if everything else 'true'}"])
    parts: list[tuple[str, str, str, dict[str, Any]]] = [
        ("/containers/prune", "ContainersDeleted", "Deleted Containers:", {"filters": plain}),
        ("/networks/prune", "NetworksDeleted", "Deleted Networks:", {"filters": plain}),
        ("/volumes/prune", "VolumesDeleted", "Deleted Volumes:", {"filters": plain}),
        ("/images/prune", "ImagesDeleted", "Deleted Images:", {"filters": dangling}),
        ("/build/prune", "CachesDeleted", "Deleted build cache objects:", {"all": everything, "filters": plain}),
    ]
    freed = 0
    for path, member, title, asked in parts:
        if member == "VolumesDeleted" and not with_volumes:
            continue
        found = client.post(path, asked)
        names = found[member] or ()
        output.echo(told(title, image_lines(names) if member == "ImagesDeleted" else names), nl=False)
        freed += found.get("SpaceReclaimed") or 0
    output.echo(f"Total reclaimed space: {words.size(freed)}")
    return 0
