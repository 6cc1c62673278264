from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from sampan import errors
from sampan.networks import failures, plan, ruleset
from sampan.networks.ledger import Ledger
from sampan.networks.model import Endpoint, EndpointWish, Network, NetworkWish, PublishedPort, Settings


def ledger(**settings: object) -> Ledger:
    book = Ledger()
    known = Settings(**settings)  # type: ignore[arg-type]
    book.add_network(plan.default_network(settings=known, host=[], new_id="d" * 64, now_ns=1))
    book.add_network(Network("h" * 64, "host", "host", 1))
    book.add_network(Network("0" * 64, "none", "null", 1))
    return book


def create(book: Ledger, wish: NetworkWish, letter: str = "a") -> Network:
    made = plan.network(wish, ledger=book, settings=Settings(), host=[], new_id=letter * 64, now_ns=2)
    book.add_network(made)
    return made


def attach(book: Ledger, network: str, container: str = "c", **wish: object) -> Endpoint:
    made = plan.endpoint(
        book,
        EndpointWish(network, **wish),  # type: ignore[arg-type]
        container_id=container * 64,
        name=f"box-{container}",
        hostname=container * 12,
        new_id=f"{book.count_on(book.find(network).id):x}".rjust(64, "e"),
        inside=plan.free_inside(book.endpoints_of(container * 64)),
    )
    book.add_endpoint(made)
    return made


def test_the_default_network_takes_a_pool_that_is_clear_of_the_hosts_routes() -> None:
    made = plan.default_network(settings=Settings(), host=[IPv4Network("172.17.0.0/24")], new_id="d", now_ns=1)
    assert (str(made.subnet), str(made.gateway), made.interface) == ("172.18.0.0/16", "172.18.0.1", "sampan0")
    chosen = plan.default_network(settings=Settings(bip="10.7.0.5/24"), host=[], new_id="d", now_ns=1)
    assert (str(chosen.subnet), str(chosen.gateway)) == ("10.7.0.0/24", "10.7.0.5")


def test_a_network_reads_dockers_options() -> None:
    options = {
        "com.docker.network.bridge.name": "lan0",
        "com.docker.network.bridge.enable_icc": "false",
        "com.docker.network.bridge.enable_ip_masquerade": "false",
        "com.docker.network.driver.mtu": "1400",
        "com.docker.network.bridge.host_binding_ipv4": "192.0.2.1",
    }
    made = create(ledger(), NetworkWish("app", options=options))
    assert (made.interface, made.icc, made.masquerade, made.mtu_bytes) == ("lan0", False, False, 1400)
    assert str(made.host_address) == "192.0.2.1"
    assert create(ledger(), NetworkWish("app")).interface == "br-aaaaaaaaaaaa"


@pytest.mark.parametrize(
    ("wish", "kind"),
    [
        (NetworkWish("bridge"), failures.PredefinedNetwork),
        (NetworkWish(" a"), failures.BadNetwork),
        (NetworkWish("a/b"), failures.BadNetwork),
        (NetworkWish("n" * 129), failures.BadNetwork),
        (NetworkWish(""), failures.BadNetwork),
        (NetworkWish("taken"), failures.NetworkExists),
        (NetworkWish("x", driver="macvlan"), errors.Unsupported),
        (NetworkWish("x", ipv6=True), errors.Unsupported),
        (NetworkWish("x", options={"com.docker.network.bridge.name": "sixteen-letters-"}), failures.BadNetwork),
        (NetworkWish("x", options={"com.docker.network.bridge.name": "sampan0"}), failures.BadNetwork),
        (NetworkWish("x", options={"com.docker.network.bridge.enable_icc": "perhaps"}), failures.BadNetwork),
        (NetworkWish("x", options={"com.docker.network.driver.mtu": "9"}), failures.BadNetwork),
        (NetworkWish("x", options={"com.docker.network.bridge.host_binding_ipv4": "here"}), failures.BadNetwork),
    ],
)
def test_a_network_that_cannot_be_is_refused(wish: NetworkWish, kind: type[Exception]) -> None:
    book = ledger()
    create(book, NetworkWish("taken"))
    with pytest.raises(kind):
        create(book, wish, "b")


def test_a_network_is_found_by_id_name_or_start_of_an_id() -> None:
    book = ledger()
    one = create(book, NetworkWish("one", subnet="10.1.0.0/24"), "a")
    two = replace(one, id="a" * 10 + "b" * 54, name="two", interface="br-two")
    book.add_network(two)
    assert book.find("one") == one
    assert book.find("a" * 64) == one
    assert book.find("a" * 10 + "b") == two
    with pytest.raises(failures.AmbiguousNetwork, match="2 matches"):
        book.find("aaa")
    for missing in ("", "nothing"):
        with pytest.raises(failures.NoSuchNetwork):
            book.find(missing)


def test_an_endpoint_has_what_docker_gives_it() -> None:
    book = ledger()
    create(book, NetworkWish("app"))
    made = attach(book, "app", aliases=("www",))
    assert str(made.address) == "172.18.0.2/16"
    assert (made.mac, str(made.gateway), made.inside) == ("02:42:ac:12:00:02", "172.18.0.1", "eth0")
    assert len(made.interface) <= plan.LONGEST_LINK_NAME
    assert made.dns_names == ("box-c", "www", "c" * 12)
    assert attach(book, "bridge").inside == "eth1"
    assert attach(book, "bridge", "d").dns_names == ()


@pytest.mark.parametrize(
    ("network", "wish", "kind"),
    [
        ("app", {}, failures.AlreadyConnected),
        ("nowhere", {}, failures.NoSuchNetwork),
        ("bridge", {"aliases": ("www",)}, failures.BadEndpoint),
        ("bridge", {"address": "172.17.0.9"}, failures.BadEndpoint),
        ("bridge", {"mac": "01:00:00:00:00:01"}, failures.BadEndpoint),
        ("bridge", {"mac": "nonsense"}, failures.BadEndpoint),
    ],
)
def test_an_endpoint_that_cannot_be_is_refused(network: str, wish: dict[str, object], kind: type[Exception]) -> None:
    book = ledger()
    create(book, NetworkWish("app"))
    attach(book, "app")
    with pytest.raises(kind):
        attach(book, network, **wish)


def test_a_bridge_that_is_full_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "BRIDGE_PORTS", 2)
    book = ledger()
    attach(book, "bridge", "a")
    attach(book, "bridge", "b")
    with pytest.raises(failures.NoPortLeft, match="holds 2 ports"):
        attach(book, "bridge", "c")


def test_the_way_out_is_the_highest_priority_then_the_first() -> None:
    book = ledger()
    create(book, NetworkWish("vault", internal=True), "a")
    create(book, NetworkWish("app"), "b")
    vault, first, second = attach(book, "vault"), attach(book, "bridge"), attach(book, "app")
    assert plan.way_out([vault]) is None
    assert plan.way_out([vault, first, second]) == first
    assert plan.way_out([vault, first, replace(second, gateway_priority=1)]) == replace(second, gateway_priority=1)


def test_host_and_none_stand_alone() -> None:
    book = ledger()
    plan.check_modes(book, [EndpointWish("host")])
    for pair in (("host", "bridge"), ("bridge", "none")):
        with pytest.raises(failures.BadEndpoint, match="multiple networks"):
            plan.check_modes(book, [EndpointWish(one) for one in pair])
    attach(book, "host", "x")
    with pytest.raises(failures.BadEndpoint, match="host network"):
        plan.check_connect(book, "x" * 64, EndpointWish("bridge"))
    with pytest.raises(failures.BadEndpoint, match="host network"):
        plan.connected(book, "x" * 64, book.find("host"))
    with pytest.raises(failures.NotConnected):
        plan.connected(book, "y" * 64, book.find("bridge"))


def test_released_names_addresses_and_endpoints_are_gone() -> None:
    book = ledger()
    app = create(book, NetworkWish("app"))
    made, other = attach(book, "app", "a", aliases=("www",)), attach(book, "app", "b", aliases=("WWW",))
    both = (IPv4Address("172.18.0.2"), IPv4Address("172.18.0.3"))
    assert book.directory.addresses("www", [app]) == both
    assert book.directory.addresses("Box-A.app.", [app]) == both[:1]
    assert book.directory.name(both[0], [app]) == "box-a.app"
    book.remove_endpoint(made)
    assert book.directory.addresses("www", [app]) == both[1:]
    assert book.directory.addresses("box-a", [app]) == ()
    assert book.directory.name(both[0], [app]) == ""
    assert book.endpoints_on(app.id) == (other,)
    assert book.endpoints_of("a" * 64) == ()


def test_moved_ports_keep_their_host_side() -> None:
    entry = PublishedPort("old", IPv4Address("10.0.0.2"), "tcp", IPv4Address("0.0.0.0"), 8080, 80)
    target = Endpoint("new", "n", "c", "box", address=IPv4Interface("10.1.0.3/24"))
    (moved,) = plan.moved([entry], target)
    assert (moved.endpoint_id, str(moved.address), moved.host_port) == ("new", "10.1.0.3", 8080)
    assert plan.moved([entry], None) == ()


def test_the_table_holds_elements_and_no_rule_per_port() -> None:
    book = ledger()
    create(book, NetworkWish("vault", internal=True))
    networks = tuple(book.networks.values())
    any_, one = IPv4Address("0.0.0.0"), IPv4Address("127.0.0.1")
    entries = [
        PublishedPort("e", IPv4Address("10.0.0.2"), "tcp", any_, 8080, 80),
        PublishedPort("e", IPv4Address("10.0.0.2"), "udp", one, 53, 53),
        PublishedPort("e", IPv4Address("10.0.0.2"), "tcp", any_, 1000, 1000, 500),
        PublishedPort("e", IPv4Address("10.0.0.2"), "tcp", one, 1000, 1000, 500),
    ]
    assert ruleset.publish(entries).splitlines() == [
        "add element ip sampan pub { tcp . 8080 : 10.0.0.2 . 80 }",
        "add element ip sampan pub_ip { 127.0.0.1 . udp . 53 : 10.0.0.2 . 53 }",
        "add element ip sampan pub_range { tcp . 1000-1499 : 10.0.0.2 }",
        "add element ip sampan pub_ip_range { 127.0.0.1 . tcp . 1000-1499 : 10.0.0.2 }",
    ]
    bare, full = ruleset.whole(networks, []), ruleset.whole(networks, entries)
    assert bare.count("dnat ip to") == full.count("dnat ip to") == 4
    assert full.startswith("table ip sampan\ndelete table ip sampan\n")
    assert "closed { " + '"br-aaaaaaaaaaaa"' in full
    assert "nat { 172.18" not in full, "an internal network is not masqueraded"
    assert ruleset.publish([]) == ruleset.unpublish([]) == ruleset.add_network(book.find("host")) == ""
