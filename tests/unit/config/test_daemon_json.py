"""Docker's daemon.json: every key is a setting, without an effect, or refused; nothing holds twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sampan.config import foreign, load, options
from sampan.config.failures import SettingInvalid


def read(tmp_path: Path, content: object, *arguments: str) -> load.Loaded:
    path = tmp_path / "daemon.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return load.read(["--config-file", str(path), *arguments], {})


@pytest.mark.parametrize(
    ("content", "name", "value"),
    [
        ({"debug": True}, "debug", True),
        ({"hosts": ["unix:///x", "tcp://127.0.0.1:2375"]}, "hosts", ["unix:///x", "tcp://127.0.0.1:2375"]),
        ({"data-root": "/srv"}, "data_root", Path("/srv")),
        ({"exec-root": "/run/x"}, "run_root", Path("/run/x")),
        ({"log-opts": {"max-size": "10m", "max-file": "3"}}, "log_options", ["max-size=10m", "max-file=3"]),
        (
            {"default-ulimits": {"nofile": {"Name": "nofile", "Hard": 64000, "Soft": 1024}}},
            "default_ulimits",
            ["nofile=1024:64000"],
        ),
        (
            {"default-address-pools": [{"base": "10.0.0.0/8", "size": 24}]},
            "default_address_pools",
            ["base=10.0.0.0/8,size=24"],
        ),
        ({"runtimes": {"crun": {"path": "/usr/bin/crun"}}}, "runtimes", ["crun=/usr/bin/crun"]),
        ({"dns-opts": ["ndots:1"]}, "dns_options", ["ndots:1"]),
        ({"insecure-registries": ["10.0.0.0/8"]}, "insecure_registries", ["10.0.0.0/8"]),
        ({"registry-mirrors": ["https://mirror.test"]}, "registry_mirrors", ["https://mirror.test"]),
        ({"default-shm-size": 1024}, "default_shm_size", "1024"),
        ({"mtu": 1400, "icc": False}, "mtu", 1400),
        ({"seccomp-profile": "unconfined"}, "seccomp_profile", "unconfined"),
        ("", "debug", False),
    ],
)
def test_a_key_sets_its_setting(tmp_path: Path, content: object, name: str, value: object) -> None:
    assert getattr(read(tmp_path, content).options, name) == value


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{debug: true}", "not JSON"),
        ("[1]", "no JSON object"),
        ({"debug": "yes"}, "use true or false"),
        ({"mtu": "1500"}, "use a number"),
        ({"mtu": True}, "use a number"),
        ({"hosts": "unix:///x"}, "use a list of strings"),
        ({"bridge": 7}, "use a string"),
        ({"no-such-option": 1}, "don't match any configuration option: no-such-option"),
        ({"runtimes": {"x": {"path": "/x", "runtimeArgs": ["-v"]}}}, "runtimeArgs"),
        ({"default-ulimits": {"nofile": 5}}, "default-ulimits"),
        ({"default-address-pools": [{"base": "10.0.0.0/8"}]}, "default-address-pools"),
        ({"log-opts": {"max-file": 3}}, "every option's value is a string"),
        ({"ipv6": True}, "IPv4 only"),
        ({"userns-remap": "default"}, "userns-remap"),
        ({"metrics-addr": "127.0.0.1:9323"}, "there is no metrics page"),
        ({"swarm-default-advertise-addr": "eth0"}, "no member of a swarm"),
        ({"storage-opts": ["dm.basesize=20G"]}, "storage-opts"),
    ],
)
def test_a_wrong_key_or_value_names_the_file_and_itself(tmp_path: Path, content: object, complaint: str) -> None:
    with pytest.raises(SettingInvalid, match=complaint) as caught:
        read(tmp_path, content)
    assert "daemon.json" in str(caught.value)


def test_an_option_given_in_the_file_and_as_a_flag_is_refused_naming_both(tmp_path: Path) -> None:
    with pytest.raises(SettingInvalid, match=r"debug: \(from flag: true, from file: false\)"):
        read(tmp_path, {"debug": False}, "-D")
    with pytest.raises(SettingInvalid, match=r"hosts: \(from flag: \[tcp://:1\], from file: \[unix:///x\]\)"):
        read(tmp_path, {"hosts": ["unix:///x"]}, "-H", "tcp://:1")


def test_what_has_no_effect_is_told(tmp_path: Path) -> None:
    loaded = read(tmp_path, {"live-restore": True, "features": {"buildkit": True}, "ipv6": False}, "--userland-proxy")
    assert len(loaded.notes) == 3
    assert any("live-restore" in note for note in loaded.notes)
    assert any(note.startswith("--userland-proxy has no effect") for note in loaded.notes)


@pytest.mark.parametrize("row", foreign.TABLE, ids=lambda row: row.name)
def test_every_foreign_flag_is_told_or_refused_with_its_remedy(row: foreign.Foreign) -> None:
    words = [row.flags[-1]] if row.switch else [row.flags[-1], "x"]
    if row.refused:
        with pytest.raises(SettingInvalid, match=row.flags[-1]) as caught:
            load.read(words, {"SAMPAN_CONFIG_FILE": "/dev/null"})
        assert caught.value.remedy
    else:
        assert load.read(words, {"SAMPAN_CONFIG_FILE": "/dev/null"}).notes


def test_no_flag_and_no_key_means_two_things() -> None:
    flags = [flag for row in options.table() for flag in row.metadata["flags"]]
    flags += [flag for other in foreign.TABLE for flag in other.flags]
    keys = [row.metadata["key"] for row in options.table()] + [row.name for row in foreign.TABLE]
    assert len(flags) == len(set(flags))
    assert len(keys) == len(set(keys))


# dockerd --help of 20.10 and 26.1 and docker -d of 2014, long flags. A new one there is to be judged here.
DOCKERD = """add-runtime allow-nondistributable-artifacts api-cors-header authorization-plugin bip bridge cdi-spec-dir
cgroup-parent config-file containerd containerd-namespace containerd-plugins-namespace cpu-rt-period cpu-rt-runtime
cri-containerd data-root debug default-address-pool default-cgroupns-mode default-gateway default-gateway-v6
default-ipc-mode default-network-opt default-runtime default-shm-size default-ulimit dns dns-opt dns-search exec-opt
exec-root experimental fixed-cidr fixed-cidr-v6 group host host-gateway-ip http-proxy https-proxy icc init init-path
insecure-registry ip ip-forward ip-masq ip6tables iptables ipv6 label live-restore log-driver log-format log-level
log-opt max-concurrent-downloads max-concurrent-uploads max-download-attempts metrics-addr mtu
network-control-plane-mtu no-new-privileges no-proxy node-generic-resource oom-score-adjust pidfile raw-logs
registry-mirror rootless seccomp-profile selinux-enabled shutdown-timeout storage-driver storage-opt
swarm-default-advertise-addr tls tlscacert tlscert tlskey tlsverify userland-proxy userland-proxy-path userns-remap
validate api-enable-cors exec-driver graph restart daemon"""


@pytest.mark.parametrize("name", DOCKERD.split())
def test_every_flag_of_dockerd_is_known(name: str) -> None:
    known = {text for action in load.parser()._actions for text in action.option_strings}
    assert f"--{name}" in known


def test_the_two_usual_files_are_read_and_ours_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker, own = tmp_path / "daemon.json", tmp_path / "sampan.toml"
    docker.write_text('{"mtu": 1400, "icc": false}')
    own.write_text("mtu = 1300\n")
    defaults: Any = options.Options
    monkeypatch.setattr(load, "Options", lambda **given: defaults(**{"config_file": str(own), **given}))
    loaded = load.read([], {}, daemon_json=docker)
    assert (loaded.options.mtu, loaded.options.icc) == (1300, False)
