from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.networks import failures, ipam
from sampan.networks.model import DEFAULT_POOLS, Network, NetworkWish

A = IPv4Address
N = IPv4Network


def net(**more: object) -> Network:
    values = {"id": "n" * 64, "name": "app", "driver": "bridge", "created_ns": 0} | more
    values = {"subnet": N("10.0.0.0/29"), "gateway": A("10.0.0.1"), "chosen_subnet": True} | values
    return Network(**values)  # type: ignore[arg-type]


def test_a_mac_follows_from_the_address() -> None:
    assert ipam.mac_of(A("172.17.0.2")) == "02:42:ac:11:00:02"


@pytest.mark.parametrize(
    ("used", "chosen"),
    [
        ([], "172.17.0.0/16"),
        (["172.17.42.0/24"], "172.18.0.0/16"),
        (["172.16.0.0/12"], "192.168.0.0/20"),
        (["172.16.0.0/12", "192.168.1.0/24", "192.168.16.0/20"], "192.168.32.0/20"),
    ],
)
def test_a_pool_is_the_first_piece_that_is_clear_of_what_is_used(used: list[str], chosen: str) -> None:
    assert ipam.choose_subnet(DEFAULT_POOLS, [N(one) for one in used]) == N(chosen)


def test_pools_that_are_used_up_say_so() -> None:
    with pytest.raises(failures.NoPoolLeft, match="fully subnetted"):
        ipam.choose_subnet(DEFAULT_POOLS, [N("0.0.0.0/0")])


def test_addresses_are_given_in_order_and_wrap_around() -> None:
    network, taken, given_out = net(), set(), []
    last = None
    for _ in range(5):
        last = ipam.next_address(network, taken, after=last)
        taken.add(last)
        given_out.append(str(last))
    assert given_out == ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]
    with pytest.raises(failures.NoAddressLeft, match="no available IPv4 addresses"):
        ipam.next_address(network, taken, after=last)
    taken.remove(A("10.0.0.3"))
    assert ipam.next_address(network, taken, after=last) == A("10.0.0.3")


def test_an_address_just_left_is_the_last_to_be_given_again() -> None:
    assert ipam.next_address(net(), set(), after=A("10.0.0.2")) == A("10.0.0.3")


def test_auxiliary_addresses_and_the_range_are_kept() -> None:
    network = net(
        subnet=N("10.0.0.0/24"),
        ip_range=N("10.0.0.64/30"),
        auxiliary={"router": A("10.0.0.65")},
        gateway=A("10.0.0.64"),
    )
    assert ipam.next_address(network, set(), after=None) == A("10.0.0.66")
    assert ipam.next_address(network, {A("10.0.0.66")}, after=A("10.0.0.66")) == A("10.0.0.67")
    with pytest.raises(failures.NoAddressLeft):
        ipam.next_address(network, {A("10.0.0.66"), A("10.0.0.67")}, after=None)


@given(st.sets(st.integers(2, 254)), st.one_of(st.none(), st.integers(0, 255)))
def test_whatever_is_taken_a_given_address_is_free_and_a_host(taken: set[int], after: int | None) -> None:
    network = net(subnet=N("10.0.0.0/24"))
    held = {A(f"10.0.0.{one}") for one in taken}
    last = A(f"10.0.0.{after}") if after is not None else None
    if len(held) == 253:
        return
    address = ipam.next_address(network, held, after=last)
    assert address not in held
    assert address in N("10.0.0.0/24")
    assert address not in (A("10.0.0.0"), A("10.0.0.255"), A("10.0.0.1"))


@pytest.mark.parametrize("text", ["10.0.0.1", "10.0.0.3", "10.0.0.5"])
def test_a_requested_address_that_is_held_is_refused(text: str) -> None:
    network = net(auxiliary={"printer": A("10.0.0.5")})
    with pytest.raises(failures.AddressInUse, match="Address already in use"):
        ipam.requested_address(network, text, {A("10.0.0.3")})


@pytest.mark.parametrize("text", ["10.0.0.0", "10.0.0.7", "10.0.1.1", "fe80::1", "web"])
def test_a_requested_address_outside_the_hosts_of_the_subnet_is_refused(text: str) -> None:
    with pytest.raises(failures.BadNetwork, match="invalid address"):
        ipam.requested_address(net(), text, set())


def test_addresses_are_requested_on_networks_with_a_chosen_subnet_only() -> None:
    with pytest.raises(failures.BadEndpoint, match="user configured subnets"):
        ipam.requested_address(net(chosen_subnet=False), "10.0.0.3", set())
    with pytest.raises(failures.BadEndpoint, match="user defined networks only"):
        ipam.requested_address(net(name="bridge"), "10.0.0.3", set())


def pool(**more: object) -> tuple[object, ...]:
    wish = NetworkWish("new", **more)  # type: ignore[arg-type]
    return ipam.plan_pool(wish, pools=DEFAULT_POOLS, networks=[net()], host=[N("172.17.0.0/16")])


def test_a_wish_without_addresses_gets_a_pool_and_its_first_host_as_gateway() -> None:
    assert pool() == (N("172.18.0.0/16"), A("172.18.0.1"), None, {})


def test_a_wish_may_name_everything() -> None:
    got = pool(subnet="10.1.0.0/24", gateway="10.1.0.254", ip_range="10.1.0.128/25", auxiliary={"nas": "10.1.0.9"})
    assert got == (N("10.1.0.0/24"), A("10.1.0.254"), N("10.1.0.128/25"), {"nas": A("10.1.0.9")})


def test_a_subnet_of_the_hosts_may_be_chosen_but_not_one_of_another_network() -> None:
    assert pool(subnet="172.17.0.0/24")[0] == N("172.17.0.0/24")
    with pytest.raises(failures.PoolOverlap, match="Pool overlaps with other one on this address space"):
        pool(subnet="10.0.0.0/24")


@pytest.mark.parametrize(
    "more",
    [
        {"subnet": "10.1.0.1/24"},
        {"subnet": "10.1.0.0/31"},
        {"subnet": "fd00::/64"},
        {"gateway": "10.1.0.1"},
        {"subnet": "10.1.0.0/24", "gateway": "10.2.0.1"},
        {"subnet": "10.1.0.0/24", "ip_range": "10.2.0.0/25"},
        {"subnet": "10.1.0.0/24", "auxiliary": {"x": "10.1.0.255"}},
    ],
)
def test_addresses_that_cannot_be_meant_are_refused(more: dict[str, object]) -> None:
    with pytest.raises(failures.BadNetwork):
        pool(**more)


def test_bip_is_an_address_with_its_prefix() -> None:
    assert ipam.read_bip("10.5.0.1/16") == IPv4Interface("10.5.0.1/16")
    for text in ("10.5.0.0/16", "10.5.255.255/16", "nonsense"):
        with pytest.raises(failures.BadNetwork, match="invalid bip"):
            ipam.read_bip(text)
