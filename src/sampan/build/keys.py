"""Cache keys: what a step makes, named by everything that decides it. Pure.

A key is the digest of canonical JSON, never of joined strings, and always covers the key below it: so two steps share a
record only if all that came before them is the same too (CVE-2024-24557 was a cache that left the chain out).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from sampan.formats.digest import Digest

VERSION = 1  # of the rules by which steps make layers: another one finds nothing of the old
Value = str | int | bool | None | Sequence["Value"] | Mapping[str, "Value"]


def key(kind: str, parent: str, **facts: Value) -> str:
    """`sha256:…`; `parent` is "" at the very bottom."""
    return digest({"version": VERSION, "kind": kind, "parent": parent, "facts": facts})


def digest(value: Value) -> str:
    """The digest of a value, whatever the order of its members."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return Digest.of(text.encode())
