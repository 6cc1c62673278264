"""Parts of `run`'s body that are small documents of their own: health checks and requests for devices. Pure.

Source: Engine API 1.47, HealthConfig and DeviceRequest; docker run's documentation of `--gpus`.
"""

from __future__ import annotations

from sampan.cli import specs, units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_TIMES = {
    "health_interval": "Interval",
    "health_timeout": "Timeout",
    "health_start_period": "StartPeriod",
    "health_start_interval": "StartInterval",
}


def health(options: Mapping[str, Any]) -> dict[str, Any]:
    """The health check that the options ask for; {} for the image's own. Raises: BadUsage."""
    found: dict[str, Any] = {}
    if options["health_cmd"]:
        found["Test"] = ["CMD-SHELL", options["health_cmd"]]
    for option, member in _TIMES.items():
        text = options[option]
        if text and units.parse_duration_ns(text):
            found[member] = units.parse_duration_ns(text)
    if options["health_retries"]:
        found["Retries"] = options["health_retries"]
    if options["no_healthcheck"]:
        if found:
            raise specs.bad("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    if options["health_retries"] < 0:
        raise specs.bad("--health-retries cannot be negative")
    return found


def gpus(text: str) -> list[dict[str, Any]]:
    """`all`, `2`, `device=0`, `"device=0,1"`, `driver=nvidia,capabilities=…`. Raises: BadUsage."""
    import csv

    request: dict[str, Any] = {"Driver": "", "Count": 0, "DeviceIDs": None, "Capabilities": None, "Options": {}}
    seen: set[str] = set()
    for field in next(csv.reader([text])):
        key, equals, value = field.partition("=")
        if key in seen:
            raise specs.bad(f"gpu request key '{key}' can be specified only once")
        if not equals:
            seen.add("count")
            request["Count"] = _count(key)
            continue
        seen.add(key)
        match key:
            case "driver":
                request["Driver"] = value
            case "count":
                request["Count"] = _count(value)
            case "device":
                request["DeviceIDs"] = value.split(",")
            case "capabilities":
                request["Capabilities"] = [[*value.split(","), "gpu"]]
            case "options":
                request["Options"] = specs.parse_pairs(next(csv.reader([value])))
            case _:
                raise specs.bad(f"unexpected key '{key}' in '{field}'")
    if not seen & {"count", "device"}:
        request["Count"] = 1
    request["Capabilities"] = request["Capabilities"] or [["gpu"]]
    return [request]


def _count(text: str) -> int:
    if text == "all":
        return -1
    if not text.lstrip("-").isdecimal():
        raise specs.bad(f'invalid count ({text}): value must be either "all" or an integer')
    return int(text)
