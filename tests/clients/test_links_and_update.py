"""`--link`, `rm --link` and `update` of the stock docker command line, against Sampan and dockerd alike."""

from __future__ import annotations

import json
import re

import pytest

from stock import IMAGE, Cli

pytestmark = [pytest.mark.root, pytest.mark.peer]


def shown(docker: Cli, name: str, field: str) -> object:
    return json.loads(docker.out("inspect", "--format", "{{json " + field + "}}", name))


def test_a_link_gives_names_and_variables(docker: Cli) -> None:
    docker("run", "-d", "--name", "mydb", "-e", "USER=crew", "--expose", "5432", "--expose", "53/udp", IMAGE)
    docker("run", "-d", "--name", "web", "--link", "mydb:the-db", IMAGE)
    address = str(shown(docker, "mydb", ".NetworkSettings.IPAddress"))
    variables = docker.out("exec", "web", "cat", "/proc/1/environ").split("\0")
    found = sorted(one.replace(address, "ADDRESS") for one in variables if one.startswith("THE_DB"))
    assert found == [
        "THE_DB_ENV_USER=crew",
        "THE_DB_NAME=/web/the-db",
        "THE_DB_PORT=udp://ADDRESS:53",
        "THE_DB_PORT_53_UDP=udp://ADDRESS:53",
        "THE_DB_PORT_53_UDP_ADDR=ADDRESS",
        "THE_DB_PORT_53_UDP_PORT=53",
        "THE_DB_PORT_53_UDP_PROTO=udp",
        "THE_DB_PORT_5432_TCP=tcp://ADDRESS:5432",
        "THE_DB_PORT_5432_TCP_ADDR=ADDRESS",
        "THE_DB_PORT_5432_TCP_PORT=5432",
        "THE_DB_PORT_5432_TCP_PROTO=tcp",
    ]
    short = docker.out("inspect", "--format", "{{.Id}}", "mydb")[:12]
    hosts = docker.out("exec", "web", "cat", "/etc/hosts")
    assert re.search(rf"^{re.escape(address)}\s+the-db {short} mydb$", hosts, re.MULTILINE), hosts
    assert shown(docker, "web", ".HostConfig.Links") == ["/mydb:/web/the-db"]
    names = docker.out("ps", "--no-trunc", "--filter", "name=mydb", "--format", "{{.Names}}")
    assert sorted(names.split(",")) == ["mydb", "web/the-db"]


def test_a_link_on_a_network_of_ones_own_is_a_name_only_there(docker: Cli) -> None:
    docker("network", "create", "pier")
    docker("network", "create", "quay")
    links = ("--link", "later:bar", "--link", "first:one")
    docker("run", "-d", "--name", "first", "--network", "pier", IMAGE)
    docker("run", "-d", "--name", "second", "--network", "pier", *links, IMAGE)  # `later` is not there yet
    docker("network", "connect", "quay", "first")
    docker("network", "connect", "--link", "first:two", "quay", "second")
    docker("run", "-d", "--name", "later", "--network", "pier", IMAGE)
    for name in ("bar", "one", "two", "bar.pier", "two.quay"):
        docker("exec", "second", "/bin/busybox", "nslookup", "-type=a", name)
    docker("exec", "first", "/bin/busybox", "nslookup", "-type=a", "bar", rc=1)
    assert shown(docker, "second", ".HostConfig.Links") is None
    assert set(shown(docker, "second", ".NetworkSettings.Networks.pier.Links")) == {"later:bar", "first:one"}


def test_ps_shows_the_image_once_its_name_means_another(docker: Cli) -> None:
    docker("tag", IMAGE, "moved:1")
    docker("run", "-d", "--name", "kept", "moved:1")
    assert docker.out("ps", "--filter", "name=kept", "--format", "{{.Image}}") == "moved:1"
    docker("commit", "kept", "moved:1")
    image = docker.out("inspect", "--format", "{{.Image}}", "kept")
    assert docker.out("ps", "--no-trunc", "--filter", "name=kept", "--format", "{{.Image}}") == image


def test_a_link_leads_to_whose_network_the_other_shares(docker: Cli) -> None:
    docker("run", "-d", "--name", "owner", IMAGE)
    docker("run", "-d", "--name", "guest", "--network", "container:owner", IMAGE)
    docker("run", "-d", "--name", "web", "--link", "guest:db", IMAGE)
    address = str(shown(docker, "owner", ".NetworkSettings.IPAddress"))
    hosts = docker.out("exec", "web", "cat", "/etc/hosts")
    assert re.search(rf"^{re.escape(address)}\s+db ", hosts, re.MULTILINE), hosts


def test_a_link_goes_alone(docker: Cli) -> None:
    docker("run", "-d", "--name", "mydb", IMAGE)
    docker("run", "-d", "--name", "web", "--link", "mydb:db", IMAGE)
    docker("rm", "--link", "/web/db")
    assert not shown(docker, "web", ".HostConfig.Links")
    assert sorted(docker.out("ps", "--format", "{{.Names}}").split()) == ["mydb", "web"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--link", "nobody:db"), 125, "could not get container for nobody"),
        (("--link", "down:db"), 125, "Cannot link to a non running container: /down AS /web/db"),
        (("--network", "host", "--link", "down:db"), 125, "can't be used with links"),
        (("--link", "hosted:db"), 125, "host type networking can't be used with links"),
    ],
)
def test_a_link_that_cannot_be_is_refused(docker: Cli, words: tuple[str, ...], code: int, said: str) -> None:
    docker("create", "--name", "down", IMAGE)
    docker("create", "--name", "hosted", "--network", "host", IMAGE)
    assert said in docker("run", "-d", "--name", "web", *words, IMAGE, rc=code)


def test_limits_and_policy_of_a_running_container_change(docker: Cli) -> None:
    docker("run", "-d", "--name", "web", IMAGE)
    assert docker.out("update", "--memory", "64m", "--memory-swap", "128m", "--restart", "always", "web") == "web"
    assert shown(docker, "web", ".HostConfig.Memory") == 64 << 20
    assert shown(docker, "web", ".HostConfig.RestartPolicy.Name") == "always"
    assert "Minimum memory limit" in docker("update", "--memory", "1m", "web", rc=1)
    assert shown(docker, "web", ".HostConfig.Memory") == 64 << 20
