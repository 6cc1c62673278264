"""`docker build` by the stock command line's classic builder: the same script against Sampan and against dockerd."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import harbour
import peers
from stock import ENGINES, Cli

pytestmark = [pytest.mark.root, pytest.mark.peer]
BASE = "base:1"


class Builder(Cli):
    """The command line without BuildKit."""

    def run(self, *words: str, input: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        command = [peers.docker_cli(), "-H", self.engine.host, *words]
        environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
        return subprocess.run(
            command, input=input or b"", capture_output=True, timeout=90, check=False, env=environment
        )

    def config(self, image: str) -> dict[str, Any]:
        return json.loads(self.out("image", "inspect", image))[0]["Config"]  # type: ignore[no-any-return]


@pytest.fixture(scope="module", params=ENGINES)
def docker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    with peers.running([request.param], folder=tmp_path_factory.mktemp("engine")) as running:
        cli = Builder(running[request.param])
        cli("import", "-c", "CMD sleep 1000", "-", BASE, input=harbour.busybox_tar("one"))
        yield cli


def context(folder: Path, dockerfile: str, **files: str) -> str:
    """A folder with a Dockerfile and files whose names are given with `__` for `/`."""
    for name, text in {"Dockerfile": dockerfile, **files}.items():
        place = folder / name.replace("__", "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return str(folder)


def tree(docker: Builder, image: str, *places: str) -> list[str]:
    """Modes, owners, sizes and names below places of an image. Folders' sizes are the file system's own business."""
    lines = docker.out("run", "--rm", image, "ls", "-lnR", *places).splitlines()
    found = []
    for fields in (line.split() for line in lines if not line.startswith("total")):
        if len(fields) > 8:  # mode, links, owner, group, size, date, name
            size = "" if fields[0].startswith("d") else fields[4]
            fields = [fields[0], fields[2], fields[3], size, *fields[8:]]
        found.append(" ".join(fields))
    return found


EVERYTHING = """
# every instruction that changes the configuration
ARG VERSION=1
FROM base:${VERSION}
ARG NAME=world
ENV GREETING="hello $NAME" \\
    EMPTY=
ENV OLD form of it
LABEL one=1 two="zwei drei"
EXPOSE 80 443/tcp 53/udp
VOLUME ["/data", "/more data"]
WORKDIR /srv
WORKDIR app
USER 1:2
STOPSIGNAL SIGINT
SHELL ["/bin/sh", "-ec"]
HEALTHCHECK --interval=5s --retries=2 CMD true
ONBUILD RUN echo later
ENTRYPOINT ["/bin/echo", "x"]
CMD echo $GREETING
"""
COMPARED = (
    *("Cmd", "Entrypoint", "Env", "ExposedPorts", "Healthcheck", "Labels", "OnBuild", "Shell", "StopSignal"),
    *("User", "Volumes", "WorkingDir"),
)


def test_every_instruction_makes_dockers_configuration(docker: Builder, tmp_path: Path) -> None:
    docker("build", "-t", "all", "--build-arg", "NAME=moon", "--label", "three=3", context(tmp_path, EVERYTHING))
    config = docker.config("all")
    assert {name: config.get(name) for name in COMPARED} == {
        "Cmd": ["/bin/sh", "-ec", "echo $GREETING"],
        "Entrypoint": ["/bin/echo", "x"],
        "Env": [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "GREETING=hello moon",
            "EMPTY=",
            "OLD=form of it",
        ],
        "ExposedPorts": {"80/tcp": {}, "443/tcp": {}, "53/udp": {}},
        "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 5 * 10**9, "Retries": 2},
        "Labels": {"one": "1", "two": "zwei drei", "three": "3"},
        "OnBuild": ["RUN echo later"],
        "Shell": ["/bin/sh", "-ec"],
        "StopSignal": "SIGINT",
        "User": "1:2",
        "Volumes": {"/data": {}, "/more data": {}},
        "WorkingDir": "/srv/app",
    }


def test_copies_have_dockers_names_owners_and_modes(docker: Builder, tmp_path: Path) -> None:
    dockerfile = """
FROM base:1
RUN mkdir -p /real /deep/er && ln -s real /link
COPY one.txt /new/folder/
COPY one.txt two.txt sub /many/
COPY sub/ /link/
COPY *.txt /globbed/
COPY --chown=3:4 sub /owned
WORKDIR /relative
COPY one.txt .
COPY one.txt renamed
ADD archive.tar.gz /unpacked
"""
    where = context(tmp_path, dockerfile, **{"one.txt": "1", "two.txt": "22", "sub__in": "333", "sub__dir__x": "x"})
    (tmp_path / "sub" / "l").symlink_to("in")
    (tmp_path / "one.txt").chmod(0o640)
    subprocess.run(["tar", "-C", where, "-czf", f"{where}/archive.tar.gz", "--owner=5", "--group=6", "sub"], check=True)
    docker("build", "-t", "copies", where)
    seen = tree(docker, "copies", "/new", "/many", "/real", "/globbed", "/owned", "/relative", "/unpacked", "/deep")
    assert "-rw-r----- 0 0 1 one.txt" in seen
    assert docker.out("run", "--rm", "copies", "cat", "/real/in", "/relative/renamed") == "3331"
    assert docker.out(
        "run", "--rm", "copies", "sh", "-c", "cd /unpacked/sub && stat -c %u:%g in && ls -l l"
    ).startswith("5:6")
    _compare(docker, "copies", seen)


SEEN: dict[str, tuple[str, list[str]]] = {}


def _compare(docker: Builder, name: str, seen: list[str]) -> None:
    """What the first engine showed, the second shows too."""
    first = SEEN.setdefault(name, (docker.engine.name, seen))
    assert seen == first[1], f"{docker.engine.name} differs from {first[0]}"


def test_a_second_build_uses_the_cache_and_makes_the_same_image(docker: Builder, tmp_path: Path) -> None:
    where = context(tmp_path, f"FROM {BASE}\nCOPY a /a\nRUN cat /a > /b\nCMD true\n", a="1")
    first = docker.out("build", "-q", where)
    os.utime(tmp_path / "a", (1, 1))  # when a file was written decides nothing
    said = docker("build", "-t", "again", where)
    assert said.count("Using cache") == 3
    assert docker.out("image", "inspect", "-f", "{{.Id}}", "again") == first
    (tmp_path / "a").write_text("2")
    assert "Using cache" not in docker("build", where).partition("RUN")[2].partition("CMD")[0]
    assert docker("build", "--no-cache", where).count("Using cache") == 0


def test_stages_are_built_as_far_as_the_target_needs_them(docker: Builder, tmp_path: Path) -> None:
    dockerfile = f"""
FROM {BASE} AS tools
RUN echo tool > /tool
FROM {BASE} AS first
COPY --from=tools /tool /first
FROM {BASE} AS unused
RUN false
FROM first AS last
COPY --from=0 /tool /last
"""
    where = context(tmp_path, dockerfile)
    docker("build", "--target", "first", "-t", "first", where)
    assert docker.out("run", "--rm", "first", "cat", "/first") == "tool"
    assert docker.run("run", "--rm", "first", "cat", "/last").returncode == 1
    if docker.ours:  # dockerd's classic builder runs stages that nobody needs
        docker("build", "-t", "last", where)
        assert docker.out("run", "--rm", "last", "cat", "/first", "/last") == "tool\ntool"


def test_triggers_run_in_the_image_that_is_built_on_top(docker: Builder, tmp_path: Path) -> None:
    docker(
        "build", "-t", "trigger", context(tmp_path / "a", f"FROM {BASE}\nONBUILD COPY f /f\nONBUILD RUN cat /f >/g\n")
    )
    docker("build", "-t", "triggered", context(tmp_path / "b", "FROM trigger\nRUN cat /g >/h\n", f="set off"))
    assert docker.out("run", "--rm", "triggered", "cat", "/h") == "set off"
    assert not docker.config("triggered").get("OnBuild")


def test_what_is_ignored_is_not_there_and_a_dockerfile_may_come_on_standard_input(
    docker: Builder, tmp_path: Path
) -> None:
    where = context(
        tmp_path, f"FROM {BASE}\nCOPY . /c/\n", **{".dockerignore": "*.log\n!keep.log\n", "a.log": "", "keep.log": ""}
    )
    docker("build", "-t", "ignoring", where)
    assert sorted(docker.out("run", "--rm", "ignoring", "ls", "-A", "/c").split()) == [
        *(".dockerignore", "Dockerfile", "keep.log"),
    ]
    docker("build", "-t", "piped", "-", input=f"FROM {BASE}\nRUN echo hi >/hi\n".encode())
    assert docker.out("run", "--rm", "piped", "cat", "/hi") == "hi"


@pytest.mark.parametrize(
    ("dockerfile", "code", "said"),
    [
        ("FROM base:1\nRUN exit 7\n", 7, "returned a non-zero code: 7"),
        ('FROM base:1\nRUN ["/no-such"]\n', None, "no such file or directory"),
        ("FROM base:1\nFOO bar\n", 1, "unknown instruction: FOO"),
        ("FROM base:1\nCOPY missing /x\n", 1, "missing"),
        ("FROM base:1\nCOPY ../../etc/passwd /x\n", 1, "(?i)passwd|forbidden"),
        ("FROM base:1\nCOPY a b /x\n", 1, "must be a directory and end with a /"),
        ("FROM base:1\nEXPOSE 99999999\n", 1, "99999999"),
        ("FROM base:1\nUSER nobody-here\nRUN true\n", 1, "unable to find user nobody-here"),
        ("RUN true\n", 1, "no build stage in current context"),
        ("\n", 1, "(?i)empty|no instructions"),
    ],
)
def test_a_build_that_cannot_be_ends_with_dockers_words(
    docker: Builder, tmp_path: Path, dockerfile: str, code: int | None, said: str
) -> None:
    done = docker.run("build", context(tmp_path, dockerfile, a="", b=""))
    output = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == code or (code is None and done.returncode), output
    assert re.search(said, output), output
    assert docker.out("ps", "-aq", "--filter", "status=running") == ""


def test_what_a_context_links_to_outside_stays_outside(docker: Builder, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.write_text("secret")
    where = context(tmp_path / "c", f"FROM {BASE}\nCOPY folder /folder\n", folder__x="x")
    (tmp_path / "c" / "folder" / "absolute").symlink_to(canary)
    (tmp_path / "c" / "out").symlink_to("../canary")
    docker("build", "-t", "linked", where)
    assert docker.run("run", "--rm", "linked", "cat", "/folder/absolute").returncode == 1
    (tmp_path / "c" / "Dockerfile").write_text(f"FROM {BASE}\nCOPY out /out\n")
    assert docker.run("build", where).returncode == 1


def test_an_image_may_begin_with_nothing(docker: Builder, tmp_path: Path) -> None:
    where = context(tmp_path, 'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "mkdir", "/made"]\n')
    (tmp_path / "busybox").write_bytes(Path(harbour.BUSYBOX).read_bytes())
    (tmp_path / "busybox").chmod(0o755)
    docker("build", "-t", "fromnothing", where)
    docker("create", "--name", "looked-at", "fromnothing", "x")
    names = subprocess.run(
        ["tar", "t"], input=docker.run("export", "looked-at").stdout, capture_output=True, check=True
    ).stdout.decode()
    docker("rm", "looked-at")
    assert {"bin/busybox", "made/"} <= set(names.split())
