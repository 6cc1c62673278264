from __future__ import annotations

from pathlib import Path

import pytest

from sampan.networks import resolvconf
from sampan.networks.model import Resolver

HOST = resolvconf.HostNames(("127.0.0.53", "192.0.2.53"), ("example.test",), ("timeout:1",))
NONE = Resolver()


def test_a_file_is_read_as_the_resolver_reads_it() -> None:
    text = "# head\nsearch a.test\ndomain b.test\nnameserver 192.0.2.1 # one\n"
    text += "nameserver ::1\noptions ndots:2 rotate\nsortlist x\n"
    assert resolvconf.read(text) == resolvconf.HostNames(("192.0.2.1", "::1"), ("b.test",), ("ndots:2", "rotate"))
    assert resolvconf.read("") == resolvconf.HostNames()


@pytest.mark.parametrize(
    ("host", "own", "embedded", "text"),
    [
        (HOST, NONE, False, "nameserver 192.0.2.53\nsearch example.test\noptions timeout:1\n"),
        (HOST, NONE, True, "nameserver 127.0.0.11\nsearch example.test\noptions timeout:1 ndots:0\n"),
        (HOST, Resolver(options=("ndots:3",)), True, "nameserver 127.0.0.11\nsearch example.test\noptions ndots:3\n"),
        (HOST, Resolver(("198.51.100.1",), (".",)), False, "nameserver 198.51.100.1\noptions timeout:1\n"),
        (resolvconf.HostNames(("127.0.0.1",)), NONE, False, "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"),
    ],
)
def test_a_container_gets_its_file(host: resolvconf.HostNames, own: Resolver, embedded: bool, text: str) -> None:
    assert resolvconf.for_container(host, own, embedded=embedded) == text


def test_in_host_mode_the_hosts_file_goes_as_it_is() -> None:
    assert resolvconf.for_host_mode("# mine\n", HOST, NONE) == "# mine\n"
    changed = resolvconf.for_host_mode("# mine\n", HOST, Resolver(search=("x.test",)))
    assert changed == "nameserver 127.0.0.53\nnameserver 192.0.2.53\nsearch x.test\noptions timeout:1\n"


def test_the_embedded_server_asks_the_hosts_loopback_too() -> None:
    assert resolvconf.upstreams(HOST, NONE) == ("127.0.0.53", "192.0.2.53")
    assert resolvconf.upstreams(HOST, Resolver(("198.51.100.1",))) == ("198.51.100.1",)


def test_a_containers_settings_come_before_the_daemons() -> None:
    assert resolvconf.merge(Resolver(("1",)), Resolver(("2",), ("s",))) == Resolver(("1",), ("s",))


def test_the_file_behind_a_local_stub_is_preferred(tmp_path: Path) -> None:
    stub, real = tmp_path / "stub", tmp_path / "real"
    stub.write_text("nameserver 127.0.0.53\n")
    assert resolvconf.host_text([stub, real]) == "nameserver 127.0.0.53\n"
    real.write_text("nameserver 192.0.2.1\n")
    assert resolvconf.host_text([stub, real]) == "nameserver 192.0.2.1\n"
    assert resolvconf.host_text([]) == ""
