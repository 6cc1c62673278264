"""Regular expressions from clients, held to what ends soon. Pure.

Go's expressions, which dockerd uses, take linear time; Python's try every way, and a few nested repetitions would hold
the whole daemon. So what could take long is refused, and what Go does not know (back references, look-around) too.
"""

from __future__ import annotations

import re
from typing import Final

from sampan import errors

LONGEST: Final = 256  # characters
MOST_REPEATS: Final = 4  # each may multiply the ways to try by the length of the text
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_ESCAPE = re.compile(r"\\.", re.DOTALL)
_REPEAT = re.compile(r"[*+?]|\{[0-9,]+\}")
_GROUP = re.compile(r"\(([^()]*)\)([*+{]?)")
_FLAGS = re.compile(r"\((?:\?:|\?P<\w+>|\?[ims]+\))?")


class PatternRefused(errors.Invalid):
    """An expression that may take too long, or that dockerd does not have."""


def search(pattern: str, text: str) -> bool:
    """Whether the expression is found in the text; never for one that is none. Raises `PatternRefused`."""
    check(pattern)
    try:
        return re.search(pattern, text) is not None
    except (re.error, RecursionError, OverflowError):
        return False


def check(pattern: str) -> None:
    """Raises `PatternRefused`."""
    if len(pattern) > LONGEST:
        raise _refused(pattern, f"it is longer than {LONGEST} characters")
    if re.search(r"\\[1-9]", pattern.replace("\\\\", "")) or re.search(r"\(\?(?:[=!>(#]|<[=!]|P[=>])", pattern):
        raise _refused(pattern, "it has a back reference or looks around")
    plain = _FLAGS.sub("(", _ESCAPE.sub("x", _CLASS.sub("x", pattern)))
    if len(_REPEAT.findall(plain.replace("*?", "*").replace("+?", "+"))) > MOST_REPEATS:
        raise _refused(pattern, f"it has more than {MOST_REPEATS} repetitions")
    while (group := _GROUP.search(plain)) is not None:
        inside, repeat = group[1], group[2]
        if repeat and ("|" in inside or _REPEAT.search(inside)):
            raise _refused(pattern, "it repeats what is repeated")
        plain = plain[: group.start()] + inside + repeat + plain[group.end() :]


def _refused(pattern: str, why: str) -> PatternRefused:
    return PatternRefused(
        f"the regular expression {pattern[:100]!r} is not served", why=why, remedy="write a simpler one"
    )
