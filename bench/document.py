"""Write the recorded figures of `bench/results` into `docs/benchmarks.md`, between its two marks.

Run: python bench/document.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import harness

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- figures: written by bench/document.py -->", "<!-- end of figures -->"
COMMANDS = {  # in the order of the page
    "run_latency": "sudo .venv/bin/python bench/run_latency.py",
    "daily": "sudo .venv/bin/python bench/daily.py",
    "pull_start": "sudo .venv/bin/python bench/pull_start.py",
    "archives": "sudo .venv/bin/python bench/archives.py",
    "memory": "sudo .venv/bin/python bench/memory.py",
    "logs_speed": "sudo .venv/bin/python bench/logs_speed.py",
    "attach_endpoint": "sudo .venv/bin/python bench/attach_endpoint.py",
    "registry_blobs": ".venv/bin/python bench/registry_blobs.py",
    "registry_manifests": ".venv/bin/python bench/registry_manifests.py",
}
GOALS = {  # benchmark, beginning of the row: largest ratio (or value, where it has a unit) wanted
    ("run_latency", "run --rm true, none: runc"): "<= 3",
    ("run_latency", "run --rm"): "<= 0.35",
    ("daily", ""): "< 1",
    ("archives", ""): "< 1",
    ("logs_speed", "read"): ">= 20",
    ("run_latency", "50 "): "< 1",
    ("pull_start", "pull and first start"): "<= 0.25",
    ("memory", ""): "< 1",
    ("attach_endpoint", "beside"): "<= 3 ms",
}
CRASHES = "crash_loop"


def main() -> None:
    """Rewrite the page's figures."""
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"{PAGE} lacks the marks {BEGIN} and {END}")
    PAGE.write_text(f"{before}{BEGIN}\n{figures()}{END}{after}")


def figures() -> str:
    """A section for every recorded benchmark."""
    parts = []
    for name, command in COMMANDS.items():
        file = harness.RESULTS / f"{name}.json"
        if file.exists():
            parts.append(section(name, command, json.loads(file.read_text())))
    file = harness.RESULTS / f"{CRASHES}.json"
    if file.exists():
        parts.append(crashes(json.loads(file.read_text())))
    return "\n".join(parts)


def crashes(document: dict[str, Any]) -> str:
    """What the kill loop found: no contender, no time, only faults."""
    acknowledged = sum(document["acknowledged"].values())
    restart = document["restart_s"]
    return (
        f"### {CRASHES}\n\n"
        "The daemon is killed (SIGKILL) in the middle of the operations of several clients and started again; after\n"
        "each start a checker compares rows, processes, mounts, links, firewall, control groups, logs and blobs.\n\n"
        f"`sudo .venv/bin/python bench/crash_loop.py --kills {document['kills']}`\n\n"
        "| kills | clients | acknowledged operations | log lines without a gap | back in, median / longest | faults |\n"
        "|---:|---:|---:|---:|---:|---:|\n"
        f"| {document['kills']} | {document['workers']} | {acknowledged} | {document['lines_counted_without_a_gap']} | "
        f"{restart['median']:.2f} / {restart['longest']:.2f} s | {len(document['faults'])} |\n"
    )


def section(name: str, command: str, document: dict[str, Any]) -> str:
    """A table; every contender has a column."""
    machine, notes = document["machine"], document["notes"]
    contenders = list(dict.fromkeys(name for row in document["rows"] for name in row["medians"]))
    kernel = machine["kernel"].partition("-")[0]
    circumstances = [
        f"{document['when'][:10]}, {machine['cpus']} processors, Linux {kernel}, Python {machine['python']}"
    ]
    circumstances += [f"{key}: {value}" for key, value in notes.items()]
    lines = [
        f"### {name}",
        "",
        "; ".join(circumstances),
        "",
        f"`{command}`",
        "",
        f"| what | unit | {' | '.join(contenders)} | ratio | goal |",
        f"|---|---|{'---:|' * len(contenders)}---:|---|",
    ]
    for row in document["rows"]:
        medians = " | ".join(f"{row['medians'][each]:.4g}" if each in row["medians"] else "" for each in contenders)
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        lines.append(f"| {row['what']} | {row['unit']} | {medians} | {ratio} | {goal(name, row['what'])} |")
    return "\n".join(lines) + "\n"


def goal(name: str, what: str) -> str:
    """The ratio wanted, "" where nothing was promised."""
    return next((text for (where, begin), text in GOALS.items() if where == name and what.startswith(begin)), "")


if __name__ == "__main__":
    main()
