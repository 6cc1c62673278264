from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface

import pytest

from sampan.networks import failures, ports
from sampan.networks.model import ANY, Endpoint, PortWish, PublishedPort

BOX = Endpoint("e" * 64, "n", "c", "web", address=IPv4Interface("172.17.0.2/16"))
LOCAL = IPv4Address("127.0.0.1")


def free(_protocol: str, _address: IPv4Address, _port: int) -> str:
    return ""


def publish(table: ports.PortTable, *wishes: PortWish, held: ports.Held = free) -> tuple[PublishedPort, ...]:
    entries = ports.compact(table.choose(wishes, BOX, default=ANY, held=held), BOX)
    table.add(entries)
    return entries


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [
        ("", "", True),
        ("", "127.0.0.1", True),
        ("127.0.0.1", "", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "192.0.2.1", False),
    ],
)
def test_a_port_held_on_every_address_is_refused_on_each(first: str, second: str, refused: bool) -> None:
    table = ports.PortTable()
    publish(table, PortWish(80, host_address=first, host_port=8080))
    again = PortWish(80, host_address=second, host_port=8080)
    if refused:
        with pytest.raises(
            failures.PortTaken, match=r"endpoint web \(e{64}\): Bind for .*:8080 failed: port is already"
        ):
            publish(table, again)
    else:
        publish(table, again)


def test_protocols_do_not_meet() -> None:
    table = ports.PortTable()
    publish(table, PortWish(53, "tcp", host_port=53), PortWish(53, "udp", host_port=53))
    assert table.is_taken("tcp", ANY, 53)
    assert table.is_taken("udp", LOCAL, 53)
    assert not table.is_taken("sctp", ANY, 53)


def test_what_is_removed_is_free_again() -> None:
    table = ports.PortTable()
    first = publish(table, PortWish(80, host_address="127.0.0.1", host_port=1))
    second = publish(table, PortWish(80, host_address="192.0.2.1", host_port=1))
    table.remove(first)
    assert not table.is_taken("tcp", LOCAL, 1)
    assert table.is_taken("tcp", ANY, 1)
    table.remove(second)
    table.remove(second)
    assert not table.is_taken("tcp", ANY, 1)


def test_a_program_of_the_host_keeps_its_port() -> None:
    def held(_protocol: str, _address: IPv4Address, port: int) -> str:
        return "address already in use" if port == 22 else ""

    with pytest.raises(failures.PortTaken, match=r"listen tcp4 0\.0\.0\.0:22: bind: address already in use"):
        publish(ports.PortTable(), PortWish(22, host_port=22), held=held)


def test_free_ports_are_given_in_order_and_not_twice() -> None:
    def held(_protocol: str, _address: IPv4Address, port: int) -> str:
        return "busy" if port == 32769 else ""

    table = ports.PortTable()
    entries = publish(table, PortWish(80), PortWish(81), PortWish(82, host_port=32771), PortWish(83), held=held)
    assert [(one.host_port, one.container_port) for one in entries] == [
        (32768, 80),
        (32770, 81),
        (32771, 82),
        (32772, 83),
    ]
    table.remove(entries)
    assert publish(table, PortWish(80))[0].host_port == 32773, "a port just left is not given at once"


def test_a_range_gives_its_first_free_port_and_ends() -> None:
    table = ports.PortTable()
    wish = PortWish(80, host_port=9000, host_port_last=9001)
    assert publish(table, wish)[0].host_port == 9000
    assert publish(table, wish)[0].host_port == 9001
    with pytest.raises(failures.PortTaken, match="all ports are allocated"):
        publish(table, wish)


def test_a_long_run_of_equal_numbers_is_one_entry() -> None:
    entries = publish(ports.PortTable(), *(PortWish(port, host_port=port) for port in range(1000, 21000)))
    assert [(one.host_port, one.container_port, one.count) for one in entries] == [(1000, 1000, 20000)]


def test_short_runs_and_shifted_runs_stay_single() -> None:
    short = publish(ports.PortTable(), *(PortWish(port, host_port=port) for port in range(1000, 1000 + ports.RUN - 1)))
    shifted = publish(ports.PortTable(), *(PortWish(port + 1, host_port=port) for port in range(1000, 1100)))
    assert {one.count for one in short + shifted} == {1}
    assert len(short + shifted) == ports.RUN - 1 + 100


def test_an_ipv6_wildcard_is_left_out_and_other_ipv6_is_refused() -> None:
    entries = publish(ports.PortTable(), PortWish(80, host_address="::", host_port=80), PortWish(80, host_port=80))
    assert [str(one.host_address) for one in entries] == ["0.0.0.0"]
    with pytest.raises(failures.BadEndpoint, match="invalid host address"):
        publish(ports.PortTable(), PortWish(80, host_address="fe80::1", host_port=80))
