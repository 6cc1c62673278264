"""`ps` and its filters, as a table."""

import pytest

from sampan.containers import filters, wanted
from sampan.containers.filters import FilterInvalid
from sampan.containers.model import Container, ContainerFilter, ContainerUnknown, Phase, State


def make(number: int, name: str, phase: Phase, exit_code: int = 0, **body: object) -> Container:
    item = wanted.decode_create({"Image": "bb", "Cmd": ["x"], **body})
    state = State(exit_code=exit_code, finished_ns=5 if phase is Phase.EXITED else 0)
    return Container(f"{number:02d}" * 32, name, f"image{number % 2}", phase, item, state, number)


ALL = [
    make(4, "web-2", Phase.RUNNING, Labels={"tier": "front"}, HostConfig={"PortBindings": {"80/tcp": [{}]}}),
    make(3, "db", Phase.EXITED, 3, ExposedPorts={"5432/tcp": {}}),
    make(2, "web-1", Phase.PAUSED, Labels={"tier": "front", "old": "yes"}),
    make(1, "tool", Phase.CREATED),
]


def chosen(**keys: str | tuple[str, ...]) -> list[str]:
    values = {key.replace("_", "-"): (value,) if isinstance(value, str) else value for key, value in keys.items()}
    return [item.name for item in choose(ContainerFilter(all=True, keys=values))]


def choose(wish: ContainerFilter) -> list[Container]:
    return filters.choose(
        ALL,
        wish,
        image_ids={"bb": "image0", "none": ""},
        networks_of=lambda item: ["bridge", "ab" * 32] if item.name == "db" else [],
        published_of=lambda item: [(8080, "tcp")] if item.name == "web-2" else [],
        volumes_of=lambda item: ["data"] if item.name == "tool" else [],
        health_of=lambda item: "healthy" if item.name == "web-2" else "none",
    )


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        ({"name": "web"}, ["web-2", "web-1"]),
        ({"name": "^/db$"}, ["db"]),
        ({"name": ("db", "tool")}, ["db", "tool"]),
        ({"id": "04"}, ["web-2"]),
        ({"name": "["}, []),
        ({"publish": "8080"}, ["web-2"]),
        ({"publish": "80"}, []),
        ({"publish": "8000-9000/udp"}, []),
        ({"network": "abab"}, ["db"]),
        ({"network": "bri"}, []),
        ({"label": "tier=front"}, ["web-2", "web-1"]),
        ({"label": ("tier", "old=yes")}, ["web-1"]),
        ({"status": "exited"}, ["db"]),
        ({"status": ("running", "created")}, ["web-2", "tool"]),
        ({"exited": "3"}, ["db"]),
        ({"exited": "0"}, []),
        ({"before": "db"}, ["web-1", "tool"]),
        ({"since": "web-1"}, ["web-2", "db"]),
        ({"ancestor": "bb"}, ["web-2", "web-1"]),
        ({"ancestor": "none"}, []),
        ({"expose": "5432/tcp"}, ["db"]),
        ({"network": "bridge"}, ["db"]),
        ({"volume": "data"}, ["tool"]),
        ({"health": "healthy"}, ["web-2"]),
        ({"health": "none"}, ["db", "web-1", "tool"]),
        ({"name": "web", "status": "paused"}, ["web-1"]),
    ],
)
def test_a_filter_chooses(keys: dict[str, str | tuple[str, ...]], names: list[str]) -> None:
    assert chosen(**keys) == names


def test_without_all_only_what_is_up_is_shown() -> None:
    assert [item.name for item in choose(ContainerFilter())] == ["web-2", "web-1"]


def test_a_limit_shows_the_newest_of_all() -> None:
    assert [item.name for item in choose(ContainerFilter(limit=2))] == ["web-2", "db"]


def test_wrong_filters_are_refused() -> None:
    with pytest.raises(FilterInvalid):
        chosen(colour="red")
    with pytest.raises(FilterInvalid):
        chosen(status="sleepy")
    with pytest.raises(ContainerUnknown):
        chosen(since="nobody")
