"""What an edit makes of a container, as a table; what cannot be meant is refused by name."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest

from sampan import errors
from sampan.containers import wanted
from sampan.containers.edits import plan, wish
from sampan.containers.edits.plan import Removal
from sampan.containers.model import Container, Phase, State
from sampan.networks.model import PortWish, PublishedPort

ANY = IPv4Address("0.0.0.0")


def container(phase: Phase = Phase.RUNNING, **host: Any) -> Container:
    body = {
        "Image": "bb",
        "Cmd": ["sleep", "1"],
        "Env": ["A=1", "B=2"],
        "Labels": {"x": "1"},
        "HostConfig": {
            "PortBindings": {"80/tcp": [{"HostPort": "8080"}], "81/tcp": [{"HostPort": ""}]},
            "Binds": ["/srv:/data", "vol:/cache"],
            **host,
        },
    }
    return Container("c" * 64, "web", "sha256:1", phase, wanted.decode_create(body), State(), 0)


def live(host_port: int, container_port: int, count: int = 1, protocol: Any = "tcp") -> PublishedPort:
    return PublishedPort("e", IPv4Address("172.17.0.2"), protocol, ANY, host_port, container_port, count)


PUBLISHED = (live(8080, 80), live(32768, 81))


def decide(edit: dict[str, Any], of: Container | None = None, **limits: Any) -> plan.Plan:
    names = iter(f"name{number}" for number in range(9))
    item = of or container()
    return plan.plan(
        item,
        wanted.decode_host(limits),
        wish.decode({"Sampan": edit}),
        published=PUBLISHED if item.alive else (),
        cpus=2,
        new_name=lambda: next(names),
    )


def ports_of(decided: plan.Plan) -> dict[str, list[str]]:
    bindings = decided.wanted.host.port_bindings
    return {key: [one.host_port for one in hosts] for key, hosts in bindings.items()}


@pytest.mark.parametrize(
    ("edit", "bindings", "removed", "added"),
    [
        ({}, {"80/tcp": ["8080"], "81/tcp": [""]}, (), ()),
        ({"PublishRemove": ["8080"]}, {"81/tcp": [""]}, (Removal("tcp", ANY, 8080),), ()),
        ({"PublishRemove": ["0.0.0.0:8080:80/tcp"]}, {"81/tcp": [""]}, (Removal("tcp", ANY, 8080),), ()),
        ({"PublishRemove": ["32768"]}, {"80/tcp": ["8080"]}, (Removal("tcp", ANY, 32768),), ()),
        (
            {"PublishAdd": {"80/tcp": [{"HostPort": "9090"}]}},
            {"80/tcp": ["8080", "9090"], "81/tcp": [""]},
            (),
            (PortWish(80, "tcp", "", 9090),),
        ),
        (
            {"PublishRemove": ["8080"], "PublishAdd": {"90": [{"HostPort": "8080"}]}},
            {"81/tcp": [""], "90/tcp": ["8080"]},
            (Removal("tcp", ANY, 8080),),
            (PortWish(90, "tcp", "", 8080),),
        ),
    ],
)
def test_ports_of_a_running_container(
    edit: dict[str, Any], bindings: dict[str, list[str]], removed: tuple[Removal, ...], added: tuple[PortWish, ...]
) -> None:
    decided = decide(edit)
    assert ports_of(decided) == bindings
    assert (decided.ports_remove, decided.ports_add) == (removed, added)
    assert decided.next_start == (), "ports change live"


def test_ports_of_a_stopped_container_change_in_the_wish() -> None:
    decided = decide({"PublishRemove": ["8080"], "PublishAdd": {"82/udp": []}}, container(Phase.EXITED))
    assert ports_of(decided) == {"81/tcp": [""], "82/udp": [""]}
    assert decided.ports_remove == ()


def test_one_port_of_a_range_goes_alone() -> None:
    of = container(PortBindings={"80/tcp": [{"HostPort": "8080-8081"}, {"HostPort": "8080"}]})
    assert ports_of(decide({"PublishRemove": ["8080"]}, of)) == {"80/tcp": ["8080-8081"]}


def test_environment_labels_command_and_mounts_hold_from_the_next_start() -> None:
    mount = {"Type": "volume", "Target": "/new"}
    decided = decide(
        {
            "EnvAdd": ["B=3", "C=4"],
            "EnvRemove": ["A"],
            "LabelAdd": {"y": "2"},
            "LabelRemove": ["x"],
            "MountAdd": [mount, {"Type": "bind", "Source": "/s", "Target": "/t"}],
            "MountRemove": ["/data/"],
            "Cmd": ["true"],
            "User": "7",
        }
    )
    config, host = decided.wanted.config, decided.wanted.host
    assert (config.env, config.labels, config.cmd, config.user) == (["B=3", "C=4"], {"y": "2"}, ["true"], "7")
    assert host.binds == ["vol:/cache"]
    assert [(item.source, item.target) for item in host.mounts] == [("name0", "/new"), ("/s", "/t")]
    assert [point.source for point in decided.volumes] == ["name0"]
    assert decided.next_start == ("environment", "mounts", "command", "user")
    assert decide({"EnvAdd": ["B=3"]}, container(Phase.EXITED)).next_start == ()


def test_limits_and_policy_come_as_from_dockerds_clients_and_nothing_else_does() -> None:
    decided = decide({}, Memory=64 << 20, RestartPolicy={"Name": "always"}, Binds=["/:/host"], Privileged=True)
    host = decided.wanted.host
    assert (host.memory, host.restart_policy.name, decided.limits) == (64 << 20, "always", True)
    assert (host.binds, host.privileged) == (["/srv:/data", "vol:/cache"], False)
    assert not decide({}, RestartPolicy={"Name": "no"}).limits


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        ({"PublishRemove": ["9999"]}, "9999 is not published"),
        ({"PublishRemove": ["8080/udp"]}, "not published"),
        ({"PublishRemove": ["127.0.0.1:8080"]}, "not published"),
        ({"PublishRemove": ["x"]}, "HOSTPORT"),
        ({"PublishRemove": ["0"]}, "HOSTPORT"),
        ({"PublishAdd": {"80/tcp": [{"HostPort": "8080"}]}}, "8080 is published by this container already"),
        ({"PublishAdd": {"80/icmp": []}}, "invalid proto"),
        ({"PublishAdd": {"80-90/tcp": []}}, "name each port"),
        ({"EnvRemove": ["Z"]}, "no environment variable 'Z'"),
        ({"EnvAdd": ["Z"]}, "NAME=VALUE"),
        ({"LabelRemove": ["z"]}, "no label 'z'"),
        ({"MountRemove": ["/nothing"]}, "nothing is mounted at '/nothing'"),
        ({"MountAdd": [{"Type": "bind", "Source": "/x", "Target": "/data"}]}, "Duplicate mount point: /data"),
        ({"Cmd": [], "Entrypoint": []}, "no command specified"),
        ({"WorkingDir": "here"}, "absolute path"),
        ({"Speed": 9}, "unknown field"),
        ({"EnvAdd": "A=1"}, "invalid edit"),
    ],
)
def test_what_cannot_be_meant_is_refused(edit: dict[str, Any], complaint: str) -> None:
    with pytest.raises(errors.SampanError, match=complaint):
        decide(edit)


def test_a_container_that_removes_itself_gets_no_restart_policy() -> None:
    with pytest.raises(errors.Invalid, match="AutoRemove"):
        decide({}, container(AutoRemove=True), RestartPolicy={"Name": "always"})
