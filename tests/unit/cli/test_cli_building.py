"""What `sampan build` sends: the query, and the archive of a folder."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from sampan.cli import building, failures

OPTIONS: dict[str, Any] = {flag.target: flag.default for flag in building.build.flags}


def test_options_become_the_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "yes")
    monkeypatch.delenv("NOT_HERE", raising=False)
    given = {
        "tag": ("a", "b:1"),
        "build_arg": ("A=1=2", "HERE", "NOT_HERE"),
        "label": ("x=y",),
        "memory": "64m",
        "memory_swap": "-1",
        "add_host": ("h:1.2.3.4", "i:5.6.7.8"),
    }
    query = building.parameters(OPTIONS | given)
    assert query["t"] == ["a", "b:1"]
    assert json.loads(query["buildargs"]) == {"A": "1=2", "HERE": "yes", "NOT_HERE": None}
    assert json.loads(query["labels"]) == {"x": "y"}
    assert (query["memory"], query["memswap"], query["shmsize"]) == (64 << 20, -1, "")
    assert query["extrahosts"] == "h:1.2.3.4,i:5.6.7.8"
    assert query["rm"] is True


def packed(root: Path, dockerfile: str = "") -> tuple[list[str], str]:
    spool = io.BytesIO()
    name = building._pack(root, dockerfile, spool)
    spool.seek(0)
    with tarfile.open(fileobj=spool) as tar:
        assert {(entry.uid, entry.gid) for entry in tar} == {(0, 0)}
        return tar.getnames(), name


def test_what_is_ignored_does_not_leave_this_machine(tmp_path: Path) -> None:
    (tmp_path / "keep").mkdir()
    (tmp_path / "lose" / "deep").mkdir(parents=True)
    for name in ("Dockerfile", "keep/a", "keep/a.log", "lose/b", "lose/deep/c"):
        (tmp_path / name).write_text("x")
    (tmp_path / ".dockerignore").write_text("**/*.log\nlose\nDockerfile\n!lose/deep/c\n")
    names, dockerfile = packed(tmp_path)
    assert dockerfile == "Dockerfile"
    assert names == [".dockerignore", "Dockerfile", "keep", "keep/a", "lose", "lose/deep", "lose/deep/c"]


def test_a_dockerfile_from_elsewhere_goes_along_under_its_own_name(tmp_path: Path) -> None:
    root = tmp_path / "context"
    root.mkdir()
    (tmp_path / "Other").write_text("FROM x")
    assert packed(root, str(tmp_path / "Other")) == ([building.ASIDE], building.ASIDE)


@pytest.mark.parametrize("dockerfile", ["", "missing"])
def test_a_folder_without_a_dockerfile_is_refused(tmp_path: Path, dockerfile: str) -> None:
    with pytest.raises(failures.CliError, match="unable to prepare context"):
        packed(tmp_path, dockerfile)


def test_the_failed_commands_code_is_the_exit_code() -> None:
    lines = [{"stream": ""}, {"error": "it failed", "errorDetail": {"code": 7, "message": "it failed"}}]
    with pytest.raises(failures.CliError) as caught:
        building._told(iter(lines), OPTIONS)
    assert (caught.value.code, str(caught.value)) == (7, "it failed")
