"""The verbs on images."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import click

from sampan.api.engine import words
from sampan.cli import auth, failures, filters, progress, running, tables
from sampan.cli.client import Query
from sampan.cli.common import daemon, each

SETTINGS = {"help_option_names": ["--help", "-h"]}
COLUMNS = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "Size": "SIZE",
}
HISTORY_COLUMNS = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}


def rows(image: Mapping[str, Any], now_s: float, *, full: bool, digests: bool) -> Iterator[dict[str, str]]:
    """One line a tag; one with `<none>` for an image without. Pure."""
    by_name = {text.partition("@")[0]: text.partition("@")[2] for text in image.get("RepoDigests") or []}
    names = [text for text in image.get("RepoTags") or [] if text != "<none>:<none>"]
    for text in names or [f"{next(iter(by_name), '<none>')}:<none>"]:
        repository, _, tag = text.rpartition(":")
        yield {
            "Repository": repository,
            "Tag": tag,
            "Digest": by_name.get(repository, "<none>") if digests or full else "<none>",
            "ID": image["Id"] if full else tables.short_id(image["Id"]),
            "CreatedSince": tables.ago(image["Created"], now_s),
            "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(image["Created"])),
            "Size": words.size(image["Size"]),
            "Containers": "N/A" if image["Containers"] < 0 else str(image["Containers"]),
        }


@click.command("images", context_settings=SETTINGS)
@click.option("--all", "-a", "everything", is_flag=True, help="Show intermediate images too")
@click.option("--digests", is_flag=True, help="Show digests")
@click.option("--filter", "-f", "chosen", multiple=True, help="Show those that match")
@click.option("--format", "form", default="", help="table, json, or a template")
@click.option("--no-trunc", is_flag=True, help="Do not shorten")
@click.option("--quiet", "-q", is_flag=True, help="Only show ids")
@click.argument("repository", default="", metavar="[REPOSITORY[:TAG]]")
def list_(
    *, everything: bool, digests: bool, chosen: tuple[str, ...], form: str, no_trunc: bool, quiet: bool, repository: str
) -> int:
    """List images."""
    wanted = [*chosen, *([f"reference={repository}"] if repository else [])]
    found = daemon().get("/images/json", {"all": everything, "filters": filters.encode(wanted)})
    now_s = time.time()
    lines = [line for image in found for line in rows(image, now_s, full=no_trunc, digests=digests)]
    if quiet and form in ("", "table"):
        click.echo("".join(f"{line['ID']}\n" for line in lines), nl=False)
        return 0
    columns = dict(COLUMNS)
    if digests:
        columns = {"Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST"} | columns
    click.echo(tables.listing(lines, columns, form), nl=False)
    return 0


@click.command(context_settings=SETTINGS)
@click.option("--all-tags", "-a", is_flag=True, help="Download all tags")
@click.option("--platform", default="", help="Platform of the image")
@click.option("--quiet", "-q", is_flag=True, help="No progress")
@click.option("--disable-content-trust", type=bool, default=True, hidden=True)
@click.argument("image")
def pull(image: str, *, all_tags: bool, platform: str, quiet: bool, disable_content_trust: bool) -> int:
    """Download an image from a registry."""
    if all_tags:
        raise failures.BadUsage("pulling all tags of a repository is not supported: name a tag")
    full = running.with_tag(image)
    if full != image and not quiet:
        click.echo("Using default tag: latest")
    running.pull(daemon(), image, platform, quiet=quiet, out=sys.stdout)
    click.echo(running.canonical(full))
    return 0


@click.command(context_settings=SETTINGS)
@click.option("--all-tags", "-a", is_flag=True, help="Push all tags of the repository")
@click.option("--quiet", "-q", is_flag=True, help="No progress")
@click.option("--disable-content-trust", type=bool, default=True, hidden=True)
@click.argument("image")
def push(image: str, *, all_tags: bool, quiet: bool, disable_content_trust: bool) -> int:
    """Upload an image to a registry."""
    name, _, tag = running.with_tag(image).rpartition(":")
    if all_tags and image != name:
        raise failures.BadUsage("tag can't be used with --all-tags/-a")
    if not all_tags and image == name and not quiet:
        click.echo("Using default tag: latest")
    lines = daemon().lines(
        "POST", f"/images/{name}/push", query={"tag": "" if all_tags else tag}, headers=auth.for_image(image)
    )
    progress.draw(lines, sys.stdout, quiet=quiet)
    if quiet:
        click.echo(running.canonical(image))
    return 0


@click.command("import", context_settings=SETTINGS)
@click.option("--change", "-c", multiple=True, help="Apply a Dockerfile instruction")
@click.option("--message", "-m", default="", help="Commit message")
@click.option("--platform", default="", help="Platform of the image")
@click.argument("source", metavar="FILE|DIRECTORY|-")
@click.argument("reference", default="", metavar="[REPOSITORY[:TAG]]")
def import_(source: str, reference: str, *, change: tuple[str, ...], message: str, platform: str) -> int:
    """Import a tarball (compressed or not), or a directory as it is, to make an image."""
    query: Query = {
        "fromSrc": "-",
        "repo": reference,
        "message": message,
        "platform": platform,
        "changes": list(change),
    }
    with _tar_of(source) as content:
        progress.draw(daemon().lines("POST", "/images/create", query=query, upload=content), sys.stdout)
    return 0


@contextlib.contextmanager
def _tar_of(source: str) -> Iterator[IO[bytes]]:
    """The bytes to send. A directory is packed by tar(1) on the way, sorted: the same files make the same layer."""
    if source == "-":
        yield sys.stdin.buffer
    elif Path(source).is_dir():
        options = ["--sort=name", "--numeric-owner", "--xattrs", "--xattrs-include=security.capability"]
        with subprocess.Popen(["tar", "-C", source, *options, "-c", "."], stdout=subprocess.PIPE) as packing:
            assert packing.stdout is not None
            yield packing.stdout
        if packing.returncode:
            raise click.ClickException(f"tar could not read all of {source}; the image is incomplete: remove it")
    else:
        with click.open_file(source, "rb") as content:
            yield content


@click.command(context_settings=SETTINGS)
@click.argument("source")
@click.argument("target")
def tag(source: str, target: str) -> int:
    """Give an image one more name."""
    name, _, version = running.with_tag(target).rpartition(":")
    daemon().post(f"/images/{source}/tag", {"repo": name, "tag": version})
    return 0


@click.command(context_settings=SETTINGS)
@click.option("--force", "-f", is_flag=True, help="Remove names that are in use too")
@click.option("--no-prune", is_flag=True, help="Keep untagged parents")
@click.argument("images", nargs=-1, required=True)
def rmi(images: tuple[str, ...], *, force: bool, no_prune: bool) -> int:
    """Remove one or more images."""
    client = daemon()

    def remove(name: str) -> None:
        for line in client.delete(f"/images/{name}", {"force": force, "noprune": no_prune}):
            for action, target in line.items():
                click.echo(f"{action}: {target}")

    return each(images, remove, show=False)


@click.command(context_settings=SETTINGS)
@click.option("--format", "form", default="", help="table, json, or a template")
@click.option("--human", "-H", type=bool, default=True, help="Sizes and dates for people")
@click.option("--no-trunc", is_flag=True, help="Do not shorten")
@click.option("--quiet", "-q", is_flag=True, help="Only show ids")
@click.argument("image")
def history(image: str, *, form: str, human: bool, no_trunc: bool, quiet: bool) -> int:
    """Show the history of an image."""
    found = daemon().get(f"/images/{image}/history")
    if quiet:
        for item in found:
            click.echo(item["Id"] if no_trunc else tables.short_id(item["Id"]))
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
    click.echo(tables.listing(lines, HISTORY_COLUMNS, form), nl=False)
    return 0


@click.command(context_settings=SETTINGS)
@click.option("--all", "-a", "everything", is_flag=True, help="Remove all unused images, not only untagged ones")
@click.option("--filter", "chosen", multiple=True, help="Remove those that match")
@click.option("--force", "-f", is_flag=True, help="Do not ask")
def prune(*, everything: bool, chosen: tuple[str, ...], force: bool) -> int:
    """Remove unused images."""
    if not force:
        click.confirm(f"This will remove all {'unused' if everything else 'dangling'} images. Continue?", abort=True)
    wanted = [*chosen, "dangling=false" if everything else "dangling=true"]
    found = daemon().post("/images/prune", {"filters": filters.encode(wanted)})
    for line in found["ImagesDeleted"] or []:
        for action, target in line.items():
            click.echo(f"{action.lower()}: {target}")
    click.echo(f"Total reclaimed space: {words.size(found['SpaceReclaimed'])}")
    return 0
