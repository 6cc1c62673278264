"""`docker build` by the classic builder: five steps with a context of 50 MB, without a cache and from the cache.

Run as root: python bench/build.py [--rounds 3] [--megabytes 50] [--engines NAME,NAME]

Through the stock command line (DOCKER_BUILDKIT=0), from its start to its end, so its reading and sending of the context
counts for everybody. "no cache" passes --no-cache; "cached" is the same build again. "one file changed" changes one
small file of the context, so that the steps from its COPY on are done again. About three minutes for three engines.
"""

from __future__ import annotations

import argparse
import functools
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import engine_api
import harness
import peers

DOCKERFILE = f"""FROM {engine_api.IMAGE}
ENV STEP=1
COPY big /big
RUN cat /big/0 > /dev/null
COPY small /small
"""
FILES = 50


def make_context(folder: Path, megabytes: int) -> None:
    """A Dockerfile, files that do not compress, and a small one."""
    (folder / "big").mkdir()
    (folder / "small").mkdir()
    size_bytes = (megabytes << 20) // FILES
    for number in range(FILES):
        (folder / "big" / str(number)).write_bytes(os.urandom(size_bytes))
    (folder / "small" / "file").write_text("0")
    (folder / "Dockerfile").write_text(DOCKERFILE)


def build_s(engine: peers.Engine, context: Path, *options: str) -> float:
    """Seconds of one `docker build`."""
    command = [peers.docker_cli(), "-H", engine.host, "build", "-q", "-t", "bench-build", *options, str(context)]
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    elapsed = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{engine.name}: {done.stdout}{done.stderr}")
    return elapsed


def changed_s(engine: peers.Engine, context: Path) -> float:
    """Seconds of a build after one small file changed."""
    (context / "small" / "file").write_text(str(time.time_ns()))
    return build_s(engine, context)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--engines", default="", help=f"contenders beside ours, of {', '.join(peers.available())}")
    arguments = parser.parse_args()
    names = peers.chosen(arguments.engines)
    rows = []
    with tempfile.TemporaryDirectory(prefix="sampan-bench-") as place, peers.running(names) as engines:
        context = Path(place)
        make_context(context, arguments.megabytes)
        for engine in engines.values():
            engine.api().import_busybox()

        def measure(what: str, action: Callable[[peers.Engine, Path], float]) -> None:
            contenders = {name: functools.partial(action, engine, context) for name, engine in engines.items()}
            rows.append(harness.in_turn(what, "s", contenders, rounds=arguments.rounds, lower_is_better=True))

        measure("build, no cache", lambda engine, folder: build_s(engine, folder, "--no-cache"))
        measure("build, cached", build_s)
        measure("build, one file changed", changed_s)
    notes = {"context MB": str(arguments.megabytes), "command line": peers.docker_cli_version()}
    print(harness.report("build", rows, ours=peers.OURS, notes=notes))


if __name__ == "__main__":
    main()
