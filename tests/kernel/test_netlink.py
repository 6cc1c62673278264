"""Namespaces, rtnetlink and nftables. Threads enter namespaces of their own; this process stays where it is."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path

import pytest

from sampan.kernel import libc, links, namespaces, netlink, nfnetlink, nft

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")]


def test_a_thread_enters_a_namespace_and_the_process_stays() -> None:
    before = os.readlink("/proc/self/ns/net")
    seen = namespaces.run_in(None, lambda: os.readlink("/proc/thread-self/ns/net"))
    assert seen != before
    assert os.readlink("/proc/self/ns/net") == before


def test_what_fails_inside_is_raised_outside() -> None:
    def fail() -> None:
        raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        namespaces.run_in(None, fail)


def test_a_kept_namespace_lives_until_it_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "ns"
    try:
        first = namespaces.run_in(None, lambda: (namespaces.keep_own(path), os.readlink("/proc/thread-self/ns/net"))[1])
        assert namespaces.is_namespace(path)
        assert namespaces.run_in(path, lambda: os.readlink("/proc/thread-self/ns/net")) == first
    finally:
        namespaces.drop(path)
    assert not path.exists()
    assert not namespaces.is_namespace(path)
    namespaces.drop(path)


def test_a_namespace_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(libc.KernelError, match=r"open\(.*gone.*ENOENT"):
        namespaces.run_in(tmp_path / "gone", lambda: None)


def test_a_new_namespace_gets_dockers_sysctls_and_no_ipv6() -> None:
    def look() -> list[str | None]:
        namespaces.settle(ipv6=False)
        names = (
            "net/ipv6/conf/all/disable_ipv6",
            "net/ipv6/conf/default/disable_ipv6",
            "net/ipv4/ip_unprivileged_port_start",
            "net/ipv4/ping_group_range",
        )
        return [namespaces.read_sysctl(name) for name in names]

    assert namespaces.run_in(None, look) == ["1", "1", "0", "0\t2147483647"]


def test_a_sysctl_that_this_kernel_lacks_is_no_error() -> None:
    assert namespaces.write_sysctl("net/no/such/thing", "1") is False
    assert namespaces.read_sysctl("net/no/such/thing") is None


def test_one_send_makes_a_bridge_and_a_pair_and_dumps_show_them() -> None:
    def work() -> None:
        with netlink.Socket() as kernel:
            kernel.perform(links.bridge("b0", mac="02:42:0a:00:00:01", mtu=1400, alias="sampan network x"))
            master = socket.if_nametoindex("b0")
            peer_fd = namespaces.run_in(None, namespaces.open_own)
            pair = links.Veth("left", master, 1400, "eth0", "02:42:0a:00:00:02", peer_fd)
            own = ipaddress.IPv4Interface("10.0.0.1/24")
            gateway = ipaddress.IPv4Address("10.0.0.9")
            up = links.change("left", up=True, port=links.Port(isolated=True, hairpin=True), no_ipv6=True)
            requests = [links.veth(pair), up, links.address(master, own), links.address(master, own)]
            kernel.perform([*requests, links.default_route(gateway, master)])
            os.close(peer_fd)
            found = {link.name: link for link in links.links(kernel)}
            assert found["b0"].kind == "bridge"
            assert (found["b0"].mac, found["b0"].mtu, found["b0"].alias) == (
                "02:42:0a:00:00:01",
                1400,
                "sampan network x",
            )
            assert (found["left"].kind, found["left"].master, found["left"].up) == ("veth", master, True)
            assert (master, own) in links.addresses(kernel)
            assert (master, own.network) in links.routes(kernel)
            assert (master, ipaddress.IPv4Network("0.0.0.0/0")) in links.routes(kernel)
            kernel.perform([links.delete("b0")])
            assert "b0" not in {link.name for link in links.links(kernel)}

    namespaces.run_in(None, work)


def test_the_first_request_that_fails_is_named() -> None:
    def work() -> None:
        with netlink.Socket() as kernel:
            requests = [links.up(1), links.delete("nobody"), links.up(4242)]
            with pytest.raises(libc.KernelError, match=r"dellink\('nobody'\) failed.*ENODEV") as caught:
                kernel.perform(requests)
            assert caught.value.errno == links.NO_DEVICE_ERRNO
            assert {link.name: link.up for link in links.links(kernel)}["lo"]
            kernel.perform([])

    namespaces.run_in(None, work)


@pytest.mark.parametrize("library", [nft.load(), None], ids=["library", "program"])
def test_nft_is_one_transaction_and_reads_back(library: object) -> None:
    def work() -> None:
        with nft.Nft(library=library) as table:  # type: ignore[arg-type]
            table.run("table ip t { set s { type ipv4_addr; }\n }")
            with pytest.raises(nft.NftFailed, match="nft 'add element"):
                table.run("add element ip t s { 10.0.0.1 }\nadd element ip t missing { 10.0.0.2 }")
            (found,) = (one["set"] for one in table.read("list set ip t s") if "set" in one)
            assert "elem" not in found, "the first half of the failed transaction is not there"
            table.run("add element ip t s { 10.0.0.1 }")
            (found,) = (one["set"] for one in table.read("list set ip t s") if "set" in one)
            assert found["elem"] == ["10.0.0.1"]

    namespaces.run_in(None, work)


def test_a_high_descriptor_makes_nft_use_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft, "_next_descriptor", lambda: nft.FD_SETSIZE)

    def work() -> None:
        with nft.Nft() as table:
            assert table._library is None
            table.run("table ip t { }")
            assert any("table" in one for one in table.read("list tables"))

    namespaces.run_in(None, work)


def test_the_hand_made_redirect_reads_as_nft_writes_it_and_replaces_itself() -> None:
    def work() -> str:
        address = ipaddress.IPv4Address("127.0.0.11")
        nfnetlink.perform(nfnetlink.redirect("names", address, 53, {17: 4000, 6: 4001}))
        nfnetlink.perform(nfnetlink.redirect("names", address, 53, {17: 5000, 6: 5001}))
        with nft.Nft() as table:
            return table._run("list ruleset", as_json=False)

    shown = namespaces.run_in(None, work)
    assert "type nat hook output priority -100" in shown or "type nat hook output priority dstnat" in shown
    assert "ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:5000" in shown
    assert "ip daddr 127.0.0.11 tcp dport 53 dnat to 127.0.0.11:5001" in shown
    assert "4000" not in shown


def test_a_transaction_that_is_refused_is_raised() -> None:
    def work() -> None:
        requests = nfnetlink.redirect("names", ipaddress.IPv4Address("127.0.0.11"), 53, {17: 4000})
        without_chain = [one for one in requests if "newchain" not in one.call]
        with pytest.raises(libc.KernelError, match="nft newrule"):
            nfnetlink.perform(without_chain)

    namespaces.run_in(None, work)
