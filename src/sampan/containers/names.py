"""Names for containers that were given none: a harbour word and a boat."""

from __future__ import annotations

import re
from collections.abc import Callable

from sampan import errors

MOODS = (
    "anchored breezy calm drifting eager fair gentle hardy idle jolly keen lively moored nimble patient quiet "
    "rigged steady tidal upwind varnished weathered"
)
BOATS = (
    "barge brig canoe catamaran clipper coracle cutter dhow dinghy dory felucca ferry galley gondola junk kayak "
    "ketch launch lugger packet pilot pinnace pram punt raft schooner skiff sloop tender trawler tug yawl"
)
PATTERN = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")


class NameInvalid(errors.Invalid):
    """Not a container name."""


def check(name: str) -> str:
    """The name without Docker's leading slash. Raises `NameInvalid`."""
    bare = name.removeprefix("/")
    if not PATTERN.match(bare) or len(bare) > 255:
        raise NameInvalid(
            f"Invalid container name ({name[:300]}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
            remedy="use letters, digits, dots, dashes and underscores, at least two",
        )
    return bare


def suggest(choose: Callable[[list[str]], str], taken: Callable[[str], bool]) -> str:
    """A free name; `choose` picks from a list (random in the daemon, fixed in tests)."""
    for attempt in range(100):
        name = f"{choose(MOODS.split())}_{choose(BOATS.split())}"
        if attempt > 10:
            name += choose(list("0123456789")) + choose(list("0123456789"))
        if not taken(name):
            return name
    return f"{name}{choose(list('0123456789')) * 4}"
