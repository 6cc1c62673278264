"""`inspect`: whatever has the name, as JSON or through a template."""

from __future__ import annotations

import json
import sys

from sampan.cli import failures, output
from sampan.cli.common import daemon
from sampan.cli.line import declare
from sampan.cli.template import Template, to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

CONTAINER = ("container", "/containers/{}/json")
IMAGE = ("image", "/images/{}/json")
NETWORK = ("network", "/networks/{}")
VOLUME = ("volume", "/volumes/{}")
# Those that docker names; of some there are none here.
TYPES = tuple(
    f'"{name}"'
    for name in ("config", "container", "image", "network", "node", "plugin", "secret", "service", "task", "volume")
)
KINDS = (CONTAINER, IMAGE, NETWORK, VOLUME)


def show(names: Sequence[str], form: str, kinds: Sequence[tuple[str, str]], *, size: bool = False) -> int:
    """Print what is found, tell what is not. 1 if anything is missing."""
    found, missing = [], []
    for name in names:
        try:
            found.append(_find(name, kinds, size=size))
        except failures.DaemonError as error:
            if error.status != 404:
                raise
            missing.append(error.message if len(kinds) == 1 else f"No such object: {name}")
    if form in ("", "json"):
        text = json.dumps(found, indent=4, ensure_ascii=False) if not form else to_json(found)
        output.echo(text)
    else:
        template = Template(form, strict=True, parse_code=64)
        for item in found:
            try:
                output.echo(template.render(item))
            except failures.BadUsage:
                output.echo()
                raise
    for text in missing:
        sys.stderr.write(f"Error: {text}\n" if len(kinds) > 1 else f"Error response from daemon: {text}\n")
    return failures.GENERAL if missing else 0


def _find(name: str, kinds: Sequence[tuple[str, str]], *, size: bool) -> Any:
    client = daemon()
    for number, (kind, path) in enumerate(kinds):
        try:
            return client.get(path.format(name), {"size": size} if kind == "container" else None)
        except failures.DaemonError as error:
            # A name that is none of this kind's may be another kind's.
            if number + 1 == len(kinds) or error.status not in (400, 404):
                raise
    raise failures.BadUsage("nothing to look for")


@declare.command()
@declare.option("--format", "-f", "form", default="", help="json or a template")
@declare.option("--size", "-s", is_flag=True, help="Show file sizes of containers")
@declare.option("--type", "kind", default="", help="Only objects of this type")
@declare.argument("names", nargs=-1, required=True, metavar="NAME|ID [NAME|ID...]", offers="any")
def inspect(names: tuple[str, ...], *, form: str, size: bool, kind: str) -> int:
    """Return low-level information on objects."""
    kinds = [one for one in KINDS if kind in ("", one[0])]
    if not kinds:
        raise failures.BadUsage(f'unknown type: "{kind}": must be one of {", ".join(TYPES)}')
    return show(names, form, kinds, size=size)


@declare.command()
@declare.option("--format", "-f", "form", default="", help="json or a template")
@declare.option("--size", "-s", is_flag=True, help="Show file sizes")
@declare.argument("containers", nargs=-1, required=True, offers="container")
def inspect_container(containers: tuple[str, ...], *, form: str, size: bool) -> int:
    """Display detailed information on one or more containers."""
    return show(containers, form, [CONTAINER], size=size)


@declare.command()
@declare.option("--format", "-f", "form", default="", help="json or a template")
@declare.argument("images", nargs=-1, required=True, offers="image")
def inspect_image(images: tuple[str, ...], *, form: str) -> int:
    """Display detailed information on one or more images."""
    return show(images, form, [IMAGE])
