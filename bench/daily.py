"""What a person does all day besides starting: exec, ps beside many containers, inspect, top, pause, stop and removal.

Run as root: python bench/daily.py [--rounds 5] [--runs 10] [--containers 200] [--engines NAME,NAME]

Rows with "docker" in front go through the stock command line, from its start to its end; the others through the API.
Each figure is the middle of `--runs` in a round. `ps` lists `--containers` created containers and one that runs. About
four minutes.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable

import engine_api
import harness
import peers
from run_latency import cli_ms, together

SLEEP = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done")


class Subject:
    """One engine with a running container and many created ones."""

    def __init__(self, engine: peers.Engine, count: int) -> None:
        self.engine = engine
        self.api = engine.api()
        self.api.import_busybox()
        self.running = self.api.create(*SLEEP)
        self.api.start(self.running)
        for _ in range(count):
            self.api.create("true")

    def exec_true(self) -> None:
        """Create an exec, start it, read its output to the end."""
        wanted = {"Cmd": ["true"], "AttachStdout": True, "AttachStderr": True}
        made = self.api.ask("POST", f"/containers/{self.running}/exec", wanted)["Id"]
        self.api.ask("POST", f"/exec/{made}/start", {"Detach": False, "Tty": False})
        code = self.api.ask("GET", f"/exec/{made}/json")["ExitCode"]
        assert code == 0, code

    def list_all(self) -> None:
        """`ps -a`."""
        self.api.ask("GET", "/containers/json?all=1")

    def inspect(self) -> None:
        """`inspect`."""
        self.api.ask("GET", f"/containers/{self.running}/json")

    def top(self) -> None:
        """`top`."""
        self.api.ask("GET", f"/containers/{self.running}/top")

    def pause(self) -> None:
        """`pause` and `unpause`."""
        self.api.ask("POST", f"/containers/{self.running}/pause")
        self.api.ask("POST", f"/containers/{self.running}/unpause")


def middle_ms(action: Callable[[], None], runs: int) -> float:
    """Milliseconds, the middle of `runs`."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def ended_ms(subject: Subject, runs: int, end: Callable[[engine_api.Api, str], None]) -> float:
    """Milliseconds in which running containers are ended, the middle of `runs`; their start does not count."""
    times = []
    for _ in range(runs):
        container = subject.api.create("sleep", "3600", network="bridge")
        subject.api.start(container)
        started = time.perf_counter()
        end(subject.api, container)
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def kill_and_remove(api: engine_api.Api, container: str) -> None:
    """`rm -f`."""
    api.remove(container)


def starts_at_once(subject: Subject, count: int) -> float:
    """Seconds in which `count` containers that exist are started, each by a thread of its own."""
    containers = [subject.api.create("sleep", "3600", network="bridge") for _ in range(count)]
    elapsed = together(subject.engine, [functools.partial(_start, container=each) for each in containers])
    for container in containers:
        subject.api.remove(container)
    return elapsed


def _start(api: engine_api.Api, container: str) -> None:
    api.start(container)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=10, help="repetitions in a round")
    parser.add_argument("--containers", type=int, default=200)
    parser.add_argument("--engines", default="", help=f"contenders beside ours, of {', '.join(peers.available())}")
    arguments = parser.parse_args()
    names = peers.chosen(arguments.engines)
    runs = arguments.runs
    rows = []
    with peers.running(names) as engines:
        subjects = {name: Subject(engine, arguments.containers) for name, engine in engines.items()}

        def measure(what: str, unit: str, action: Callable[[Subject], float]) -> None:
            contenders = {name: functools.partial(action, subject) for name, subject in subjects.items()}
            rows.append(harness.in_turn(what, unit, contenders, rounds=arguments.rounds, lower_is_better=True))

        measure("docker exec true", "ms", lambda s: cli_ms(s.engine, words=("exec", s.running, "true"), runs=runs))
        measure("exec true", "ms", lambda s: middle_ms(s.exec_true, runs))
        measure("docker ps -a", "ms", lambda s: cli_ms(s.engine, words=("ps", "-aq"), runs=runs))
        measure("ps -a", "ms", lambda s: middle_ms(s.list_all, runs))
        measure("inspect", "ms", lambda s: middle_ms(s.inspect, runs))
        measure("top", "ms", lambda s: middle_ms(s.top, runs))
        measure("pause and unpause", "ms", lambda s: middle_ms(s.pause, runs))
        measure("rm -f of a running one", "ms", lambda s: ended_ms(s, runs, kill_and_remove))
        measure("50 starts at once", "s", lambda s: starts_at_once(s, 50))
    notes = {
        "containers": str(arguments.containers),
        "runs a round": str(runs),
        "command line": peers.docker_cli_version(),
    }
    print(harness.report("daily", rows, ours=peers.OURS, notes=notes))


if __name__ == "__main__":
    main()
