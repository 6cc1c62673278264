"""Every error belongs to exactly one kind, and its text carries the cause and the remedy."""

import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import sampan
from sampan import errors


def everything_below(kind: type[errors.SampanError]) -> Iterator[type[errors.SampanError]]:
    for child in kind.__subclasses__():
        yield child
        yield from everything_below(child)


def load_all_rooms() -> None:
    for module in pkgutil.walk_packages(sampan.__path__, "sampan."):
        if ".migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def test_every_error_has_exactly_one_kind() -> None:
    load_all_rooms()
    wrong = {}
    for error in everything_below(errors.SampanError):
        kinds = [kind.__name__ for kind in errors.KINDS if issubclass(error, kind)]
        if len(kinds) != 1:
            wrong[f"{error.__module__}.{error.__name__}"] = kinds
    assert wrong == {}


def test_the_text_says_what_why_and_the_remedy() -> None:
    error = errors.Conflict("port 80 is taken", why="by nginx", remedy="publish another one")
    assert str(error) == "port 80 is taken: by nginx (publish another one)"
    assert str(errors.NotFound("no such image")) == "no such image"


@pytest.mark.parametrize("kind", errors.KINDS)
def test_a_kind_is_its_own_kind(kind: type[errors.SampanError]) -> None:
    assert errors.kind_of(kind("x")) is kind


def test_an_error_without_a_kind_counts_as_broken() -> None:
    assert errors.kind_of(errors.SampanError("x")) is errors.Broken
