"""`--change` instructions."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.images import changes
from sampan.images.changes import InvalidChange


@pytest.mark.parametrize(
    ("change", "config"),
    [
        ('CMD ["/boat", "-v"]', {"Cmd": ["/boat", "-v"]}),
        ("cmd echo hi", {"Cmd": ["/bin/sh", "-c", "echo hi"]}),
        ("CMD []", {"Cmd": []}),
        ('ENTRYPOINT ["/init"]', {"Entrypoint": ["/init"]}),
        ("ENTRYPOINT [ -f x ]", {"Entrypoint": ["/bin/sh", "-c", "[ -f x ]"]}),
        ("ENV A=1", {"Env": ["A=1"]}),
        ("ENV A=1 B='two words' C=\"3\"", {"Env": ["A=1", "B=two words", "C=3"]}),
        ("ENV A two words", {"Env": ["A=two words"]}),
        ("ENV A=a\\ b", {"Env": ["A=a b"]}),
        ("EXPOSE 80 53/udp 8000-8002", {"ExposedPorts": {
            port: {} for port in ("80/tcp", "53/udp", "8000/tcp", "8001/tcp", "8002/tcp")}}),
        ("LABEL a=b \"c d\"='e f'", {"Labels": {"a": "b", "c d": "e f"}}),
        ("VOLUME /a /b", {"Volumes": {"/a": {}, "/b": {}}}),
        ('VOLUME ["/a b"]', {"Volumes": {"/a b": {}}}),
        ("WORKDIR /srv", {"WorkingDir": "/srv"}),
        ("WORKDIR /a\nWORKDIR b", {"WorkingDir": "/a/b"}),
        ("USER me:us", {"User": "me:us"}),
        ("STOPSIGNAL SIGINT", {"StopSignal": "SIGINT"}),
        ("ONBUILD RUN make", {"OnBuild": ["RUN make"]}),
        ('SHELL ["/bin/bash", "-c"]\nCMD x', {"Shell": ["/bin/bash", "-c"], "Cmd": ["/bin/bash", "-c", "x"]}),
        ("HEALTHCHECK NONE", {"Healthcheck": {"Test": ["NONE"]}}),
        (
            "HEALTHCHECK --interval=1m30s --timeout=5s --retries=3 CMD curl localhost",
            {"Healthcheck": {"Test": ["CMD-SHELL", "curl localhost"], "Interval": 90_000_000_000,
                             "Timeout": 5_000_000_000, "Retries": 3}},
        ),
        ("# a comment\n\nUSER me", {"User": "me"}),
    ],
)  # fmt: skip
def test_an_instruction_changes_the_configuration(change: str, config: dict[str, Any]) -> None:
    assert changes.apply([change], {}) == config


def test_what_was_there_stays_and_the_argument_is_untouched() -> None:
    before = {"Env": ["A=1", "B=2"], "Labels": {"x": "y"}, "Cmd": ["old"]}
    after = changes.apply(["ENV A=3 C=4", "LABEL z=1", "CMD new"], before)
    assert after["Env"] == ["A=3", "B=2", "C=4"]
    assert after["Labels"] == {"x": "y", "z": "1"}
    assert before == {"Env": ["A=1", "B=2"], "Labels": {"x": "y"}, "Cmd": ["old"]}


@pytest.mark.parametrize(
    "change",
    [
        "RUN make",
        "FROM scratch",
        "CMD",
        "ENV",
        "ENV A",
        "ENV A='open",
        "ENV A=1 B",
        "LABEL =x",
        "EXPOSE x",
        "EXPOSE 0",
        "EXPOSE 70000",
        "EXPOSE 9-8",
        'VOLUME [""]',
        "USER a b",
        "SHELL /bin/bash",
        "ONBUILD ONBUILD RUN x",
        "HEALTHCHECK --what=1 CMD x",
        "HEALTHCHECK --interval=fast CMD x",
        "HEALTHCHECK RUN x",
        "HEALTHCHECK CMD",
    ],
)
def test_what_is_no_such_instruction_is_refused(change: str) -> None:
    with pytest.raises(InvalidChange):
        changes.apply([change], {})
