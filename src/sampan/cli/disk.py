"""`system df`."""

from __future__ import annotations

import time

from sampan.api.engine import words
from sampan.cli import images, output, ps, tables
from sampan.cli.common import daemon
from sampan.cli.line import declare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

COLUMNS = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}
_DIGITS = 4
_IMAGES = ("Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers")
_CONTAINERS = ("ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names")
_VOLUMES = {"Name": "VOLUME NAME", "Links": "LINKS", "Size": "SIZE"}
_CACHES = ("ID", "CacheType", "Size", "CreatedSince", "LastUsedSince", "UsageCount", "Shared")
_TITLES = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "CreatedSince": "CREATED",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
    "Containers": "CONTAINERS",
    "LocalVolumes": "LOCAL VOLUMES",
    "CacheType": "CACHE TYPE",
    "LastUsedSince": "LAST USED",
    "UsageCount": "USAGE",
    "Shared": "SHARED",
    **ps.COLUMNS,
    "Size": "SIZE",
}


@declare.command()
@declare.option("--format", "form", default="", help="table, json, or a template")
@declare.option("--verbose", "-v", is_flag=True, help="Show each thing that takes space")
def df(*, form: str, verbose: bool) -> int:
    """Show disk usage."""
    found = daemon().get("/system/df")
    if not verbose:
        output.echo(tables.listing(summary(found), COLUMNS, form, type_name="*formatter.diskUsageContext"), nl=False)
        return 0
    parts = details(found, time.time(), full=bool(form))
    from sampan.cli.template import formatted

    output.echo(formatted(form, parts) if form else verbose_text(parts, found), nl=bool(form))
    return 0


def summary(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A line a kind. Pure."""
    return [_images(found), _containers(found), _volumes(found), _caches(found)]


def _line(kind: str, total: int, active: int, size: float, free: str) -> dict[str, Any]:
    shown = words.size(size, digits=_DIGITS)
    return {"Active": str(active), "Reclaimable": free, "Size": shown, "TotalCount": str(total), "Type": kind}


def _share(free: float, whole: float) -> str:
    shown = words.size(max(free, 0), digits=_DIGITS)
    return f"{shown} ({int(free * 100 / whole)}%)" if whole > 0 else shown


def _images(found: Mapping[str, Any]) -> dict[str, Any]:
    listed = found.get("Images") or []
    used = [image for image in listed if image["Containers"] > 0]
    whole = found.get("LayersSize") or 0
    in_use = sum(
        image["Size"] - image["SharedSize"] for image in used if -1 not in (image["Size"], image["SharedSize"])
    )
    return _line("Images", len(listed), len(used), whole, _share(whole - in_use, whole))


def _containers(found: Mapping[str, Any]) -> dict[str, Any]:
    listed = found.get("Containers") or []
    active = [item for item in listed if item["State"] in ("running", "paused", "restarting")]
    whole = sum(item.get("SizeRw") or 0 for item in listed)
    free = whole - sum(item.get("SizeRw") or 0 for item in active)
    return _line("Containers", len(listed), len(active), whole, _share(free, whole))


def _volumes(found: Mapping[str, Any]) -> dict[str, Any]:
    usage = [item.get("UsageData") or {} for item in found.get("Volumes") or []]
    whole = sum(max(one.get("Size", 0), 0) for one in usage)
    free = sum(max(one.get("Size", 0), 0) for one in usage if not one.get("RefCount"))
    used = sum(bool(one.get("RefCount")) for one in usage)
    return _line("Local Volumes", len(usage), used, whole, _share(free, whole))


def _caches(found: Mapping[str, Any]) -> dict[str, Any]:
    listed = found.get("BuildCache") or []
    whole = sum(item["Size"] for item in listed if not item["Shared"])
    free = sum(item["Size"] for item in listed if not item["Shared"] and not item["InUse"])
    return _line(
        "Build Cache",
        len(listed),
        sum(bool(item["InUse"]) for item in listed),
        whole,
        words.size(free, digits=_DIGITS),
    )


def details(found: Mapping[str, Any], now_s: float, *, full: bool) -> dict[str, Any]:
    """Each thing, as `-v` shows it. Pure."""
    pictures = []
    for image in found.get("Images") or []:
        first = next(images.rows(image, now_s, full=full))
        pictures.append(first | {"Digest": ""})
    volumes = []
    for item in found.get("Volumes") or []:
        usage = item.get("UsageData") or {}
        volumes.append(
            {
                **dict.fromkeys(("Availability", "Group", "Status"), "N/A"),
                "Driver": item["Driver"],
                "Labels": tables.labels(item.get("Labels")),
                "Links": str(usage.get("RefCount", 0)),
                "Mountpoint": item["Mountpoint"],
                "Name": item["Name"],
                "Scope": item["Scope"],
                "Size": words.size(max(usage.get("Size", 0), 0)),
            }
        )
    return {
        "Images": [dict(sorted(line.items())) for line in pictures],
        "Containers": [
            dict(ps.row(item | {"SizeRootFs": 0}, now_s, full=full)) for item in found.get("Containers") or []
        ],
        "Volumes": [dict(sorted(one.items())) for one in volumes],
        "BuildCache": [_cache(item, now_s, full=full) for item in found.get("BuildCache") or []],
    }


def _cache(item: Mapping[str, Any], now_s: float, *, full: bool) -> dict[str, Any]:
    return {
        "ID": item["ID"] if full else item["ID"][:12],
        "Parent": ",".join(item.get("Parents") or [item.get("Parent") or ""]),
        "CacheType": item["Type"],
        "Size": words.size(item["Size"]),
        "CreatedSince": tables.ago(_seconds(item["CreatedAt"]), now_s),
        "LastUsedSince": tables.ago(_seconds(item["LastUsedAt"]), now_s) if item.get("LastUsedAt") else "",
        "UsageCount": str(item["UsageCount"]),
        "InUse": str(item["InUse"]).lower(),
        "Shared": str(item["Shared"]).lower(),
        "Description": item.get("Description") or "",
    }


def _seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def verbose_text(parts: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Four tables under their titles. Pure."""

    def part(rows: list[dict[str, Any]], names: tuple[str, ...], titles: Mapping[str, str]) -> str:
        return tables.table([titles[name] for name in names], [[row[name] for name in names] for row in rows])

    caches = words.size(sum(item["Size"] for item in found.get("BuildCache") or [] if not item["Shared"]))
    return "\n".join(
        [
            "Images space usage:\n",
            part(parts["Images"], _IMAGES, _TITLES | {"ID": "IMAGE ID"}),
            "Containers space usage:\n",
            part(parts["Containers"], _CONTAINERS, _TITLES),
            "Local Volumes space usage:\n",
            part(
                parts["Volumes"], ("Name", "Links", "Size"), {"Name": "VOLUME NAME", "Links": "LINKS", "Size": "SIZE"}
            ),
            f"Build cache usage: {caches}\n",
            part(parts["BuildCache"], _CACHES, _TITLES | {"ID": "CACHE ID"}),
        ]
    )
