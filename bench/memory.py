"""Memory of an engine's own processes, idle and with fifty running containers; ours against dockerd.

Run as root: python bench/memory.py [--rounds 5] [--containers 50] [--engines NAME,NAME]

Every process of the engine's box counts (daemon and keeper; dockerd, containerd and shims), the containers' own do not.
PSS shares out pages that several processes map, RSS counts them in each. Every round starts the engines anew, with one
imported image. About two minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import re
from pathlib import Path

import harness
import peers

FIELDS = ("Pss", "Rss")


def memory_mib(engine: peers.Engine) -> dict[str, float]:
    """PSS and RSS of the engine's processes together."""
    total = dict.fromkeys(FIELDS, 0.0)
    for pid in engine.box.processes():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            for field in FIELDS:
                found = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
                assert found, text
                total[field] += int(found[1]) / 1024
    return total


def one_engine(engine: peers.Engine, count: int) -> dict[str, float]:
    """PSS and RSS, idle and with `count` containers on the default network."""
    api = engine.api()
    api.import_busybox()
    idle = memory_mib(engine)
    containers = [api.create("sleep", "3600", network="bridge") for _ in range(count)]
    for container in containers:
        api.start(container)
    running = api.ask("GET", "/info")["ContainersRunning"]
    assert running == count, running
    busy = memory_mib(engine)
    for container in containers:
        api.remove(container)
    api.close()
    return {
        **{f"idle, {field.upper()}": idle[field] for field in FIELDS},
        **{f"{count} containers, {field.upper()}": busy[field] for field in FIELDS},
    }


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--containers", type=int, default=50)
    parser.add_argument("--engines", default="", help=f"contenders beside ours, of {', '.join(peers.available())}")
    arguments = parser.parse_args()
    names = peers.chosen(arguments.engines)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(arguments.rounds):
        for name in names:
            with peers.running([name]) as engines:
                found[name].append(one_engine(engines[name], arguments.containers))
    rows = [
        harness.Row(
            what, "MiB", {name: tuple(each[what] for each in found[name]) for name in names}, lower_is_better=True
        )
        for what in found[peers.OURS][0]
    ]
    print(harness.report("memory", rows, ours=peers.OURS))


if __name__ == "__main__":
    main()
