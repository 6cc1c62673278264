"""The verbs on images."""

from __future__ import annotations

import time

from sampan.api.engine import words
from sampan.cli import filters, output, running, tables
from sampan.cli.common import daemon, each
from sampan.cli.line import declare
from sampan.cli.settings import file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

COLUMNS = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "Size": "SIZE",
}
HEADINGS = {
    "CreatedAt": "CREATED AT",
    "Digest": "DIGEST",
    "Containers": "CONTAINERS",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
    "VirtualSize": "SIZE",
}
HISTORY_COLUMNS = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}


def rows(image: Mapping[str, Any], now_s: float, *, full: bool) -> Iterator[dict[str, str]]:
    """One line a tag; one with `<none>` for an image without. Pure."""
    by_name = {text.partition("@")[0]: text.partition("@")[2] for text in image.get("RepoDigests") or []}
    names = [text for text in image.get("RepoTags") or [] if text != "<none>:<none>"]
    for text in names or [f"{next(iter(by_name), '<none>')}:<none>"]:
        repository, _, tag = text.rpartition(":")
        yield {
            "Containers": "N/A" if image["Containers"] < 0 else str(image["Containers"]),
            "CreatedAt": tables.clock(image["Created"]),
            "CreatedSince": tables.ago(image["Created"], now_s),
            "Digest": by_name.get(repository, "<none>"),
            "ID": image["Id"] if full else tables.short_id(image["Id"]),
            "Repository": repository,
            "SharedSize": "N/A" if image["SharedSize"] < 0 else words.size(image["SharedSize"], digits=4),
            "Size": words.size(image["Size"]),
            "Tag": tag,
            "UniqueSize": "N/A"
            if image["SharedSize"] < 0
            else words.size(image["Size"] - image["SharedSize"], digits=4),
            "VirtualSize": words.size(image["Size"], digits=4),
        }


@declare.command()
@declare.option("--all", "-a", "everything", is_flag=True, help="Show intermediate images too")
@declare.option("--digests", is_flag=True, help="Show digests")
@declare.option("--filter", "-f", "chosen", kind="filter", help="Show those that match")
@declare.option("--format", "form", default="", help="table, json, or a template")
@declare.option("--no-trunc", is_flag=True, help="Do not shorten")
@declare.option("--quiet", "-q", is_flag=True, help="Only show ids")
@declare.argument("repository", default="", metavar="[REPOSITORY[:TAG]]")
def list_(
    *, everything: bool, digests: bool, chosen: tuple[str, ...], form: str, no_trunc: bool, quiet: bool, repository: str
) -> int:
    """List images."""
    wanted = [*chosen, *([f"reference={repository}"] if repository else [])]
    found = daemon().get("/images/json", {"all": everything, "filters": filters.encode(wanted)})
    now_s = time.time()
    lines = [line for image in found for line in rows(image, now_s, full=no_trunc)]
    if not digests and ".Digest" not in form:
        lines = [line | {"Digest": "<none>"} for line in lines]
    if not form:
        form = str(file.read().get("imagesFormat") or "")
    if quiet and form in ("", "table"):
        output.echo("".join(f"{line['ID']}\n" for line in lines), nl=False)
        return 0
    columns = dict(COLUMNS)
    if digests:
        columns = {"Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST"} | columns
    output.echo(tables.listing(lines, columns, form, type_name="*formatter.imageContext", headings=HEADINGS), nl=False)
    return 0


@declare.command()
@declare.argument("source", metavar="SOURCE_IMAGE[:TAG]", offers="image")
@declare.argument("target", metavar="TARGET_IMAGE[:TAG]")
def tag(source: str, target: str) -> int:
    """Give an image one more name."""
    name, _, version = running.with_tag(target).rpartition(":")
    daemon().post(f"/images/{source}/tag", {"repo": name, "tag": version})
    return 0


@declare.command()
@declare.option("--force", "-f", is_flag=True, help="Remove names that are in use too")
@declare.option("--no-prune", is_flag=True, help="Keep untagged parents")
@declare.argument("images", nargs=-1, required=True, offers="image")
def rmi(images: tuple[str, ...], *, force: bool, no_prune: bool) -> int:
    """Remove one or more images."""
    client = daemon()

    def remove(name: str) -> None:
        for line in client.delete(f"/images/{name}", {"force": force, "noprune": no_prune}):
            for action, target in line.items():
                output.echo(f"{action}: {target}")

    return each(images, remove, show=False)


@declare.command()
@declare.option("--format", "form", default="", help="table, json, or a template")
@declare.option("--human", "-H", type=bool, default=True, help="Sizes and dates for people")
@declare.option("--no-trunc", is_flag=True, help="Do not shorten")
@declare.option("--quiet", "-q", is_flag=True, help="Only show ids")
@declare.argument("image", offers="image")
def history(image: str, *, form: str, human: bool, no_trunc: bool, quiet: bool) -> int:
    """Show the history of an image."""
    found = daemon().get(f"/images/{image}/history")
    if quiet:
        for item in found:
            output.echo(item["Id"] if no_trunc else tables.short_id(item["Id"]))
        return 0
    now_s = time.time()
    lines = [
        {
            "ID": item["Id"] if no_trunc else tables.short_id(item["Id"]),
            "CreatedSince": tables.ago(item["Created"], now_s) if human else words.moment(item["Created"] * words.NS),
            "CreatedAt": words.moment(item["Created"] * words.NS),
            "CreatedBy": item["CreatedBy"] if no_trunc else tables.cut(item["CreatedBy"].replace("\t", " "), 45),
            "Size": words.size(item["Size"]) if human else str(item["Size"]),
            "Comment": item["Comment"],
        }
        for item in found
    ]
    columns = HISTORY_COLUMNS if human else {**HISTORY_COLUMNS, "CreatedSince": "CREATED AT"}
    headings = {"CreatedAt": "CREATED AT"}
    output.echo(tables.listing(lines, columns, form, type_name="*image.historyContext", headings=headings), nl=False)
    return 0
