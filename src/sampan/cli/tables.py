"""What lists print: columns of text, a template, or only ids. Pure.

Source: docker/cli, cli/command/formatter.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sampan.api.engine import words
from sampan.cli.template import Template

GAP = 3
NARROWEST = 10

Row = Mapping[str, str]


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, at least `NARROWEST` with the gap; nothing behind the last."""
    lines = [list(headings), *(list(row) for row in rows)]
    widths = [max(NARROWEST, *(len(line[n]) + GAP for line in lines)) for n in range(len(headings))]
    return "".join("".join(cell.ljust(width) for cell, width in _cells(line, widths)).rstrip() + "\n" for line in lines)


def _cells(line: Sequence[str], widths: Sequence[int]) -> Iterable[tuple[str, int]]:
    return zip(line, widths, strict=True)


def listing(rows: Sequence[Row], columns: Mapping[str, str], form: str) -> str:
    """Rows as `--format` asks: "" or `table` for columns (field -> heading), `table T`, `json`, or a template."""
    if form in ("", "table"):
        return table(list(columns.values()), [[row[name] for name in columns] for row in rows])
    if form == "json":
        return "".join(json.dumps(dict(row), separators=(",", ":"), ensure_ascii=False) + "\n" for row in rows)
    text = form.replace("\\t", "\t").replace("\\n", "\n")
    if not text.startswith("table "):
        template = Template(text)
        return "".join(template.render(row) + "\n" for row in rows)
    template = Template(text.removeprefix("table "))
    headings = Template(text.removeprefix("table ")).render(_Headings(columns))
    lines = [line.split("\t") for line in (headings, *(template.render(row) for row in rows))]
    return table(lines[0], lines[1:])


class _Headings(dict[str, str]):
    """Every field's heading; unknown fields in capitals."""

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key, key.upper())


def short_id(text: str) -> str:
    """Twelve digits."""
    return text.removeprefix("sha256:")[:12]


def cut(text: str, length: int) -> str:
    """With an ellipsis."""
    return text if len(text) <= length else text[: length - 1] + "…"


def ago(seconds: float, now_s: float) -> str:
    """`5 minutes ago`; `N/A` for never."""
    return f"{words.duration(now_s - seconds)} ago" if seconds > 0 else "N/A"


def moment_s(text: str) -> float:
    """Seconds since the epoch of RFC 3339; 0 when it cannot be read."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def ports(published: Iterable[Mapping[str, Any]]) -> str:
    """`0.0.0.0:8080->80/tcp, 443/tcp`; runs of ports that go up together are one range."""
    runs: list[list[Any]] = []  # [address, protocol, public first, public last, private first, private last]
    order = sorted(
        published, key=lambda port: (port["PrivatePort"], port.get("IP", ""), port.get("PublicPort", 0), port["Type"])
    )
    for port in order:
        address, kind = port.get("IP", ""), port["Type"]
        public, private = port.get("PublicPort", 0), port["PrivatePort"]
        for run in runs:
            follows = run[5] + 1 == private and (run[3] + 1 == public if public else not run[3])
            if run[0] == address and run[1] == kind and follows:
                run[3], run[5] = public, private
                break
        else:
            runs.append([address, kind, public, public, private, private])
    return ", ".join(_run(run) for run in runs)


def _run(run: Sequence[Any]) -> str:
    address, kind, public_first, public_last, first, last = run
    inside = f"{first}-{last}" if last > first else f"{first}"
    if not public_first:
        return f"{inside}/{kind}"
    outside = f"{public_first}-{public_last}" if public_last > public_first else f"{public_first}"
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{outside}->{inside}/{kind}"
