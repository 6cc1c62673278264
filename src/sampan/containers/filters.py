"""`ps --filter` and `--last`: which containers a client wants to see. Pure.

Source: docker ps documentation; values of one key are alternatives, different keys add up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from sampan import errors
from sampan.containers import patterns
from sampan.containers.health.plan import FILTER_VALUES
from sampan.containers.model import Container, ContainerFilter, ContainerUnknown, Phase
from sampan.containers.ports import parse_port

KEYS = frozenset(
    {
        *("ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name"),
        *("network", "publish", "since", "status", "volume"),
    }
)
STATUSES = frozenset({"created", "restarting", "running", "removing", "paused", "exited", "dead"})


class FilterInvalid(errors.Invalid):
    """A filter that does not exist."""


def choose(
    containers: Sequence[Container],
    wanted: ContainerFilter,
    *,
    image_ids: Mapping[str, str],
    networks_of: Callable[[Container], Iterable[str]],
    volumes_of: Callable[[Container], Iterable[str]],
    health_of: Callable[[Container], str],
    published_of: Callable[[Container], Iterable[tuple[int, str]]] = lambda item: (),
) -> list[Container]:
    """The containers that pass, in the given order (newest first).

    `image_ids` maps each value of `ancestor` to an image id, "" for none. Raises `FilterInvalid`, `ContainerUnknown`
    (of `before` and `since`).
    """
    keys = wanted.keys
    unknown = set(keys) - KEYS
    if unknown:
        raise FilterInvalid(f"invalid filter '{min(unknown)}'", remedy=f"use one of {', '.join(sorted(KEYS))}")
    for status in keys.get("status", ()):
        if status not in STATUSES:
            raise FilterInvalid(f"invalid filter 'status={status}'", remedy=f"use one of {', '.join(sorted(STATUSES))}")
    for code in keys.get("exited", ()):
        if not code.removeprefix("-").isdecimal():
            raise FilterInvalid(f"invalid filter 'exited={code[:100]}'", remedy="give an exit code")
    for value in keys.get("health", ()):
        if value not in FILTER_VALUES:
            raise FilterInvalid(f"Unrecognised filter value for health: {value}")
    everything = wanted.all or wanted.limit > 0 or bool({"status", "exited"} & set(keys))
    found = [
        item
        for item in containers
        if (everything or _is_up(item))
        and _passes_text(item, keys)
        and _passes_state(item, keys)
        and _passes_age(item, containers, keys)
        and _passes_ports(item, keys, published_of)
        and ("ancestor" not in keys or item.image_id in {image_ids.get(v, "") for v in keys["ancestor"]})
        and ("network" not in keys or _is_on(keys["network"], networks_of(item)))
        and ("health" not in keys or health_of(item) in keys["health"])
        and ("volume" not in keys or set(keys["volume"]) & set(volumes_of(item)))
    ]
    return found[: wanted.limit] if wanted.limit > 0 else found


def has_labels(labels: Mapping[str, str], wanted: Iterable[str]) -> bool:
    """All of `key` or `key=value`."""
    for item in wanted:
        key, equals, value = item.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


def _is_up(item: Container) -> bool:
    return item.alive or item.phase in (Phase.RESTARTING, Phase.STARTING)


def _passes_text(item: Container, keys: Mapping[str, tuple[str, ...]]) -> bool:
    if "id" in keys and not any(item.id.startswith(value) for value in keys["id"]):
        return False
    if "name" in keys and not any(_is_named(item.name, value) for value in keys["name"]):
        return False
    return has_labels(item.wanted.config.labels, keys.get("label", ()))


def _is_named(name: str, pattern: str) -> bool:
    """A pattern that is no expression can still be the name itself, as in dockerd."""
    return pattern == name or patterns.search(pattern, f"/{name}")


def _passes_state(item: Container, keys: Mapping[str, tuple[str, ...]]) -> bool:
    if "status" in keys and item.phase.value not in keys["status"]:
        return False
    return "exited" not in keys or (
        item.phase is Phase.EXITED and str(item.state.exit_code) in keys["exited"] and item.state.finished_ns > 0
    )


def _passes_age(item: Container, containers: Sequence[Container], keys: Mapping[str, tuple[str, ...]]) -> bool:
    for reference in keys.get("before", ()):
        if item.created_ns >= _named(reference, containers).created_ns:
            return False
    return all(item.created_ns > _named(reference, containers).created_ns for reference in keys.get("since", ()))


def _named(reference: str, containers: Sequence[Container]) -> Container:
    for item in containers:
        if item.name == reference.removeprefix("/") or item.id.startswith(reference):
            return item
    raise ContainerUnknown(f"No such container: {reference}")


def _is_on(wanted: Iterable[str], networks: Iterable[str]) -> bool:
    """Whether a name, an id or the beginning of an id is among names and ids."""
    return any(text == value or (len(text) == 64 and text.startswith(value)) for text in networks for value in wanted)


def _passes_ports(
    item: Container, keys: Mapping[str, tuple[str, ...]], published_of: Callable[[Container], Iterable[tuple[int, str]]]
) -> bool:
    """`publish` means ports of the host, `expose` ports of the container."""
    exposed = _numbers(item.wanted.config.exposed_ports) | _numbers(item.wanted.host.port_bindings)
    return ("publish" not in keys or bool(_numbers(keys["publish"]) & set(published_of(item)))) and (
        "expose" not in keys or bool(_numbers(keys["expose"]) & exposed)
    )


def _numbers(texts: Iterable[str]) -> set[tuple[int, str]]:
    result: set[tuple[int, str]] = set()
    for text in texts:
        first, last, protocol = parse_port(text)
        result |= {(number, protocol) for number in range(first, last + 1)}
    return result
