"""What each instruction says, as values: the words before any variable is expanded. Pure.

`interpret` turns a parsed line into one of the commands below or refuses it with Docker's words.
Source: the Dockerfile reference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sampan.formats import dockerfile
from sampan.formats.dockerfile import DockerfileInvalid, Heredoc, Instruction
from sampan.formats.dockerfile_mounts import RunMount, parse_mount

Pairs = tuple[tuple[str, str], ...]
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_UNITS_NS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip
_STAGE_NAME = re.compile(r"[a-z][a-z0-9._-]*\Z")


@dataclass(frozen=True, slots=True)
class From:
    """`image` may hold global arguments; `stage` is the lower-case name after AS."""

    image: str
    stage: str = ""
    platform: str = ""


@dataclass(frozen=True, slots=True)
class Arg:
    """Names with their default, None without one."""

    pairs: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Env:
    """Names and words to expand."""

    pairs: Pairs


@dataclass(frozen=True, slots=True)
class Label:
    """Names and words, both to expand."""

    pairs: Pairs


@dataclass(frozen=True, slots=True)
class Command:
    """A command line: an argument list, or one text for the shell."""

    words: tuple[str, ...]
    shell: bool


@dataclass(frozen=True, slots=True)
class Run:
    """`script`: the here-document that is the whole command, run by the shell or, with `#!`, by itself."""

    command: Command
    mounts: tuple[RunMount, ...] = ()
    network: Literal["default", "none", "host"] = "default"
    script: Heredoc | None = None


@dataclass(frozen=True, slots=True)
class Copy:
    """COPY, or ADD with `adds`. `sources` are words to expand; `inline` are its here-documents by their name."""

    sources: tuple[str, ...]
    destination: str
    adds: bool = False
    source_stage: str = ""
    chown: str = ""
    chmod: str = ""
    checksum: str = ""
    exclude: tuple[str, ...] = ()
    parents: bool = False
    inline: tuple[Heredoc, ...] = ()


@dataclass(frozen=True, slots=True)
class Cmd:
    """The default command."""

    command: Command


@dataclass(frozen=True, slots=True)
class Entrypoint:
    """The program."""

    command: Command


@dataclass(frozen=True, slots=True)
class Expose:
    """Ports."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Volume:
    """Paths."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """An instruction that takes one text: USER, WORKDIR, STOPSIGNAL, MAINTAINER."""

    kind: Literal["USER", "WORKDIR", "STOPSIGNAL", "MAINTAINER"]
    text: str


@dataclass(frozen=True, slots=True)
class Shell:
    """What runs command texts."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """`test` is None for NONE. Times in nanoseconds."""

    test: Command | None
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class OnBuild:
    """An instruction for images built from this one, as text."""

    trigger: str


Meaning = (
    From | Arg | Env | Label | Run | Copy | Cmd | Entrypoint | Expose | Volume | Text | Shell | Healthcheck | OnBuild
)


def interpret(instruction: Instruction, escape: str = "\\") -> Meaning:
    """Raises `DockerfileInvalid`."""
    return _READERS[instruction.name](_Words(instruction, escape))


def trigger_meaning(text: str, *, escape: str = "\\", line: int = 0) -> tuple[Instruction, Meaning]:
    """An ONBUILD trigger of an image. Raises `DockerfileInvalid`."""
    instruction = dockerfile.parse_one(text, line=line)
    _check_trigger(instruction.name, line)
    return instruction, interpret(instruction, escape)


class _Words:
    """An instruction being read: its flags are taken one by one, and any left over is unknown."""

    def __init__(self, instruction: Instruction, escape: str) -> None:
        self.instruction = instruction
        self.name = instruction.name
        self.rest = instruction.rest.strip()
        self.escape = escape
        self._flags: dict[str, list[str]] = {}
        for flag in instruction.flags:
            name, equals, value = flag.removeprefix("--").partition("=")
            self._flags.setdefault(name, []).append(value if equals else "true")

    def fail(self, why: str) -> DockerfileInvalid:
        return DockerfileInvalid(self.instruction.line, why)

    def flags(self, name: str) -> tuple[str, ...]:
        return tuple(self._flags.pop(name, []))

    def flag(self, name: str) -> str:
        values = self.flags(name)
        if len(values) > 1:
            raise self.fail(f"duplicate flag specified: {name}")
        return values[0] if values else ""

    def switch(self, name: str) -> bool:
        value = self.flag(name)
        if value not in ("", "true", "false"):
            raise self.fail(f"expecting boolean value for flag {name}, not: {value}")
        return value == "true"

    def no_more_flags(self) -> None:
        for name in self._flags:
            raise self.fail(f"unknown flag: --{name}")

    def words(self) -> list[str]:
        return self.rest.split()

    def quoted_words(self) -> list[str]:
        return dockerfile.split_words(self.rest, self.escape)

    def listed(self) -> list[str] | None:
        """The JSON list that the rest is, if it is one."""
        if not self.rest.startswith("["):
            return None
        try:
            items = json.loads(self.rest)
        except (ValueError, RecursionError):
            return None
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            return None
        return items

    def command(self) -> Command:
        items = self.listed()
        return Command((self.rest,), True) if items is None else Command(tuple(items), False)

    def at_least_one(self) -> None:
        if not self.rest:
            raise self.fail(f"{self.name} requires at least one argument")


def _from(words: _Words) -> From:
    platform = words.flag("platform")
    words.no_more_flags()
    parts = words.words()
    if len(parts) == 1:
        return From(parts[0], "", platform)
    if len(parts) != 3 or parts[1].upper() != "AS":
        raise words.fail("FROM requires either one or three arguments")
    stage = parts[2].lower()
    if not _STAGE_NAME.match(stage):
        raise words.fail(
            f'invalid name for build stage: "{parts[2]}", name can\'t start with a number or contain symbols'
        )
    return From(parts[0], stage, platform)


def _arg(words: _Words) -> Arg:
    words.no_more_flags()
    words.at_least_one()
    pairs: list[tuple[str, str | None]] = []
    for word in words.quoted_words():
        name, equals, value = word.partition("=")
        if not name:
            raise words.fail("ARG names can not be blank")
        pairs.append((name, value if equals else None))
    return Arg(tuple(pairs))


def _pairs(words: _Words) -> Pairs:
    words.no_more_flags()
    words.at_least_one()
    found = words.quoted_words()
    if "=" not in found[0]:
        parts = words.rest.split(None, 1)  # the old form: one name and a value of many words
        if len(parts) < 2:
            raise words.fail(f"{words.name} must have two arguments")
        return ((parts[0], parts[1]),)
    for word in found:
        if "=" not in word:
            raise words.fail(f"Syntax error - can't find = in {json.dumps(word)}. Must be of the form: name=value")
        if word.startswith("="):
            raise words.fail(f"{words.name} names can not be blank")
    return tuple((name, value) for name, _, value in (word.partition("=") for word in found))


def _run(words: _Words) -> Run:
    mounts = tuple(parse_mount(text, words.instruction.line) for text in words.flags("mount"))
    network = words.flag("network") or "default"
    if words.flag("security") not in ("", "sandbox"):
        raise words.fail("RUN --security=insecure is not served: a build gets no more rights than a container")
    words.no_more_flags()
    if network not in ("default", "none", "host"):
        raise words.fail(f'unknown network mode "{network}"')
    heredocs = words.instruction.heredocs
    if len(heredocs) == 1 and _is_heredoc_word(words.rest):
        return Run(Command((words.rest,), True), mounts, network, heredocs[0])  # type: ignore[arg-type]
    command = words.command()
    if heredocs:
        documents = "".join(f"\n{each.content}{each.name}" for each in heredocs)
        command = Command((words.rest + documents,), True)
    if not words.rest or not command.words:
        raise words.fail("RUN requires at least one argument")
    return Run(command, mounts, network)  # type: ignore[arg-type]


def _is_heredoc_word(text: str) -> bool:
    return text.startswith("<<") and len(text.split()) == 1


def _copy(words: _Words) -> Copy:
    adds = words.name == "ADD"
    result = {
        "source_stage": "" if adds else words.flag("from"),
        "chown": words.flag("chown"),
        "chmod": words.flag("chmod"),
        "checksum": words.flag("checksum") if adds else "",
    }
    words.switch("link")  # layers are always made without looking at what lies below
    if adds:
        words.switch("keep-git-dir")
    exclude = words.flags("exclude")
    parents = not adds and words.switch("parents")
    words.no_more_flags()
    names = words.listed()
    names = words.quoted_words() if names is None else names
    if len(names) < 2:
        few = "only one was provided" if names else "none were provided"
        more = " Destination could not be determined." if names else ""
        raise words.fail(f"{words.name} requires at least two arguments, but {few}.{more}")
    inline = {f"<<{'-' if each.chomp else ''}{each.name}": each for each in words.instruction.heredocs}
    bare = [name.replace("'", "").replace('"', "") for name in names]
    return Copy(
        sources=tuple(name for name, plain in zip(names[:-1], bare[:-1], strict=True) if plain not in inline),
        destination=names[-1],
        adds=adds,
        exclude=exclude,
        parents=parents,
        inline=tuple(inline[plain] for plain in bare[:-1] if plain in inline),
        **result,
    )


def _cmd(words: _Words) -> Cmd:
    words.no_more_flags()
    return Cmd(words.command() if words.rest else Command((), False))


def _entrypoint(words: _Words) -> Entrypoint:
    words.no_more_flags()
    return Entrypoint(words.command() if words.rest else Command((), False))


def _expose(words: _Words) -> Expose:
    words.no_more_flags()
    words.at_least_one()
    return Expose(tuple(words.words()))


def _volume(words: _Words) -> Volume:
    words.no_more_flags()
    words.at_least_one()
    items = words.listed()
    paths = words.words() if items is None else items
    if not paths or not all(path.strip() for path in paths):
        raise words.fail("VOLUME specified can not be an empty string")
    return Volume(tuple(paths))


def _text(words: _Words) -> Text:
    words.no_more_flags()
    if not words.rest or (words.name == "STOPSIGNAL" and len(words.words()) != 1):
        raise words.fail(f"{words.name} requires exactly one argument")
    return Text(words.name, words.rest)  # type: ignore[arg-type]


def _shell(words: _Words) -> Shell:
    words.no_more_flags()
    words.at_least_one()
    items = words.listed()
    if items is None:
        raise words.fail("SHELL requires the arguments to be in JSON form")
    if not items:
        raise words.fail("SHELL requires at least one argument")
    return Shell(tuple(items))


def duration_ns(text: str) -> int | None:
    """Go's `1h2m3.5s`; None if it is none."""
    total, position = 0.0, 0
    for match in _DURATION.finditer(text):
        if match.start() != position:
            return None
        total += float(match[1]) * _UNITS_NS[match[2]]
        position = match.end()
    return int(total) if position == len(text) and text else None


def _healthcheck(words: _Words) -> Healthcheck:
    kind, _, rest = words.rest.partition(" ")
    if not kind:
        raise words.fail("HEALTHCHECK requires at least one argument")
    if kind.upper() == "NONE":
        if rest.strip():
            raise words.fail("HEALTHCHECK NONE takes no arguments")
        words.no_more_flags()
        return Healthcheck(None)
    if kind.upper() != "CMD":
        raise words.fail(f'Unknown type "{kind.upper()}" in HEALTHCHECK (try CMD)')
    times = {name: _health_time(words, name) for name in ("interval", "timeout", "start-period", "start-interval")}
    retries = words.flag("retries") or "0"
    if not retries.isdigit():
        raise words.fail(f"--retries cannot be {retries}")
    words.no_more_flags()
    words.rest = rest.strip()
    if not words.rest:
        raise words.fail("Missing command after HEALTHCHECK CMD")
    return Healthcheck(
        words.command(),
        times["interval"],
        times["timeout"],
        times["start-period"],
        times["start-interval"],
        int(retries),
    )


def _health_time(words: _Words, name: str) -> int:
    text = words.flag(name)
    if not text:
        return 0
    value = duration_ns(text)
    if value is None:
        raise words.fail(f'time: invalid duration "{text}" of --{name}')
    if 0 < value < 10**6:
        raise words.fail(f"Interval '{name}' cannot be less than 1ms")
    return value


def _check_trigger(name: str, line: int) -> None:
    if name == "ONBUILD":
        raise DockerfileInvalid(line, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if name in ("MAINTAINER", "FROM"):
        raise DockerfileInvalid(line, f"{name} isn't allowed as an ONBUILD trigger")


def _onbuild(words: _Words) -> OnBuild:
    words.no_more_flags()
    words.at_least_one()
    name = words.rest.split(None, 1)[0].upper()
    _check_trigger(name, words.instruction.line)
    trigger_meaning(words.rest, escape=words.escape, line=words.instruction.line)
    return OnBuild(words.rest)


_READERS: dict[str, Callable[[_Words], Meaning]] = {
    "FROM": _from,
    "ARG": _arg,
    "ENV": lambda words: Env(_pairs(words)),
    "LABEL": lambda words: Label(_pairs(words)),
    "RUN": _run,
    "COPY": _copy,
    "ADD": _copy,
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "EXPOSE": _expose,
    "VOLUME": _volume,
    "USER": _text,
    "WORKDIR": _text,
    "STOPSIGNAL": _text,
    "MAINTAINER": _text,
    "SHELL": _shell,
    "HEALTHCHECK": _healthcheck,
    "ONBUILD": _onbuild,
}
