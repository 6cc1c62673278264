"""Contexts kept for the next build: only what changed is asked for, and nothing stale or strange is ever used."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

import buildclient
from sampan import errors
from sampan.api.engine.buildkit import contexts, following, receiving, tree
from sampan.api.engine.buildkit.progress import Progress
from sampan.api.engine.buildkit.session_messages import Packet, PacketType, Stat
from sampan.build.kept import Contexts, Key
from sampan.build.workplace import Workplace


def built(
    kept: Contexts, source: Path, scratch: Path, *, shared_key: str = "me", follow: tuple[str, ...] = ()
) -> dict[str, Any]:
    """One build's context: what was asked for, and every file as the build saw it."""
    requested: list[str] = []

    async def run() -> dict[str, bytes]:
        sender = buildclient.sending({"context": source}, requested=requested)
        async with buildclient.session({buildclient.FILES: sender}, shared_key=shared_key) as session:
            folder = scratch / os.urandom(4).hex()
            folder.mkdir(parents=True)
            context = contexts.ClientContext(session, folder, Progress(), main="context", named={}, kept=kept)
            context.follow(follow)
            try:
                place = await context.directory("")
                assert place is not None
                return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
            finally:
                await context.close()

    files = asyncio.run(asyncio.wait_for(run(), buildclient.LIMIT_S))
    return {"asked": sorted(requested), "files": files}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    place = tmp_path / "source"
    (place / "sub").mkdir(parents=True)
    for name in ("a", "b", "sub/c"):
        (place / name).write_text(f"content of {name}")
    return place


@pytest.fixture
def kept(tmp_path: Path) -> Contexts:
    return Contexts(tmp_path / "kept")


def test_a_second_build_asks_only_for_what_changed(kept: Contexts, source: Path, tmp_path: Path) -> None:
    assert built(kept, source, tmp_path / "work")["asked"] == ["a", "b", "sub/c"]
    assert built(kept, source, tmp_path / "work")["asked"] == []
    (source / "b").write_text("CONTENT OF b")  # as long as before
    (source / "new").write_text("new")
    again = built(kept, source, tmp_path / "work")
    assert again["asked"] == ["b", "new"]
    assert again["files"] == {
        "a": b"content of a", "b": b"CONTENT OF b", "new": b"new", "sub/c": b"content of sub/c"
    }  # fmt: skip
    assert built(kept, source, tmp_path / "work")["asked"] == []


def test_what_the_client_removed_is_gone(kept: Contexts, source: Path, tmp_path: Path) -> None:
    built(kept, source, tmp_path / "work")
    (source / "a").unlink()
    (source / "sub/c").unlink()
    again = built(kept, source, tmp_path / "work")
    assert again == {"asked": [], "files": {"b": b"content of b"}}


@pytest.mark.parametrize("change", ["mode", "time", "owner", "attribute", "kind"])
def test_a_file_whose_description_changed_is_asked_for(
    change: str, kept: Contexts, source: Path, tmp_path: Path
) -> None:
    built(kept, source, tmp_path / "work")
    file = source / "a"
    status = file.stat()
    match change:
        case "mode":
            file.chmod(0o600)
        case "time":
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
        case "owner":
            if os.geteuid():
                pytest.skip("only root gives files away")
            os.chown(file, 77, 78)
        case "attribute":
            try:
                os.setxattr(file, "user.word", b"x")
            except OSError:
                pytest.skip("this file system keeps no attributes")
        case _:
            file.unlink()
            os.link(source / "b", file)
    again = built(kept, source, tmp_path / "work")
    assert again["asked"] == ["a"]
    assert again["files"]["a"] == file.read_bytes()


def test_another_clients_directory_and_one_without_a_key_share_nothing(
    kept: Contexts, source: Path, tmp_path: Path
) -> None:
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    (hostile / "a").write_text("EVIL ENOUGH!")
    status = (source / "a").stat()
    (hostile / "a").chmod(status.st_mode & 0o7777)
    os.utime(hostile / "a", ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert (hostile / "a").stat().st_size == status.st_size
    built(kept, hostile, tmp_path / "work", shared_key="other")
    assert built(kept, source, tmp_path / "work")["files"]["a"] == b"content of a"
    for _ in range(2):
        assert len(built(kept, source, tmp_path / "work", shared_key="")["asked"]) == 3


def test_another_part_of_the_directory_comes_from_what_is_there(kept: Contexts, source: Path, tmp_path: Path) -> None:
    built(kept, source, tmp_path / "work")
    assert built(kept, source, tmp_path / "work", follow=("sub",)) == {
        "asked": [],
        "files": {"sub/c": b"content of sub/c"},
    }
    assert built(kept, source, tmp_path / "work")["asked"] == []


def test_a_tree_that_came_in_part_is_not_kept(kept: Contexts, source: Path, tmp_path: Path) -> None:
    async def half(call: buildclient.Call) -> None:
        await call.start()
        await call.send(Packet(type=PacketType.STAT, stat=Stat(path="a", mode=0o644, size=3, mtime_ns=1)))
        await call.send(Packet(type=PacketType.DATA, id=0, data=b"ab"))
        await call.send(Packet(type=PacketType.ERROR, data=b"gone"))

    async def run() -> None:
        async with buildclient.session({buildclient.FILES: half}, shared_key="me") as session:
            folder = tmp_path / "work"
            folder.mkdir()
            context = contexts.ClientContext(session, folder, Progress(), main="context", named={}, kept=kept)
            with pytest.raises(errors.Invalid):
                await context.directory("")
            await context.close()

    asyncio.run(asyncio.wait_for(run(), buildclient.LIMIT_S))
    assert not (tmp_path / "kept").exists()
    assert len(built(kept, source, tmp_path / "work")["asked"]) == 3


def test_a_kept_tree_with_links_leads_nowhere_else(tmp_path: Path) -> None:
    former, target = tmp_path / "former", tmp_path / "target"
    for place in (former, target, tmp_path / "outside"):
        place.mkdir()
    (tmp_path / "outside/f").write_text("abc")
    (former / "d").symlink_to(tmp_path / "outside")
    (former / "f").symlink_to(tmp_path / "outside/f")
    status = (tmp_path / "outside/f").stat()
    writer = receiving.Writer(target, former)
    said = {"size": 3, "mtime_ns": status.st_mtime_ns, "uid": status.st_uid, "gid": status.st_gid}
    mode = status.st_mode & 0o777
    try:
        packets = [
            Packet(stat=Stat(path="d", mode=tree.GO_DIRECTORY | 0o755)),
            Packet(stat=Stat(path="d/f", mode=mode, **said)),  # type: ignore[arg-type]
            Packet(stat=Stat(path="f", mode=mode, **said)),  # type: ignore[arg-type]
        ]
        assert writer.take(packets) == [1, 2]
    finally:
        writer.close()


def test_a_daemon_that_starts_after_a_crash_trusts_nothing(source: Path, tmp_path: Path) -> None:
    place = Workplace(tmp_path / "builds", tmp_path / "run")
    built(Contexts(place.received / "kept"), source, tmp_path / "work")
    (place.received / "context-half").mkdir()
    (place.received / "context-half/a").write_text("cont")
    place.restore()
    assert not place.received.exists()
    assert len(built(Contexts(place.received / "kept"), source, tmp_path / "work")["asked"]) == 3


def test_too_many_bytes_push_out_what_was_unused_longest(tmp_path: Path) -> None:
    kept = Contexts(tmp_path / "kept", most_bytes=100)

    def keep(name: str, size_bytes: int) -> None:
        place = tmp_path / name
        place.mkdir()
        kept.keep(Key(name, ""), place, size_bytes)

    keep("one", 40)
    keep("two", 40)
    keep("three", 40)
    assert [kept.find(Key(name, "")) is not None for name in ("one", "two", "three")] == [False, True, True]
    keep("large", 101)
    assert kept.find(Key("large", "")) is None
    assert len(list((tmp_path / "kept").iterdir())) == 2
    assert kept.clear() == 80
    assert not list((tmp_path / "kept").iterdir())


def test_what_is_too_old_goes_when_the_next_is_kept(tmp_path: Path) -> None:
    kept = Contexts(tmp_path / "kept", longest_unused_s=-1)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        kept.keep(Key(name, ""), tmp_path / name, 1)
    assert not list((tmp_path / "kept").iterdir())


def test_a_tree_that_goes_under_a_build_costs_only_the_transfer(
    kept: Contexts, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(kept, source, tmp_path / "work")
    place = next((tmp_path / "kept").iterdir())
    kept.clear()
    monkeypatch.setattr(kept, "find", lambda key: place)  # looked up a moment before
    assert len(built(kept, source, tmp_path / "work")["files"]) == 3


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("FROM x\nCOPY a b/ ./c/../d /to/\n", ["a", "b", "d"]),
        ("FROM x\nCOPY *.txt sub/?? /to/\n", ["*.txt", "sub/??"]),
        ("FROM x\nADD http://host/f local /to/\n", ["local"]),
        ("FROM x\nCOPY . /to\n", []),
        ("FROM x\nCOPY a /to\nCOPY / /to\n", []),
        ("FROM x\nARG A=1\nCOPY $A /to\n", []),
        ('FROM x\nCOPY ["a b", "/to"]\n', ["a b"]),
        ("FROM x\nCOPY [a-c] /to/\n", []),
        ("FROM x\nCOPY a**b /to/\n", []),
        ("FROM x\nCOPY ü /to/\n", []),
        ("FROM x AS one\nCOPY unused /to\nFROM x AS two\nCOPY used /to\n", ["used"]),
        ("FROM x AS one\nCOPY first /to\nFROM x\nCOPY --from=one /to /to\nCOPY second /\n", ["first", "second"]),
        ("FROM x\nRUN --mount=type=bind,source=src,target=/src true\n", ["src"]),
        ("FROM x\nRUN --mount=type=bind,target=/src true\n", []),
        ("FROM x\nRUN --mount=type=bind,from=y,source=src,target=/src true\nCOPY a /\n", ["a"]),
        ("FROM x\nCOPY <<END /to\nwords\nEND\nCOPY a /\n", ["a"]),
        ("NOT a Dockerfile\n", []),
        ("", []),
    ],
)
def test_the_named_parts_of_a_context(text: str, found: list[str]) -> None:
    assert following.paths(text.encode(), "", {}, {}) == found


def test_very_many_names_mean_everything() -> None:
    text = "FROM x\n" + "".join(f"COPY {'n' * 200}{number} /to/\n" for number in range(100))
    assert following.paths(text.encode(), "", {}, {}) == []
