"""`--log-opt tag=…`: Docker's template of a tag, as far as tags use it. Pure.

Source: docker's page on log tags: fields of the container between braces, and text around them.
"""

from __future__ import annotations

import re

from sampan import errors
from sampan.containers.model import Container

DEFAULT = "{{.ID}}"
_ACTION = re.compile(r"\{\{-?\s*\.(\w+)\s*-?\}\}")
FIELDS = frozenset(
    {"ID", "FullID", "Name", "ImageID", "ImageFullID", "ImageName", "ImageFullName", "DaemonName", "Command"}
)
DAEMON_NAME = "docker"


class TagInvalid(errors.Invalid):
    """A template of a tag that cannot be read."""


def check(template: str) -> None:
    """Raises `TagInvalid`."""
    for name in _ACTION.findall(template):
        if name not in FIELDS:
            raise TagInvalid(f"invalid log tag {template[:200]!r}", why=f"there is no field {name}")
    if "{{" in _ACTION.sub("", template):
        raise TagInvalid(
            f"invalid log tag {template[:200]!r}",
            why="only fields are read, such as {{.Name}}",
            remedy=f"use {', '.join(sorted(FIELDS))}",
        )


def render(template: str, container: Container) -> str:
    """A checked template for one container."""
    image_id = container.image_id.removeprefix("sha256:")
    values = {
        "ID": container.short_id,
        "FullID": container.id,
        "Name": container.name,
        "ImageID": image_id[:12],
        "ImageFullID": container.image_id,
        "ImageName": container.wanted.config.image,
        "ImageFullName": container.wanted.config.image,
        "DaemonName": DAEMON_NAME,
        "Command": " ".join(container.entrypoint_and_command),
    }
    return _ACTION.sub(lambda match: values[match[1]], template)
