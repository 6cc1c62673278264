"""The table of routes against the specification, and what the absent ones say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import swagger
from sampan.api.engine import absent, app, routes

ROUTES = (*routes.TABLE, *routes.ABSENT)


def filled(path: str) -> str:
    """A path with names instead of braces."""
    return path.replace("{id}", "one").replace("{name}", "team/app:1" if path.startswith("/images") else "one")


@pytest.mark.parametrize("operation", swagger.operations(), ids=" ".join)
def test_every_operation_of_the_specification_has_a_route(operation: tuple[str, str]) -> None:
    method, path = operation
    assert app.Router(ROUTES).find(method, filled(path)) is not None


def test_no_route_is_both_served_and_refused() -> None:
    served = {(route.method, route.path) for route in routes.TABLE}
    assert [route.path for route in routes.ABSENT if (route.method, route.path) in served] == []
    assert len(ROUTES) == len({(route.method, route.path) for route in ROUTES})


def test_every_refused_route_says_what_to_use() -> None:
    assert all(route.instead for route in routes.ABSENT)
    assert not any(route.instead for route in routes.TABLE)


@pytest.mark.parametrize("route", routes.ABSENT, ids=lambda route: f"{route.method} {route.path}")
def test_what_is_absent_is_refused_with_advice(engine_harbour: Any, route: routes.Route) -> None:
    path = route.path.replace("{name}", "one").replace("{name*}", "team/one:1")
    status, answer, _ = engine_harbour.call(route.method, f"/v1.47{path}", {} if route.method == "POST" else None)
    if route.handler is absent.plugins:
        assert (status, answer) == (200, [])
        return
    expected = {absent.swarm_question: 503, absent.leave_swarm: 503, absent.plugin: 404}
    assert status == expected.get(route.handler, 501)
    assert answer["message"].startswith(
        ("This node is not", 'plugin "team/one:1" not found') if status != 501 else ("cluster", "plugins", "s", "c")
    )
    assert status != 501 or route.instead in answer["message"]


@pytest.mark.parametrize("path", ["/nothing", "/v1.47/containers", "/v1.47/containers/web/nothing", "/v1.47/swarm/x/y"])
def test_an_unknown_path_is_no_page(engine_harbour: Any, path: str) -> None:
    status, answer, _ = engine_harbour.call("GET", path)
    assert (status, answer) == (404, {"message": "page not found"})


def test_the_page_lists_every_route_once() -> None:
    lines = routes.manual().splitlines()[2:]
    assert len(lines) == len(ROUTES)
    assert "| `GET /distribution/{name}/json` | 1.30 | yes |" in lines
    assert f"| `POST /swarm/init` | 1.24 | no: {absent.SWARM} |" in lines


def test_a_distribution_is_described_by_what_the_registry_has(engine_harbour: Any) -> None:
    status, answer, _ = engine_harbour.call("GET", "/v1.47/distribution/host:5000/team/app:1/json")
    assert status == 200
    assert swagger.answer_misfits("GET", "/distribution/host:5000/team/app:1/json", 200, answer) == []
    expected: Mapping[str, Any] = {"architecture": "arm64", "os": "linux", "variant": "v8"}
    assert expected in answer["Platforms"]


def test_the_page_shows_the_table() -> None:
    page = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
    shown = page.partition("<!-- routes -->\n")[2].partition("<!-- end -->")[0]
    assert shown == routes.manual()
