"""Images as Docker shows them. Pure.

Source: Engine API 1.47, ImageSummary, ImageInspect, HistoryResponseItem, CreateImageInfo.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from sampan.api.engine import words
from sampan.images.model import HistoryItem, Image, Progress, Removal
from sampan.images.remote import Remote

_CONFIG_EMPTY: dict[str, Any] = {
    "Hostname": "",
    "Domainname": "",
    "User": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Env": None,
    "Cmd": None,
    "Image": "",
    "Volumes": None,
    "WorkingDir": "",
    "Entrypoint": None,
    "OnBuild": None,
    "Labels": None,
}


def created_seconds(text: str) -> int:
    """Seconds since the epoch of an RFC 3339 moment, 0 when it cannot be read."""
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        return 0


def summary(image: Image, containers: int = -1, shared_bytes: int = -1) -> dict[str, Any]:
    """One line of `GET /images/json`; -1 where nobody counted."""
    return {
        "Id": image.id,
        "ParentId": image.parent_id,
        "RepoTags": list(image.tags),
        "RepoDigests": list(image.digests),
        "Created": created_seconds(image.created),
        "Size": image.size_bytes,
        "SharedSize": shared_bytes,
        "Labels": dict(image.config.labels),
        "Containers": containers,
    }


def inspect(image: Image, storage_driver: str) -> dict[str, Any]:
    """The answer of `GET /images/{name}/json`."""
    document = image.document
    answer = {
        "Id": image.id,
        "RepoTags": list(image.tags),
        "RepoDigests": list(image.digests),
        "Parent": image.parent_id,
        "Comment": _comment(image),
        "Created": image.created,
        "DockerVersion": str(document.get("docker_version") or ""),
        "Author": str(document.get("author") or ""),
        "Config": _config(image),
        "Architecture": image.platform.architecture,
        "Os": image.platform.os,
        "Size": image.size_bytes,
        "GraphDriver": {"Data": None, "Name": storage_driver},
        "RootFS": {"Type": "layers", "Layers": list(image.layers)},
        "Metadata": {"LastTagTime": words.moment(image.created_ns)},
    }
    if image.platform.variant:
        answer["Variant"] = image.platform.variant
    if not image.created:
        del answer["Created"]
    return answer


def _config(image: Image) -> dict[str, Any]:
    """What the image carries, cleaned of members of the wrong type: clients in Go refuse the whole answer for one."""
    config = image.config
    answer = dict(_CONFIG_EMPTY)
    answer |= {
        "User": config.user,
        "Env": list(config.env) or None,
        "Cmd": list(config.cmd) or None,
        "Volumes": {path: {} for path in config.volumes} or None,
        "WorkingDir": config.working_dir,
        "Entrypoint": list(config.entrypoint) or None,
        "OnBuild": list(config.on_build) or None,
        "Labels": dict(config.labels) or None,
    }
    if config.exposed_ports:
        answer["ExposedPorts"] = {port: {} for port in config.exposed_ports}
    if config.stop_signal:
        answer["StopSignal"] = config.stop_signal
    if config.shell:
        answer["Shell"] = list(config.shell)
    if config.healthcheck is not None:
        check = dataclasses.asdict(config.healthcheck)
        names = {
            "test": "Test",
            "interval_ns": "Interval",
            "timeout_ns": "Timeout",
            "start_period_ns": "StartPeriod",
            "start_interval_ns": "StartInterval",
            "retries": "Retries",
        }
        answer["Healthcheck"] = {names[name]: value for name, value in check.items() if value}
    return answer


def _comment(image: Image) -> str:
    history = image.document.get("history")
    if isinstance(history, list) and history and isinstance(history[-1], dict):
        return str(history[-1].get("comment") or "")
    return str(image.document.get("comment") or "")


def history(items: Iterable[HistoryItem]) -> list[dict[str, Any]]:
    """The answer of `GET /images/{name}/history`, newest first."""
    return [
        {
            "Id": item.image_id or "<missing>",
            "Created": created_seconds(item.created),
            "CreatedBy": item.created_by,
            "Tags": list(item.references) or None,
            "Size": item.size_bytes,
            "Comment": item.comment,
        }
        for item in items
    ]


def remote(found: Remote) -> dict[str, Any]:
    """The answer of `GET /distribution/{name}/json`."""
    descriptor = found.descriptor
    return {
        "Descriptor": {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size},
        "Platforms": [msgspec.to_builtins(platform) for platform in found.platforms],
    }


def removals(done: Iterable[Removal]) -> list[dict[str, str]]:
    """`[{"Untagged": …}, {"Deleted": …}]`."""
    return [{removal.action: removal.target} for removal in done]


def progress(line: Progress) -> dict[str, Any]:
    """One line of a pull, push or import."""
    answer: dict[str, Any] = {}
    if line.stream:
        answer["stream"] = line.stream
    if line.status:
        answer["status"] = line.status
    if line.total_bytes or line.current_bytes:
        answer["progressDetail"] = {"current": line.current_bytes}
        if line.total_bytes:
            answer["progressDetail"]["total"] = line.total_bytes
        answer["progress"] = _bar(line.current_bytes, line.total_bytes)
    elif line.id and line.status:
        answer["progressDetail"] = {}
    if line.id:
        answer["id"] = line.id
    if line.aux is not None:
        answer["aux"] = dict(line.aux)
    return answer


def _bar(current: int, total: int) -> str:
    if total <= 0:
        return words.size(current, digits=4)
    filled = min(50, current * 50 // total)
    arrow = "=" * filled + ">" if filled < 50 else "=" * 50 + ">"
    text = f"[{arrow}{' ' * (50 - filled)}]"
    return f"{text}  {words.size(current, digits=4)}/{words.size(total, digits=4)}"
