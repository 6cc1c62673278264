"""`--link` on real kernels: names, variables and, where containers may not talk, one port in one direction."""

from __future__ import annotations

import os
from collections.abc import Iterator

import docker
import pytest

from harbour import Harbour, busybox_image

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")]
SERVE = ["sh", "-c", "while true; do echo ahoy | nc -l -p 80; done"]
ASK = ["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do nc -w 1 db 80 && exit 0; done; exit 1"]


@pytest.fixture(scope="module", params=["--icc=true", "--icc=false"])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    with Harbour(tmp_path_factory.mktemp("links"), request.param) as one:
        one.start()
        client = one.client()
        busybox_image(client, "bb")
        client.close()
        yield one


def test_a_linked_container_is_found_by_its_alias_and_its_variables(client: docker.DockerClient) -> None:
    client.containers.run("bb", SERVE, detach=True, name="mydb", ports={"80/tcp": None}, environment={"USER": "crew"})
    web = client.containers.run("bb", detach=True, name="web", links={"mydb": "db"})
    environment = web.exec_run("cat /proc/1/environ").output.decode()
    assert "DB_NAME=/web/db" in environment
    assert "DB_PORT_80_TCP_PORT=80" in environment
    assert "DB_ENV_USER=crew" in environment
    assert web.exec_run(ASK).output.decode().strip() == "ahoy"
    assert client.api.inspect_container("web")["HostConfig"]["Links"] == ["/mydb:/web/db"]


def test_links_are_followed_through_restarts_of_both_and_of_the_daemon(
    host: Harbour, client: docker.DockerClient
) -> None:
    database = client.containers.run("bb", SERVE, detach=True, name="mydb", ports={"80/tcp": None})
    web = client.containers.run("bb", detach=True, name="web", links={"mydb": "db"})
    database.stop(timeout=0)
    client.containers.run("bb", detach=True)  # takes the next address
    database.rename("renamed")
    database.start()
    assert web.exec_run(ASK).output.decode().strip() == "ahoy"
    host.kill()
    host.start()
    assert web.exec_run(ASK).output.decode().strip() == "ahoy"
    assert client.api.inspect_container("web")["HostConfig"]["Links"] == ["/renamed:/web/db"]
    assert host.violations() == []


def test_a_link_is_taken_away_alone(host: Harbour, client: docker.DockerClient) -> None:
    client.containers.run("bb", SERVE, detach=True, name="mydb", ports={"80/tcp": None})
    web = client.containers.run("bb", detach=True, name="web", links={"mydb": "db"})
    client.api.remove_container("web/db", link=True)
    assert "db" not in web.exec_run("cat /etc/hosts").output.decode()
    assert client.api.inspect_container("web")["HostConfig"]["Links"] is None
    with pytest.raises(docker.errors.NotFound):
        client.api.remove_container("web/db", link=True)
    assert len(client.containers.list()) == 2


def test_what_is_not_linked_stays_out_of_reach_where_containers_may_not_talk(
    host: Harbour, client: docker.DockerClient
) -> None:
    database = client.containers.run("bb", SERVE, detach=True, name="mydb", ports={"80/tcp": None})
    address = client.api.inspect_container("mydb")["NetworkSettings"]["IPAddress"]
    other = client.containers.run("bb", detach=True, name="other")
    said = other.exec_run(["nc", "-w", "1", address, "80"]).output.decode()
    assert (said.strip() == "ahoy") == ("--icc=true" in host.options)
    database.remove(force=True)


def test_a_link_that_cannot_be_is_refused(client: docker.DockerClient) -> None:
    client.containers.create("bb", name="down")
    with pytest.raises(docker.errors.APIError, match="Cannot link to a non running container: /down AS /web/db"):
        client.containers.run("bb", detach=True, name="web", links={"down": "db"})
    with pytest.raises(docker.errors.APIError, match="could not get container for nobody"):
        client.containers.create("bb", links={"nobody": "db"})
    with pytest.raises(docker.errors.APIError, match="can't be used with links"):
        client.containers.create("bb", links={"down": "db"}, network_mode="host")


def test_on_a_network_of_its_own_a_link_is_one_more_name(client: docker.DockerClient) -> None:
    network = client.networks.create("pier")
    client.containers.run("bb", SERVE, detach=True, name="mydb", network="pier")
    settings = client.api.create_networking_config({"pier": client.api.create_endpoint_config(links={"mydb": "db"})})
    made = client.api.create_container(
        "bb", networking_config=settings, host_config=client.api.create_host_config(network_mode="pier")
    )
    client.api.start(made["Id"])
    box = client.containers.get(made["Id"])
    assert box.exec_run(ASK).output.decode().strip() == "ahoy"
    for one in client.containers.list(all=True):
        one.remove(force=True)
    network.remove()
