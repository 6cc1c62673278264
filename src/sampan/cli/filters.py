"""`--filter key=value` as the API's `filters`. Pure."""

from __future__ import annotations

import json

from sampan.cli import failures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def encode(texts: Iterable[str]) -> str | None:
    """None without filters. Raises: BadUsage."""
    found: dict[str, list[str]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise failures.BadUsage(f"invalid argument {text!r} for --filter: invalid filter (expected name=value)")
        found.setdefault(key.strip().lower(), []).append(value.strip())
    return json.dumps(found) if found else None
