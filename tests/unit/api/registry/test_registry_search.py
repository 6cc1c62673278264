"""The search of the registry's first protocol: names, in pages, within bounds."""

from __future__ import annotations

import pytest


@pytest.fixture
def filled(harbour):
    for name in ("app", "team/app", "team/app_two", "team/other", "zoo"):
        harbour.push_image(name, "1")
    return harbour


def names(answer):
    assert answer.status == 200, answer
    return [result["name"] for result in answer.json["results"]]


def test_the_old_ping_says_that_the_registry_stands_for_itself(harbour):
    answer = harbour.ask("GET", "/v1/_ping")
    assert (answer.status, answer.body) == (200, b"true")
    assert answer.headers["x-docker-registry-standalone"] == "true"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=app", ["app", "team/app", "team/app_two"]),
        ("q=APP", ["app", "team/app", "team/app_two"]),
        ("q=team/", ["team/app", "team/app_two", "team/other"]),
        ("q=p_t", ["team/app_two"]),
        ("q=%25", []),
        ("q=nothing", []),
        ("q=", ["app", "team/app", "team/app_two", "team/other", "zoo"]),
        ("q=app&n=2", ["app", "team/app"]),
        ("q=app&n=2&page=2", ["team/app_two"]),
        ("q=app&n=2&page=3", []),
    ],
)
def test_a_part_of_a_name_finds_repositories(filled, query, expected):
    assert names(filled.ask("GET", f"/v1/search?{query}")) == expected


def test_a_page_says_where_it_is(filled):
    page = filled.ask("GET", "/v1/search?q=app&n=2").json
    assert {key: page[key] for key in ("query", "num_results", "page", "page_size", "num_pages")} == {
        "query": "app",
        "num_results": 2,
        "page": 1,
        "page_size": 2,
        "num_pages": 2,
    }


@pytest.mark.parametrize("query", ["n=0", "n=101", "n=x", "n=-1", "page=0", "page=99999999", "q=" + "a" * 257, "q=%00"])
def test_what_nobody_means_is_refused(filled, query):
    assert filled.ask("GET", f"/v1/search?{query}").status == 400


@pytest.mark.parametrize("path", ["/v1/_ping", "/v1/search"])
def test_nothing_can_be_written_there(harbour, path):
    assert harbour.ask("POST", path, b"").status == 405
