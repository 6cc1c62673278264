"""`events`."""

from __future__ import annotations

import signal
import time

from sampan.api.engine import words
from sampan.cli import filters, logs, output, template
from sampan.cli.common import daemon
from sampan.cli.line import declare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


@declare.command()
@declare.option("--filter", "-f", "chosen", kind="filter", help="Show those that match")
@declare.option("--format", "form", default="", help="json or a template")
@declare.option("--since", default="", help="Show those since a time, or for as long")
@declare.option("--until", default="", help="Stop at a time")
def events(*, chosen: tuple[str, ...], form: str, since: str, until: str) -> int:
    """Get events from the daemon."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    now_s = time.time()
    query = {
        "filters": filters.encode(chosen),
        "since": logs.timestamp(since, now_s),
        "until": logs.timestamp(until, now_s),
    }
    for line in daemon().lines("GET", "/events", query=query):
        output.echo(template.formatted(form, event_row(line)) if form else event_text(line))
    return 0


def event_row(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """An event under the names that templates use, Go's own among them."""
    attributes = event["Actor"]["Attributes"] or {}
    return {**event, "Actor": {**event["Actor"], "Attributes": dict(sorted(attributes.items()))}}


def event_text(event: Mapping[str, Any]) -> str:
    """`time type action actor (key=value, …)`. Pure."""
    seconds, fraction = divmod(event["timeNano"], words.NS)
    moment = time.strftime(f"%Y-%m-%dT%H:%M:%S.{fraction:09d}%z", time.localtime(seconds))
    zone = "Z" if moment.endswith("+0000") else f"{moment[-5:-2]}:{moment[-2:]}"
    actor = event["Actor"]
    attributes = ", ".join(f"{key}={value}" for key, value in sorted((actor["Attributes"] or {}).items()))
    text = f"{moment[:-5]}{zone} {event['Type']} {event['Action']} {actor['ID']}"
    return f"{text} ({attributes})" if attributes else text
