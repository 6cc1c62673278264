"""API versions: which are spoken, and how a path names one. Pure."""

from __future__ import annotations

import re

from sampan import errors

Version = tuple[int, int]

NEWEST: Version = (1, 47)
OLDEST: Version = (1, 24)
_PREFIX = re.compile(r"/v([0-9]{1,4})\.([0-9]{1,4})(?=/)")


class VersionRefused(errors.Invalid):
    """A client that speaks only versions this daemon does not."""


def text(version: Version) -> str:
    """`1.47`."""
    return f"{version[0]}.{version[1]}"


def split(path: str) -> tuple[Version, str]:
    """The version a path asks for and the rest of it. Raises: VersionRefused, in Docker's words."""
    match = _PREFIX.match(path)
    if match is None:
        return NEWEST, path
    version = (int(match[1]), int(match[2]))
    if version > NEWEST:
        raise VersionRefused(
            f"client version {text(version)} is too new. Maximum supported API version is {text(NEWEST)}"
        )
    if version < OLDEST:
        raise VersionRefused(
            f"client version {text(version)} is too old. Minimum supported API version is {text(OLDEST)}, "
            "please upgrade your client to a newer version"
        )
    return version, path[match.end() :]
