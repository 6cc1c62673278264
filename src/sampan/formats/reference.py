"""Image references: `[host[:port]/]path[:tag][@digest]`, with Docker's rules for what may be left out.

Source: the grammar of distribution/reference and Docker's normalisation: a first component without `.`, `:` or the name
`localhost` is no host, so the host is docker.io, and a single component there lives under `library/`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from sampan import errors
from sampan.formats.digest import Digest

DEFAULT_HOST = "docker.io"
DEFAULT_TAG = "latest"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_HOST = re.compile(
    r"(?:(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])(?:\.(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9]))*|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?\Z"
)
LONGEST_NAME = 255  # characters of host and path together


class InvalidReference(errors.Invalid):
    """Not an image reference."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A full reference. At least one of `tag` and `digest` is set once `with_default_tag` was applied."""

    host: str
    path: str
    tag: str = ""
    digest: Digest | None = None

    @property
    def name(self) -> str:
        """Host and path: `docker.io/library/busybox`."""
        return f"{self.host}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """As Docker prints it: `busybox`, `host:5000/app`."""
        if self.host != DEFAULT_HOST:
            return self.name
        return self.path.removeprefix("library/") if self.path.count("/") == 1 else self.path

    @property
    def familiar(self) -> str:
        """Familiar name with tag and digest."""
        return self.familiar_name + self._suffix()

    @property
    def version(self) -> str:
        """What a registry is asked for: the digest if there is one, else the tag."""
        return self.digest or self.tag or DEFAULT_TAG

    def with_default_tag(self) -> Reference:
        """The same, with `:latest` if it has neither tag nor digest."""
        return self if self.tag or self.digest else replace(self, tag=DEFAULT_TAG)

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.name + self._suffix()


def parse(text: str) -> Reference:
    """Read a reference as a person types it. Raises `InvalidReference`: upper case, bad tags, bare 64-hex ids."""
    if not text:
        raise InvalidReference("invalid reference format", why="it is empty")
    rest, _, digest_text = text.partition("@")
    if "@" in text and not digest_text:
        raise InvalidReference("invalid reference format", why=f"{text!r} ends in @")
    digest = Digest.parse(digest_text) if digest_text else None
    tag = ""
    head, colon, tail = rest.rpartition(":")
    if colon and "/" not in tail:
        rest, tag = head, tail
        if not _TAG.match(tag):
            raise InvalidReference("invalid reference format", why=f"{tag!r} is no tag")
    host, path = _split_host(rest)
    if path != path.lower():
        raise InvalidReference("invalid reference format: repository name must be lowercase", why=repr(text))
    if not _PATH.match(path) or not _HOST.match(host):
        raise InvalidReference("invalid reference format", why=repr(text[:300]))
    if len(host) + 1 + len(path) > LONGEST_NAME:
        raise InvalidReference("invalid reference format", why=f"the name is longer than {LONGEST_NAME} characters")
    if host == DEFAULT_HOST and re.fullmatch(r"[0-9a-f]{64}", path.removeprefix("library/")):
        raise InvalidReference("invalid reference format", why="64 hexadecimal digits are an id, not a name")
    return Reference(host, path, tag, digest)


def _split_host(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        host = DEFAULT_HOST if first == "index.docker.io" else first
        path = rest
    else:
        host, path = DEFAULT_HOST, name
    if host == DEFAULT_HOST and "/" not in path:
        path = f"library/{path}"
    return host, path


def is_tag(text: str) -> bool:
    """Whether `text` may stand after the colon."""
    return bool(_TAG.match(text))


def is_repository(path: str) -> bool:
    """Whether `path` is a repository name of the distribution specification (no host)."""
    return len(path) <= LONGEST_NAME and bool(_PATH.match(path))
