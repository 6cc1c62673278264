"""Networks and names from Docker's modes."""

from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import pytest

from sampan.containers import joining, names, ports, wanted
from sampan.containers.model import Container, Phase, State
from sampan.containers.wanted import Wanted
from sampan.networks.model import Endpoint, EndpointWish, PortWish


def wish(mode: str = "", joins: dict[str, Any] | None = None, **host: Any) -> Wanted:
    body = {
        "Cmd": ["x"],
        "HostConfig": {"NetworkMode": mode, **host},
        "NetworkingConfig": {"EndpointsConfig": joins or {}},
    }
    return wanted.decode_create(body)


@pytest.mark.parametrize(
    ("item", "wishes"),
    [
        (wish(), (EndpointWish("bridge"),)),
        (wish("default"), (EndpointWish("bridge"),)),
        (wish("none"), (EndpointWish("none"),)),
        (wish("host"), (EndpointWish("host"),)),
        (wish("container:other"), ()),
        (wish("n", {"n": {"Aliases": ["db"]}}), (EndpointWish("n", aliases=("db",)),)),
        (
            wish("n", {"n": {"IPAMConfig": {"IPv4Address": "10.0.0.9"}}, "m": {}}),
            (EndpointWish("n", address="10.0.0.9"), EndpointWish("m")),
        ),
    ],
)
def test_a_mode_becomes_wishes(item: Wanted, wishes: tuple[EndpointWish, ...]) -> None:
    assert joining.network_wishes(item) == wishes


@pytest.mark.parametrize(
    "item",
    [
        wish("container:x", PortBindings={"80/tcp": [{}]}),
        wish("container:x", {"n": {}}),
        wish("container:x", Dns=["1.1.1.1"]),
        wish("host", {"n": {}}),
        wish("none", {"n": {}}),
    ],
)
def test_modes_that_exclude_each_other_are_refused(item: Wanted) -> None:
    with pytest.raises(joining.ModeInvalid):
        joining.check(item)


def test_the_hosts_file_names_the_container_and_the_gateway() -> None:
    item = Container("ab" * 32, "web", "i", Phase.CREATED, wish(), State(), 1)
    endpoint = Endpoint(
        "e", "n", item.id, "web", address=IPv4Interface("172.17.0.2/16"), gateway=IPv4Address("172.17.0.1")
    )
    text = joining.hosts_file(item, [endpoint], ["db:10.0.0.5", "up:host-gateway", "six=[::2]"], "172.17.0.1")
    lines = text.splitlines()
    assert "127.0.0.1\tlocalhost" in lines
    assert "172.17.0.2\tabababababab" in lines
    assert {"10.0.0.5\tdb", "172.17.0.1\tup", "::2\tsix"} <= set(lines)


@pytest.mark.parametrize(
    ("bindings", "wishes"),
    [
        ({"80/tcp": [{"HostPort": "8080"}]}, [PortWish(80, "tcp", "", 8080)]),
        ({"80": [{"HostIp": "127.0.0.1", "HostPort": "8080-8090"}]}, [PortWish(80, "tcp", "127.0.0.1", 8080, 8090)]),
        ({"53/udp": [{}]}, [PortWish(53, "udp")]),
        ({"53/udp": []}, [PortWish(53, "udp")]),
    ],
)
def test_published_ports_become_wishes(bindings: dict[str, Any], wishes: list[PortWish]) -> None:
    item = wish(PortBindings=bindings)
    assert list(ports.wishes(item.config, item.host)) == wishes


def test_publish_all_takes_every_exposed_port_once() -> None:
    body = {
        "ExposedPorts": {"80/tcp": {}, "90-91/tcp": {}},
        "HostConfig": {"PublishAllPorts": True, "PortBindings": {"80/tcp": [{"HostPort": "8"}]}},
    }
    item = wanted.decode_create(body)
    found = list(ports.wishes(item.config, item.host))
    assert found == [PortWish(80, "tcp", "", 8), PortWish(90), PortWish(91)]


@pytest.mark.parametrize("name", ["a", "-x", "with space", "a/b", "x" * 300, ""])
def test_a_wrong_name_is_refused(name: str) -> None:
    with pytest.raises(names.NameInvalid):
        names.check(name)


def test_a_suggested_name_is_free_and_good() -> None:
    taken = {"anchored_barge"}
    picks = iter([0, 0, 1, 0])
    name = names.suggest(lambda words: words[next(picks)], taken.__contains__)
    assert name == "breezy_barge"
    assert names.check("/" + name) == name


@pytest.mark.parametrize(
    ("mode", "config", "host", "said"),
    [
        ("container", {}, {}, "invalid container format"),
        ("container:a", {"Hostname": "x"}, {}, "hostname and the network mode"),
        ("container:a", {}, {"Dns": ["1.1.1.1"]}, "dns and the network mode"),
        ("container:a", {}, {"ExtraHosts": ["a:1.1.1.1"]}, "custom host-to-IP mapping"),
        ("container:a", {"ExposedPorts": {"80/tcp": {}}}, {}, "port exposing"),
        ("container:a", {}, {"PublishAllPorts": True}, "port publishing"),
        ("container:a", {"MacAddress": "92:d0:c6:0a:29:33"}, {}, "mac-address and the network mode"),
        ("host", {"MacAddress": "92:d0:c6:0a:29:33"}, {}, "mac-address and the network mode"),
        ("host", {}, {"Links": ["a:b"]}, "host type networking can't be used with links"),
        ("container:a", {}, {"Links": ["a:b"]}, "container type network can't be used with links"),
        ("bridge", {}, {"IpcMode": "odd"}, "invalid IPC mode: odd"),
    ],
)
def test_what_a_mode_excludes_is_refused_in_dockers_words(
    mode: str, config: dict[str, Any], host: dict[str, Any], said: str
) -> None:
    asked = wanted.decode_create({"Image": "x", **config, "HostConfig": {"NetworkMode": mode, **host}})
    with pytest.raises(joining.ModeInvalid, match=said):
        joining.check(asked)
