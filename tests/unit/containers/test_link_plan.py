"""What `--link` means: words, variables and lines of /etc/hosts."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from sampan import errors
from sampan.containers import wanted
from sampan.containers.links import plan
from sampan.containers.model import Container, Phase, State


def database() -> Container:
    body = {
        "Image": "pg",
        "Env": ["PGUSER=crew", "PATH=/bin", "HOME=/root"],
        "ExposedPorts": {"5432/tcp": {}, "53/udp": {}},
        "HostConfig": {"PortBindings": {"8080/tcp": [{"HostPort": "1"}]}},
    }
    return Container("d" * 64, "mydb", "sha256:1", Phase.RUNNING, wanted.decode_create(body), State(), 0)


PEER = plan.Peer("the-db", database(), IPv4Address("172.17.0.5"))


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("db:alias", ("db", "alias")),
        ("db", ("db", "db")),
        ("/db:/web/alias", ("db", "alias")),
        ("/db", ("db", "db")),
    ],
)
def test_a_link_is_read_as_clients_write_it(text: str, meaning: tuple[str, str]) -> None:
    assert plan.parse(text) == meaning


@pytest.mark.parametrize("text", ["", ":", "db:", ":alias", "a:b:c", "db:an alias"])
def test_a_bad_link_is_refused(text: str) -> None:
    with pytest.raises(plan.LinkInvalid):
        plan.parse(text)


def test_the_environment_tells_ports_address_and_variables() -> None:
    assert plan.environment("web", [PEER]) == [
        "THE_DB_PORT=udp://172.17.0.5:53",
        "THE_DB_PORT_53_UDP=udp://172.17.0.5:53",
        "THE_DB_PORT_53_UDP_ADDR=172.17.0.5",
        "THE_DB_PORT_53_UDP_PORT=53",
        "THE_DB_PORT_53_UDP_PROTO=udp",
        "THE_DB_PORT_5432_TCP=tcp://172.17.0.5:5432",
        "THE_DB_PORT_5432_TCP_ADDR=172.17.0.5",
        "THE_DB_PORT_5432_TCP_PORT=5432",
        "THE_DB_PORT_5432_TCP_PROTO=tcp",
        "THE_DB_PORT_8080_TCP=tcp://172.17.0.5:8080",
        "THE_DB_PORT_8080_TCP_ADDR=172.17.0.5",
        "THE_DB_PORT_8080_TCP_PORT=8080",
        "THE_DB_PORT_8080_TCP_PROTO=tcp",
        "THE_DB_NAME=/web/the-db",
        "THE_DB_ENV_PGUSER=crew",
    ]


def test_hosts_get_the_lines_in_place_of_former_ones() -> None:
    once = plan.hosts("127.0.0.1\tlocalhost\n", [PEER])
    assert "172.17.0.5\tthe-db dddddddddddd mydb\n" in once
    moved = plan.Peer("the-db", PEER.container, IPv4Address("172.17.0.9"))
    again = plan.hosts(once + "10.0.0.1\tadded\n", [moved])
    assert "172.17.0.5" not in again
    assert "172.17.0.9\tthe-db" in again
    assert again.endswith("10.0.0.1\tadded\n")
    assert plan.hosts(again, []) == "127.0.0.1\tlocalhost\n10.0.0.1\tadded\n"


def test_one_link_goes_alone() -> None:
    assert plan.without(["a:one", "b:two"], "one") == ["b:two"]
    with pytest.raises(errors.NotFound):
        plan.without(["a:one"], "two")
