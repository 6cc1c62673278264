"""`.dockerignore`: which paths of a context are left out. Pure.

Patterns are those of Go's `filepath.Match` with `**` for any number of directories and `!` for exceptions; the last
one that matches a path or a directory above it decides. Source: the Dockerfile reference, ".dockerignore file".
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

from sampan import errors

LARGEST_BYTES = 1 << 20
MOST_PATTERNS = 10_000
_WILD = re.compile(r"[*?\[\\]")


class PatternInvalid(errors.Invalid):
    """A pattern that can match nothing: a bracket that does not close, an exclusion of nothing."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line. `text` is cleaned; an exception (`!`) takes back what earlier lines left out."""

    text: str
    exception: bool
    expression: re.Pattern[str]


class Ignored:
    """All patterns of a file, asked path by path."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self.patterns = tuple(patterns)
        self.has_exceptions = any(pattern.exception for pattern in self.patterns)

    def __call__(self, path: str) -> bool:
        """Whether `path` (relative, `/` between names) is left out."""
        parts = path.strip("/").split("/")
        above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        result = False
        for pattern in self.patterns:
            if result == pattern.exception and any(pattern.expression.match(name) for name in above):
                result = not pattern.exception
        return result

    def may_hold_exceptions(self, directory: str) -> bool:
        """Whether anything below an ignored directory may be taken back: else it need not be read at all."""
        return any(
            pattern.exception and (_WILD.search(pattern.text) or (pattern.text + "/").startswith(directory + "/"))
            for pattern in self.patterns
        )


def read(content: bytes | str) -> Ignored:
    """From a file's content. Raises `PatternInvalid`."""
    return Ignored(parse(lines(content)))


def lines(content: bytes | str) -> list[str]:
    """The patterns as they are written, cleaned as `docker build` sends them to a server."""
    if len(content) > LARGEST_BYTES:
        raise PatternInvalid(f"the ignore file has more than {LARGEST_BYTES} bytes")
    text = content.decode("utf-8", "surrogateescape") if isinstance(content, bytes) else content
    found: list[str] = []
    for line in text.removeprefix("\ufeff").splitlines():
        if line.startswith("#"):
            continue
        pattern = line.strip()
        if not pattern:
            continue
        bang = "!" if pattern.startswith("!") else ""
        pattern = pattern[len(bang) :].strip()
        if pattern:
            cleaned = posixpath.normpath(pattern)
            pattern = cleaned[1:] if len(cleaned) > 1 and cleaned.startswith("/") else cleaned
        found.append(bang + pattern.removeprefix("/") if pattern != "/" else bang + ".")
    return found


def parse(texts: Iterable[str]) -> list[Pattern]:
    """Compiled patterns. Raises `PatternInvalid`."""
    patterns = []
    for text in texts:
        pattern = text.strip()
        if not pattern:
            continue
        exception = pattern.startswith("!")
        pattern = posixpath.normpath(pattern[1:].strip() or "/" if exception else pattern)
        if exception and pattern in ("/", "."):
            raise PatternInvalid('illegal exclusion pattern: "!"')
        patterns.append(Pattern(pattern, exception, _compile(pattern)))
        if len(patterns) > MOST_PATTERNS:
            raise PatternInvalid(f"more than {MOST_PATTERNS} patterns")
    return patterns


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(expression(pattern) + r"\Z", re.DOTALL)
    except re.error as error:
        raise PatternInvalid(f"error checking for exclusions: syntax error in pattern {pattern!r}") from error


def expression(pattern: str, *, deep: bool = True) -> str:
    """A pattern as a regular expression; `deep` gives `**` its meaning."""
    result = ""
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*":
            if deep and pattern[position : position + 1] == "*":
                position += 1
                if pattern[position : position + 1] == "/":
                    position += 1
                result += ".*" if position >= len(pattern) else "(?:.*/)?"
            else:
                result += "[^/]*"
        elif character == "?":
            result += "[^/]"
        elif character == "[":
            text, position = _bracket(pattern, position)
            result += text
        elif character == "\\":
            if position >= len(pattern):
                raise PatternInvalid(f"syntax error in pattern {pattern!r}")
            result += re.escape(pattern[position])
            position += 1
        else:
            result += re.escape(character)
    return result


def _bracket(pattern: str, position: int) -> tuple[str, int]:
    """A character class from behind its bracket."""
    start = position
    negated = pattern[position : position + 1] == "^"
    position += negated
    members = ""
    while position < len(pattern) and (pattern[position] != "]" or not members):
        if pattern[position] == "\\":
            position += 1
        if position >= len(pattern):
            break
        character = pattern[position]
        members += "-" if character == "-" and members else re.escape(character)
        position += 1
    if position >= len(pattern) or pattern[position] != "]":
        raise PatternInvalid(f"syntax error in pattern {pattern[: start + 50]!r}")
    return f"[{'^' if negated else ''}{members}]" if not negated else f"(?![/])[^{members}]", position + 1
