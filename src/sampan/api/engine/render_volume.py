"""Volumes as Docker shows them. Pure.

Source: Engine API 1.47, Volume.
"""

from __future__ import annotations

from typing import Any

from sampan.api.engine import words
from sampan.volumes.store import Volume


def inspect(volume: Volume, mountpoint: str, usage: tuple[int, int] | None = None) -> dict[str, Any]:
    """One volume; `usage` is (bytes, users), for disk usage only."""
    answer: dict[str, Any] = {
        "CreatedAt": words.moment(volume.created_ns // words.NS * words.NS),
        "Driver": volume.driver,
        "Labels": dict(volume.labels) or None,
        "Mountpoint": mountpoint,
        "Name": volume.name,
        "Options": dict(volume.options) or None,
        "Scope": "local",
    }
    if usage is not None:
        answer["UsageData"] = {"Size": usage[0], "RefCount": usage[1]}
    return answer
