"""What every benchmark shares: rounds in turn, medians, ratios, and a JSON file in `bench/results`.

Contenders are measured in turn within one run, because a machine's speed drifts: only ratios within one run mean
anything, and the spread says how much to believe them.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results"

Measure = Callable[[], float]  # one round; returns a rate, the higher the better


@dataclass(frozen=True, slots=True)
class Row:
    """One thing measured, for every contender."""

    what: str
    unit: str
    values: Mapping[str, tuple[float, ...]]

    def median(self, contender: str) -> float:
        """The middle of the rounds."""
        return statistics.median(self.values[contender])

    def spread(self, contender: str) -> float:
        """Largest over smallest round."""
        return max(self.values[contender]) / max(min(self.values[contender]), 1e-12)

    def ratio(self, ours: str, peer: str) -> float:
        """How many times the peer's median ours is."""
        return self.median(ours) / max(self.median(peer), 1e-12)


def in_turn(what: str, unit: str, contenders: Mapping[str, Measure], *, rounds: int = 3) -> Row:
    """Measure every contender once a round."""
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            values[name].append(measure())
    return Row(what, unit, {name: tuple(each) for name, each in values.items()})


def rate_of(action: Callable[[], float], *, seconds: float) -> float:
    """Repeat `action`, which returns how much it did, for about `seconds`; the amount a second."""
    action()  # warm up
    amount, started = 0.0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        amount += action()
    return amount / elapsed


def report(name: str, rows: list[Row], *, ours: str, peer: str, notes: Mapping[str, str] | None = None) -> Path:
    """Print the table and write `bench/results/NAME.json`."""
    width = max(len(row.what) for row in rows)
    for row in rows:
        line = f"{row.what:<{width}}  {ours} {row.median(ours):>10.4g}  "
        if peer in row.values:
            line += f"{peer} {row.median(peer):>10.4g} {row.unit}  ratio {row.ratio(ours, peer):.2f}"
        else:
            line += row.unit
        print(f"{line}  (spread {max(row.spread(each) for each in row.values):.2f})")
    document = {
        "name": name,
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()},
        "notes": dict(notes or {}),
        "rows": [
            {
                "what": row.what,
                "unit": row.unit,
                "rounds": row.values,
                "medians": {each: row.median(each) for each in row.values},
                "ratio": row.ratio(ours, peer) if peer in row.values else None,
            }
            for row in rows
        ],
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path
