"""From `docker pull` of an image of about 300 MB to the end of a first container; ours lazily, ours plainly, dockerd.

Run as root: python bench/lazy_start.py [--rounds 3] [--engines NAME] [--mbit 0,1000,200] [--folder DIR]

Every engine pulls over its box's loopback, at the speeds of `--mbit` (0 is as fast as it goes). Ours pulls from our
registry, which has the layers gzip-compressed as they were pushed and has been asked for their outlines before (what
that costs is a row of its own); dockerd pulls from Debian's docker-registry. Two first containers are measured: `true`,
and one that reads a binary of 4 MB. The rest of a lazy layer goes on arriving while that runs; it ends with the image.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

import big_image
import harness
import peers
import registry_servers as servers
from pull_start import docker

READ = ("sha256sum", "/usr/bin/perl")
LOOPBACK = "/usr/sbin/tc"


def ours_prepared() -> Path:
    """The folder of our registry with the image in it; made once from docker-registry's."""
    final, half = big_image.CACHE / "our-registry", big_image.CACHE / "our-half"
    if final.exists():
        return final
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir()
    source = big_image.prepared()
    with (
        servers.running(*servers.peer(source, big_image.program())) as theirs,
        servers.running(*servers.ours(half)) as ours,
    ):
        path = f"/v2/{big_image.NAME}"
        _, headers, manifest = servers.ask(theirs, "GET", f"{path}/manifests/1", Accept=big_image.MANIFEST_TYPE)
        for each in (json.loads(manifest)["config"], *json.loads(manifest)["layers"]):
            _, _, blob = servers.ask(theirs, "GET", f"{path}/blobs/{each['digest']}")
            servers.push_blob(ours, big_image.NAME, blob, each["digest"])
        status, _, text = servers.ask(
            ours, "PUT", f"{path}/manifests/1", manifest, Content_Type=headers["content-type"]
        )
        assert status == 201, text
    half.rename(final)
    return final


def serve_ours(engine: peers.Engine) -> float:
    """Offer the image from our registry in the engine's box; seconds for making the outlines of its layers."""
    folder = engine.folder / "our-registry"
    shutil.copytree(ours_prepared(), folder)
    program = Path(servers.__file__).resolve()
    environment = {**peers.environment(), "PYTHONPATH": str(peers.ROOT / "src")}
    log = engine.folder / "registry.log"
    engine.box.start([sys.executable, program, folder, str(big_image.PORT)], env=environment, log=log)
    deadline = time.monotonic() + 20
    while not engine.box.listening(big_image.PORT):
        if time.monotonic() > deadline:
            raise SystemExit(f"our registry does not listen: {log.read_text()}")
        time.sleep(0.02)
    if engine.name != peers.LAZY:
        return 0.0
    started = time.perf_counter()
    docker(engine, "pull", "-q", big_image.IMAGE)
    elapsed = time.perf_counter() - started
    docker(engine, "rmi", "-f", big_image.IMAGE)
    return elapsed


def set_speed(engine: peers.Engine, mbit: int) -> None:
    """How fast the loopback of an engine's box is; 0 for no limit."""
    log = engine.folder / "tc.log"
    remove = engine.box.start([LOOPBACK, "qdisc", "del", "dev", "lo", "root"], env=peers.environment(), log=log)
    _ended(engine, remove)
    if mbit:
        words = f"qdisc add dev lo root tbf rate {mbit}mbit burst 1mb latency 100ms".split()
        _ended(engine, engine.box.start([LOOPBACK, *words], env=peers.environment(), log=log))


def _ended(engine: peers.Engine, pid: int) -> None:
    while not engine.box.ended(pid):
        time.sleep(0.01)


def one_round(engine: peers.Engine, command: tuple[str, ...]) -> float:
    """Seconds from the pull to the container's end. The image is not there before and not afterwards."""
    os.sync()
    elapsed = docker(engine, "pull", "-q", big_image.IMAGE)
    elapsed += docker(engine, "run", "--rm", big_image.IMAGE, *command)
    docker(engine, "rmi", "-f", big_image.IMAGE)
    return elapsed


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", default="docker-26.1", help="contenders beside ours")
    parser.add_argument("--mbit", default="0,1000,200", help="speeds of the network, 0 for no limit")
    parser.add_argument("--folder", type=Path, help="where the engines keep their data; /tmp otherwise")
    arguments = parser.parse_args()
    names = [peers.LAZY, *peers.chosen(arguments.engines)]
    notes = {**big_image.facts(), "client": peers.docker_cli_version()}
    ours_prepared()
    rows = []
    with peers.running(names, folder=arguments.folder) as engines:
        outlines_s = 0.0
        for name, engine in engines.items():
            if name in (peers.OURS, peers.LAZY):
                outlines_s += serve_ours(engine)
            else:
                big_image.serve(engine)
        notes["seconds of the first lazy pull, for which outlines are made"] = f"{outlines_s:.2f}"
        for mbit in map(int, arguments.mbit.split(",")):
            speed = f"at {mbit} Mbit/s" if mbit else "without a limit"
            for engine in engines.values():
                set_speed(engine, mbit)
            for what, command in (("true", ("true",)), ("a read of 4 MB", READ)):
                times: dict[str, list[float]] = {name: [] for name in names}
                for _ in range(arguments.rounds):
                    for name, engine in engines.items():
                        times[name].append(one_round(engine, command))
                values = {name: tuple(each) for name, each in times.items()}
                rows.append(harness.Row(f"pull and {what}, {speed}", "s", values, lower_is_better=True))
    print(harness.report("lazy_start", rows, ours=peers.LAZY, notes=notes))


if __name__ == "__main__":
    main()
