"""Builds as only Sampan does them: mounts, here-documents, the life of the cache, hostile input, crashes."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import requests
import urllib3

import harbour as harbours

BROKEN = (
    *(requests.exceptions.RequestException, docker.errors.DockerException, ValueError, OSError),
    urllib3.exceptions.HTTPError,
)
NEEDED = ("runc", "nft", "ip", "unshare", "nsenter", "busybox")
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}"),
]


@pytest.fixture(scope="module")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[harbours.Harbour]:
    with harbours.Harbour(tmp_path_factory.mktemp("h")) as made:
        made.start()
        yield made


@pytest.fixture
def client(harbour: harbours.Harbour) -> Iterator[Any]:
    made = harbour.client()
    harbours.busybox_image(made, "base", marker="base")
    yield made
    made.close()


def packed(dockerfile: str, **files: bytes) -> io.BytesIO:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, data in {"Dockerfile": dockerfile.encode(), **files}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    content.seek(0)
    return content


def build(client: Any, dockerfile: str, files: dict[str, bytes] | None = None, **options: Any) -> Any:
    image, _ = client.images.build(fileobj=packed(dockerfile, **(files or {})), custom_context=True, **options)
    return image


def said(client: Any, image: Any, *words: str) -> str:
    return client.containers.run(image.id, list(words), remove=True).decode()  # type: ignore[no-any-return]


def until(condition: Callable[[], object], limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "the condition does not come true"
        time.sleep(0.02)


def test_heredocs_are_scripts_and_files(client: Any) -> None:
    dockerfile = """FROM base
ENV X=value
RUN <<EOF
echo one > /one
echo $X >> /one
EOF
RUN <<'PROGRAM'
#!/bin/cat
itself
PROGRAM
COPY <<A <<'B' /files/
$X
A
$X
B
"""
    image = build(client, dockerfile)
    assert said(client, image, "cat", "/one", "/files/A", "/files/B") == "one\nvalue\nvalue\n$X\n"


def test_mounts_of_run_come_and_go(client: Any) -> None:
    dockerfile = """FROM base AS other
RUN mkdir /o && echo there > /o/f
FROM base
RUN --mount=type=cache,target=/var/cache/x,id=kept echo line >> /var/cache/x/log
RUN --mount=type=cache,target=/c,id=kept cp /c/log /log
RUN --mount=from=other,source=/o,target=/m --mount=type=tmpfs,target=/t cp /m/f /f && touch /t/x
RUN --mount=target=/ctx cp /ctx/extra /extra
RUN --mount=type=secret,id=none test ! -e /run/secrets/none
"""
    image = build(client, dockerfile, {"extra": b"from the context\n"})
    assert said(client, image, "cat", "/log", "/f", "/extra") == "line\nthere\nfrom the context\n"
    seen = said(client, image, "sh", "-c", "ls /; ls -A /run /var 2>&1; exit 0")
    assert not {"m", "t", "c", "ctx"} & set(seen.split())


def test_layers_have_no_trace_of_how_they_were_run(client: Any, harbour: harbours.Harbour) -> None:
    image = build(
        client, "FROM scratch\nADD rootfs.tar /\nRUN echo x > /only\n", {"rootfs.tar": harbours.busybox_tar()}
    )
    last = image.attrs["RootFS"]["Layers"][-1].partition(":")[2]
    with tarfile.open(harbour.data / "content" / "blobs" / "sha256" / last) as layer:
        assert layer.getnames() == ["only"]


def test_the_same_input_makes_the_same_image(client: Any) -> None:
    dockerfile = "FROM base\nWORKDIR /srv\nCOPY a b/\nRUN echo x > /x\n"
    options = {"buildargs": {"SOURCE_DATE_EPOCH": "1700000000"}, "nocache": True}
    first = build(client, dockerfile, {"a": b"1"}, **options)
    second = build(client, dockerfile, {"a": b"1"}, **options)
    assert first.id == second.id
    assert first.attrs["Created"].startswith("2023-11-14T22:13:20")


def test_independent_stages_run_beside_each_other(client: Any) -> None:
    wait = "i=0; until [ -e /c/{0} ]; do i=$((i+1)); [ $i -lt 100 ] || exit 1; sleep 0.1; done"
    dockerfile = f"""FROM base AS a
RUN --mount=type=cache,id=meet,target=/c touch /c/a && {wait.format("b")} && echo a > /a
FROM base AS b
RUN --mount=type=cache,id=meet,target=/c touch /c/b && {wait.format("a")} && echo b > /b
FROM base
COPY --from=a /a /a
COPY --from=b /b /b
"""
    assert said(client, build(client, dockerfile), "cat", "/a", "/b") == "a\nb\n"


def test_another_parent_is_another_key(client: Any) -> None:
    """CVE-2024-24557: a step must not be found for another chain below it."""
    one = build(client, "FROM scratch\nCOPY a /\nENV X=1\n", {"a": b"good"})
    two = build(client, "FROM scratch\nCOPY a /\nENV X=1\n", {"a": b"evil"})
    assert one.attrs["RootFS"]["Layers"] != two.attrs["RootFS"]["Layers"]


def test_layers_of_the_cache_outlive_their_image_and_go_with_a_prune(client: Any, harbour: harbours.Harbour) -> None:
    dockerfile = "FROM base\nRUN head -c 100000 /dev/zero > /zeros && echo $RANDOM\n"
    image = build(client, dockerfile, tag="short-lived")
    client.images.remove("short-lived")
    lines = list(client.api.build(fileobj=packed(dockerfile), custom_context=True, decode=True))
    assert any("Using cache" in line.get("stream", "") for line in lines)
    again = next(line["aux"]["ID"] for line in lines if "aux" in line)
    assert again == image.id
    client.images.remove(again)
    usage = client.df()["BuildCache"]
    assert any("RUN head" in entry["Description"] and entry["Size"] >= 100000 for entry in usage)
    pruned = client.api.prune_builds()
    assert pruned["SpaceReclaimed"] >= 100000
    assert not any("RUN head" in entry["Description"] for entry in client.df()["BuildCache"] or [])
    assert harbour.violations() == []


@pytest.mark.parametrize(
    "name", ["../out", "/etc/canary", "a/../../out", ".wh.x", "x" * 300, "deep/" * 300 + "x", "\udcff"]
)
def test_names_in_a_context_never_leave_it(client: Any, harbour: harbours.Harbour, name: str) -> None:
    content = packed("FROM base\nCOPY . /c\n")
    with tarfile.open(fileobj=content, mode="a") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    content.seek(0)
    try:
        client.images.build(fileobj=content, custom_context=True)
    except (docker.errors.BuildError, docker.errors.APIError) as error:
        assert getattr(error, "status_code", 400) == 400
    until(lambda: not list((harbour.data / "builds" / "work").iterdir()))  # erased behind the answer
    assert not Path("/etc/canary").exists()
    assert not list((harbour.data / "builds").rglob("out"))


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"version": "2"}, 501),
        ({"remote": "https://example.org/x.git"}, 501),
        ({"remote": "file:///etc/passwd"}, 501),
        ({"squash": "1"}, 400),
        ({"buildargs": "["}, 400),
        ({"labels": '{"a": 1}'}, 400),
        ({"ulimits": "[1]"}, 400),
        ({"memory": "x"}, 400),
        ({"t": "UPPER/../x"}, 400),
        ({"platform": "a/b/c/d"}, 400),
        ({"target": "nobody"}, 400),
        ({"dockerfile": "../../etc/passwd"}, 400),
        ({"dockerfile": "missing"}, 400),
        ({"networkmode": "no-such-network"}, 200),
    ],
)
def test_parameters_that_cannot_be_meant_are_refused(
    client: Any, harbour: harbours.Harbour, query: dict[str, str], status: int
) -> None:
    url = client.api._url("/build")
    answer = client.api._post(url, params=query, data=packed("FROM base\nRUN true\n"))
    assert answer.status_code == status, answer.text
    if status == 200:
        assert "error" in answer.text
    assert harbour.violations() == []


def test_a_client_that_goes_ends_its_build(client: Any, harbour: harbours.Harbour) -> None:
    lines = client.api.build(
        fileobj=packed("FROM base\nRUN echo begun; sleep 1000\n"), custom_context=True, decode=True
    )
    assert any("begun" in line.get("stream", "") for line in lines)
    lines.close()
    client.close()
    until(lambda: "sleep 1000" not in harbour.host.run(["ps", "-ef"]))
    until(lambda: harbour.violations() == [])


def test_a_daemon_killed_in_a_build_leaves_nothing(tmp_path: Path) -> None:
    with harbours.Harbour(tmp_path / "h") as harbour:
        harbour.start()
        client = harbour.client()
        harbours.busybox_image(client, "base", marker="base")
        build(client, "FROM base\nRUN echo 1 > /1\n", tag="kept")
        dockerfile = "FROM base\nRUN echo 1 > /1\nRUN echo begun; sleep 1000\n"
        seen = threading.Event()

        def watch() -> None:
            try:
                for line in client.api.build(fileobj=packed(dockerfile), custom_context=True, decode=True):
                    if "begun" in line.get("stream", "") and "RUN" not in line["stream"]:
                        seen.set()
            except BROKEN:
                return

        watcher = threading.Thread(target=watch)
        watcher.start()
        assert seen.wait(30)
        harbour.kill()
        watcher.join(30)
        client.close()
        harbour.start()
        until(lambda: "sleep 1000" not in harbour.host.run(["ps", "-ef"]))
        assert harbour.violations() == []
        assert not (harbour.data / "builds" / "work").exists()
        client = harbour.client()
        lines = list(client.api.build(fileobj=packed("FROM base\nRUN echo 1 > /1\n"), custom_context=True, decode=True))
        assert any("Using cache" in line.get("stream", "") for line in lines), json.dumps(lines)
        client.close()
