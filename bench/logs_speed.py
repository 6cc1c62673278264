"""200 MB of container output in 80-byte lines: written by a container, and read back by `docker logs`.

Run as root: python bench/logs_speed.py [--rounds 5] [--megabytes 200] [--engines NAME,NAME]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import time

import harness
import peers

LINE = "x" * 79


def one_round(engine: peers.Engine, megabytes: int) -> tuple[float, float]:
    """Megabytes a second written and read back."""
    api = engine.api()
    size = megabytes * 10**6 // 80 * 80  # whole lines
    container = api.create("sh", "-c", f"yes {LINE} | head -c {size}")
    started = time.perf_counter()
    api.start(container)
    code = api.wait(container)
    written = time.perf_counter() - started
    assert code == 0, code
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "DOCKER_HOST": engine.host}
    started = time.perf_counter()
    with subprocess.Popen([peers.docker_cli(), "logs", container], env=environment, stdout=subprocess.PIPE) as reader:
        assert reader.stdout
        read_bytes = 0
        while piece := os.read(reader.stdout.fileno(), 1 << 20):
            read_bytes += len(piece)
    read = time.perf_counter() - started
    assert read_bytes == size, (engine.name, read_bytes)
    api.remove(container)
    api.close()
    return megabytes / written, megabytes / read


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--engines", default="", help=f"contenders beside ours, of {', '.join(peers.available())}")
    arguments = parser.parse_args()
    names = peers.chosen(arguments.engines)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    with peers.running(names) as engines:
        for engine in engines.values():
            engine.api().import_busybox()
        for _ in range(arguments.rounds):
            for name, engine in engines.items():
                found[name].append(one_round(engine, arguments.megabytes))
    rows = [
        harness.Row(what, "MB/s", {name: tuple(each[part] for each in found[name]) for name in names})
        for part, what in enumerate(("written by a container", "read by docker logs"))
    ]
    notes = {"output": f"{arguments.megabytes} MB in lines of 80 bytes", "client": peers.docker_cli_version()}
    print(harness.report("logs_speed", rows, ours=peers.OURS, notes=notes))


if __name__ == "__main__":
    main()
