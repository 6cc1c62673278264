"""The pure parts of the Docker face, and its doors."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest
from aiohttp import web

from sampan import errors
from sampan.api.engine import detach, dialect, query, versions, words
from sampan.api.http import listeners, origin
from sampan.containers.model import Container, Phase, State
from sampan.containers.wanted import decode_create

NS = 1_000_000_000


def test_every_kind_of_failure_has_a_status() -> None:
    assert set(dialect.STATUS) == set(errors.KINDS)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1.24/info", ((1, 24), "/info")),
        ("/v1.47/images/v1.2/json", ((1, 47), "/images/v1.2/json")),
        ("/info", ((1, 47), "/info")),
        ("/v1/info", ((1, 47), "/v1/info")),
        ("/v1.47", ((1, 47), "/v1.47")),
    ],
)
def test_a_path_may_name_a_version(path: str, expected: tuple[tuple[int, int], str]) -> None:
    assert versions.split(path) == expected


@pytest.mark.parametrize("path", ["/v1.48/info", "/v2.0/info", "/v1.23/info", "/v0.9/info"])
def test_versions_beyond_the_range_are_refused(path: str) -> None:
    with pytest.raises(versions.VersionRefused):
        versions.split(path)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1", True), ("true", True), ("yes", True), ("", False), ("0", False), ("False", False), ("none", False)],
)
def test_switches_are_read_leniently(value: str, expected: bool) -> None:
    assert query.Query({"all": value}).switch("all") is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"status":["exited","paused"]}', {"status": ("exited", "paused")}),
        ('{"status":{"exited":true,"paused":false}}', {"status": ("exited",)}),
        ("{}", {}),
        ('{"label":[]}', {}),
    ],
)
def test_filters_are_read_in_both_forms(text: str, expected: dict[str, tuple[str, ...]]) -> None:
    assert query.parse_filters(text) == expected


@pytest.mark.parametrize("text", ["[", "[]", '{"a":1}', '{"a":[1]}', "[" * 100_000, "\udcff"])
def test_filters_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(query.InvalidQuery):
        query.parse_filters(text)


@pytest.mark.parametrize(
    ("text", "expected_ns"),
    [
        ("12", 12 * NS),
        ("12.5", 12 * NS + NS // 2),
        ("12.000000001", 12 * NS + 1),
        ("1970-01-01T00:00:12Z", 12 * NS),
        ("1970-01-01T01:00:12.25+01:00", 12 * NS + NS // 4),
    ],
)
def test_times_are_seconds_or_rfc_3339(text: str, expected_ns: int) -> None:
    assert query.parse_time_ns("since", text) == expected_ns


def test_until_may_be_how_long_ago() -> None:
    assert query.parse_until_ns("1h30m", 10_000 * NS) == (10_000 - 5400) * NS
    assert query.parse_until_ns("500ms", NS) == NS // 2
    for text in ("1h30", "soon", "1x", ""):
        with pytest.raises(query.InvalidQuery):
            query.parse_until_ns(text, 0)


# --- the detach keys -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", b"\x10\x11"), ("ctrl-a", b"\x01"), ("a,ctrl-[,ctrl-@", b"a\x1b\x00"), ("ctrl-p,Q", b"\x10Q")],
)
def test_detach_keys_are_read(text: str, expected: bytes) -> None:
    assert detach.parse(text) == expected


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-1", "ctrl-A,a", "CTRL-P", "ab", "a,,b", "é", "ctrl-é"])
def test_other_keys_are_refused(text: str) -> None:
    with pytest.raises(detach.InvalidKeys, match=rf"Invalid detach keys \({text}\) provided"):
        detach.parse(text)


@pytest.mark.parametrize(
    ("pieces", "passed", "found"),
    [
        ([b"abc"], b"abc", False),
        ([b"a\x10\x11b"], b"a", True),
        ([b"\x10", b"\x11"], b"", True),
        ([b"\x10", b"x"], b"\x10x", False),
        ([b"\x10\x10\x11"], b"\x10", True),
        ([b"\x11\x10"], b"\x11", False),
    ],
)
def test_the_keys_are_found_across_pieces_and_never_passed_on(pieces: list[bytes], passed: bytes, found: bool) -> None:
    detector = detach.Detector(detach.parse(""))
    assert b"".join(detector.feed(piece) for piece in pieces) == passed
    assert detector.found is found


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.5, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (800 * 86400, "2 years"),
    ],
)
def test_durations_are_dockers_words(seconds: float, expected: str) -> None:
    assert words.duration(seconds) == expected


def test_moments_have_no_trailing_zeros_and_zero_is_gos() -> None:
    assert words.moment(0) == "0001-01-01T00:00:00Z"
    assert words.moment(12 * NS) == "1970-01-01T00:00:12Z"
    assert words.moment(12 * NS + 120_000_000) == "1970-01-01T00:00:12.12Z"


def test_sizes_have_three_digits() -> None:
    assert [words.size(count) for count in (0, 999, 4_321_000, 1_200_000_000)] == ["0B", "999B", "4.32MB", "1.2GB"]
    assert words.binary_size(16 << 30) == "16GiB"


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        (Phase.CREATED, "Created"),
        (Phase.RUNNING, "Up 2 minutes"),
        (Phase.PAUSED, "Up 2 minutes (Paused)"),
        (Phase.EXITED, "Exited (9) About a minute ago"),
        (Phase.RESTARTING, "Restarting (9) About a minute ago"),
    ],
)
def test_the_status_says_how_long(phase: Phase, expected: str) -> None:
    from sampan.api.engine import render_container

    state = State(exit_code=9, started_ns=10 * NS, finished_ns=70 * NS)
    container = Container("a" * 64, "web", "sha256:1", phase, decode_create({}), state, NS)
    assert render_container.status(container, 130 * NS) == expected


@pytest.mark.parametrize(
    ("phase", "count", "word"),
    [
        (Phase.RESTARTING, 0, "restarting"),
        (Phase.STARTING, 2, "restarting"),  # its policy brings it up again
        (Phase.STARTING, 0, "created"),
        (Phase.EXITED, 2, "exited"),
    ],
)
def test_a_container_restarts_until_it_runs(phase: Phase, count: int, word: str) -> None:
    from sampan.api.engine import render_container

    state = State(exit_code=1, finished_ns=NS, restart_count=count)
    shown = render_container.state(Container("a" * 64, "web", "sha256:1", phase, decode_create({}), state, NS))
    is_restarting = word == "restarting"
    assert (shown["Status"], shown["Running"], shown["Restarting"]) == (word, is_restarting, is_restarting)


# --- who may talk to it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hosts", "origins", "is_refused"),
    [
        (["10.0.0.1:2375"], [], False),
        (["[::1]:2375"], [], False),
        (["localhost:2375"], [], False),
        (["ship.lan"], [], False),
        (["evil.example"], [], True),
        (["ship.lan.evil.example"], [], True),
        (["10.0.0.1:2375"], ["http://10.0.0.1:2375"], False),
        (["10.0.0.1:2375"], ["http://10.0.0.1:80"], True),
        (["10.0.0.1:2375"], ["null"], True),
        (["10.0.0.1:2375"], ["https://console.example"], False),
        (["10.0.0.1", "10.0.0.1"], [], True),
        (["[nonsense"], [], True),
        ([], [], False),
    ],
)
def test_foreign_pages_and_names_are_refused(hosts: list[str], origins: list[str], is_refused: bool) -> None:
    reason = origin.refusal("POST", hosts, origins, ["https://console.example"], own_name="ship.lan")
    assert bool(reason) is is_refused


def test_any_origin_may_read_but_never_write() -> None:
    assert not origin.refusal("GET", ["10.0.0.1"], ["http://a.example"], ["*"])
    assert origin.refusal("POST", ["10.0.0.1"], ["http://a.example"], ["*"])


# --- doors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unix:///run/x.sock", listeners.Address("unix", path="/run/x.sock")),
        ("/run/x.sock", listeners.Address("unix", path="/run/x.sock")),
        ("tcp://0.0.0.0:2375", listeners.Address("tcp", host="0.0.0.0", port=2375)),
        ("tcp://[::1]:1", listeners.Address("tcp", host="::1", port=1)),
        ("tcp://:4243", listeners.Address("tcp", host="127.0.0.1", port=4243)),
        ("host", listeners.Address("tcp", host="host", port=2375)),
        ("fd://", listeners.Address("fd")),
    ],
)
def test_addresses_are_read(text: str, expected: listeners.Address) -> None:
    assert listeners.parse(text) == expected


@pytest.mark.parametrize("text", ["unix://relative", "http://x:1", "tcp://x:port", "tcp://x:99999", "ssh://x"])
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(listeners.InvalidAddress):
        listeners.parse(text)


def test_a_stale_socket_is_replaced_but_never_one_that_answers_or_another_file(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()

    async def scene() -> None:
        runner = web.AppRunner(web.Application())
        await runner.setup()
        try:
            await listeners.listen(runner, f"unix://{path}")
            assert path.stat().st_mode & 0o777 == 0o660
            with pytest.raises(listeners.AddressTaken, match="a daemon answers there"):
                await listeners.listen(runner, f"unix://{path}")
            file = tmp_path / "file"
            file.write_text("keep")
            with pytest.raises(listeners.AddressTaken, match="no socket"):
                await listeners.listen(runner, f"unix://{file}")
            assert file.read_text() == "keep"
        finally:
            await runner.cleanup()

    asyncio.run(scene())


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    async def scene() -> None:
        runner = web.AppRunner(web.Application())
        await runner.setup()
        try:
            with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(listeners.AddressTaken):
                await listeners.listen(runner, f"tcp://127.0.0.1:{other.getsockname()[1]}")
        finally:
            await runner.cleanup()

    asyncio.run(scene())


def test_sockets_of_systemd_must_have_been_handed_over() -> None:
    for environment in ({}, {"LISTEN_FDS": "0"}, {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid() + 1)}):
        with pytest.raises(listeners.InvalidAddress, match="no sockets were handed over"):
            listeners._handed_over(listeners.Address("fd"), environment, os.getpid())
