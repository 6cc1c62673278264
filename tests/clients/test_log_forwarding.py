"""Output that goes on to log daemons: the real journald and rsyslogd, and receivers that come and go.

dockerd is not asked here: its journald and syslog drivers write to the host's own daemons.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

import harbour
import peers

pytestmark = [pytest.mark.root, pytest.mark.peer]
LIMIT_S = 30.0
JOURNALD = Path("/lib/systemd/systemd-journald")
SYSLOGD = peers.PEERS / "syslog/usr/sbin/rsyslogd"
# Without them rsyslogd reads lines of a local socket as those of the C library's syslog(3).
LOCAL = 'UseSpecialParser="off" ParseHostname="on"'
SAY = ["sh", "-c", "echo first; echo oops >&2; printf unfinished"]
RECEIVER = """
import json, os, socket, sys
sys.path.insert(0, sys.argv[1])
from sampan.formats import journal
os.makedirs("/run/systemd/journal", exist_ok=True)
path = "/run/systemd/journal/socket"
if os.path.exists(path): os.unlink(path)
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(path)
with open(sys.argv[2], "a", buffering=1) as out:
    while True:
        fields = journal.decode(receiver.recv(1 << 20))
        out.write(json.dumps({name: value.decode() for name, value in fields.items()}) + "\\n")
"""


@pytest.fixture
def port(tmp_path: Path) -> Iterator[harbour.Harbour]:
    with harbour.Harbour(tmp_path / "port") as port:
        port.start()
        with contextlib.closing(port.client()) as client:
            harbour.busybox_image(client, "bb", "1")
        yield port


def until(look: Callable[[], Any], *, what: str) -> Any:
    deadline = time.monotonic() + LIMIT_S
    while not (found := look()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


def run(port: harbour.Harbour, driver: str, command: list[str], **options: Any) -> str:
    log_options = options.pop("log", {})
    with contextlib.closing(port.client()) as client:
        wish = docker.types.LogConfig(type=driver, config=log_options)
        made = client.containers.run("bb:1", command, detach=True, log_config=wish, **options)
        return str(made.id)


def receive(port: harbour.Harbour, out: Path) -> int:
    source = str(harbour.ROOT / "src")
    pid = port.host.spawn([sys.executable, "-c", RECEIVER, source, str(out)], log=out.with_suffix(".log"))
    until(lambda: "socket" in port.host.run(["ls", "/run/systemd/journal"], check=False), what="no receiver")
    return pid


def entries(out: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def test_the_journal_gets_dockers_fields(port: harbour.Harbour, tmp_path: Path) -> None:
    out = tmp_path / "entries"
    receive(port, out)
    log = {"labels": "tier", "env": "COLOUR", "tag": "{{.Name}}/{{.ID}}"}
    labels, environment = {"tier": "front", "other": "x"}, {"COLOUR": "red"}
    long = run(port, "journald", SAY, name="sayer", labels=labels, environment=environment, log=log)
    found = until(lambda: len(entries(out)) >= 3 and entries(out), what="no entries")
    by_message = {entry["MESSAGE"]: entry for entry in found}
    assert set(by_message) == {"first", "oops", "unfinished"}
    first = by_message["first"]
    assert first["SYSLOG_TIMESTAMP"].endswith("Z")
    del first["SYSLOG_TIMESTAMP"]
    assert first == {
        "MESSAGE": "first",
        "PRIORITY": "6",
        "CONTAINER_ID": long[:12],
        "CONTAINER_ID_FULL": long,
        "CONTAINER_NAME": "sayer",
        "CONTAINER_TAG": f"sayer/{long[:12]}",
        "IMAGE_NAME": "bb:1",
        "SYSLOG_IDENTIFIER": f"sayer/{long[:12]}",
        "TIER": "front",
        "COLOUR": "red",
    }
    assert by_message["oops"]["PRIORITY"] == "3"
    with contextlib.closing(port.client()) as client:
        kept = client.api.logs(long)
        assert all(word in kept for word in (b"first\n", b"oops\n", b"unfinished"))


def test_a_container_does_not_wait_and_nothing_is_lost_while_nobody_listens(
    port: harbour.Harbour, tmp_path: Path
) -> None:
    """No receiver at first, then a daemon killed in the middle, then one that comes back."""
    count = 300
    counting = "n=$(cat /n 2>/dev/null || echo 0); n=$((n+1)); echo $n > /n; i=0; "
    script = f"{counting} while [ $i -lt {count} ]; do echo line $i of run $n; i=$((i+1)); done; sleep 1000"
    long = run(port, "journald", ["sh", "-c", script], name="patient")
    with contextlib.closing(port.client()) as client:
        until(lambda: client.api.logs(long).count(b"\n") == count, what="the container was held up")
    out = tmp_path / "entries"
    receive(port, out)
    until(lambda: len(entries(out)) >= count, what="what was written before did not follow")
    port.kill()
    port.start()
    with contextlib.closing(port.client()) as client:
        client.containers.get("patient").kill()
        client.containers.get("patient").start()
    wanted = {f"line {number} of run {run}" for number in range(count) for run in (1, 2)}
    until(lambda: {entry["MESSAGE"] for entry in entries(out)} == wanted, what="the second run is lost")


def test_lines_that_ended_while_no_daemon_was_there_follow(port: harbour.Harbour, tmp_path: Path) -> None:
    out = tmp_path / "entries"
    receive(port, out)
    run(port, "journald", ["sh", "-c", "echo before; sleep 1; echo alone"], name="orphan")
    until(lambda: len(entries(out)) == 1, what="no first line")
    port.kill()
    (keeper_log,) = (port.data / "containers").glob("*/container.log")
    until(lambda: b"alone" in keeper_log.read_bytes(), what="the container did not go on")
    port.start()
    until(lambda: "alone" in [entry["MESSAGE"] for entry in entries(out)], what="the last line is lost")


def test_the_last_words_of_a_container_that_is_removed(port: harbour.Harbour, tmp_path: Path) -> None:
    out = tmp_path / "entries"
    receive(port, out)
    run(port, "journald", ["sh", "-c", "echo farewell"], name="gone", auto_remove=True)
    until(lambda: [entry["MESSAGE"] for entry in entries(out)] == ["farewell"], what="nothing was said")


@pytest.mark.skipif(not JOURNALD.exists(), reason="no systemd-journald here")
def test_the_real_journal_takes_it(port: harbour.Harbour, tmp_path: Path) -> None:
    port.host.run(["mkdir", "-p", "/run/systemd/journal", "/run/log/journal"])
    port.host.spawn([str(JOURNALD)], log=tmp_path / "journald.log")
    until(lambda: "socket" in port.host.run(["ls", "/run/systemd/journal"], check=False), what="no journald")
    run(port, "journald", SAY, name="sayer", log={"tag": "tagged"})
    words = ["journalctl", "-D", "/run/log/journal", "-o", "json", "CONTAINER_NAME=sayer"]

    def found() -> list[dict[str, str]] | None:
        read = [json.loads(line) for line in port.host.run(words, check=False).splitlines() if line.startswith("{")]
        return read if len(read) >= 3 else None

    messages = {entry["MESSAGE"]: entry for entry in until(found, what="the journal has nothing")}
    assert set(messages) == {"first", "oops", "unfinished"}
    assert messages["oops"]["PRIORITY"] == "3"
    assert messages["first"]["SYSLOG_IDENTIFIER"] == "tagged"


@pytest.mark.skipif(not SYSLOGD.exists(), reason="rsyslogd is not unpacked: bash tests/peers.sh")
@pytest.mark.parametrize("scheme", ["udp", "tcp", "unixgram"])
@pytest.mark.parametrize("form", ["", "rfc3164", "rfc5424"])
def test_a_real_syslog_daemon_takes_it(port: harbour.Harbour, tmp_path: Path, scheme: str, form: str) -> None:
    out, place = tmp_path / "out", tmp_path / "log.sock"
    configuration = tmp_path / "conf"
    configuration.write_text(
        'module(load="imudp")\nmodule(load="imtcp")\nmodule(load="imuxsock" SysSock.Use="off")\n'
        'input(type="imudp" port="5514")\ninput(type="imtcp" port="5514")\n'
        f'input(type="imuxsock" Socket="{place}" CreatePath="on" {LOCAL if form else ""})\n'
        'template(name="t" type="string" string="%pri% %programname%|%msg%\\n")\n'
        f'*.* action(type="omfile" file="{out}" template="t")\n'
    )
    libraries = SYSLOGD.parents[1] / "lib/x86_64-linux-gnu"
    command = (
        f"LD_LIBRARY_PATH={libraries} exec {SYSLOGD} -n -f {configuration} -i {tmp_path}/pid -M {libraries}/rsyslog"
    )
    port.host.spawn(["sh", "-c", command], log=tmp_path / "rsyslog.log")
    until(place.exists, what="no rsyslogd")
    address = f"unixgram://{place}" if scheme == "unixgram" else f"{scheme}://127.0.0.1:5514"
    log = {"syslog-address": address, "syslog-facility": "local2", "syslog-format": form, "tag": "sayer"}
    run(port, "syslog", SAY, name="sayer", log=log)
    lines = until(lambda: out.exists() and out.read_text().count("\n") >= 3 and out.read_text(), what="nothing came")
    assert re.search(r"^150 sayer\| ?first$", lines, re.M), lines  # 18 * 8 + 6
    assert re.search(r"^147 sayer\| ?oops$", lines, re.M), lines
    assert "unfinished" in lines
    with contextlib.closing(port.client()) as client:
        assert b"first\n" in client.containers.get("sayer").logs()
