"""Pull an image of about 300 MB and 20,000 files, then start a container from it; ours against dockerd.

Run as root: python bench/pull_start.py [--rounds 3] [--engines NAME,NAME] [--folder DIR]

The registry is Debian's docker-registry on loopback, the layers are gzip, the client is the stock command line. Every
round begins without the image, which is checked by the size of the engine's folder, and with all disks flushed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import time
from pathlib import Path

import big_image
import harness
import peers

SLACK_BYTES = 20_000_000  # what may stay behind: databases, logs


def docker(engine: peers.Engine, *words: str, check: bool = True) -> float:
    """Seconds of one command of the docker command line."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "DOCKER_HOST": engine.host}
    started = time.perf_counter()
    done = subprocess.run([peers.docker_cli(), *words], env=environment, capture_output=True, text=True, check=False)
    elapsed = time.perf_counter() - started
    if check and done.returncode:
        raise SystemExit(f"{engine.name}: docker {' '.join(words)}: {done.stderr}")
    return elapsed


def disk_bytes(folder: Path) -> int:
    """What a folder takes on its own disk."""
    # Files may go while it looks: its exit code says nothing.
    done = subprocess.run(["du", "-sxB1", folder], capture_output=True, text=True, check=False)
    return int(done.stdout.split()[0])


def one_round(engine: peers.Engine, empty_bytes: int) -> tuple[float, float, float]:
    """Seconds of the pull, the first start and the removal before them."""
    removal = docker(engine, "rmi", "-f", big_image.IMAGE, check=False)
    kept_bytes = disk_bytes(engine.folder / "data") - empty_bytes
    if kept_bytes > SLACK_BYTES:
        raise SystemExit(f"{engine.name} keeps {kept_bytes} bytes of the removed image: the pull would not be one")
    os.sync()
    pull = docker(engine, "pull", "-q", big_image.IMAGE)
    start = docker(engine, "run", "--rm", big_image.IMAGE, "true")
    return pull, start, removal


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", default="", help=f"contenders beside ours, of {', '.join(peers.available())}")
    parser.add_argument("--folder", type=Path, help="where the engines keep their data; /tmp otherwise")
    arguments = parser.parse_args()
    names = peers.chosen(arguments.engines)
    notes = big_image.facts()
    times: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    with peers.running(names, folder=arguments.folder) as engines:
        empty = {name: disk_bytes(engine.folder / "data") for name, engine in engines.items()}
        for engine in engines.values():
            big_image.serve(engine)
        for _ in range(arguments.rounds):
            for name, engine in engines.items():
                times[name].append(one_round(engine, empty[name]))

    def row(what: str, *parts: int, rounds: slice = slice(None)) -> harness.Row:
        values = {name: tuple(sum(each[part] for part in parts) for each in times[name][rounds]) for name in names}
        return harness.Row(what, "s", values, lower_is_better=True)

    rows = [row("pull", 0), row("first start", 1), row("pull and first start", 0, 1)]
    if arguments.rounds > 1:
        rows.append(row("removal", 2, rounds=slice(1, None)))  # before the first round there is nothing to remove
    print(harness.report("pull_start", rows, ours=peers.OURS, notes={**notes, "client": peers.docker_cli_version()}))


if __name__ == "__main__":
    main()
