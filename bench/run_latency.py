"""Start-up: `docker run --rm IMAGE true`, and fifty containers in a row and at once; ours against dockerd and podman.

Run as root: python bench/run_latency.py [--rounds 5] [--runs 10] [--containers 50] [--engines NAME,NAME]

The first figure is what a person waits for: the stock command line, from its start to its end, the middle of `--runs` a
round. The fifty go through the API: create, start, wait, remove; at once means in as many threads. The row "command
line alone" is `docker version`: no engine can be faster than that. The rows named after runc compare with
`runc run` alone. About six minutes.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import bare_runc
import engine_api
import harness
import peers

NETWORKS = ("none", "bridge")
RUN = ("run", "--rm", "--network")


def cli_ms(engine: peers.Engine, *, words: Sequence[str], runs: int) -> float:
    """Milliseconds of a command of the docker command line, the middle of `runs`."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "DOCKER_HOST": engine.host}
    command = [peers.docker_cli(), *words]
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def one_life(api: engine_api.Api, network: str) -> None:
    """Create, start, wait, remove."""
    container = api.create("true", network=network)
    api.start(container)
    code = api.wait(container)
    assert code == 0, code
    api.remove(container)


def in_a_row(engine: peers.Engine, network: str, count: int) -> float:
    """Seconds for `count` containers one after another."""
    api = engine.api()
    started = time.perf_counter()
    for _ in range(count):
        one_life(api, network)
    elapsed = time.perf_counter() - started
    api.close()
    return elapsed


def together(engine: peers.Engine, works: Sequence[Callable[[engine_api.Api], None]]) -> float:
    """Seconds until all are done, each in a thread and on a connection of its own."""
    apis = [engine.api() for _ in works]
    with ThreadPoolExecutor(len(works)) as pool:
        started = time.perf_counter()
        for done in [pool.submit(work, api) for work, api in zip(works, apis, strict=True)]:
            done.result()
        elapsed = time.perf_counter() - started
    for api in apis:
        api.close()
    return elapsed


def at_once(engine: peers.Engine, network: str, count: int) -> float:
    """Seconds for `count` containers, each in a thread of its own."""
    return together(engine, [functools.partial(one_life, network=network)] * count)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=10, help="runs of the command line in a round")
    parser.add_argument("--containers", type=int, default=50)
    parser.add_argument("--engines", default="", help=f"contenders beside ours, of {', '.join(peers.available())}")
    arguments = parser.parse_args()
    names = peers.chosen(arguments.engines)
    count = arguments.containers
    rows = []
    with peers.running(names) as engines:
        for engine in engines.values():
            api = engine.api()
            api.import_busybox()
            for network in NETWORKS:
                one_life(api, network)  # warm up
            api.close()

        def measure(what: str, unit: str, action: Callable[[peers.Engine], float]) -> None:
            contenders = {name: functools.partial(action, engine) for name, engine in engines.items()}
            rows.append(harness.in_turn(what, unit, contenders, rounds=arguments.rounds, lower_is_better=True))

        runs = arguments.runs
        measure("command line alone", "ms", functools.partial(cli_ms, words=("version",), runs=runs))
        for network in NETWORKS:
            words = (*RUN, network, engine_api.IMAGE, "true")
            measure(f"run --rm true, {network}", "ms", functools.partial(cli_ms, words=words, runs=runs))
        like = bare_runc.configuration_of(engines[peers.OURS])
        for what, configuration in (("the same configuration", like), ("its default, no seccomp", None)):
            run = functools.partial(
                cli_ms, engines[peers.OURS], words=(*RUN, "none", engine_api.IMAGE, "true"), runs=runs
            )
            bare = functools.partial(bare_runc.run_ms, runs, like=configuration)
            contenders: dict[str, harness.Measure] = {peers.OURS: run, "bare runc": bare}
            row = harness.in_turn(
                f"run --rm true, none: runc with {what}",
                "ms",
                contenders,
                rounds=arguments.rounds,
                lower_is_better=True,
            )
            rows.append(row)
        for network in NETWORKS:
            measure(f"{count} in a row, {network}", "s", functools.partial(in_a_row, network=network, count=count))
        for network in NETWORKS:
            measure(f"{count} at once, {network}", "s", functools.partial(at_once, network=network, count=count))
    notes = {"runs a round": str(arguments.runs), "command line": peers.docker_cli_version()}
    print(harness.report("run_latency", rows, ours=peers.OURS, notes=notes))


if __name__ == "__main__":
    main()
