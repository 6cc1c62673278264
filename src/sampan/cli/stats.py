"""`stats`: what containers use, a table that is drawn again every second.

Source: docker/cli, cli/command/container/stats_helpers.go, for what the figures mean.
"""

from __future__ import annotations

import signal
import sys
import time

from sampan.api.engine import words
from sampan.cli import failures, output, tables
from sampan.cli.common import daemon
from sampan.cli.line import declare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from sampan.cli.client import Client

    Document = Mapping[str, Any]

EVERY_S = 1.0
FIRST_GAP_S = 0.5  # a share of the processor needs two looks
COLUMNS = {
    "ID": "CONTAINER ID",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}
HOME, TO_LINE_END, TO_SCREEN_END = "\033[H", "\033[K", "\033[J"


def row(now: Document, before: Document | None, *, full: bool = False) -> dict[str, str]:
    """The fields of one line; `before` is an earlier look at the same container. Pure."""
    used, limit = _memory(now["memory_stats"])
    received, sent = _network(now.get("networks") or {})
    read, written = _blocks(now["blkio_stats"].get("io_service_bytes_recursive") or ())
    return {
        "Container": now["id"] if full else tables.short_id(now["id"]),
        "ID": now["id"] if full else tables.short_id(now["id"]),
        "Name": now["name"].removeprefix("/"),
        "CPUPerc": f"{_cpu_share(now, before):.2f}%",
        "MemUsage": f"{words.binary_size(used)} / {words.binary_size(limit)}",
        "MemPerc": f"{used / limit * 100 if limit else 0:.2f}%",
        "NetIO": f"{words.size(received)} / {words.size(sent)}",
        "BlockIO": f"{words.size(read)} / {words.size(written)}",
        "PIDs": str(now["pids_stats"].get("current", 0)),
    }


def _cpu_share(now: Document, before: Document | None) -> float:
    """100 is one whole processor."""
    ours, earlier = now["cpu_stats"], (before or {}).get("cpu_stats", now["precpu_stats"])
    used = ours["cpu_usage"]["total_usage"] - earlier["cpu_usage"]["total_usage"]
    passed = ours.get("system_cpu_usage", 0) - earlier.get("system_cpu_usage", 0)
    return used / passed * ours.get("online_cpus", 1) * 100 if used > 0 and passed > 0 else 0.0


def _memory(stats: Mapping[str, Any]) -> tuple[int, int]:
    """Without the page cache that the kernel gives up first."""
    details = stats.get("stats") or {}
    cache = details.get("total_inactive_file", details.get("inactive_file", 0))
    used = stats.get("usage", 0)
    return (used - cache if cache < used else used), stats.get("limit", 0)


def _network(interfaces: Mapping[str, Mapping[str, int]]) -> tuple[int, int]:
    return sum(one["rx_bytes"] for one in interfaces.values()), sum(one["tx_bytes"] for one in interfaces.values())


def _blocks(entries: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    def total(operation: str) -> int:
        return sum(entry["value"] for entry in entries if entry["op"].lower() == operation)

    return total("read"), total("write")


@declare.command()
@declare.option("--all", "-a", "everything", is_flag=True, help="Show stopped ones too")
@declare.option("--format", "form", default="", help="table, json, or a template")
@declare.option("--no-stream", is_flag=True, help="Show it once")
@declare.option("--no-trunc", is_flag=True, help="Do not shorten ids")
@declare.argument("containers", nargs=-1)
def stats(containers: tuple[str, ...], *, everything: bool, form: str, no_stream: bool, no_trunc: bool) -> int:
    """Display what containers use, live."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    client = daemon()
    before = _look(client, containers, everything=everything)
    time.sleep(FIRST_GAP_S)
    while True:
        now = _look(client, containers, everything=everything)
        rows = [row(document, before.get(key), full=no_trunc) for key, document in now.items()]
        text = tables.listing(rows, COLUMNS, form)
        if no_stream:
            output.echo(text, nl=False)
            return 0
        _draw(text)
        before = now
        time.sleep(EVERY_S)


def _look(client: Client, names: Sequence[str], *, everything: bool) -> dict[str, Document]:
    """By id. A name that does not exist is an error; a container that went away between two calls is none."""
    if names:
        return {document["id"]: document for document in (_one(client, name) for name in names)}
    found = {}
    for item in client.get("/containers/json", {"all": everything}):
        try:
            found[item["Id"]] = _one(client, item["Id"])
        except failures.DaemonError:
            continue
    return found


def _one(client: Client, name: str) -> Document:
    query = {"stream": "0", "one-shot": "1"}
    document: Document = client.get(f"/containers/{name}/stats", query)
    return document


def _draw(text: str) -> None:
    """Over what was drawn before, so that it does not flicker; into a file or a pipe one after the other."""
    if sys.stdout.isatty():
        text = HOME + text.replace("\n", f"{TO_LINE_END}\n") + TO_SCREEN_END
    sys.stdout.write(text)
    sys.stdout.flush()
