"""What `POST /containers/NAME/update` may ask for beyond dockerd: the member `Sampan` of its body. Pure.

dockerd and its clients ignore the member. Its fields add to what the container has, or take from it by name.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sampan.containers.wanted import InvalidConfiguration, Mount, PortBinding

MEMBER = "Sampan"


class Edit(msgspec.Struct, rename="pascal", forbid_unknown_fields=True):
    """One edit. `None` leaves a field as it is.

    `publish_remove` items are `[ADDRESS:]HOSTPORT[/PROTOCOL]`; `mount_remove` are paths inside the container.
    """

    publish_add: dict[str, list[PortBinding]] = {}
    publish_remove: list[str] = []
    env_add: list[str] = []
    env_remove: list[str] = []
    label_add: dict[str, str] = {}
    label_remove: list[str] = []
    mount_add: list[Mount] = []
    mount_remove: list[str] = []
    cmd: list[str] | None = None
    entrypoint: list[str] | None = None
    working_dir: str | None = None
    user: str | None = None


NOTHING = Edit()


def decode(body: dict[str, Any]) -> Edit:
    """The member of a request's body; nothing where it is missing. Raises `InvalidConfiguration`."""
    value = body.get(MEMBER)
    if value is None:
        return NOTHING
    try:
        return msgspec.convert(value, type=Edit)
    except msgspec.ValidationError as error:
        raise InvalidConfiguration(f"invalid edit in {MEMBER!r}", why=str(error)) from error
