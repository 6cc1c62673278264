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

Measure = Callable[[], float]  # one round; returns a rate, or a time or size: then the row says `lower_is_better`


@dataclass(frozen=True, slots=True)
class Row:
    """One thing measured, for every contender."""

    what: str
    unit: str
    values: Mapping[str, tuple[float, ...]]
    lower_is_better: bool = False

    def median(self, contender: str) -> float:
        """The middle of the rounds."""
        return statistics.median(self.values[contender])

    def spread(self, contender: str) -> float:
        """Largest over smallest round."""
        return max(self.values[contender]) / max(min(self.values[contender]), 1e-12)

    def ratio(self, ours: str, peer: str) -> float:
        """How many times the peer's median ours is."""
        return self.median(ours) / max(self.median(peer), 1e-12)

    def best_but(self, ours: str) -> str:
        """The contender with the best median besides ours; "" when we are alone."""
        others = [name for name in self.values if name != ours]
        return (min if self.lower_is_better else max)(others, key=self.median, default="")


def in_turn(
    what: str, unit: str, contenders: Mapping[str, Measure], *, rounds: int = 3, lower_is_better: bool = False
) -> Row:
    """Measure every contender once a round."""
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            values[name].append(measure())
    return Row(what, unit, {name: tuple(each) for name, each in values.items()}, lower_is_better)


def rate_of(action: Callable[[], float], *, seconds: float) -> float:
    """Repeat `action`, which returns how much it did, for about `seconds`; the amount a second."""
    action()  # warm up
    amount, started = 0.0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        amount += action()
    return amount / elapsed


def report(name: str, rows: list[Row], *, ours: str, peer: str = "", notes: Mapping[str, str] | None = None) -> Path:
    """Print the table and write `bench/results/NAME.json`. Without `peer`, each row is compared with its best other."""
    width = max(len(row.what) for row in rows)
    for row in rows:
        line = f"{row.what:<{width}}  " + "  ".join(f"{each} {row.median(each):>10.4g}" for each in row.values)
        rival = peer or row.best_but(ours)
        if rival in row.values:
            line += f" {row.unit}  ratio {row.ratio(ours, rival):.2f}"
        else:
            line += f" {row.unit}"
        print(f"{line}  (spread {max(row.spread(each) for each in row.values):.2f})")
    document = {
        "name": name,
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {
            "cpus": os.cpu_count(),
            "kernel": platform.release().partition("-")[0],
            "python": platform.python_version(),
        },
        "notes": dict(notes or {}),
        "rows": [
            {
                "what": row.what,
                "unit": row.unit,
                "rounds": row.values,
                "medians": {each: row.median(each) for each in row.values},
                "peer": (rival := peer or row.best_but(ours)),
                "ratio": row.ratio(ours, rival) if rival in row.values else None,
            }
            for row in rows
        ],
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path
