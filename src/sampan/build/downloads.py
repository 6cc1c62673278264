"""ADD of an http(s) URL, and contexts that are one. Blocking.

Redirects are followed a few times, to http and https only, and nothing is kept of a download that is cut short.
"""

from __future__ import annotations

import email.utils
import hashlib
import ssl
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sampan import errors
from sampan.build.model import BuildFailed
from sampan.formats.digest import Digest
from sampan.host import http

MOST_REDIRECTS = 10
LARGEST_BYTES = 16 << 30
PIECE_BYTES = 1 << 20
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Fetched:
    """A download. `name` is the last part of the URL's path, "" if it has none."""

    name: str
    digest: Digest
    mtime_ns: int


def is_url(text: str) -> bool:
    """Whether ADD fetches it."""
    return text.startswith(("http://", "https://"))


def fetch(url: str, to: Path, *, largest_bytes: int = LARGEST_BYTES) -> Fetched:
    """Raises `BuildFailed`, `Unreachable`."""
    client = http.Http(lambda _: ssl.create_default_context())
    try:
        return _follow(client, url, to, largest_bytes)
    finally:
        client.close()


def _follow(client: http.Http, url: str, to: Path, largest_bytes: int) -> Fetched:
    place = url
    for _ in range(MOST_REDIRECTS + 1):
        with client.request("GET", place, {"User-Agent": "sampan", "Accept-Encoding": "identity"}) as answer:
            if answer.status in _REDIRECTS and "location" in answer.headers:
                place = urllib.parse.urljoin(place, answer.headers["location"])
                continue
            if answer.status != 200:
                raise BuildFailed(f"ADD failed: {url[:500]}: invalid response status {answer.status}")
            digest = _keep(answer, to, url, largest_bytes)
            name = urllib.parse.unquote(urllib.parse.urlsplit(url).path).rpartition("/")[2]
            return Fetched(name, digest, _last_modified(answer.headers))
    raise BuildFailed(f"ADD failed: {url[:500]}", why=f"more than {MOST_REDIRECTS} redirects")


def _keep(answer: http.Response, to: Path, url: str, largest_bytes: int) -> Digest:
    hashed = hashlib.sha256()
    size = 0
    with to.open("wb") as file:
        while piece := answer.read(PIECE_BYTES):
            size += len(piece)
            if size > largest_bytes:
                raise BuildFailed(f"ADD failed: {url[:500]}", why=f"more than {largest_bytes} bytes")
            hashed.update(piece)
            file.write(piece)
    announced = answer.headers.get("content-length", "")
    if announced.isdigit() and int(announced) != size:
        raise errors.Unavailable(f"ADD failed: {url[:500]}", why=f"{size} of {announced} bytes arrived")
    return Digest(f"sha256:{hashed.hexdigest()}")


def _last_modified(headers: Mapping[str, str]) -> int:
    text = headers.get("last-modified", "")
    try:
        return int(email.utils.parsedate_to_datetime(text).timestamp()) * 10**9 if text else 0
    except ValueError:
        return 0


Fetch = Callable[[str, Path], Fetched]
