"""A Dockerfile's text -> its instructions: directives, comments, continued lines, flags and here-documents. Pure.

What the words of an instruction mean is `dockerfile_instructions`; how variables in them are expanded is
`dockerfile_words`. Source: the Dockerfile reference; where it is silent, what BuildKit's parser does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sampan import errors

INSTRUCTIONS = frozenset(
    {
        *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER"),
        *("ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
    }
)
LARGEST_BYTES = 4 << 20  # far beyond any real file; a bound on what is taken apart
_HEREDOC_INSTRUCTIONS = frozenset({"ADD", "COPY", "RUN"})
_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*\Z")
_HEREDOC = re.compile(r"(\d*)<<(-?)([^<]*)\Z")


class DockerfileInvalid(errors.Invalid):
    """The file does not follow the grammar. `line` counts from 1."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"dockerfile parse error on line {line}", why=why)
        self.line = line


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A here-document: its name, its content, and whether variables in it are expanded (its name is not quoted)."""

    name: str
    content: str
    expand: bool
    chomp: bool = False  # `<<-`: leading tabs fall away (the content here has them still)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction. `rest` is what follows the name and the flags; `text` is the whole, its lines joined."""

    name: str  # upper case
    flags: tuple[str, ...]
    rest: str
    text: str
    line: int
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True, slots=True)
class File:
    """A parsed Dockerfile. `escape` is the character that continues lines and escapes."""

    instructions: tuple[Instruction, ...]
    escape: str = "\\"
    syntax: str = ""
    warnings: tuple[tuple[int, str], ...] = ()


def parse(content: bytes | str) -> File:
    """Raises `DockerfileInvalid`."""
    if len(content) > LARGEST_BYTES:
        raise DockerfileInvalid(1, f"the file has more than {LARGEST_BYTES} bytes")
    text = content.decode("utf-8", "surrogateescape") if isinstance(content, bytes) else content
    lines = text.removeprefix("\ufeff").split("\n")
    directives = _directives(lines)
    escape = directives.get("escape", "\\")
    reader = _Reader(lines, escape)
    instructions = tuple(reader.instructions())
    if not instructions:
        raise DockerfileInvalid(len(lines), "file with no instructions")
    return File(instructions, escape, directives.get("syntax", ""), tuple(reader.warnings))


def parse_one(text: str, *, line: int = 0) -> Instruction:
    """One instruction by itself, as ONBUILD keeps it. Raises `DockerfileInvalid`."""
    try:
        found = parse(text)
    except DockerfileInvalid as error:
        raise DockerfileInvalid(line, error.why) from error
    if len(found.instructions) != 1:
        raise DockerfileInvalid(line, "more than one instruction")
    only = found.instructions[0]
    return Instruction(only.name, only.flags, only.rest, only.text, line, only.heredocs)


def _directives(lines: Iterable[str]) -> dict[str, str]:
    """`# name=value` lines at the very top; the first line of anything else ends them."""
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _DIRECTIVE.match(line.strip())
        if match is None:
            break
        name = match[1].lower()
        if name not in ("escape", "syntax", "check"):
            continue
        if name in found:
            raise DockerfileInvalid(number, f"only one {name} parser directive can be used")
        if name == "escape" and match[2] not in ("\\", "`"):
            raise DockerfileInvalid(number, f"invalid escape token '{match[2]}' does not match ` or \\")
        found[name] = match[2]
    return found


class _Reader:
    """Goes through the lines once. A line without its end is cut at a carriage return before it too."""

    def __init__(self, lines: list[str], escape: str) -> None:
        self.warnings: list[tuple[int, str]] = []
        self._lines = [line.removesuffix("\r") for line in lines]
        self._next = 0
        self._escape = escape
        quoted = re.escape(escape)
        self._continued = re.compile(rf"(?:(?<=[^{quoted}])|\A){quoted}[ \t]*\Z")

    def instructions(self) -> Iterator[Instruction]:
        while self._next < len(self._lines):
            line = self._lines[self._next].lstrip()
            self._next += 1
            if line and not line.startswith("#"):
                yield self._instruction(line, self._next)

    def _instruction(self, first: str, number: int) -> Instruction:
        text = self._join(first, number).strip()
        name, rest = _first_word(text)
        upper = name.upper()
        if upper not in INSTRUCTIONS:
            raise DockerfileInvalid(number, f"unknown instruction: {name}")
        flags, rest = _flags(rest, self._escape)
        heredocs: tuple[Heredoc, ...] = ()
        if upper in _HEREDOC_INSTRUCTIONS:
            heredocs = tuple(self._heredocs(rest, number))
        elif upper == "ONBUILD" and _first_word(rest)[0].upper() in _HEREDOC_INSTRUCTIONS and "<<" in rest:
            heredocs = tuple(self._heredocs(rest, number))
            text = "\n".join([text, *(f"{doc.content}{doc.name}" for doc in heredocs)])
            rest = text.partition(" ")[2].lstrip()
        return Instruction(upper, flags, rest, text, number, heredocs)

    def _join(self, line: str, number: int) -> str:
        """The line with those that continue it; comments among them fall away, and so do empty lines."""
        joined = ""
        empty = False
        while True:
            cut = self._continued.search(line)
            if cut is None:
                joined += line
                break
            joined += line[: cut.start()]
            while self._next < len(self._lines):
                bare = self._lines[self._next].strip()
                if bare and not bare.startswith("#"):
                    break
                empty = empty or not bare
                self._next += 1
            if self._next >= len(self._lines):
                break
            line = self._lines[self._next]
            self._next += 1
        if empty:
            self.warnings.append((number, f"Empty continuation line found in: {joined}"))
        return joined

    def _heredocs(self, rest: str, number: int) -> Iterator[Heredoc]:
        if "<<" not in rest or rest.startswith("["):
            return
        for word in split_words(rest, self._escape):
            match = _HEREDOC.match(word)
            if match is None or not match[3]:
                continue
            name = match[3].replace("'", "").replace('"', "").replace(self._escape, "")
            if name:
                yield self._heredoc(name, expand=name == match[3], chomp=bool(match[2]), number=number)

    def _heredoc(self, name: str, *, expand: bool, chomp: bool, number: int) -> Heredoc:
        content: list[str] = []
        while self._next < len(self._lines):
            line = self._lines[self._next]
            self._next += 1
            if (line.lstrip("\t") if chomp else line) == name:
                return Heredoc(name, "".join(content), expand, chomp)
            content.append(line + "\n")
        raise DockerfileInvalid(number, f"unterminated heredoc: {name}")


def split_words(text: str, escape: str = "\\") -> list[str]:
    """Split at blanks outside quotes; quotes and escapes stay as they are."""
    words: list[str] = []
    word = ""
    quote = ""
    position = 0
    while position < len(text):
        character = text[position]
        if character == escape and quote != "'" and position + 1 < len(text):
            word += text[position : position + 2]
            position += 2
            continue
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character.isspace():
            words += [word] if word else []
            word = ""
            position += 1
            continue
        word += character
        position += 1
    return [*words, word] if word else words


def _first_word(text: str) -> tuple[str, str]:
    parts = text.split(None, 1)
    return (parts[0] if parts else ""), (parts[1] if len(parts) > 1 else "")


def _flags(rest: str, escape: str) -> tuple[tuple[str, ...], str]:
    """The words at the beginning that start with `--`, their quotes taken away, and what follows them."""
    flags: list[str] = []
    rest = rest.strip()
    while rest.startswith("--"):
        word = _leading_word(rest, escape)
        rest = rest[len(word) :].lstrip()
        if word == "--":
            break
        flags.append(_unquoted(word, escape))
    return tuple(flags), rest


def _leading_word(text: str, escape: str) -> str:
    quote = ""
    position = 0
    while position < len(text):
        character = text[position]
        if character == escape and quote != "'":
            position += 2
            continue
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character.isspace():
            break
        position += 1
    return text[:position]


def _unquoted(word: str, escape: str) -> str:
    result = ""
    quote = ""
    characters = iter(word)
    for character in characters:
        if character == escape and quote != "'":
            result += next(characters, "")
        elif quote:
            quote, result = ("", result) if character == quote else (quote, result + character)
        elif character in "'\"":
            quote = character
        else:
            result += character
    return result
