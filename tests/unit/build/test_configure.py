"""What instructions do to a configuration."""

from __future__ import annotations

from typing import Any

import pytest

from sampan import errors
from sampan.build import configure
from sampan.formats import dockerfile
from sampan.formats import dockerfile_instructions as instructions


def changed(line: str, below: dict[str, Any] | None = None, *, cmd_set: bool = False, **variables: str) -> Any:
    meaning = instructions.interpret(dockerfile.parse(line).instructions[0])
    return configure.apply(meaning, below or {}, variables, escape="\\", cmd_set=cmd_set)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "below", "expected"),
    [
        ("ENV A=1 B=$X", {"Env": ["B=0", "C=2"]}, {"Env": ["B=x", "C=2", "A=1"]}),
        ("LABEL a=1", {"Labels": {"a": "0", "b": "2"}}, {"Labels": {"a": "1", "b": "2"}}),
        ("CMD a b", {}, {"Cmd": ["/bin/sh", "-c", "a b"]}),
        ("CMD a", {"Shell": ["zsh"]}, {"Shell": ["zsh"], "Cmd": ["zsh", "a"]}),
        ("CMD", {"Cmd": ["x"]}, {}),
        ('ENTRYPOINT ["a"]', {"Cmd": ["x"]}, {"Entrypoint": ["a"]}),
        ("EXPOSE 80 90-91/UDP $X", None, errors.Invalid),
        ("EXPOSE 80 90-91/UDP", {}, {"ExposedPorts": {"80/tcp": {}, "90/udp": {}, "91/udp": {}}}),
        ("EXPOSE 0", {}, errors.Invalid),
        ("EXPOSE 70000", {}, errors.Invalid),
        ("EXPOSE 80/sctp 80/icmp", {}, errors.Invalid),
        ("VOLUME /a /$X", {"Volumes": {"/b": {}}}, {"Volumes": {"/b": {}, "/a": {}, "/x": {}}}),
        ("WORKDIR b/../c", {"WorkingDir": "/a"}, {"WorkingDir": "/a/c"}),
        ("WORKDIR /$X", {"WorkingDir": "/a"}, {"WorkingDir": "/x"}),
        ("WORKDIR ../../..", {"WorkingDir": "/a"}, {"WorkingDir": "/"}),
        ("USER $X:$X", {}, {"User": "x:x"}),
        ("USER $NONE", {}, errors.Invalid),
        ("STOPSIGNAL $X", {}, {"StopSignal": "x"}),
        ("HEALTHCHECK NONE", {}, {"Healthcheck": {"Test": ["NONE"]}}),
        ('HEALTHCHECK CMD ["a"]', {}, {"Healthcheck": {"Test": ["CMD", "a"]}}),
        ("ONBUILD RUN x", {"OnBuild": ["RUN w"]}, {"OnBuild": ["RUN w", "RUN x"]}),
    ],
)
def test_instructions(line: str, below: dict[str, Any], expected: Any) -> None:
    if expected is errors.Invalid:
        with pytest.raises(errors.Invalid):
            changed(line, below, X="x")
        return
    assert changed(line, below, X="x") == expected


def test_an_entrypoint_leaves_the_command_of_its_own_stage() -> None:
    assert changed('ENTRYPOINT ["a"]', {"Cmd": ["x"]}, cmd_set=True) == {"Entrypoint": ["a"], "Cmd": ["x"]}


def test_a_stage_begins_without_triggers_and_with_a_path() -> None:
    below = {"OnBuild": ["RUN x"], "Env": ["A=1"], "Cmd": ["x"]}
    assert configure.starting(below) == {"Env": ["A=1", f"PATH={configure.DEFAULT_PATH}"], "Cmd": ["x"]}
    assert configure.starting({"Env": ["PATH=/mine"]}) == {"Env": ["PATH=/mine"]}
