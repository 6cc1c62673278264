"""The daemon's options on a host of its own, seen through a stock client, the kernel and the network."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import harbour
from harbour import Harbour, HarbourFailed, busybox_image

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")]
LIMIT_S = 20.0


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Callable[..., Harbour]]:
    """A harbour with options, not started yet."""
    made: list[Harbour] = []

    def make(*options: str) -> Harbour:
        one = Harbour(tmp_path / f"h{len(made)}", *options).__enter__()
        made.append(one)
        return one

    yield make
    for one in made:
        one.__exit__()


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.02)


def rules(host: Harbour) -> str:
    return host.host.run(["nft", "list", "ruleset"])


def test_without_iptables_no_rule_is_touched_and_containers_run(at: Callable[..., Harbour]) -> None:
    host = at("--iptables=false")
    host.host.run(["nft", "add", "table", "ip", "mine"])
    before = rules(host)
    host.start()
    client = host.client()
    busybox_image(client, "bb")
    box = client.containers.run("bb", detach=True, ports={"80/tcp": 8080})
    box.remove(force=True)
    client.close()
    assert rules(host) == before
    host.stop()
    assert rules(host) == before


def test_without_a_bridge_containers_have_no_network(at: Callable[..., Harbour]) -> None:
    host = at("-b", "none")
    host.start()
    client = host.client()
    busybox_image(client, "bb")
    assert "bridge" not in {network.name for network in client.networks.list()}
    shown = client.containers.run("bb", ["ip", "-o", "link"], remove=True).decode()
    assert [line.split()[1] for line in shown.splitlines()] == ["lo:"]
    client.close()


def test_a_bridge_that_exists_is_used_and_stays(at: Callable[..., Harbour]) -> None:
    host = at("-b", "br9")
    host.host.run(["ip", "link", "add", "br9", "type", "bridge"])
    host.host.run(["ip", "addr", "add", "10.77.0.1/24", "dev", "br9"])
    host.host.run(["ip", "link", "set", "br9", "up"])
    host.start()
    client = host.client()
    busybox_image(client, "bb")
    shown = client.containers.run("bb", ["ip", "-o", "-4", "addr", "show", "eth0"], remove=True).decode()
    assert "inet 10.77.0." in shown
    client.close()
    host.stop()
    host.start()
    host.stop()
    assert "10.77.0.1/24" in host.host.run(["ip", "-o", "addr", "show", "br9"])


def test_defaults_of_containers_come_from_daemon_json(at: Callable[..., Harbour]) -> None:
    host = at()
    settings = {
        "default-shm-size": "8m",
        "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 100, "Hard": 200}},
        "log-opts": {"max-size": "1m"},
        "labels": ["place=quay"],
        "cgroup-parent": "/cranes",
        "default-address-pools": [{"base": "10.201.0.0/16", "size": 24}],
        "mtu": 1400,
        "dns": ["192.0.2.53"],
    }
    (host.folder / "sampan.toml").write_text(json.dumps(settings))
    host.start()
    client = host.client()
    busybox_image(client, "bb")
    script = "ulimit -n; ulimit -Hn; cat /sys/class/net/eth0/mtu /etc/resolv.conf /proc/self/cgroup; ip -4 addr"
    box = client.containers.create("bb", ["sh", "-c", script])
    box.start()
    box.wait()
    shown = box.logs().decode()
    assert shown.split()[:3] == ["100", "200", "1400"]
    assert "nameserver 192.0.2.53" in shown
    assert "/cranes/" in shown
    assert "inet 10.201.0." in shown
    config = client.api.inspect_container(box.id)["HostConfig"]
    assert config["ShmSize"] == 8 << 20
    assert config["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "1m"}}
    assert client.info()["Labels"] == ["place=quay"]
    assert client.info()["DefaultAddressPools"] == [{"Base": "10.201.0.0/16", "Size": 24}]
    client.close()


def test_sighup_reads_the_settings_again(at: Callable[..., Harbour]) -> None:
    host = at()
    file = host.folder / "sampan.toml"
    host.start()
    client = host.client()
    file.write_text('labels = ["a=b"]\ndebug = true\nregistry_mirrors = ["http://mirror.test"]\nmtu = 1300\n')
    host.host.kill(host.pid, signal.SIGHUP)
    until(lambda: client.info()["Labels"] == ["a=b"], "the labels are the new ones")
    assert client.info()["Debug"]
    assert client.info()["RegistryConfig"]["Mirrors"] == ["http://mirror.test"]
    assert "a restart is needed for --mtu" in host.log_end()
    file.write_text("labels = 7\n")
    host.host.kill(host.pid, signal.SIGHUP)
    until(lambda: "nothing was changed" in host.log_end(), "a fault is told")
    assert client.info()["Labels"] == ["a=b"]
    client.close()


def test_validate_checks_and_exits(at: Callable[..., Harbour]) -> None:
    host = at("--validate")
    words = host.command()
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "configuration OK\n")
    assert not host.data.exists()
    for more, complaint in (
        (["--tlsverify", "-H", "tcp://127.0.0.1", "--tlscert", "/no/such"], "--tlscert"),
        (["--seccomp-profile", "/no/such"], "--seccomp-profile"),
        (["--add-runtime", "x=/no/such"], "--add-runtime"),
        (["--log-driver", "smoke"], "--log-driver"),
        (["--ipv6"], "--ipv6"),
        (["-G", "no-such-group"], "--group"),
    ):
        done = subprocess.run([*words, *more], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1, more
        assert complaint in done.stderr, done.stderr


def test_sockets_handed_over_are_served(at: Callable[..., Harbour]) -> None:
    """What systemd does for a socket unit, by a program that opens the socket and becomes the daemon."""
    host = at()
    hand_over = (
        "import os, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(8)\n"
        "s.fileno() == 3 or os.dup2(s.fileno(), 3); os.set_inheritable(3, True)\n"
        "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n"
        "os.execvp(sys.argv[2], sys.argv[2:])\n"
    )
    words = [word if word != f"unix://{host.socket}" else "fd://" for word in host.command()]
    host.pid = host.host.spawn([sys.executable, "-c", hand_over, str(host.socket), *words], log=host.log)
    host.wait_ready()
    host.stop()
    words[words.index("fd://")] = "fd://9"
    host.pid = host.host.spawn([sys.executable, "-c", hand_over, str(host.folder / "t.sock"), *words], log=host.log)
    assert host.wait_gone() == 1
    assert "have the numbers 3 to 3" in host.log_end()


def ask(host: Harbour, method: str, path: str, page: str) -> tuple[int, str]:
    """A request that a browser sends for a page of another site: status, and who may read the answer."""
    program = (
        "import http.client, sys\n"
        "c = http.client.HTTPConnection('127.0.0.1', 2375)\n"
        f"c.request({method!r}, {path!r}, headers={{'Origin': {page!r}}})\n"
        "r = c.getresponse(); print(r.status, r.getheader('Access-Control-Allow-Origin') or '-')\n"
    )
    status, allowed = host.host.run([sys.executable, "-c", program]).split()
    return int(status), allowed


def test_cors_for_everybody_is_for_reading_only_and_loud(at: Callable[..., Harbour]) -> None:
    host = at("--api-enable-cors", "-H", "tcp://127.0.0.1")  # the port that is left out is 2375
    host.start()
    log = host.log_end(200)
    assert "web pages of every origin may READ this daemon's API" in log
    assert "tcp://127.0.0.1:2375 has no TLS: everybody who reaches this port is root on this host" in log
    assert ask(host, "GET", "/info", "https://evil.example") == (200, "*")
    assert ask(host, "OPTIONS", "/info", "https://evil.example")[0] == 200
    for method, path in (("POST", "/containers/prune"), ("DELETE", "/containers/x"), ("PUT", "/containers/x/archive")):
        assert ask(host, method, path, "https://evil.example")[0] == 403, method


def test_cors_for_named_origins_lets_in_nobody_else(at: Callable[..., Harbour]) -> None:
    host = at("--api-cors-header", "https://a.example, https://b.example", "-H", "tcp://127.0.0.1:2375")
    host.start()
    assert "https://a.example, https://b.example may use this daemon's API: they are root" in host.log_end(200)
    assert ask(host, "POST", "/containers/prune", "https://b.example") == (200, "https://b.example")
    assert ask(host, "GET", "/info", "https://c.example")[0] == 403
    assert ask(host, "POST", "/containers/prune", "https://c.example") == (403, "-")


def test_the_address_of_published_ports_is_the_one_that_was_named(at: Callable[..., Harbour]) -> None:
    host = at("--ip", "127.0.0.1", "--default-ipc-mode", "shareable")
    host.start()
    client = host.client()
    busybox_image(client, "bb")
    client.containers.run("bb", detach=True, name="web", ports={"80/tcp": 8080})
    shown = client.api.inspect_container("web")
    assert shown["NetworkSettings"]["Ports"]["80/tcp"][0]["HostIp"] == "127.0.0.1"
    assert "127.0.0.1 . tcp . 8080 :" in rules(host)
    assert shown["HostConfig"]["IpcMode"] == "shareable"
    client.close()


def test_selinux_on_a_host_without_it_is_told_and_gives_no_labels(at: Callable[..., Harbour]) -> None:
    host = at("--selinux-enabled")
    host.start()
    assert "SELinux cannot be used on this host" in host.log_end(200)
    client = host.client()
    busybox_image(client, "bb")
    assert client.containers.run("bb", ["echo", "ahoy"], remove=True, security_opt=["label=type:x_t"]) == b"ahoy\n"
    assert "name=selinux" not in client.info()["SecurityOptions"]
    client.close()


def test_a_bad_daemon_json_keeps_the_daemon_from_starting(at: Callable[..., Harbour]) -> None:
    host = at("--icc=true")
    (host.folder / "sampan.toml").write_text('{"icc": true}')
    with pytest.raises(HarbourFailed, match="specified both as a flag and in the configuration file"):
        host.start()
    assert harbour.ROOT.exists()
