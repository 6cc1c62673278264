"""Kill -9 of the daemon at random moments of everything at once, and what was lost: nothing, or the run fails.

    python bench/crash_loop.py [--kills 120] [--seed 1]

Runs `tests/crashes.py`, which explains itself, and writes `bench/results/crash_loop.json`: kills by operation in flight
and by moment, operations acknowledged, time to come up again, faults.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import harness

PROGRAM = Path(__file__).parents[1] / "tests" / "crashes.py"


def main() -> int:
    """1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    harness.RESULTS.mkdir(exist_ok=True)
    result = harness.RESULTS / "crash_loop.json"
    options = ["--kills", str(arguments.kills), "--seed", str(arguments.seed), "--result", str(result)]
    done = subprocess.run([sys.executable, str(PROGRAM), *options], check=False)
    report = json.loads(result.read_text())
    print(f"{report['kills']} kills, {len(report['faults'])} faults, {report['seconds']} s")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
