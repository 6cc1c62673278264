"""Which registry a search asks, and what of a stranger's answer counts."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.images import endpoints, searching

OWN = ("127.0.0.1:5000",)


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("app", ("127.0.0.1:5000", "app", "127.0.0.1:5000/")),
        ("team/app", ("127.0.0.1:5000", "team/app", "127.0.0.1:5000/")),
        ("localhost:5000/app", ("localhost:5000", "app", "")),
        ("registry.example/team/app", ("registry.example", "team/app", "")),
        ("localhost/app", ("localhost", "app", "")),
        ("docker.io/app", ("127.0.0.1:5000", "app", "127.0.0.1:5000/")),
    ],
)
def test_a_term_names_its_registry_or_means_ours(term: str, expected: tuple[str, str, str]) -> None:
    assert searching.where(term, OWN) == expected


@pytest.mark.parametrize("term", ["", " ", "localhost:5000/", "https://ship/app", "a\nb", "x" * 300])
def test_a_term_that_cannot_be_meant_is_refused(term: str) -> None:
    with pytest.raises(searching.InvalidSearch):
        searching.where(term, OWN)


def test_without_a_registry_of_our_own_a_bare_term_says_what_to_do() -> None:
    with pytest.raises(searching.NoRegistry) as refused:
        searching.where("app", ())
    assert "--registry" in str(refused.value)


ENTRIES: list[Any] = [
    {"name": "a", "description": "one", "star_count": 5, "is_official": True, "is_automated": False},
    {"name": "b", "star_count": -1, "is_automated": True},
    {"name": "c", "description": 7, "star_count": "many", "is_official": "yes"},
    {"name": ""},
    {"name": 3},
    {"name": "bad\x1bname"},
    "text",
    {"description": "nameless"},
]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, ["a", "b", "c"]),
        ({"limit": 2}, ["a", "b"]),
        ({"stars": 3}, ["a"]),
        ({"official": True}, ["a"]),
        ({"official": False}, ["b", "c"]),
        ({"automated": True}, ["b"]),
    ],
)
def test_results_are_read_and_chosen(conditions: dict[str, Any], expected: list[str]) -> None:
    search = searching.Search("host", "x", **conditions)
    assert [result.name for result in searching.read({"results": ENTRIES}, search)] == expected


@pytest.mark.parametrize("document", [{}, {"results": None}, {"results": "x"}, {"results": [[], 1, None]}])
def test_an_answer_of_another_shape_is_no_result(document: dict[str, Any]) -> None:
    assert searching.read(document, searching.Search("host", "x")) == []


def test_names_of_our_own_registry_can_be_pulled_as_they_are_printed() -> None:
    search = searching.Search("127.0.0.1:5000", "a", "127.0.0.1:5000/")
    assert searching.read({"results": ENTRIES[:1]}, search)[0].name == "127.0.0.1:5000/a"


@pytest.mark.parametrize(
    ("server", "host"),
    [
        ("ship:5000", "ship:5000"),
        ("https://ship:5000", "ship:5000"),
        ("http://ship/v2/", "ship"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("", "docker.io"),
    ],
)
def test_a_login_names_a_host_in_many_ways(server: str, host: str) -> None:
    assert endpoints.host_of(server) == host
