"""Files of a session: what arrives is what the client has, and nothing is ever written outside."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import buildclient
from sampan import errors
from sampan.api.engine.buildkit import receiving, tree
from sampan.api.engine.buildkit.session_messages import Packet, PacketType, Stat

FILE, DIRECTORY, LINK = 0o644, tree.GO_DIRECTORY | 0o755, tree.GO_SYMLINK | 0o777


def received(sender: buildclient.Sender, folder: Path) -> int:
    async def run() -> int:
        async with buildclient.session({buildclient.FILES: sender}) as session:
            return await receiving.receive(session, folder, name="context", excludes=["a b", "ü*"])

    return asyncio.run(asyncio.wait_for(run(), buildclient.LIMIT_S))


def described(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything about a tree that a build can see."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        content: object = path.read_bytes() if stat.S_ISREG(kind) else os.readlink(path) if stat.S_ISLNK(kind) else ""
        links = status.st_nlink if stat.S_ISREG(kind) else 0
        mode = 0 if stat.S_ISLNK(kind) else stat.S_IMODE(status.st_mode)
        found[str(path.relative_to(root))] = (kind, mode, status.st_mtime_ns, content, links)
    return found


def test_a_tree_arrives_with_modes_times_links_and_contents(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "sub/deep").mkdir(parents=True)
    (source / "sub-dash").mkdir()
    (source / "empty").touch()
    (source / "sub/program").write_bytes(b"#!/bin/sh\n" * 20_000)
    (source / "sub/program").chmod(0o4755)
    (source / "sub/deep/ü.txt").write_text("text")
    (source / "zz-link").symlink_to("/etc/passwd")
    os.link(source / "sub/program", source / "sub/twin")
    (source / "sub/deep").chmod(0o1777)
    os.mkfifo(source / "pipe")  # not for a build: left out
    for path in source.rglob("*"):
        os.utime(path, ns=(1, 1_700_000_000_123_456_789), follow_symlinks=False)
    target.mkdir()
    asked: list[dict[str, str]] = []
    count = received(buildclient.sending({"context": source}, asked), target)  # type: ignore[arg-type]
    os.unlink(source / "pipe")
    assert described(target) == described(source)
    assert count > 200_000
    assert asked[0]["exclude-patterns"] == "%C3%BC%2A"
    assert asked[0]["exclude-patterns-encoded"] == "1"


def test_many_files_arrive(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    for number in range(700):
        folder = source / f"d{number % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"f{number}").write_bytes(b"%d" % number * (number % 50))
    target.mkdir()
    received(buildclient.sending({"context": source}), target)
    assert described(target) == described(source)


def entry(path: str, mode: int = FILE, size: int = 0, link: str = "") -> Packet:
    return Packet(type=PacketType.STAT, stat=Stat(path=path, mode=mode, size=size, linkname=link, mtime_ns=1))


HOSTILE = {
    "climbing": [entry("../outside")],
    "climbing in the middle": [entry("a", DIRECTORY), entry("a/../../outside")],
    "absolute": [entry("/outside")],
    "empty name": [entry("")],
    "empty part": [entry("a", DIRECTORY), entry("a//b")],
    "dot": [entry(".")],
    "zero byte": [entry("a\0b")],
    "no parent": [entry("a/b")],
    "below a file": [entry("a"), entry("a/b")],
    "below a link": [entry("a", LINK, link="/tmp"), entry("a/outside")],
    "below a link to a directory": [entry("d", DIRECTORY), entry("e", LINK, link="d"), entry("e/outside")],
    "twice": [entry("a"), entry("a")],
    "a link where a file was": [entry("a"), entry("a", LINK, link="/etc/passwd")],
    "hard link outside": [entry("a", FILE, link="../../../../etc/passwd")],
    "hard link to an absolute path": [entry("a", FILE, link="/etc/passwd")],
    "hard link to a link": [entry("a", LINK, link="/etc/passwd"), entry("b", FILE, link="a")],
    "hard link to a directory": [entry("a", DIRECTORY), entry("b", FILE, link="a")],
    "hard link to itself": [entry("a", FILE, link="a")],
    "link without a target": [entry("a", LINK)],
    "long name": [entry("n" * 300)],
    "long path": [entry("/".join(["n" * 200] * 30))],
    "data that nobody asked for": [entry("a"), Packet(type=PacketType.DATA, id=0, data=b"x")],
    "data of a directory": [entry("a", DIRECTORY), Packet(type=PacketType.DATA, id=0, data=b"x")],
    "data of a number beyond": [Packet(type=PacketType.DATA, id=4_000_000_000, data=b"x")],
    "a packet of no type": [Packet(type=77)],
    "a request of the sender's": [Packet(type=PacketType.REQUEST, id=0)],
    "the sender's own error": [Packet(type=PacketType.ERROR, data=b"\xff disk on fire")],
    "entries after the end": [entry("a", FILE, 5), Packet(type=PacketType.STAT), entry("b")],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_tree_is_refused_and_nothing_is_written_outside(name: str, tmp_path: Path) -> None:
    target = tmp_path / "a/b/target"
    target.mkdir(parents=True)
    with pytest.raises(errors.Invalid):
        received(buildclient.saying(*HOSTILE[name]), target)
    assert sorted(path.name for path in tmp_path.rglob("*") if target not in path.parents) == ["a", "b", "target"]
    assert not any(path.is_file() and path.stat().st_nlink > 1 for path in target.rglob("*"))


@pytest.mark.parametrize(
    "mode", [tree.GO_DEVICE, tree.GO_DEVICE | tree.GO_CHARACTER, tree.GO_PIPE, tree.GO_SOCKET, 1 << 19]
)
def test_devices_pipes_and_sockets_are_left_out(mode: int, tmp_path: Path) -> None:
    packets = [entry("special", mode | 0o666), entry("plain"), Packet(type=PacketType.STAT)]

    async def answer(call: buildclient.Call) -> None:
        await call.start()
        for packet in packets:
            await call.send(packet)
        while await call.messages.next() is not None:
            await call.send(Packet(type=PacketType.FINISH))
            return

    received(answer, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]


NAMES = st.sampled_from(["a", "b", "..", ".", "", "a/b", "a/../b", "b/a", "/a", "a/b/c", "ü"])
MODES = st.sampled_from([FILE, DIRECTORY, LINK, tree.GO_PIPE, 0xFFFFFFFF])
PACKETS = st.one_of(
    st.builds(entry, NAMES, MODES, st.integers(-5, 5), st.sampled_from(["", "a", "..", "/etc/passwd", "a/b"])),
    st.builds(Packet, st.sampled_from([2, 2, 3, 4, 9]), st.none(), st.integers(0, 3), st.binary(max_size=3)),
    st.just(Packet()),
)


@given(packets=st.lists(PACKETS, max_size=12))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_packets_stay_inside(packets: list[Packet], tmp_path_factory: pytest.TempPathFactory) -> None:
    above = tmp_path_factory.mktemp("above")
    target = above / "target"
    target.mkdir()
    writer = receiving.Writer(target)
    try:
        for packet in packets:
            writer.take([packet])
    except errors.Invalid:
        pass
    finally:
        writer.close()
    assert [path.name for path in above.iterdir()] == ["target"]
    for path in target.rglob("*"):
        assert path.is_symlink() or path.is_dir() or path.is_file()


@pytest.mark.parametrize(
    ("unix", "go"),
    [
        (stat.S_IFREG | 0o4755, tree.GO_SETUID | 0o755),
        (stat.S_IFDIR | 0o1777, tree.GO_DIRECTORY | tree.GO_STICKY | 0o777),
        (stat.S_IFREG | 0o2644, tree.GO_SETGID | 0o644),
        (stat.S_IFCHR | 0o600, tree.GO_DEVICE | tree.GO_CHARACTER | 0o600),
        (stat.S_IFLNK | 0o777, tree.GO_SYMLINK | 0o777),
    ],
)
def test_modes_are_gos(unix: int, go: int) -> None:
    assert tree.go_mode(unix) == go
    assert tree.unix_mode(go) == stat.S_IMODE(unix)
