"""Values that are more than a word: what they mean, and what a wrong one is told."""

from __future__ import annotations

import pytest

from sampan.config import load
from sampan.config.failures import SettingInvalid

NO_FILE = {"SAMPAN_CONFIG_FILE": "/dev/null"}


@pytest.mark.parametrize(
    ("arguments", "option", "remedy"),
    [
        (["--ip", "here"], "--ip", "IPv4 address"),
        (["--dns", "ns.example"], "--dns", "IP address"),
        (["--bip", "10.0.0.1"], "--bip", "prefix"),
        (["--bip", "10.0.0.0/24"], "--bip", "host's address"),
        (["--fixed-cidr", "10.0.0.1/24"], "--fixed-cidr", "subnet"),
        (["--bip", "10.0.0.1/24", "--fixed-cidr", "10.0.1.0/25"], "--fixed-cidr", "part of that subnet"),
        (["--bip", "10.0.0.1/24", "--default-gateway", "10.0.1.1"], "--default-gateway", "address of 10.0.0.0/24"),
        (["-b", "none", "--fixed-cidr", "10.0.0.0/24"], "--fixed-cidr", "mutually exclusive"),
        (["--iptables=false", "--icc=false"], "--icc=false", "leave one of them out"),
        (["--default-address-pool", "10.0.0.0/8"], "--default-address-pool", "KEY=VALUE"),
        (["--default-address-pool", "base=10.0.0.0/8,size=4"], "--default-address-pool", "8 to 30"),
        (["--default-ulimit", "nofile"], "--default-ulimit", "KEY=VALUE"),
        (["--default-ulimit", "files=3"], "--default-ulimit", "nofile"),
        (["--default-ulimit", "nofile=9:3"], "--default-ulimit", "must not exceed"),
        (["--default-shm-size", "much"], "--default-shm-size", "a number and k, m or g"),
        (["--default-ipc-mode", "host"], "--default-ipc-mode", "private or shareable"),
        (["--exec-opt", "native.cgroupdriver=systemd"], "--exec-opt", "cgroupfs"),
        (["--exec-opt", "isolation=process"], "--exec-opt", "cgroupfs"),
        (["--cgroup-parent", "docker.slice"], "--cgroup-parent", "path"),
        (["--add-runtime", "x=crun"], "--add-runtime", "absolute"),
        (["--add-runtime", "runc=/usr/bin/crun"], "--add-runtime", "another name"),
        (["--label", "x"], "--label", "KEY=VALUE"),
        (["--log-opt", "max-size"], "--log-opt", "KEY=VALUE"),
        (["--log-format", "xml"], "--log-format", "text or json"),
        (["--registry-mirror", "mirror"], "--registry-mirror", "https://HOST"),
        (["--oom-score-adjust", "2000"], "--oom-score-adjust", "-1000 to 1000"),
        (["--max-concurrent-downloads", "0"], "--max-concurrent-downloads", "1 to 1000"),
    ],
)
def test_a_wrong_value_names_the_option_and_the_remedy(arguments: list[str], option: str, remedy: str) -> None:
    with pytest.raises(SettingInvalid) as caught:
        load.load(arguments, NO_FILE)
    assert option in str(caught.value)
    assert remedy in str(caught.value)


def test_tls_finds_its_files_where_docker_keeps_them() -> None:
    loaded = load.load(["--tlsverify", "--tlskey", "/k.pem"], NO_FILE | {"DOCKER_CERT_PATH": "/certs"})
    assert loaded.tls
    assert (loaded.tls_ca_cert, loaded.tls_cert, loaded.tls_key) == ("/certs/ca.pem", "/certs/cert.pem", "/k.pem")
    assert load.load([], NO_FILE | {"DOCKER_TLS_VERIFY": "1", "HOME": "/h"}).tls_cert == "/h/.docker/cert.pem"
