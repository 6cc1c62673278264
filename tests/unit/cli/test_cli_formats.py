"""Templates, tables, ports, credentials, and the words that choose a command."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import Any

import pytest

from sampan.cli import client, failures, filters, logs, main, networks, progress, table, tables
from sampan.cli.endpoint import choose
from sampan.cli.line import parse
from sampan.cli.settings import auth
from sampan.cli.template import Template

VALUE: dict[str, Any] = {
    "Name": "web",
    "State": {"Running": True, "Pid": 42},
    "Labels": {"b": "2", "a": "1"},
    "Args": ["sh", "-c"],
    "Ports": {"80/tcp": [{"HostPort": "8080"}], "81/tcp": None},
    "Nothing": None,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{.Name}}", "web"),
        ("{{ .State.Running }}:{{.State.Pid}}", "true:42"),
        ("{{json .State}}", '{"Running":true,"Pid":42}'),
        ("{{.Nothing}} {{.Absent}}", "<no value> <no value>"),
        ("{{.Args}} {{.Labels}}", "[sh -c] map[a:1 b:2]"),
        ("{{range .Args}}<{{.}}>{{end}}", "<sh><-c>"),
        ("{{range $key, $value := .Labels}}{{$key}}={{$value}};{{end}}", "a=1;b=2;"),
        ("{{range $p, $conf := .Ports}}{{$p}}->{{(index $conf 0).HostPort}} {{else}}none{{end}}", None),
        ('{{index .Labels "a"}}', "1"),
        ('{{(index (index .Ports "80/tcp") 0).HostPort}}', "8080"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if .Nothing}}a{{else}}b{{end}}", "b"),
        ('{{join .Args ","}} {{.Name | upper}} {{len .Args}}', "sh,-c WEB 2"),
        ("{{with .State}}{{.Pid}}{{end}}", "42"),
        ('{{if eq .Name "web"}}yes{{end}}', "yes"),
        ("a {{- .Name -}} b", "awebb"),
        ('{{printf "%s-%d" .Name .State.Pid}}', "web-42"),
        ("{{range .Args}}{{$.Name}} {{end}}", "web web "),
    ],
)
def test_templates_are_rendered_as_go_would(text: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(failures.BadUsage):
            Template(text).render(VALUE)
    else:
        assert Template(text).render(VALUE) == expected


@pytest.mark.parametrize("text", ["{{.Name", "{{range .Args}}", "{{end}}", "{{else}}", "{{nonsense .Name}}", "{{}}"])
def test_broken_templates_are_refused(text: str) -> None:
    with pytest.raises(failures.BadUsage):
        Template(text).render(VALUE)


def test_a_table_has_columns_as_wide_as_their_widest_cell() -> None:
    assert tables.table(["ID", "NAME"], [["1", "a-long-name"], ["a-longer-id", "b"]]) == (
        "ID            NAME\n1             a-long-name\na-longer-id   b\n"
    )


def test_a_table_format_has_the_headings_of_its_fields() -> None:
    rows = [{"ID": "1", "Names": "web"}]
    columns = {"ID": "CONTAINER ID", "Names": "NAMES"}
    assert tables.listing(rows, columns, r"table {{.Names}}\t{{.ID}}") == "NAMES     CONTAINER ID\nweb       1\n"
    assert tables.listing(rows, columns, "{{.Names}}") == "web\n"
    assert tables.listing(rows, columns, "json") == '{"ID":"1","Names":"web"}\n'


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        ([], ""),
        ([{"PrivatePort": 80, "Type": "tcp"}], "80/tcp"),
        ([{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}], "0.0.0.0:8080->80/tcp"),
        ([{"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}], "[::]:8080->80/tcp"),
        (
            [{"IP": "0.0.0.0", "PrivatePort": 80 + n, "PublicPort": 8080 + n, "Type": "tcp"} for n in range(3)],
            "0.0.0.0:8080->80/tcp, 0.0.0.0:8081->81/tcp, 0.0.0.0:8082->82/tcp",
        ),
        (
            [{"IP": "0.0.0.0", "PrivatePort": 80 + n, "PublicPort": 80 + n, "Type": "tcp"} for n in range(3)],
            "0.0.0.0:80-82->80-82/tcp",
        ),
        ([{"PrivatePort": port, "Type": "udp"} for port in (90, 91, 95)], "90-91/udp, 95/udp"),
    ],
)
def test_ports_are_shown_as_docker_shows_them(published: list[dict[str, Any]], expected: str) -> None:
    assert tables.ports(published) == expected


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["sampan", "ps"], ["ps"]),
        (["/usr/bin/sampan-ps", "-a"], ["ps", "-a"]),
        (["sampan-daemon", "-D"], ["daemon", "-D"]),
        (["sampan-nonsense", "x"], ["x"]),
    ],
)
def test_the_programs_name_may_carry_the_command(argv: list[str], words: list[str]) -> None:
    assert main.arguments(argv) == words


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["daemon", "-H", "tcp://:1", "--bip", "x"], ["-H", "tcp://:1", "--bip", "x"]),
        (["-d"], []),
        (["-D", "-d", "-H", "unix:///x"], ["-D", "-H", "unix:///x"]),
        (["-H", "unix:///x", "-d", "-s", "vfs"], ["-H", "unix:///x", "-s", "vfs"]),
        (["-D", "-g", "/srv", "-d=true", "-b", "none"], ["-D", "-g", "/srv", "-b", "none"]),
        (["--bip=10.0.0.1/8", "-d"], ["--bip=10.0.0.1/8"]),
        (["-D", "run", "-d", "busybox"], None),
        (["run", "-d", "busybox"], None),
        (["-H", "unix:///x", "run", "-d", "busybox"], None),
        (["--help"], None),
        ([], None),
    ],
)
def test_the_daemon_gets_its_options_untouched(words: list[str], expected: list[str] | None) -> None:
    assert main.daemon_arguments(words) == expected


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        ("tcp://a:1", {"SAMPAN_HOST": "unix:///b"}, "tcp://a:1"),
        (None, {"SAMPAN_HOST": "unix:///b", "DOCKER_HOST": "unix:///c"}, "unix:///b"),
        (None, {"DOCKER_HOST": "unix:///c"}, "unix:///c"),
    ],
)
def test_the_daemons_address_is_the_nearest_that_was_said(
    given: str | None, environment: dict[str, str], expected: str
) -> None:
    assert choose.default_address({"host": (given,) if given else ()}, environment) == expected


def test_a_target_leaves_out_what_was_not_said() -> None:
    query = {"all": True, "size": False, "name": "", "t": 0, "changes": ["a b", "c"], "x": None}
    assert client.target("/images/host:5000/a/json", query) == (
        "/v1.47/images/host:5000/a/json?all=1&t=0&changes=a%20b&changes=c"
    )


@pytest.mark.parametrize(
    ("image", "server"),
    [
        ("busybox", auth.HUB),
        ("team/app:1", auth.HUB),
        ("docker.io/library/busybox", auth.HUB),
        ("host:5000/app", "host:5000"),
        ("localhost/app", "localhost"),
        ("registry.example/app@sha256:1", "registry.example"),
    ],
)
def test_credentials_are_looked_up_under_the_images_registry(image: str, server: str) -> None:
    config = {"auths": {server: {"auth": base64.b64encode(b"me:pa:ss").decode()}}}
    found = auth.from_file(auth.server_of(image), config)
    assert found == {"username": "me", "password": "pa:ss", "serveraddress": server}
    assert json.loads(base64.urlsafe_b64decode(auth.encoded(found))) == found
    assert auth.from_file(auth.server_of(image), {}) == {}


def test_filters_are_collected_by_key() -> None:
    assert filters.encode([]) is None
    assert json.loads(filters.encode(["label=a=b", "label=c", "status=exited"]) or "") == {
        "label": ["a=b", "c"],
        "status": ["exited"],
    }
    with pytest.raises(failures.BadUsage):
        filters.encode(["nonsense"])


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('exec: "x": executable file not found in $PATH', 127),
        ("stat /x: no such file or directory", 127),
        ("exec /x: permission denied", 126),
        ("No such image: x", 125),
    ],
)
def test_a_start_that_fails_has_dockers_exit_code(message: str, code: int) -> None:
    assert failures.start_code(message) == code


def test_times_may_be_moments_or_how_long_ago() -> None:
    assert logs.timestamp("", 1000.0) == ""
    assert logs.timestamp("900.5", 1000.0) == "900.5"
    assert logs.timestamp("1m30s", 1000.0) == "910.000000000"
    assert logs.timestamp("1970-01-01T00:00:10Z", 1000.0) == "10.000000000"
    with pytest.raises(failures.BadUsage):
        logs.timestamp("yesterday", 1000.0)


def test_progress_without_a_terminal_is_the_lines_that_say_news(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        {"status": "Pulling from library/busybox", "id": "latest"},
        {"status": "Downloading", "id": "0123", "progressDetail": {"current": 1, "total": 4}},
        {"status": "Pull complete", "id": "0123", "progressDetail": {}},
    ]
    progress.draw(lines, sys.stdout)
    assert capsys.readouterr().out == "latest: Pulling from library/busybox\n0123: Pull complete\n"
    with pytest.raises(failures.CliError, match="gone"):
        progress.draw([{"error": "gone"}], sys.stdout)


def test_a_network_with_a_subnet_has_one_pool() -> None:
    options, (name,) = parse.flags(networks.create.flags, ["--subnet", "10.0.0.0/24", "crew"], interspersed=True)
    body = networks.create_body(name, options)
    assert body["IPAM"]["Config"] == [{"Subnet": "10.0.0.0/24"}]


def test_the_command_line_loads_no_server_no_database_and_no_http_to_show_its_help() -> None:
    code = (
        "import sys; from sampan.cli import main; main.main(['sampan', '--help']);"
        "heavy = ('aiohttp', 'sqlalchemy', 'pyroute2', 'msgspec', 'asyncio', 'rich', 'http.client', 'ssl');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("module", sorted({module for module, _, _ in table.COMMANDS.values()}))
def test_no_command_loads_a_server_or_a_database(module: str) -> None:
    code = (
        f"import sys; import sampan.cli.{module};"
        "print([name for name in ('aiohttp', 'sqlalchemy', 'pyroute2', 'msgspec', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
