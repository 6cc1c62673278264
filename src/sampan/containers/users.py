"""Whom a container runs as: `user[:group]` against the image's own passwd and group files. Pure.

The files come from the image: they may be hostile. Callers pass at most `LARGEST_BYTES` of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sampan import errors

LARGEST_BYTES = 8 << 20
LARGEST_ID = 2**31 - 1


class UserUnknown(errors.Invalid):
    """The image has no such user or group."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Numbers for the runtime."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"


def resolve(text: str, passwd: bytes, group: bytes, extra_groups: tuple[str, ...] = ()) -> Identity:
    """`text` is "", `user`, `uid`, `user:group`, `uid:gid`. Raises `UserUnknown`."""
    user, colon, wanted_group = text.partition(":")
    user = user or "0"
    entry = _find_user(user, passwd)
    if entry is None and not user.isdigit():
        raise UserUnknown(f"unable to find user {user}: no matching entries in passwd file")
    uid = int(entry[2]) if entry else int(user)
    gid = int(entry[3]) if entry else 0
    home = entry[5] if entry and entry[5] else "/"
    groups = {_group_id(name, group) for name in extra_groups}
    if colon and wanted_group:
        gid = _group_id(wanted_group, group)
    elif entry:
        groups.update(_memberships(entry[0], group))
    if max(uid, gid, *groups, 0) > LARGEST_ID:
        raise UserUnknown(f"uids and gids must be in range 0-{LARGEST_ID}", why=f"{text!r} is not")
    return Identity(uid, gid, tuple(sorted(groups)), home)


def _find_user(user: str, passwd: bytes) -> list[str] | None:
    by_number = None
    for fields in _rows(passwd, 7):
        if not (fields[2].isdigit() and fields[3].isdigit()):
            continue
        if fields[0] == user:
            return fields
        if by_number is None and fields[2] == user:
            by_number = fields
    return by_number


def _group_id(name: str, group: bytes) -> int:
    by_name = next((int(f[2]) for f in _rows(group, 4) if f[0] == name and f[2].isdigit()), None)
    if by_name is not None:
        return by_name
    if name.isdigit():
        return int(name)
    raise UserUnknown(f"unable to find group {name}: no matching entries in group file")


def _memberships(user: str, group: bytes) -> Iterator[int]:
    for fields in _rows(group, 4):
        if fields[2].isdigit() and user in fields[3].split(","):
            yield int(fields[2])


def _rows(content: bytes, width: int) -> Iterator[list[str]]:
    for line in content.decode("utf-8", "surrogateescape").splitlines():
        fields = line.split(":")
        if len(fields) >= width and not line.startswith("#"):
            yield fields
