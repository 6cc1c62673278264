"""The floor: `runc run` of `true` from a ready bundle, without any engine; in a box, so that it meets nobody's control
groups. The configuration is runc's own default (no seccomp), or what our engine gives runc for the same command.

Used by `run_latency`; as a program it is what runs inside the box: python bare_runc.py BUNDLE RUNS RESULT
"""

from __future__ import annotations

import io
import json
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import box
import engine_api
import peers

LIMIT_S = 120.0


def run_ms(runs: int, *, like: Mapping[str, Any] | None = None) -> float:
    """Milliseconds of one `runc run`, the middle of `runs`; `like` is the configuration of another container."""
    with tempfile.TemporaryDirectory(prefix="sampan-bench-") as name, box.opened("runc") as home:
        bundle = Path(name)
        make_bundle(bundle, like)
        result = bundle / "result"
        command: list[str | Path] = [sys.executable, Path(__file__), bundle, str(runs), result]
        pid = home.start(command, env=peers.environment(), log=bundle / "log")
        deadline = time.monotonic() + LIMIT_S
        while not home.ended(pid):
            if time.monotonic() > deadline:
                raise SystemExit("runc does not end")
            time.sleep(0.05)
        if not result.exists():
            raise SystemExit(f"runc failed:\n{(bundle / 'log').read_text()}")
        return float(result.read_text())


def configuration_of(engine: peers.Engine) -> dict[str, Any]:
    """What our engine gives runc, read from a running container."""
    api = engine.api()
    container = api.create("sleep", "3600")
    api.start(container)
    run = Path(f"/proc/{engine.box.processes()[0]}/root/run/sampan/containers")
    found: dict[str, Any] = json.loads((run / container / "config.json").read_text())
    api.remove(container)
    api.close()
    found["root"]["path"] = "rootfs"
    del found["linux"]["cgroupsPath"]
    found["mounts"] = [mount for mount in found["mounts"] if not {"bind", "rbind"} & {*mount.get("options", ())}]
    for namespace in found["linux"]["namespaces"]:
        namespace.pop("path", None)
    return found


def make_bundle(bundle: Path, like: Mapping[str, Any] | None) -> None:
    """A root directory with busybox, and a configuration that runs `true`."""
    with tarfile.open(fileobj=io.BytesIO(engine_api.busybox_tar())) as archive:
        archive.extractall(bundle / "rootfs", filter="tar")
    subprocess.run(["runc", "spec", "--bundle", str(bundle)], check=True)
    configuration = dict(like) if like else json.loads((bundle / "config.json").read_text())
    configuration["process"].update(args=["true"], terminal=False)
    (bundle / "config.json").write_text(json.dumps(configuration))


def measure(bundle: str, runs: int) -> float:
    """Inside the box."""
    times = []
    for number in range(runs + 1):  # the first warms up
        started = time.perf_counter()
        subprocess.run(["runc", "--root", "/run/runc", "run", "--bundle", bundle, f"bare{number}"], check=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:]) * 1000


if __name__ == "__main__":
    Path(sys.argv[3]).write_text(str(measure(sys.argv[1], int(sys.argv[2]))))
