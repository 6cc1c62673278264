"""Expressions from clients: ordinary ones are found as Go finds them, those that could hold the daemon are refused."""

import pytest

from sampan.containers import patterns


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("web", "/web-1", True),
        ("^/web$", "/web-1", False),
        ("^/(web|db)-[0-9]+$", "/db-12", True),
        ("(?i)^/WEB", "/web-1", True),
        ("quay.*web.*", "/quay-web-1", True),
        (r"web\-1|[(*]+x*", "/web-1", True),
        ("(ab)+c", "/ababc", True),
        ("web[", "/web[", False),
        ("(", "/(", False),
    ],
)
def test_an_ordinary_expression_is_found(pattern: str, text: str, found: bool) -> None:
    assert patterns.search(pattern, text) is found


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(?:a*)*$",
        "((a+))+$",
        "(a|a)*$",
        "((a|b)c){30}",
        "(?P<x>a+)+",
        "a*a*a*a*a*b",
        "a?" * 30 + "a" * 30,
        r"(a)\1",
        "(?=a)b",
        "(?<!a)b",
        "a" * 257,
    ],
)
def test_an_expression_that_may_take_long_is_refused(pattern: str) -> None:
    with pytest.raises(patterns.PatternRefused):
        patterns.search(pattern, "/" + "a" * 60)
