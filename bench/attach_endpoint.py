"""Attach one endpoint with one published port: milliseconds on an empty host and beside a thousand others.

Half a minute.

Run as root: python bench/attach_endpoint.py [--rounds 3] [--beside 1000]

Each round owns a host: a process in fresh network and mount namespaces with its state database on a tmpfs, so the time
of a disk's flush is not in the figures; the row "durable row" says what one costs in `--folder`. With DOCKER_PEER_HOST
set, the same host's dockerd is timed as well: `network connect` of a running container.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness
from sampan.networks.model import EndpointWish, NetworkWish, PortWish, Settings
from sampan.networks.service import Networks
from sampan.state.database import Database

SAMPLES = 30
BERTHS = 2  # as the daemon keeps
PAUSE_S = 0.05  # between containers that start one at a time: less than a container's start takes


async def one_host(folder: Path, beside: int) -> dict[str, float]:
    """Medians of one round, in milliseconds."""
    database = Database.open(folder / "state.sqlite")
    networks = Networks(
        database,
        Settings(),
        folder / "run",
        clock=time.time_ns,
        ids=lambda: secrets.token_hex(32),
        host_resolv_conf=(),
        berths=BERTHS,
    )
    await networks.restore(())
    await networks.create(NetworkWish("named"))
    attached: list[str] = []

    async def attach(network: str, *, publish: bool = True) -> float:
        container_id = secrets.token_hex(32)
        wishes, ports = (EndpointWish(network),), (PortWish(80, host_port=10000 + len(attached)),) if publish else ()
        started = time.perf_counter()
        await networks.attach(container_id, name=f"c{len(attached)}", wishes=wishes, ports=ports)
        elapsed = time.perf_counter() - started
        attached.append(container_id)
        return elapsed * 1000

    async def median(network: str, *, pause_s: float) -> float:
        times = []
        for _ in range(SAMPLES):
            times.append(await attach(network))
            await asyncio.sleep(pause_s)
        return statistics.median(times)

    found = {"empty host": await median("bridge", pause_s=PAUSE_S)}
    found["empty host, with names"] = await median("named", pause_s=PAUSE_S)
    while len(attached) < beside - SAMPLES:
        await attach("bridge")
    found[f"beside {beside}"] = await median("bridge", pause_s=PAUSE_S)
    found[f"beside {beside}, back to back"] = await median("bridge", pause_s=0)
    times = []
    for container_id in attached[-SAMPLES:]:
        started = time.perf_counter()
        await networks.detach(container_id)
        times.append((time.perf_counter() - started) * 1000)
    found[f"detach beside {beside}"] = statistics.median(times)
    await networks.shutdown()
    database.close()
    return found


def durable_row(folder: Path) -> float:
    """What one committed row costs on the disk behind `folder`, in milliseconds."""
    with tempfile.TemporaryDirectory(dir=folder) as inner:
        database = Database.open(Path(inner) / "state.sqlite")
        times = []
        for number in range(SAMPLES):
            started = time.perf_counter()
            database.write_blocking(
                lambda connection, number=number: connection.exec_driver_sql(  # type: ignore[misc]
                    "INSERT INTO repository VALUES (?, ?)", (f"bench {number}", 1)
                )
            )
            times.append((time.perf_counter() - started) * 1000)
        database.close()
    return statistics.median(times)


def docker_connect(address: str) -> float:
    """`network connect` by the peer, in milliseconds."""
    import docker

    client = docker.DockerClient(base_url=address)
    container = client.containers.run("busybox", ["sleep", "600"], detach=True)
    network = client.networks.create(f"bench-{secrets.token_hex(4)}", driver="bridge")
    try:
        times = []
        for _ in range(10):
            started = time.perf_counter()
            network.connect(container)
            times.append((time.perf_counter() - started) * 1000)
            network.disconnect(container)
        return statistics.median(times)
    finally:
        container.remove(force=True)
        network.remove()


def in_a_host(beside: int) -> dict[str, float]:
    line = [
        "unshare",
        "--net",
        "--mount",
        "--propagation",
        "private",
        sys.executable,
        __file__,
        "--inside",
        str(beside),
    ]
    done = subprocess.run(line, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def inside(beside: int) -> None:
    """The body of one round, in its own namespaces."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "bench", folder], check=True)
        try:
            print(json.dumps(asyncio.run(one_host(Path(folder), beside))))
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beside", type=int, default=1000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--inside", type=int, default=0, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.inside:
        inside(chosen.inside)
        return
    address = os.environ.get("DOCKER_PEER_HOST", "")
    peer: list[float] = []
    rounds: list[dict[str, float]] = []
    for _ in range(chosen.rounds):
        rounds.append(in_a_host(chosen.beside) | {"durable row": durable_row(chosen.folder)})
        if address:
            peer.append(docker_connect(address))
    rows = []
    for what in rounds[0]:
        values = {"ours": tuple(one[what] for one in rounds)}
        if peer and what.startswith("empty host"):
            values["peer"] = tuple(peer)
        rows.append(harness.Row(what, "ms", values))
    harness.report("attach_endpoint", rows, ours="ours", peer="peer", notes={"port": "one published TCP port each"})


if __name__ == "__main__":
    main()
