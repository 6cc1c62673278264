"""What lists print: columns of text, a template, or only ids. Pure.

Source: docker/cli, cli/command/formatter, compared with what `docker` 28.2 prints.
"""

from __future__ import annotations

from sampan.api.engine import words
from sampan.cli.gotext.row import Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

GAP = 3
NARROWEST = 10


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, narrowest: int = NARROWEST) -> str:
    """Columns as wide as their widest cell, at least `narrowest` with the gap; the last is not filled up."""
    lines = [list(headings), *(list(row) for row in rows)]
    count = max(len(line) for line in lines)
    widths = [max(narrowest, *(len(line[n]) + GAP for line in lines if n < len(line))) for n in range(count)]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=False)) + line[-1] + "\n"
        for line in lines
    )


def listing(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str],
    form: str,
    *,
    type_name: str = "",
    headings: Mapping[str, str] | None = None,
    parsing: str = "template parsing error: ",
    failing: str = "",
) -> str:
    """Rows as `--format` asks: "" or `table` for columns (field -> heading), `table T`, `json`, or a template.

    `headings` are those of fields that are no columns; `type_name`, `parsing` and `failing` stand in messages.
    """
    if form in ("", "table"):
        return table(list(columns.values()), [[str(row[name]) for name in columns] for row in rows])
    from sampan.cli.template import Template, to_json, unescaped

    if form == "json":
        return "".join(to_json(dict(sorted(row.items()))) + "\n" for row in rows)
    text = unescaped(form)
    is_table = text.startswith("table ")
    text = text.removeprefix("table ").strip() if is_table else text
    template = Template(text, what=parsing, fails=failing)
    shown = [row if isinstance(row, Row) else Row(dict(row), type_name=type_name) for row in rows]
    if not is_table:
        return "".join(template.render(_sorted(row)) + "\n" for row in shown)
    known = {**(headings or {}), **columns}
    top = _Headings({name: known.get(name, name.upper()) for name in (shown[0] if shown else known)})
    top.calls = dict.fromkeys(shown[0].calls if shown else {"Label": None}, _last_word)
    top.type_name = shown[0].type_name if shown else type_name
    lines = [line.split("\t") for line in (template.render(top), *(template.render(row) for row in shown))]
    return table(lines[0], lines[1:])


def _sorted(row: Row) -> Row:
    return Row(dict(sorted(row.items())), type_name=row.type_name, calls=row.calls)


class _Headings(Row):
    """Every field's heading."""


def _last_word(text: str) -> str:
    """A label's heading: what stands behind its last dot."""
    return text.rpartition(".")[2].replace("-", " ").replace("_", " ")


def short_id(text: str) -> str:
    """Twelve digits."""
    return text.removeprefix("sha256:")[:12]


def cut(text: str, length: int) -> str:
    """With an ellipsis."""
    return text if len(text) <= length else text[: length - 1] + "…"


def ago(seconds: float, now_s: float) -> str:
    """`5 minutes ago`; `N/A` for never."""
    return f"{words.duration(now_s - seconds)} ago" if seconds > 0 else "N/A"


def clock(seconds: float) -> str:
    """A moment as lists show it."""
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(seconds))


def labels(found: Mapping[str, str] | None) -> str:
    """`a=b,c=d`."""
    return ",".join(f"{key}={value}" for key, value in sorted((found or {}).items()))


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
