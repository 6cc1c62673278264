"""What lists print: columns of text, a template, or only ids. Pure.

Source: docker/cli, cli/command/formatter.
"""

from __future__ import annotations

import json

from sampan.api.engine import words
from sampan.cli.template import Template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    Row = Mapping[str, Any]

GAP = 3
NARROWEST = 10


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, narrowest: int = NARROWEST) -> str:
    """Columns as wide as their widest cell, at least `narrowest` with the gap; nothing behind the last."""
    lines = [list(headings), *(list(row) for row in rows)]
    widths = [max(narrowest, *(len(line[n]) + GAP for line in lines)) for n in range(len(headings))]
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


def ports(published: Iterable[Mapping[str, Any]]) -> str:
    """`443/tcp, 0.0.0.0:8080->80/tcp`: runs of ports that keep their number first, then the mapped ones."""
    runs: dict[str, list[tuple[int, int]]] = {}  # address/protocol -> (first, last)
    mapped: list[str] = []
    order = sorted(
        published, key=lambda port: (port["PrivatePort"], port.get("IP", ""), port.get("PublicPort", 0), port["Type"])
    )
    for port in order:
        address, kind, private = port.get("IP", ""), port["Type"], port["PrivatePort"]
        host = f"[{address}]" if ":" in address else address
        if address and port["PublicPort"] != private:
            mapped.append(f"{host}:{port['PublicPort']}->{private}/{kind}")
            continue
        found = runs.setdefault(f"{host}/{kind}", [])
        if found and found[-1][1] + 1 == private:
            found[-1] = (found[-1][0], private)
        else:
            found.append((private, private))
    # A run's last stretch is known only at the end, so docker prints it behind the finished ones.
    finished = [_run(key, run) for key, found in runs.items() for run in found[:-1]]
    return ", ".join([*finished, *(_run(key, found[-1]) for key, found in runs.items()), *mapped])


def _run(key: str, run: tuple[int, int]) -> str:
    host, _, kind = key.rpartition("/")
    text = f"{run[0]}-{run[1]}" if run[1] > run[0] else f"{run[0]}"
    return f"{host}:{text}->{text}/{kind}" if host else f"{text}/{kind}"
