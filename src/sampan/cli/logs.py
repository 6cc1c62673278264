"""`logs`, and times as people type them."""

from __future__ import annotations

import re
import signal
import sys
import time

from sampan.cli import failures
from sampan.cli.common import daemon
from sampan.cli.line import declare
from sampan.formats import stdcopy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.client import Query


@declare.command()
@declare.option("--details", is_flag=True, help="Show extra details")
@declare.option("--follow", "-f", is_flag=True, help="Follow the output")
@declare.option("--since", default="", help="Since a time, or for as long (2026-01-02T13:23:37Z, 42m)")
@declare.option("--tail", "-n", default="all", help="Lines from the end")
@declare.option("--timestamps", "-t", is_flag=True, help="Show timestamps")
@declare.option("--until", default="", help="Until a time, or as long ago")
@declare.argument("container", offers="container")
def logs(container: str, *, details: bool, follow: bool, since: str, tail: str, timestamps: bool, until: str) -> int:
    """Fetch the logs of a container."""
    from sampan.cli import terminal

    client = daemon()
    now_s = time.time()
    query: Query = {
        "stdout": True,
        "stderr": True,
        "since": timestamp(since, now_s),
        "until": timestamp(until, now_s),
        "timestamps": timestamps,
        "follow": follow,
        "tail": tail,
        "details": details,
    }
    if follow:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    with client.open("GET", f"/containers/{container}/logs", query=query) as response:
        multiplexed = "multiplexed" in (response.headers.get("Content-Type") or "")
        decoder = stdcopy.Decoder()
        while data := response.read1(1 << 20):
            if not multiplexed:
                terminal.write(1, data)
                continue
            for number, payload in decoder.feed(data):
                terminal.write(1 if number == stdcopy.STDOUT else 2, payload)
    sys.stdout.flush()
    return 0


def timestamp(text: str, now_s: float) -> str:
    """A moment as the API wants it: seconds, RFC 3339, or how long ago in Go's form. Pure."""
    if not text or re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return text
    if re.fullmatch(r"([0-9.]+(ns|us|ms|s|m|h))+", text):
        from sampan.cli import units

        return f"{now_s - units.parse_duration_ns(text) / 1e9:.9f}"
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise failures.BadUsage(f'failed to parse value as time or duration: "{text}"') from error
    if moment.tzinfo is None and "T" not in text:
        moment = moment.replace(tzinfo=UTC)
    return f"{moment.timestamp():.9f}"
