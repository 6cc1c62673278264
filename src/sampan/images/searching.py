"""`docker search`: which registry is meant, and what of its answer counts.

A term `HOST:PORT/text` asks that registry. A term without one asks this daemon's own registry: there is no public one
on a private network, and its results carry its address, so that they can be pulled as they are printed.
Source: Engine API 1.47, "Search images"; the first version of Docker's registry protocol, `GET /v1/search`.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sampan import errors
from sampan.images import client

DEFAULT_COUNT, MOST = 25, 100
LONGEST_TERM = 256
LONGEST_TEXT = 1000  # of a name or a description that a stranger's registry sends
SCOPE = "registry:catalog:search"


class InvalidSearch(errors.Invalid):
    """A term, limit or filter that cannot be meant."""


class NoRegistry(errors.Unavailable):
    """A term without a registry, and this daemon has none."""


@dataclass(frozen=True, slots=True)
class Search:
    """`host` is asked for `text`; `prefix` goes before the names it answers. The rest are conditions on results."""

    host: str
    text: str
    prefix: str = ""
    limit: int = DEFAULT_COUNT
    stars: int = 0
    official: bool | None = None
    automated: bool | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """One repository."""

    name: str
    description: str
    stars: int
    official: bool
    automated: bool


def where(term: str, own: Collection[str]) -> tuple[str, str, str]:
    """(host, text, prefix). Pure. Raises: InvalidSearch, NoRegistry."""
    if "://" in term:
        raise InvalidSearch(
            f"invalid repository name: repository name ({term[:LONGEST_TERM]}) should not contain a URL scheme"
        )
    host, slash, rest = term.partition("/")
    is_host = bool(slash) and ("." in host or ":" in host or host == "localhost")
    text = rest if is_host else term
    if not text.strip() or len(text) > LONGEST_TERM or not text.isprintable():
        raise InvalidSearch("search needs a term", why=f"it has 1 to {LONGEST_TERM} characters that can be printed")
    if is_host and host not in ("docker.io", "index.docker.io"):
        return host, text, ""
    if not own:
        raise NoRegistry(
            "there is no registry to search",
            why="a term without a registry asks this daemon's own, and it has none",
            remedy="start the daemon with --registry, or search HOST:PORT/TERM",
        )
    first = sorted(own)[0]
    return first, text, f"{first}/"


def asked(search: Search) -> str:
    """The path and query. Pure."""
    query = {"q": search.text, "n": str(MOST)}
    return f"/v1/search?{urllib.parse.urlencode(query)}"


def read(document: Mapping[str, Any], search: Search) -> list[Result]:
    """What the answer of a registry holds of this search. What is not shaped like a result is left out. Pure."""
    found = document.get("results")
    results = (
        [_result(entry, search.prefix) for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
    )
    chosen = [
        result
        for result in results
        if result is not None
        and result.stars >= search.stars
        and search.official in (None, result.official)
        and search.automated in (None, result.automated)
    ]
    return chosen[: search.limit]


def _result(entry: Mapping[str, Any], prefix: str) -> Result | None:
    name, description, stars = entry.get("name"), entry.get("description"), entry.get("star_count")
    if not isinstance(name, str) or not name or not name.isprintable():
        return None
    return Result(
        name=prefix + name[:LONGEST_TEXT],
        description=description[:LONGEST_TEXT] if isinstance(description, str) else "",
        stars=stars if isinstance(stars, int) and 0 <= stars < 1 << 31 else 0,
        official=entry.get("is_official") is True,
        automated=entry.get("is_automated") is True,
    )


def run(registry: client.RegistryClient, search: Search) -> list[Result]:
    """Ask. Blocking. Raises: LoginNeeded, RegistryFailed, Unreachable."""
    return read(registry.document(asked(search), scope=SCOPE), search)
