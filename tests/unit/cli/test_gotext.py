"""Templates give what Go's give: values, functions, blocks and messages, as `docker` 28.2 prints them."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.cli import failures
from sampan.cli.template import Row, Template

VALUE: dict[str, Any] = {
    "Name": "web",
    "State": {"Running": True, "Pid": 44, "Health": None},
    "Config": {"Labels": {"a": "b"}, "Entrypoint": None},
    "HostConfig": {"RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}},
    "Ports": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "81/tcp": None},
    "Words": ["a", "b"],
    "Empty": [],
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{.Name}} {{.State.Running}}", "web true"),
        ('{{if eq .Name "web"}}x{{else if eq .Name "job"}}j{{else}}y{{end}}', "x"),
        ('{{if eq .Name "no"}}x{{else if eq .Name "web"}}j{{else}}y{{end}}', "j"),
        ('{{if eq .Name "no"}}x{{else if .Empty}}j{{else}}y{{end}}z', "yz"),
        ("{{range $i, $e := .Words}}{{$i}}={{$e}};{{end}}", "0=a;1=b;"),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ('{{range .Words}}{{if eq . "b"}}{{break}}{{end}}{{.}}{{end}}', "a"),
        ('{{range .Words}}{{if eq . "a"}}{{continue}}{{end}}{{.}}{{end}}', "b"),
        ("{{with .State}}{{.Pid}}{{end}}", "44"),
        ("{{with $x := .Name}}{{$x}}{{end}}", "web"),
        ("{{$x := 1}}{{$x = 2}}{{$x}}", "2"),
        ("{{/* nothing */}}{{.Name}}", "web"),
        ("a {{- .Name -}}  b", "awebb"),
        ('{{.Name | upper | printf "%s!"}}', "WEB!"),
        (
            '{{printf "%s-%d-%q-%v-%5s|%-5s|%05d|%.2f" .Name 3 .Name .Name .Name .Name 3 2.5}}',
            'web-3-"web"-web-  web|web  |00003|2.50',
        ),
        ('{{join .Words "/"}} {{split "a-b" "-"}} {{len .Words}} {{index .Words 1}}', "a/b [a b] 2 b"),
        ('{{(index (index .Ports "80/tcp") 0).HostPort}}', "8080"),
        ("{{json .Words}} {{json .Name}}", '["a","b"] "web"'),
        ('{{title .Name}} {{lower "A"}} {{pad .Name 2 3}}| {{truncate .Name 2}}', "Web a   web   | we"),
        (
            '{{gt 3 2}} {{le 2 2}} {{not true}} {{and 1 0}} {{or 0 "x"}} {{ne 1 2}} {{lt 1.5 2.5}}',
            "true true false 0 x true true",
        ),
        ('{{slice .Name 0 2}} {{html "<a>"}} {{urlquery "a b&c"}} {{print 1 2}}', "we &lt;a&gt; a+b%26c 1 2"),
        ("{{.Ports}}", "map[80/tcp:[{ 8080}] 81/tcp:[]]"),
        ("{{.HostConfig.RestartPolicy}}", "{no 0}"),
        ("{{.State.Health}} {{.Config.Entrypoint}} {{.Config.Healthcheck}}", "<nil> [] <nil>"),
        ("{{.Config.Labels.none}}", "<no value>"),
    ],
)
def test_templates_give_what_gos_give(text: str, expected: str) -> None:
    assert Template(text, strict=True).render(VALUE) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{", "template: :1: unclosed action"),
        ("{{.Name", "template: :1: unclosed action"),
        ("{{foo}}", 'template: :1: function "foo" not defined'),
        ("{{.State. }}", 'template: :1: unexpected "." in operand'),
        ("{{if}}", "template: :1: missing value for if"),
        ("{{range .Words}}", "template: :1: unexpected EOF"),
        ("{{end}}", "template: :1: unexpected {{end}}"),
        ("{{.Nope}}", 'template: :1:2: executing "" at <.Nope>: map has no entry for key "Nope"'),
        ("{{.State.Nope}}", 'template: :1:8: executing "" at <.State.Nope>: map has no entry for key "Nope"'),
        ("{{.Name.foo}}", "can't evaluate field foo in type interface {}"),
        ("{{nil}}", 'template: :1:2: executing "" at <nil>: nil is not a command'),
        ("{{index .Words 5}}", "error calling index: index out of range: 5"),
        ('{{lt 1 "a"}}', "incompatible types for comparison"),
        ("\n{{foo}}", 'template: :2: function "foo" not defined'),
    ],
)
def test_what_is_wrong_is_told_in_gos_words(text: str, message: str) -> None:
    with pytest.raises(failures.BadUsage) as refused:
        Template(text, strict=True).render(VALUE)
    assert message in str(refused.value)
    assert str(refused.value).startswith("template parsing error: template: ")


def test_a_line_of_a_list_knows_its_fields_and_functions() -> None:
    row = Row({"ID": "1", "Platform": None}, type_name="*x.Row", calls={"Label": {"a": "b"}.get})
    assert Template('{{.ID}} {{.Platform}} {{.Label "a"}}').render(row) == "1 <nil> b"
    assert Template("{{json .}}").render(Row({"A": "<"}, type_name="t")) == '{"A":"\\u003c"}'
    with pytest.raises(failures.BadUsage, match=r"can't evaluate field Nope in type \*x\.Row"):
        Template("{{.Nope}}").render(row)


def test_a_template_tells_which_fields_it_shows() -> None:
    assert Template("{{.ID}}{{if .Size}}x{{end}}").mentions("Size")
    assert Template("{{json .}}").mentions("Size")
    assert not Template("{{.ID}} {{.SizeRw}}").mentions("Size")
