"""API versions: which are spoken, how a path names one, and what older ones looked like. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sampan import errors

Version = tuple[int, int]
Answer = dict[str, Any]
Kind = Literal["image", "image in a list"]

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


def _virtual_size(answer: Answer) -> None:
    answer["VirtualSize"] = answer["Size"]


def _none_names(answer: Answer) -> None:
    if not answer["RepoTags"] and not answer["RepoDigests"]:
        answer["RepoTags"], answer["RepoDigests"] = ["<none>:<none>"], ["<none>@<none>"]


def _container_of_the_build(answer: Answer) -> None:
    answer |= {"Container": "", "ContainerConfig": dict(answer["Config"])}


def _created(answer: Answer) -> None:
    answer.setdefault("Created", "0001-01-01T00:00:00Z")


@dataclass(frozen=True, slots=True)
class Difference:
    """What an answer of a kind was like before a version. Source: moby/moby, docs/api/version-history.md."""

    before: Version
    kind: Kind
    what: str
    apply: Callable[[Answer], None]


DIFFERENCES: tuple[Difference, ...] = (
    Difference((1, 43), "image in a list", "an image without a name is called <none>:<none>", _none_names),
    Difference((1, 44), "image in a list", "VirtualSize repeats Size", _virtual_size),
    Difference((1, 44), "image", "VirtualSize repeats Size", _virtual_size),
    Difference((1, 44), "image", "a moment that is not known is the year 1", _created),
    Difference((1, 45), "image", "Container and ContainerConfig tell of the build", _container_of_the_build),
)


def adapted(kind: Kind, version: Version, answer: Answer) -> Answer:
    """An answer of the newest version, as a client of `version` knows it."""
    for difference in DIFFERENCES:
        if difference.kind == kind and version < difference.before:
            difference.apply(answer)
    return answer
