"""Requests that nobody means, to a whole daemon: none makes it fail, and none that is refused changes anything.

Rows 36 to 41 of the table of hostile input, then every field of the specification with values of the wrong type, then
whatever Hypothesis thinks of.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import harbour
import swagger
from rawapi import Api
from sampan.api.engine import routes

pytestmark = pytest.mark.root
IMAGE = "bb:1"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A daemon with an image, a network, a volume, a container that runs and one that does not."""
    with harbour.Harbour(tmp_path_factory.mktemp("hostile")) as home:
        home.start()
        client = home.client()
        try:
            harbour.busybox_image(client, "bb", "1")
            client.networks.create("pier")
            client.volumes.create("hold")
            client.containers.create(IMAGE, name="idle")
            client.containers.run(IMAGE, name="busy", detach=True)
            yield Api(home)
            log = home.log.read_text(errors="replace")
            for bad in (r" failed\nTraceback", "never retrieved", "Unhandled exception"):
                assert not re.search(bad, log), log[max(0, re.search(bad, log).start() - 300) :][:3000]  # type: ignore[union-attr]
        finally:
            client.close()


@pytest.fixture(autouse=True)
def nothing_changes(api: Api) -> Iterator[None]:
    before = api.state()
    yield
    assert api.state() == before


# --- paths


@pytest.mark.parametrize(
    "path",
    [
        "/containers/../../../etc/passwd/json",
        "/v1.47/containers/..%2f..%2f..%2fetc/json",
        "/containers/%2e%2e/json",
        "/containers/%00/json",
        "/containers/%ff%fe/json",
        "/containers/a%0ab/json",
        "/images/../../../../etc/passwd/json",
        "/images/..%2f..%2fetc%2fpasswd/json",
        "/images/%2e%2e/history",
        "/volumes/..",
        "/volumes/..%2f..%2fx",
        "/networks/%2e%2e%2f%2e%2e",
        "//containers//json",
        "/v1.47//containers/json",
        "/v1.47/../v1.47/info",
        "/v1.47",
        "/",
        "/exec/%2e%2e/json",
        "/distribution/..%2f..%2fx/json",
        "/%",
        "/containers/%zz/json",
        "/" + "a" * 6000,
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_paths_that_climb_lead_nowhere(api: Api, method: str, path: str) -> None:
    status, _ = api.ask(method, path)
    assert status in (301, 400, 404)


@pytest.mark.parametrize("version", ["v9.99", "v1.11", "v1.48", "v0.0", "v1.99999999", "v2.0"])
def test_versions_that_are_not_spoken_are_refused(api: Api, version: str) -> None:
    status, text = api.ask("GET", f"/{version}/info")
    assert (status, b"client version" in text) in ((400, True), (404, False))


# --- bodies

BODIES = {
    "another type": (b'{"Image": "bb:1"}', {"Content-Type": "text/plain"}),
    "a form": (b"Image=bb:1", {"Content-Type": "application/x-www-form-urlencoded"}),
    "cut off": (b'{"Image": "bb:1", "Cmd": ["tr', {}),
    "deep lists": (b"[" * 100_000, {}),
    "deep objects": (b'{"a":' * 100_000, {}),
    "deep and closed": (b'{"Image":"bb:1","Labels":' + b'{"a":' * 5000 + b"1" + b"}" * 5001, {}),
    "a list": (b"[]", {}),
    "a number": (b"7", {}),
    "null": (b"null", {}),
    "nothing": (b"", {}),
    "two objects": (b'{"Image":"bb:1"}{"Image":"bb:1"}', {}),
    "not a number": (b'{"Image": "bb:1", "HostConfig": {"Memory": NaN}}', {}),
    "infinity": (b'{"Image": "bb:1", "HostConfig": {"Memory": Infinity}}', {}),
    "a huge number": (b'{"Image": "bb:1", "HostConfig": {"Memory": 1e999}}', {}),
    "a long number": (b'{"Image": "bb:1", "HostConfig": {"Memory": ' + b"9" * 5000 + b"}}", {}),
    "NUL in the environment": (b'{"Image": "bb:1", "Env": ["A=b\\u0000c"]}', {}),
    "NUL in a key": (b'{"Image": "bb:1", "Labels": {"a\\u0000": "b"}}', {}),
    "a raw NUL": (b'{"Image": "bb:1", "Cmd": ["\0"]}', {}),
    "not UTF-8": (b'{"Image": "bb:1", "Cmd": ["\xff\xfe"]}', {}),
    "a lone surrogate": (b'{"Image": "bb:1", "Cmd": ["\\ud800"]}', {}),
    "a byte order mark": (b'\xef\xbb\xbf{"Image": "bb:1"}', {}),
    "a comment": (b'{"Image": "bb:1" /* x */}', {}),
    "too large": (b'{"Image": "bb:1", "Env": ["' + b"a" * (5 << 20) + b'"]}', {}),
    "no size": (b'{"Image": "bb:1"', {"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize(
    "path",
    [
        "/containers/create",
        "/containers/idle/update",
        "/containers/idle/exec",
        "/networks/create",
        "/networks/pier/connect",
        "/networks/pier/disconnect",
        "/volumes/create",
        "/auth",
    ],
)
def test_a_body_that_is_no_proper_object_is_refused(api: Api, path: str, kind: str) -> None:
    if kind == "nothing" and path == "/volumes/create":
        return  # a volume without wishes
    body, headers = BODIES[kind]
    status, text = api.ask("POST", path, body, headers)
    assert 400 <= status < 500, text
    assert json.loads(text)["message"]


def test_of_a_key_given_twice_the_last_counts_and_other_spellings_are_unknown(api: Api) -> None:
    twice = b'{"Image": "bb:1", "Labels": {"v": "first"}, "Labels": {"v": "last"}, "image": "other", "LABELS": {}}'
    status, text = api.ask("POST", "/containers/create?name=twice", twice)
    assert status == 201, text
    _, shown = api.ask("GET", "/containers/twice/json")
    api.ask("DELETE", "/containers/twice")
    assert json.loads(shown)["Config"]["Labels"] == {"v": "last"}
    assert api.post("/containers/create", {"image": "bb:1"})[0] == 400


def test_unknown_fields_are_left_aside(api: Api) -> None:
    status, text = api.post("/containers/create?name=odd", {"Image": IMAGE, "Wings": {"Count": 2}})
    assert (status, api.ask("DELETE", "/containers/odd")[0]) == (201, 204), text


# --- names and places


@pytest.mark.parametrize(
    "name", ["../../x", "../x", "/etc", "a/b", ".", "..", "-x", "x" * 5000, "a b", "a\n", "ü", "a\0b"]
)
def test_names_that_could_be_paths_are_refused(api: Api, name: str) -> None:
    for path, body in (
        ("/volumes/create", {"Name": name}),
        (f"/containers/create?name={quote(name, safe='')}", {"Image": IMAGE}),
        ("/containers/create?name=carrier", {"Image": IMAGE, "HostConfig": {"Binds": [f"{name}:/x"]}}),
        (
            "/containers/create?name=carrier",
            {
                "Image": IMAGE,
                "HostConfig": {"Mounts": [{"Type": "volume", "Source": name, "Target": "/x"}]},
            },
        ),
        (f"/containers/idle/rename?name={quote(name, safe='')}", {}),
    ):
        if name == "/etc" and "Binds" in str(body):
            continue  # a path of the host, which a bind may name
        status, text = api.post(path, body)
        if (status, name) == (201, "/etc") and "name=%2Fetc" in path:
            api.ask("DELETE", "/containers/etc")  # a leading slash belongs to the name, as in dockerd
            continue
        if (status, name) == (204, "/etc"):
            api.post("/containers/etc/rename?name=idle", {})
            continue
        assert status in (400, 404), (path[:80], status, text)


@pytest.mark.parametrize(
    "source",
    ["file:///etc/passwd", "http://169.254.169.254/latest", "gopher://x", "/etc/passwd", "http://127.0.0.1:5000/v2/"],
)
def test_an_import_fetches_nothing(api: Api, source: str) -> None:
    status, text = api.ask("POST", f"/images/create?fromSrc={quote(source, safe='')}&repo=x", b"")
    assert status == 400, text


@pytest.mark.parametrize("name", ["../../x", "UPPER", "a//b", "x" * 300, "a:b:c", "@sha256:00", "", "a b"])
def test_image_names_are_checked_everywhere(api: Api, name: str) -> None:
    asked = quote(name, safe="")
    for method, path in (
        ("POST", f"/images/create?fromImage={asked}"),
        ("POST", f"/images/bb:1/tag?repo={asked}"),
        ("POST", f"/images/{asked}/push"),
        ("GET", f"/images/{asked}/json"),
        ("GET", f"/distribution/{asked}/json"),
    ):
        status, text = api.ask(method, path, b"" if method == "POST" else None)
        assert 400 <= status < 500, (path, status, text)


@pytest.mark.parametrize("auth", ["%%%", "e30", "bnVsbA", "WzFd", "eyJ1c2VybmFtZSI6MX0", "a" * 60_000, "/+/+"])
def test_a_strange_login_header_is_no_failure(api: Api, auth: str) -> None:
    status, _ = api.ask("GET", "/distribution/127.0.0.1:1/x/json", headers={"X-Registry-Auth": auth})
    assert status in (400, 404, 503)


@pytest.mark.parametrize(
    "query",
    [
        "/containers/json?limit=abc",
        "/containers/json?limit=99999999999999999999999",
        "/containers/json?filters=x",
        "/containers/json?filters={",
        "/containers/json?filters=%5B%5D",
        "/containers/json?filters=" + quote('{"status": "exited"}'),
        "/containers/json?filters=" + quote('{"status": ["nonsense"]}'),
        "/containers/json?filters=" + quote('{"wings": ["2"]}'),
        "/containers/json?filters=" + quote("[" * 100_00),
        "/containers/json?filters=" + quote('{"exited": ["abc"]}'),
        "/containers/json?filters=" + quote('{"before": ["no-such"]}'),
        "/images/json?filters=" + quote('{"dangling": ["perhaps"]}'),
        "/images/json?filters=" + quote('{"until": ["yesterday"]}'),
        "/networks?filters=" + quote('{"type": ["odd"]}'),
        "/volumes?filters=" + quote('{"dangling": ["perhaps"]}'),
        "/events?since=soon&until=1",
        "/events?until=never",
        "/containers/idle/logs?stdout=1&since=abc",
        "/containers/idle/logs",
        "/containers/busy/top?ps_args=" + quote("; rm -rf /"),
    ],
)
def test_query_values_that_cannot_be_read_are_refused(api: Api, query: str) -> None:
    status, text = api.ask("GET", query)
    assert status in (400, 404), text
    assert len(query) > 8000 or json.loads(text)["message"]


# --- every field of the specification

WRONG: Mapping[str, tuple[Any, ...]] = {
    "string": (7, True, [], {}, ["x"]),
    "integer": ("7", 1.5, [], {}, True, 1 << 70),
    "number": ("7", [], {}),
    "boolean": ("true", 1, [], {}),
    "array": ("x" * 3, 7, {}, True),
    "object": ("x", 7, [], True),
}
# Fields that have no meaning on Linux, or that went with API 1.42: not read, whatever they hold.
ONLY_ANSWERED = frozenset(
    {
        *("DNSNames", "EndpointID", "NetworkID", "Gateway", "IPAddress", "IPPrefixLen"),
        *("IPv6Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen"),
    }
)
UNREAD = ONLY_ANSWERED | frozenset(
    {"KernelMemory", "KernelMemoryTCP", "CpuCount", "CpuPercent", "IOMaximumIOps", "IOMaximumBandwidth"}
)


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The properties of a schema, with its parents'."""
    if "$ref" in schema:
        return resolved(swagger.document()["definitions"][schema["$ref"].rpartition("/")[2]])
    if "allOf" not in schema:
        return schema
    merged: dict[str, Any] = {"type": "object", "properties": {}}
    for part in schema["allOf"]:
        merged["properties"] |= resolved(part).get("properties", {})
    return merged


def wrongs(schema: Mapping[str, Any], depth: int = 3) -> Iterator[tuple[str, Any]]:
    """`("HostConfig.Memory", value)` for each field, with an object around the value on the way up."""
    for name, part in resolved(schema).get("properties", {}).items():
        if name in UNREAD:
            continue
        part = resolved(part)
        for value in WRONG.get(part.get("type", ""), ()):
            if name in ("Cmd", "Entrypoint") and isinstance(value, str):
                continue  # a lone text is a list of one there
            yield name, {name: value}
        if depth and part.get("type") == "object":
            yield from ((f"{name}.{deeper}", {name: value}) for deeper, value in wrongs(part, depth - 1))
        if depth and part.get("type") == "array" and resolved(part.get("items", {})).get("type") == "object":
            yield from ((f"{name}[].{deeper}", {name: [value]}) for deeper, value in wrongs(part["items"], depth - 1))


BODIES_OF = (
    ("/containers/create", "/containers/create"),
    ("/containers/{id}/update", "/containers/idle/update"),
    ("/containers/{id}/exec", "/containers/busy/exec"),
    ("/networks/create", "/networks/create"),
    ("/networks/{id}/connect", "/networks/pier/connect"),
    ("/networks/{id}/disconnect", "/networks/pier/disconnect"),
    ("/volumes/create", "/volumes/create"),
)


@pytest.mark.parametrize(("template", "path"), BODIES_OF, ids=lambda path: path)
def test_a_field_of_the_wrong_type_is_refused(api: Api, template: str, path: str) -> None:
    asked, taken = 0, []
    for name, value in wrongs(swagger.document()["paths"][f"POST {template}"]["request"]):
        status, text = api.post(path, {"Image": IMAGE, "Cmd": ["true"], "Name": "odd", "Container": "idle"} | value)
        asked += 1
        if status not in (400, 501):
            taken.append((name, value, status, text[:80]))
        if status == 201 and path.endswith("/create"):
            made = json.loads(text)
            api.ask("DELETE", f"{path.removesuffix('create')}{made.get('Id') or made['Name']}")
    assert asked >= 5
    assert taken == []


# --- anything

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
# Routes that change state by themselves, end containers or never end are asked for things that are not there.
MEANT = frozenset({"prune", "stop", "kill", "restart", "start", "pause", "unpause", "rename"})
NAMES = st.sampled_from(
    ["idle", "nobody", "bb:1", "pier", "bridge", "hold", "a" * 64, "sha256:" + "0" * 64, "%2e", "x%00"]
)
KEYS = st.sampled_from(
    [
        "filters",
        "limit",
        "all",
        "size",
        "since",
        "until",
        "tail",
        "stdout",
        "follow",
        "timestamps",
        "fromImage",
        "fromSrc",
        "repo",
        "tag",
        "force",
        "noprune",
        "v",
        "link",
        "t",
        "signal",
        "h",
        "w",
        "name",
        "platform",
        "condition",
        "names",
        "remote",
        "dockerfile",
        "path",
        "detachKeys",
        "ps_args",
        "type",
        "stream",
    ]
)
FIELDS = st.sampled_from(
    [
        "Image",
        "Cmd",
        "Env",
        "HostConfig",
        "NetworkingConfig",
        "Labels",
        "Name",
        "Driver",
        "IPAM",
        "Options",
        "Container",
        "EndpointConfig",
        "Memory",
        "Mounts",
        "Binds",
        "PortBindings",
        "RestartPolicy",
        "ExposedPorts",
        "Volumes",
        "Healthcheck",
        "AttachStdin",
        "Tty",
        "Detach",
        "username",
    ]
)
ANYTHING = [
    route
    for route in routes.TABLE
    if route.path.rpartition("/")[2] not in MEANT
    and not route.path.startswith(("/grpc", "/session", "/build"))
    and (route.method, route.path) != ("DELETE", "/{name}")
    and route.method != "DELETE"
]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    route=st.sampled_from(ANYTHING),
    name=NAMES,
    query=st.dictionaries(
        KEYS, st.text(max_size=12) | st.sampled_from(["1", "0", "-1", "{}", '{"a":["b"]}']), max_size=3
    ),
    body=st.none() | st.binary(max_size=40) | st.dictionaries(FIELDS, VALUES, max_size=4),
)
def test_no_request_makes_the_daemon_fail(
    api: Api, route: routes.Route, name: str, query: dict[str, str], body: bytes | dict[str, Any] | None
) -> None:
    path = route.path.replace("{name*}", name).replace("{name}", name)
    words = "&".join(f"{quote(key)}={quote(value, safe='', errors='replace')}" for key, value in query.items())
    if route.path == "/events":
        words = f"until=1&{words}"
    if route.path.endswith("/stats"):
        words = f"stream=0&{words}"
    content = json.dumps(body).encode() if isinstance(body, dict) else body
    if route.method == "POST" and content is None:
        content = b""
    if path == "/containers/busy/attach" or route.path.endswith(("/attach", "/wait", "/attach/ws")):
        path = path.replace(name, "nobody")
    before = api.state()
    status, text = api.ask(route.method, f"{path}?{words}", content)
    assert status < 500 or status in (501, 503), (route.method, path, words, content, text)
    if status >= 400 and status != 304:
        assert api.state() == before
    elif status == 201 and b'"Id"' in text and route.path == "/containers/create":
        api.ask("DELETE", f"/containers/{json.loads(text)['Id']}?force=1")
    elif route.path in ("/networks/create", "/volumes/create") and status == 201:
        made = json.loads(text)
        where = f"/networks/{made['Id']}" if "Id" in made else f"/volumes/{made['Name']}"
        api.ask("DELETE", where)
    elif route.path.endswith("/tag") and status == 201:
        target = f"{query.get('repo', '')}:{query.get('tag', '') or 'latest'}"
        api.ask("DELETE", f"/images/{quote(target, safe='')}")
