"""What a healthcheck asks for, and what the result of a probe makes of a container's health. Pure.

Source: Engine API 1.47, HealthConfig, Health and HealthcheckResult; the defaults of `docker run --health-*`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from sampan import errors
from sampan.containers.wanted import Config, Healthcheck

Status = Literal["starting", "healthy", "unhealthy"]
STATUSES: tuple[Status, ...] = get_args(Status)
FILTER_VALUES = frozenset({*STATUSES, "none"})
REMEMBERED = 5  # results shown by inspect
OUTPUT_BYTES = 4096  # kept of what a probe says
NS = 1_000_000_000
DEFAULT_INTERVAL_NS = 30 * NS
DEFAULT_TIMEOUT_NS = 30 * NS
DEFAULT_START_INTERVAL_NS = 5 * NS
DEFAULT_RETRIES = 3
SHORTEST_NS = 1_000_000  # dockerd refuses times under a millisecond
SHELL = ("/bin/sh", "-c")
_TIMES = (
    ("interval", "Interval"),
    ("timeout", "Timeout"),
    ("start_period", "StartPeriod"),
    ("start_interval", "StartInterval"),
)


class HealthcheckInvalid(errors.Invalid):
    """A healthcheck with a time or a count out of range."""


@dataclass(frozen=True, slots=True)
class Check:
    """A healthcheck with its defaults filled in."""

    command: tuple[str, ...]
    interval_ns: int
    timeout_ns: int
    retries: int
    start_period_ns: int
    start_interval_ns: int


@dataclass(frozen=True, slots=True)
class Result:
    """How one probe ended: 0 is healthy, -1 stands for one that could not run or took too long."""

    start_ns: int
    end_ns: int
    exit_code: int
    output: str


@dataclass(frozen=True, slots=True)
class Health:
    """`State.Health` of inspect."""

    status: Status = "starting"
    failing_streak: int = 0
    log: tuple[Result, ...] = ()


def merge(asked: Healthcheck | None, image: Healthcheck | None) -> Healthcheck | None:
    """What the client left out comes from the image."""
    if asked is None or image is None:
        return asked or image
    return Healthcheck(
        test=asked.test or image.test,
        interval=asked.interval or image.interval,
        timeout=asked.timeout or image.timeout,
        retries=asked.retries or image.retries,
        start_period=asked.start_period or image.start_period,
        start_interval=asked.start_interval or image.start_interval,
    )


def validate(asked: Healthcheck | None) -> None:
    """Raises `HealthcheckInvalid`."""
    if asked is None:
        return
    for field, name in _TIMES:
        if getattr(asked, field) and getattr(asked, field) < SHORTEST_NS:
            raise HealthcheckInvalid(f"{name} in Healthcheck cannot be less than 1ms")
    if asked.retries < 0:
        raise HealthcheckInvalid("Retries in Healthcheck cannot be negative")
    if asked.test[:1] in (["CMD"], ["CMD-SHELL"]) and len(asked.test) < 2:
        raise HealthcheckInvalid("the healthcheck has no command", remedy="name one behind CMD or CMD-SHELL")
    if any("\0" in word for word in asked.test):
        raise HealthcheckInvalid("invalid healthcheck", why="its command holds a NUL byte")


def check_of(config: Config) -> Check | None:
    """None for a container that is not probed: no healthcheck, `NONE`, or a kind nobody knows."""
    asked = config.healthcheck
    if asked is None or len(asked.test) < 2 or asked.test[0] not in ("CMD", "CMD-SHELL"):
        return None
    shell = tuple(config.shell) or SHELL if asked.test[0] == "CMD-SHELL" else ()
    return Check(
        command=(*shell, *asked.test[1:]),
        interval_ns=asked.interval or DEFAULT_INTERVAL_NS,
        timeout_ns=asked.timeout or DEFAULT_TIMEOUT_NS,
        retries=asked.retries or DEFAULT_RETRIES,
        start_period_ns=asked.start_period,
        start_interval_ns=asked.start_interval or DEFAULT_START_INTERVAL_NS,
    )


def wait_ns(check: Check, status: Status, age_ns: int) -> int:
    """How long until the next probe. While it starts up, the container is asked at the start interval."""
    starting = status == "starting" and age_ns < check.start_period_ns
    return check.start_interval_ns if starting else check.interval_ns


def after(health: Health, result: Result, check: Check, started_ns: int) -> Health:
    """A failure within the start period does not count until the container was healthy once."""
    log = (*health.log, result)[-REMEMBERED:]
    if result.exit_code == 0:
        return Health("healthy", 0, log)
    if health.status == "starting" and result.start_ns - started_ns < check.start_period_ns:
        return replace(health, log=log)
    streak = health.failing_streak + 1
    return Health("unhealthy" if streak >= check.retries else health.status, streak, log)


def text_of(output: bytes, *, truncated: bool) -> str:
    """What a probe said, at most `OUTPUT_BYTES` of it and whatever bytes they are."""
    return output[:OUTPUT_BYTES].decode(errors="replace") + ("..." if truncated else "")


def to_json(health: Health) -> dict[str, object]:
    """For a file."""
    log = [[one.start_ns, one.end_ns, one.exit_code, one.output] for one in health.log]
    return {"status": health.status, "failing_streak": health.failing_streak, "log": log}


def from_json(document: Mapping[str, object]) -> Health:
    """Raises KeyError, TypeError or ValueError for what `to_json` did not write."""
    status, streak, log = document["status"], document["failing_streak"], document["log"]
    if not isinstance(streak, int) or not isinstance(log, list):
        raise TypeError("not a health record")
    results = tuple(Result(int(s), int(e), int(code), str(text)) for s, e, code, text in log)
    known = next((word for word in STATUSES if word == status), None)
    if known is None:
        raise ValueError(f"no health status {status!r}")
    return Health(known, streak, results)
