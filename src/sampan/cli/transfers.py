"""`pull` and `push`."""

from __future__ import annotations

import sys

from sampan.cli import failures, output, progress, running
from sampan.cli.common import daemon
from sampan.cli.line import declare
from sampan.cli.settings import auth, preferences


@declare.command()
@declare.option("--all-tags", "-a", is_flag=True, help="Download all tags")
@declare.option("--platform", default="", help="Platform of the image")
@declare.option("--quiet", "-q", is_flag=True, help="No progress")
@declare.option("--disable-content-trust", is_flag=True, default=None, help="Do not verify signatures (default true)")
@declare.argument("image", metavar="NAME[:TAG|@DIGEST]", offers="image")
def pull(image: str, *, all_tags: bool, platform: str, quiet: bool, disable_content_trust: bool | None) -> int:
    """Download an image from a registry."""
    if all_tags:
        raise failures.BadUsage("pulling all tags of a repository is not supported: name a tag")
    full = running.with_tag(image)
    if full != image and not quiet:
        output.echo("Using default tag: latest")
    preferences.check_trust(disable_content_trust)
    running.pull(daemon(), image, preferences.platform(platform), quiet=quiet, out=sys.stdout)
    output.echo(running.canonical(full))
    return 0


@declare.command()
@declare.option("--all-tags", "-a", is_flag=True, help="Push all tags of the repository")
@declare.option("--quiet", "-q", is_flag=True, help="No progress")
@declare.option("--disable-content-trust", is_flag=True, default=None, help="Do not verify signatures (default true)")
@declare.argument("image", metavar="NAME[:TAG]", offers="image")
def push(image: str, *, all_tags: bool, quiet: bool, disable_content_trust: bool | None) -> int:
    """Upload an image to a registry."""
    preferences.check_trust(disable_content_trust)
    name, _, tag = running.with_tag(image).rpartition(":")
    if all_tags and image != name:
        raise failures.BadUsage("tag can't be used with --all-tags/-a")
    if not all_tags and image == name and not quiet:
        output.echo("Using default tag: latest")
    lines = daemon().lines(
        "POST", f"/images/{name}/push", query={"tag": "" if all_tags else tag}, headers=auth.for_image(image)
    )
    progress.draw(lines, sys.stdout, quiet=quiet)
    if quiet:
        output.echo(running.canonical(image))
    return 0
