"""The Docker Engine face: routes, versions, statuses, shapes, over rooms in memory."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest

from sampan.api.engine import routes
from sampan.formats import stdcopy
from swagger import misfits

# --- shapes --------------------------------------------------------------------------------------------------------

# Pointers in Go: null for "not said", which the definitions forget.
IGNORED = ("$.HostConfig.MemorySwappiness", "$.HostConfig.OomKillDisable", "$.HostConfig.PidsLimit")


@pytest.mark.parametrize(
    ("path", "definition"),
    [
        ("/containers/json?all=1&size=1", "[]ContainerSummary"),
        ("/containers/web/json", "ContainerInspectResponse"),
        ("/containers/web/json?size=1", "ContainerInspectResponse"),
        ("/containers/web/top", "ContainerTopResponse"),
        ("/images/json", "[]ImageSummary"),
        ("/images/json?shared-size=1", "[]ImageSummary"),
        ("/images/busybox/json", "ImageInspect"),
        ("/images/busybox/history", "ImageHistory"),
        ("/networks", "[]Network"),
        ("/networks/bridge", "Network"),
        ("/volumes", "VolumeListResponse"),
        ("/volumes/pantry", "Volume"),
        ("/info", "SystemInfo"),
        ("/version", "SystemVersion"),
        ("/system/df", "SystemDataUsageResponse"),
        ("/containers/nobody/json", "ErrorResponse"),
    ],
)
def test_answers_have_the_shapes_of_the_specification(
    engine_harbour: Any, docker_definitions: Mapping[str, Any], path: str, definition: str
) -> None:
    _, answer, _ = engine_harbour.call("GET", f"/v1.47{path}")
    schema: dict[str, Any] = {"$ref": definition.removeprefix("[]")}
    if definition.startswith("[]"):
        schema = {"type": "array", "items": schema}
    assert [text for text in misfits(answer, schema, docker_definitions) if not text.startswith(IGNORED)] == []


def test_the_checker_of_shapes_finds_missing_members_and_wrong_types(docker_definitions: Mapping[str, Any]) -> None:
    summary = {"$ref": "ImageSummary"}
    assert "$ lacks Id" in misfits({}, summary, docker_definitions)
    assert "$.Size is '1', no integer" in misfits({"Size": "1"}, summary, docker_definitions)


# --- versions, headers, errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/v1.99/version", 400, "client version 1.99 is too new. Maximum supported API version is 1.47"),
        (
            "GET",
            "/v1.11/info",
            400,
            "client version 1.11 is too old. Minimum supported API version is 1.24, "
            "please upgrade your client to a newer version",
        ),
        ("GET", "/nothing", 404, "page not found"),
        ("GET", "/v1.47/containers/../../../etc/passwd", 404, "page not found"),
        ("GET", "/v1.47/containers/a%00b/json", 404, "page not found"),
        ("PUT", "/v1.47/containers/json", 404, "page not found"),
        ("GET", "/containers/nobody/json", 404, "No such container: nobody"),
        ("GET", "/images/nothing/json", 404, "No such image: nothing"),
        ("GET", "/containers/json?filters=[", 400, None),
        ("GET", "/containers/json?limit=many", 400, None),
        ("GET", "/events?since=yesterday", 400, None),
        ("GET", "/events?filters=%7B%22colour%22%3A%5B%22red%22%5D%7D", 400, "invalid filter 'colour'"),
        ("GET", "/containers/web/logs", 400, "Bad parameters: you must choose at least one stream"),
        ("POST", "/containers/web/wait?condition=tomorrow", 400, None),
        ("POST", "/containers/web/resize?h=x&w=1", 400, None),
        ("POST", "/images/create?fromSrc=file:///etc/passwd", 400, None),
        ("POST", "/images/create?fromSrc=http://169.254.169.254/", 400, None),
        ("POST", "/images/create", 400, None),
        ("POST", "/images/create?fromImage=absent", 404, "manifest for absent not found"),
        ("POST", "/containers/web/start", 304, None),
        ("DELETE", "/containers/web", 409, None),
        ("POST", "/containers/web/attach?stream=1&detachKeys=hyper-x", 400, None),
    ],
)
def test_failures_have_dockers_status_and_message(
    engine_harbour: Any, method: str, path: str, status: int, text: str | None
) -> None:
    got, answer, _ = engine_harbour.call(method, path)
    assert got == status
    if status == 304:
        assert answer == b""
    else:
        assert isinstance(answer["message"], str)
    if text is not None:
        assert answer == {"message": text}


BODIES = {
    "text": (b'{"Image":"busybox"}', "text/plain"),
    "truncated": (b'{"Image":', "application/json"),
    "behind": (b"{} {}", "application/json"),
    "deep": (b"[" * 100_000, "application/json"),
    "deep objects": (b'{"a":' * 100_000, "application/json"),
    "empty": (b"", "application/json"),
    "list": (b"[]", "application/json"),
    "NUL": (b'{"Image":"busybox","Env":["A=\\u0000"]}', "application/json"),
    "raw NUL": (b'{"Image":"busy\0box"}', "application/json"),
    "NaN": (b'{"Image":"busybox","StopTimeout":NaN}', "application/json"),
    "not UTF-8": (b'{"Image":"\xff\xfe"}', "application/json"),
    "wrong type": (b'{"Image":["busybox"]}', "application/json"),
    "wrong inner type": (b'{"Image":"busybox","HostConfig":{"Memory":"much"}}', "application/json"),
    "list of hosts": (b'{"Image":"busybox","HostConfig":[]}', "application/json"),
    "huge number": (b'{"Image":"busybox","HostConfig":{"Memory":' + b"9" * 400 + b"}}", "application/json"),
    "too large": (b" " * (5 << 20), "application/json"),
}


@pytest.mark.parametrize("path", ["/containers/create", "/networks/create", "/containers/web/exec", "/auth"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_no_body_makes_an_internal_error(engine_harbour: Any, path: str, body: tuple[bytes, str]) -> None:
    content, kind = body
    status, answer, _ = engine_harbour.call("POST", path, content, {"Content-Type": kind})
    if path == "/containers/create":
        assert (status, "message" in answer) == (400, True)
    assert status < 500  # some are sound for other routes: unknown members are ignored


def test_every_answer_says_which_api_this_is(engine_harbour: Any) -> None:
    for method, path in (("GET", "/_ping"), ("HEAD", "/_ping"), ("GET", "/nothing"), ("GET", "/v1.24/version")):
        _, _, headers = engine_harbour.call(method, path)
        assert headers["Api-Version"] == "1.47"
        assert headers["Ostype"] == "linux"
        assert headers["Docker-Experimental"] == "false"
        assert headers["Server"].startswith("Sampan/")


def test_a_page_of_another_site_is_refused_on_tcp_unless_its_origin_is_allowed(engine_harbour: Any) -> None:
    def status(**headers: str) -> int:
        return int(engine_harbour.call("GET", "/_ping", headers=headers, tcp=True)[0])

    assert status() == 200
    assert status(Host="harbour:2375") == 200
    assert status(Host="evil.example") == 403
    assert status(Host="harbour.evil.example") == 403
    assert status(Origin="http://evil.example") == 403
    assert status(Origin="https://console.example") == 200
    assert engine_harbour.call("GET", "/_ping", headers={"Host": "evil.example"})[0] == 200  # not over a Unix socket
    _, _, headers = engine_harbour.call("GET", "/_ping", headers={"Origin": "https://console.example"}, tcp=True)
    assert headers["Access-Control-Allow-Origin"] == "https://console.example"


def test_no_two_routes_have_the_same_method_and_path() -> None:
    keys = [(route.method, route.path) for route in routes.TABLE]
    assert len(keys) == len(set(keys))


# --- verbs -----------------------------------------------------------------------------------------------------------


def test_create_answers_201_with_the_id_and_inspect_shows_what_was_asked(engine_harbour: Any) -> None:
    body = {"Image": "busybox", "Cmd": "true", "Env": None, "HostConfig": {"Memory": 1 << 20, "Binds": ["/a:/b"]}}
    status, answer, _ = engine_harbour.call("POST", "/v1.30/containers/create?name=job", body)
    assert status == 201
    _, shown, _ = engine_harbour.call("GET", f"/containers/{answer['Id'][:12]}/json")
    assert shown["Name"] == "/job"
    assert shown["Path"] == "true"
    assert shown["Config"]["Cmd"] == ["true"]
    assert shown["HostConfig"]["Memory"] == 1 << 20
    assert shown["HostConfig"]["Binds"] == ["/a:/b"]
    assert shown["State"]["Status"] == "created"
    assert shown["State"]["StartedAt"] == "0001-01-01T00:00:00Z"
    assert shown["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] == ""


def test_inspect_shows_addresses_ports_and_mounts_of_a_running_container(engine_harbour: Any) -> None:
    _, shown, _ = engine_harbour.call("GET", "/containers/web/json")
    settings = shown["NetworkSettings"]
    assert settings["IPAddress"] == "172.17.0.2"
    assert settings["Ports"] == {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "443/tcp": None}
    assert settings["Networks"]["bridge"]["Gateway"] == "172.17.0.1"
    assert [mount["Source"] for mount in shown["Mounts"]] == ["/srv", "/data/volumes/pantry/_data"]
    assert shown["LogPath"].endswith("/container.log")


def test_ps_quotes_words_with_spaces_and_tells_the_time(engine_harbour: Any) -> None:
    _, (line,), _ = engine_harbour.call("GET", "/containers/json")
    assert line["Command"] == "sleep '9 lives'"
    assert line["Status"] == "Up 5 minutes"
    assert line["Ports"] == [
        {"IP": "0.0.0.0", "PrivatePort": 80, "Type": "tcp", "PublicPort": 8080},
        {"PrivatePort": 443, "Type": "tcp"},
    ]


def test_images_with_slashes_and_ports_in_their_names_are_found(engine_harbour: Any) -> None:
    for path in ("/images/host:5000/team/app:1/json", "/images/host%3A5000%2Fteam%2Fapp:1/json"):
        status, answer, _ = engine_harbour.call("GET", path)
        assert (status, answer["RepoTags"]) == (200, ["busybox:latest"])


def test_a_failure_in_the_middle_of_a_pull_is_its_last_line(engine_harbour: Any) -> None:
    status, answer, _ = engine_harbour.call("POST", "/images/create?fromImage=halfway&tag=1")
    lines = [json.loads(line) for line in answer.splitlines()]
    assert status == 200
    assert lines[0] == {"status": "Pulling from library/busybox", "progressDetail": {}, "id": "latest"}
    assert lines[1]["progressDetail"] == {"current": 50, "total": 100}
    assert lines[-1] == {
        "errorDetail": {"message": "the registry went away"},
        "error": "the registry went away",
    }


def test_import_sends_the_archive_on(engine_harbour: Any) -> None:
    archive = b"t" * 1_000_000
    status, _, _ = engine_harbour.call("POST", "/images/create?fromSrc=-&repo=mine", archive)
    assert status == 200
    assert engine_harbour.images.imported == archive


@pytest.mark.parametrize("header", ["%%%", base64.urlsafe_b64encode(b"[1]").decode(), "e30x"])
def test_a_registry_auth_header_that_cannot_be_read_is_refused(engine_harbour: Any, header: str) -> None:
    status, _, _ = engine_harbour.call("POST", "/images/create?fromImage=x&tag=1", headers={"X-Registry-Auth": header})
    assert status == 400


# --- streams ---------------------------------------------------------------------------------------------------------


def request_upgrade(harbour: Any, path: str, body: bytes = b"", behind: bytes = b"") -> tuple[socket.socket, bytes]:
    client = harbour.connect()
    client.sendall(
        b"POST %s HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % (path.encode(), len(body)) + body + behind
    )
    got = b""
    while b"\r\n\r\n" not in got:
        data = client.recv(65536)
        assert data, got
        got += data
    return client, got


def read_all(client: socket.socket, got: bytes = b"") -> bytes:
    while data := client.recv(1 << 20):
        got += data
    return got


def test_attach_carries_what_is_typed_ahead_and_ends_the_input_with_the_clients_end(engine_harbour: Any) -> None:
    engine_harbour.call("POST", "/containers/create?name=cat", {"Image": "busybox", "Cmd": ["hi"], "OpenStdin": True})
    path = "/v1.47/containers/cat/attach?stream=1&stdin=1&stdout=1&stderr=1"
    client, head = request_upgrade(engine_harbour, path, behind=b"early ")
    assert head.startswith(b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream")
    client.sendall(b"late")
    client.shutdown(socket.SHUT_WR)
    frames = stdcopy.Decoder().feed(read_all(client, head.partition(b"\r\n\r\n")[2]))
    client.close()
    assert b"".join(data for stream, data in frames if stream == 1) == b"hi\nearly late"
    assert b"".join(data for stream, data in frames if stream == 2) == b"EARLY LATE"


def test_the_detach_keys_end_an_attached_terminal(engine_harbour: Any) -> None:
    body = {"Image": "busybox", "Cmd": ["sh"], "OpenStdin": True, "Tty": True}
    engine_harbour.call("POST", "/containers/create?name=tty", body)
    client, head = request_upgrade(engine_harbour, "/v1.47/containers/tty/attach?stream=1&stdin=1&stdout=1")
    assert b"application/vnd.docker.raw-stream" in head
    client.sendall(b"ls\x10")
    client.sendall(b"\x11never")
    got = read_all(client, head.partition(b"\r\n\r\n")[2])
    client.close()
    assert got == b"sh\nls"


def test_a_client_without_upgrade_gets_the_old_200(engine_harbour: Any) -> None:
    with engine_harbour.connect() as client:
        client.sendall(
            b"POST /containers/web/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n"
        )
        got = read_all(client)
    assert got.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n")
    assert got.endswith(stdcopy.frame(1, b"sleep 9 lives\n"))


def test_an_exec_streams_and_its_exit_code_is_known_when_the_stream_has_ended(engine_harbour: Any) -> None:
    body = {"Cmd": ["id"], "AttachStdout": True}
    _, made, _ = engine_harbour.call("POST", "/containers/web/exec", body)
    client, head = request_upgrade(engine_harbour, f"/exec/{made['Id']}/start", b'{"Detach":false,"Tty":false}')
    assert read_all(client, head.partition(b"\r\n\r\n")[2]) == stdcopy.frame(1, b"id\n")
    client.close()
    _, shown, _ = engine_harbour.call("GET", f"/exec/{made['Id']}/json")
    assert shown["ExitCode"] == 7


def test_an_exec_that_cannot_start_says_so_in_its_stream_and_by_its_exit_code(engine_harbour: Any) -> None:
    body = {"Cmd": ["nonsense"], "AttachStdout": True}
    _, made, _ = engine_harbour.call("POST", "/containers/web/exec", body)
    client, head = request_upgrade(engine_harbour, f"/exec/{made['Id']}/start", b"{}")
    assert b"executable file not found" in read_all(client, head.partition(b"\r\n\r\n")[2])
    client.close()
    assert engine_harbour.call("GET", f"/exec/{made['Id']}/json")[1]["ExitCode"] == 127


def test_wait_sends_its_head_before_the_container_ends(engine_harbour: Any) -> None:
    engine_harbour.call("POST", "/containers/create?name=job", {"Image": "busybox", "Cmd": ["true"]})
    with engine_harbour.connect() as client:
        client.sendall(
            b"POST /containers/job/wait?condition=next-exit HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n"
        )
        got = client.recv(65536)
        assert got.startswith(b"HTTP/1.1 200 OK")
        assert b"StatusCode" not in got
        assert engine_harbour.call("POST", "/containers/job/start")[0] == 204
        while b"StatusCode" not in got:
            got += client.recv(65536)
    assert b'{"StatusCode":3}' in got


def test_events_tell_the_past_and_the_present_and_stop_at_until(engine_harbour: Any) -> None:
    engine_harbour.publish("container", "die", "d" * 64, name="old", image="busybox", exitCode="3")
    since = int(time.time()) - 5
    answers: list[Any] = []

    def listen() -> None:
        filters = quote(json.dumps({"type": ["container"]}))
        answers.append(engine_harbour.call("GET", f"/events?since={since}&until={time.time() + 0.6}&filters={filters}"))

    listening = threading.Thread(target=listen)
    listening.start()
    limit = time.monotonic() + 5
    while not engine_harbour.bus._subscriptions and time.monotonic() < limit:
        time.sleep(0.01)
    engine_harbour.publish("image", "tag", "sha256:1", name="x")
    engine_harbour.publish("container", "start", "e" * 64, name="new", image="busybox")
    listening.join(10)
    ((status, text, _),) = answers
    lines = [json.loads(line) for line in text.splitlines()]
    assert status == 200
    assert [(line["status"], line["from"], line["Actor"]["Attributes"]["name"]) for line in lines] == [
        ("die", "busybox", "old"),
        ("start", "busybox", "new"),
    ]


# --- the stock client ------------------------------------------------------------------------------------------------

needs_docker = pytest.mark.skipif(shutil.which("docker") is None, reason="the docker command line is not installed")


def docker(harbour: Any, *words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        ["docker", "-H", harbour.url, *words], capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stdout, done.stderr


@needs_docker
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["version", "--format", "{{.Server.Version}} {{.Server.APIVersion}}"], "0.1.0 1.47"),
        (["info", "--format", "{{.Name}} {{.ContainersRunning}} {{.ServerErrors}}"], "harbour 1 []"),
        (["ps", "--format", "{{.Names}} {{.Image}} {{.Ports}} {{.Networks}}"], "web busybox"),
        (["images", "--format", "{{.Repository}}:{{.Tag}} {{.Size}}"], "busybox:latest 4.32MB"),
        (["inspect", "--format", "{{.State.Running}} {{.NetworkSettings.IPAddress}}", "web"], "true 172.17.0.2"),
        (["image", "inspect", "--format", "{{.Architecture}}", "busybox"], "amd64"),
        (["network", "ls", "--format", "{{.Name}} {{.Driver}}"], "bridge bridge"),
        (["network", "inspect", "--format", "{{(index .IPAM.Config 0).Subnet}}", "bridge"], "172.17.0.0/16"),
        (["volume", "ls", "--format", "{{.Name}}"], "pantry"),
        (["port", "web"], "80/tcp -> 0.0.0.0:8080"),
        (["top", "web"], "PID"),
        (["history", "--format", "{{.CreatedBy}}", "busybox"], "CMD sh"),
        (["pull", "busybox"], "Status: Downloaded newer image"),
        (["exec", "web", "id", "-u"], "id -u"),
        (["system", "df", "--format", "{{.Type}} {{.TotalCount}}"], "Images 1"),
        (["logs", "web"], "out"),
        (["kill", "-s", "HUP", "web"], "web"),
    ],
)
def test_the_docker_client_understands_the_answers(engine_harbour: Any, words: list[str], expected: str) -> None:
    code, out, err = docker(engine_harbour, *words)
    assert expected in out, err
    assert code == (7 if words[0] == "exec" else 0)


@needs_docker
def test_the_docker_client_runs_a_container_and_gets_its_exit_code(engine_harbour: Any) -> None:
    assert docker(engine_harbour, "run", "busybox", "hello", "you") == (3, "hello you\n", "")
    code, _, err = docker(engine_harbour, "run", "busybox", "nonsense")
    assert (code, "executable file not found" in err) == (127, True)


@needs_docker
def test_the_docker_client_waits_and_hears_events(engine_harbour: Any) -> None:
    engine_harbour.publish("container", "die", "d" * 64, name="old", image="busybox", exitCode="3")
    time_format = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}"
    until = str(int(time.time()) + 1)
    code, out, err = docker(engine_harbour, "events", "--since", "1m", "--until", until, "--format", time_format)
    assert (code, out) == (0, "container die old\n"), err
    docker(engine_harbour, "create", "--name", "job", "busybox", "true")
    assert docker(engine_harbour, "wait", "job") == (0, "0\n", "")
