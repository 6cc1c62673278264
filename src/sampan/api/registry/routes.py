"""From a path to what it names. Pure.

Repository names contain slashes, and components like `blobs` are allowed in them: a path is read from its end.
Source: distribution-spec 1.1, "Endpoints".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import unquote


class Endpoint(Enum):
    """What kind of thing a path names."""

    BASE = auto()
    CATALOGUE = auto()
    TAGS = auto()
    MANIFEST = auto()
    BLOB = auto()
    UPLOADS = auto()
    UPLOAD = auto()
    REFERRERS = auto()
    OUTLINE = auto()  # ours: /v2/<name>/_sampan/outlines/<digest>
    OLD_PING = auto()
    SEARCH = auto()


@dataclass(frozen=True, slots=True)
class Target:
    """`name` is a repository, not yet checked; `reference` a tag, digest or upload id, not yet checked."""

    endpoint: Endpoint
    name: str = ""
    reference: str = ""


# Of the first version of the protocol, which has the only search that clients know.
_OLD = {"/v1/_ping": Endpoint.OLD_PING, "/v1/search": Endpoint.SEARCH}
_LAST_BUT_ONE = {"manifests": Endpoint.MANIFEST, "blobs": Endpoint.BLOB, "referrers": Endpoint.REFERRERS}


def parse(raw_path: str) -> Target | None:
    """Read a path as it stood in the request line, without its query. None if no endpoint has it."""
    path = unquote(raw_path) if "%" in raw_path else raw_path
    if path in ("/v2", "/v2/"):
        return Target(Endpoint.BASE)
    if path == "/v2/_catalog":
        return Target(Endpoint.CATALOGUE)
    if path in _OLD:
        return Target(_OLD[path])
    if not path.startswith("/v2/"):
        return None
    parts = path[4:].rsplit("/", 3)
    if len(parts) == 4 and parts[1] == "blobs" and parts[2] == "uploads":
        if not parts[3]:
            return Target(Endpoint.UPLOADS, parts[0])
        return Target(Endpoint.UPLOAD, parts[0], parts[3])
    if len(parts) == 4 and parts[1:3] == ["_sampan", "outlines"] and parts[3]:
        return Target(Endpoint.OUTLINE, parts[0], parts[3])
    rest, _, last = path[4:].rpartition("/")
    name, _, kind = rest.rpartition("/")
    if not name:
        return None
    if kind == "tags" and last == "list":
        return Target(Endpoint.TAGS, name)
    if kind == "blobs" and last == "uploads":
        return Target(Endpoint.UPLOADS, name)
    if kind in _LAST_BUT_ONE and last:
        return Target(_LAST_BUT_ONE[kind], name, last)
    return None
