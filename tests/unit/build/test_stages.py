"""Stages, the ones a target needs, and ARGs before FROM."""

from __future__ import annotations

import pytest

from sampan import errors
from sampan.build import scope, stages
from sampan.formats import dockerfile, oci

HOST = oci.Platform("amd64", "linux")


def plan(text: str, *, target: str = "", **build_args: str) -> stages.Plan:
    known = scope.platform_args(HOST, HOST)
    return stages.plan(dockerfile.parse(text), target=target, build_args=build_args, platform_args=known)


@pytest.mark.parametrize(
    ("text", "target", "needed"),
    [
        ("FROM a\nFROM b", "", [1]),
        ("FROM a AS one\nFROM one", "", [0, 1]),
        ("FROM a AS one\nFROM b\nCOPY --from=one x x", "", [0, 1]),
        ("FROM a\nFROM b\nCOPY --from=0 x x", "", [0, 1]),
        ("FROM a AS one\nFROM b\nRUN --mount=from=one,target=/x y", "", [0, 1]),
        ("FROM a AS one\nFROM b AS two\nFROM c", "two", [1]),
        ("FROM a AS one\nFROM b", "ONE", [0]),
        ("FROM a\nFROM b", "0", [0]),
        ("FROM a\nCOPY --from=b:1 x x", "", [0]),
        ("FROM a AS x\nFROM b AS x\nFROM x", "", [1, 2]),
    ],
)
def test_only_what_the_target_needs_is_built(text: str, target: str, needed: list[int]) -> None:
    assert plan(text, target=target).needed() == needed


@pytest.mark.parametrize(
    ("text", "given", "base"),
    [
        ("ARG V=1\nFROM a:$V", {}, "a:1"),
        ("ARG V=1\nFROM a:$V", {"V": "2"}, "a:2"),
        ("ARG V\nFROM a:${V:-3}", {}, "a:3"),
        ("ARG A=x\nARG B=${A}y\nFROM $B", {}, "xy"),
        ("FROM a-$TARGETARCH", {}, "a-amd64"),
    ],
)
def test_from_sees_the_global_arguments(text: str, given: dict[str, str], base: str) -> None:
    assert plan(text, **given).stages[0].base == base


@pytest.mark.parametrize(
    ("text", "target", "why"),
    [
        ("RUN x", "", "no build stage in current context"),
        ("ARG A=1", "", "no build stage in current context"),
        ("ENV A=1\nFROM a", "", "no build stage in current context"),
        ("FROM $NOTHING", "", "should not be blank"),
        ("FROM a", "b", "failed to reach build target b"),
        ("FROM a", "7", "failed to reach build target 7"),
        ("FROM ${a", "", "missing '}'"),
    ],
)
def test_what_cannot_be_planned_is_refused(text: str, target: str, why: str) -> None:
    with pytest.raises(errors.Invalid) as caught:
        plan(text, target=target)
    assert why in str(caught.value)


def test_an_argument_takes_the_clients_value_then_its_default_then_the_global_one() -> None:
    outer = {"A": "global"}
    assert scope.value_of("A", "own", {"A": "client"}, {}, "\\", outer=outer) == "client"
    assert scope.value_of("A", "own-$B", {}, {"B": "b"}, "\\", outer=outer) == "own-b"
    assert scope.value_of("A", None, {}, {"A": "an ENV"}, "\\", outer=outer) == "global"
    assert scope.value_of("A", None, {}, {}, "\\") is None
