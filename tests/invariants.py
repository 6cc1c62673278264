"""What must hold whenever a daemon is up and nobody asks it for anything: rows, files and kernel tell the same story.

    python invariants.py DATA_ROOT RUN_ROOT [--patience SECONDS]

A program for the daemon's own namespaces, of the standard library only: it reads mountinfo, links, the firewall table,
control groups and files, and the database read-only, and prints a JSON list with a sentence for every contradiction.
It looks again until there is none or the patience is over: an exit may be on its way.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ALIVE = ("running", "paused")
BERTH = "sampan berth"  # pairs that a living daemon keeps ready for the next containers
MOST_BERTHS = 2
CGROUPS = Path("/sys/fs/cgroup")
HOSTLESS = ("host", "null")


class Facts:
    """Everything read once."""

    def __init__(self, data: Path, run: Path) -> None:
        self.data, self.run = data, run
        self.tables = _tables(data / "state.db")
        self.mounts = _mounts((str(data), str(run)))
        self.links = json.loads(_output("ip", "-j", "link"))
        self.elements = _elements()
        self.groups = _groups()
        self.held = _held(run / "keeper.sock")
        self.containers = {row["id"]: row for row in self.tables["container"]}
        for row in self.containers.values():
            row["state"], row["wanted"] = json.loads(row["state"]), json.loads(row["wanted"])
        self.alive = {row["id"]: row for row in self.containers.values() if row["phase"] in ALIVE}


def violations(data: Path, run: Path, verified: dict[str, tuple[int, int]]) -> list[str]:
    """A sentence for every contradiction. `verified` remembers files whose digest was computed."""
    facts = Facts(data, run)
    checks = (processes, folders, mounts, links, firewall, groups, keeper, volumes, images, registry)
    found = [f"{check.__name__}: {line}" for check in checks for line in check(facts)]
    return [*found, *(f"blobs: {line}" for line in blobs(facts, verified))]


def processes(facts: Facts) -> Iterator[str]:
    """Running rows have a living process that the keeper is the parent of; others have no pid."""
    for row in facts.containers.values():
        name, phase, pid = row["name"], row["phase"], row["state"].get("pid", 0)
        if phase in ("starting", "removing"):
            yield f"{name} is still {phase}"
        if phase not in ALIVE:
            if pid:
                yield f"{name} is {phase} and has pid {pid}"
            continue
        status = _status(pid)
        if status is None:
            yield f"{name} is {phase}, its process {pid} is gone"
        elif (phase == "paused") != _frozen(row["id"]):
            yield f"{name} is {phase}; frozen: {_frozen(row['id'])}"
        elif status["State"][0] == "Z":
            yield f"{name} is {phase}, its process {pid} is a zombie"
        elif "keeper" not in _command_line(int(status["PPid"])):
            yield f"{name}'s process {pid} is the child of {status['PPid']}, which is not the keeper"


def folders(facts: Facts) -> Iterator[str]:
    """No directory without a row, no runtime record without a process."""
    yield from _strays("data/containers", facts.data / "containers", set(facts.containers))
    yield from _strays("run/runtime", facts.run / "runtime", set(facts.alive), exact=True)
    yield from _strays("run/netns", facts.run / "netns", _with_namespace(facts), exact=True)
    yield from _strays("run/containers", facts.run / "containers", set(facts.containers))
    for path in (facts.data / "layers").rglob(".tmp-*"):
        yield f"temporary {path} is left"
    ingest = facts.data / "content" / "ingest"
    yield from (f"{entry} is left" for entry in (ingest.iterdir() if ingest.exists() else ()))
    yield from (f"{entry} is left" for entry in facts.data.glob(".tmp-*"))
    yield from (f"{entry} is left" for entry in (facts.data / "content").glob(".tmp-*"))


def mounts(facts: Facts) -> Iterator[str]:
    """The mounts are the layers in use, and a root and a namespace for each running container; each once."""
    wanted = {str(facts.run / "containers" / one / "rootfs") for one in facts.alive}
    wanted |= {str(facts.run / "netns" / one) for one in _with_namespace(facts)}
    known = {row["diff_id"].partition(":")[2] for row in facts.tables["layer"]}
    for point in sorted(set(facts.mounts)):
        if facts.mounts.count(point) > 1:
            yield f"{point} is mounted {facts.mounts.count(point)} times"
        layer = Path(point).parent == facts.run / "layers"
        if layer and Path(point).name not in known:
            yield f"layer {point} is mounted and no image has it"
        elif not layer and point not in wanted:
            yield f"{point} is mounted and nobody uses it"
    yield from (f"{point} is not mounted" for point in sorted(wanted - set(facts.mounts)))


def links(facts: Facts) -> Iterator[str]:
    """Bridges are those of the networks, pairs those of the endpoints, and plugged into the right bridge."""
    networks = {row["id"]: row for row in facts.tables["network"]}
    bridges = {row["interface"]: row for row in networks.values() if row["interface"] and row["driver"] == "bridge"}
    found = {link["ifname"]: link for link in facts.links}
    ends = {row["interface"]: row for row in facts.tables["endpoint"] if row["interface"]}
    unknown = [link for name, link in found.items() if name != "lo" and name not in bridges and name not in ends]
    berths = [link for link in unknown if link.get("ifalias") == BERTH]
    if len(berths) > MOST_BERTHS:
        yield f"{len(berths)} berths are kept ready, more than {MOST_BERTHS}"
    for link in unknown:
        if link not in berths:
            yield f"link {link['ifname']} ({link.get('ifalias', '')}) belongs to nobody"
    for name in bridges:
        if name not in found:
            yield f"bridge {name} is missing"
    for name, row in ends.items():
        if name not in found:
            yield f"host end {name} of {row['container_id'][:12]} is missing"
        elif found[name].get("master") != networks[row["network_id"]]["interface"]:
            yield f"{name} is plugged into {found[name].get('master')}"
    for row in facts.tables["endpoint"]:
        if row["container_id"] not in facts.alive:
            yield f"endpoint {row['interface']} is of {row['container_id'][:12]}, which does not run"


def firewall(facts: Facts) -> Iterator[str]:
    """The table's elements are the networks and the published ports."""
    networks = [row for row in facts.tables["network"] if row["driver"] == "bridge"]
    endpoints = {row["id"]: row for row in facts.tables["endpoint"]}
    singles, with_address = set(), set()
    for row in facts.tables["published_port"]:
        address = endpoints[row["endpoint_id"]]["address"].partition("/")[0]
        value = f"{address} {row['container_port']}"
        if row["host_address"] == "0.0.0.0":
            singles.add(f"{row['protocol']} {row['host_port']} {value}")
        else:
            with_address.add(f"{row['host_address']} {row['protocol']} {row['host_port']} {value}")
    names = {row["interface"] for row in networks}
    wanted = {
        "bridges": names,
        "home_bridge": {f"{name} {name}" for name in names},
        "home": {f"{row['subnet']} {row['interface']}" for row in networks},
        "pub": singles,
        "pub_ip": with_address,
    }
    for name, members in wanted.items():
        present = facts.elements.get(name, set())
        yield from (f"{name} has {one} and no row" for one in sorted(present - members))
        yield from (f"{name} lacks {one}" for one in sorted(members - present))


def groups(facts: Facts) -> Iterator[str]:
    """A control group in every hierarchy for each running container, no other."""
    for name in sorted({name for names in facts.groups.values() for name in names}):
        if name not in facts.alive:
            yield f"{name[:12]} has a control group and does not run"
    for path, names in facts.groups.items():
        for name in set(facts.alive) - names:
            if "unified" not in path and "systemd" not in path:
                yield f"{name[:12]} runs without a control group in {path}"


def keeper(facts: Facts) -> Iterator[str]:
    """The keeper holds the running ones, and no others."""
    for item in facts.held:
        if item["exec"]:
            continue
        if item["container"] not in facts.containers:
            yield f"it holds {item['container'][:12]} ({item['state']}), which has no row"
        elif item["container"] not in facts.alive:
            yield f"it holds {item['container'][:12]} ({item['state']}), which does not run"
    holds = {item["container"] for item in facts.held if item["state"] == "running" and not item["exec"]}
    yield from (f"it does not hold {one[:12]}, which runs" for one in set(facts.alive) - holds)


def volumes(facts: Facts) -> Iterator[str]:
    """No directory without a row; users exist."""
    yield from _strays("data/volumes", facts.data / "volumes", {row["name"] for row in facts.tables["volume"]})
    for row in facts.tables["volume_use"]:
        if row["container_id"] not in facts.containers:
            yield f"volume {row['volume']} is used by {row['container_id'][:12]}, which has no row"


def images(facts: Facts) -> Iterator[str]:
    """Every layer of every image is there and whole; no layer is there without an image."""
    rows = {row["diff_id"] for row in facts.tables["layer"]}
    ids = {row["id"] for row in facts.tables["image"]}
    used = {row["diff_id"] for row in facts.tables["image_layer"]}
    yield from (f"layer row {one} belongs to no image" for one in sorted(rows - used))
    yield from (f"image {one} has no layers" for one in ids - {row["image_id"] for row in facts.tables["image_layer"]})
    for row in facts.containers.values():
        if row["image_id"] not in ids:
            yield f"container {row['name']} lacks its image {row['image_id'][:19]}"
    for driver, suffix in (("erofs", ".erofs"), ("overlay2", "")):
        folder = facts.data / "layers" / driver
        present = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
        mine = {row["diff_id"].partition(":")[2] for row in facts.tables["layer"] if row["driver"] == driver}
        wanted = {one + suffix for one in mine} | {f"{one}.facts" for one in mine}
        yield from (f"{driver} layer file {one} has no row" for one in sorted(present - wanted))
        yield from (f"{driver} layer file {one} is missing" for one in sorted(wanted - present))


def registry(facts: Facts) -> Iterator[str]:
    """Every tag has its manifest, every manifest its blobs."""
    blobs_known = {row["digest"] for row in facts.tables["blob"]}
    shown = {(row["repository"], row["digest"]) for row in facts.tables["repository_blob"]}
    manifests = {(row["repository"], row["digest"]) for row in facts.tables["repository_manifest"]}
    for row in facts.tables["repository_tag"]:
        if (row["repository"], row["digest"]) not in manifests:
            yield f"tag {row['repository']}:{row['name']} has no manifest"
    for name, digest in sorted(shown):
        if digest not in blobs_known:
            yield f"{name} shows blob {digest}, which does not exist"
    for name, digest in sorted(manifests):
        if digest not in blobs_known:
            yield f"manifest {name}@{digest} does not exist"
            continue
        document = json.loads(_blob(facts, digest).read_bytes())
        for part in (document.get("config"), *document.get("layers", ())):
            if part and (name, part["digest"]) not in shown:
                yield f"manifest {name}@{digest} lacks {part['digest']}"
    uploads = {entry.name for entry in (facts.data / "content" / "uploads").iterdir()}
    rows = {row["id"] for row in facts.tables["upload"]}
    yield from (f"upload {one} is a file without a row" for one in uploads - rows)


def blobs(facts: Facts, verified: dict[str, tuple[int, int]]) -> Iterator[str]:
    """A file of the right content for each row, a row for each file; what is held exists."""
    rows = {row["digest"]: row["size_bytes"] for row in facts.tables["blob"]}
    for row in facts.tables["blob_hold"]:
        if row["digest"] not in rows:
            yield f"{row['holder']} holds {row['digest']}, which does not exist"
    for algorithm in (facts.data / "content" / "blobs").iterdir():
        for entry in algorithm.iterdir():
            if f"{algorithm.name}:{entry.name}" not in rows:
                yield f"{entry} has no row"
    for digest, size_bytes in rows.items():
        try:
            status = _blob(facts, digest).stat()
            if status.st_size != size_bytes:
                yield f"{digest} has {status.st_size} bytes, its row says {size_bytes}"
            if verified.get(digest) != (status.st_ino, status.st_mtime_ns):
                if hashlib.new(digest.partition(":")[0], _blob(facts, digest).read_bytes()).hexdigest() not in digest:
                    yield f"{digest} is damaged"
                verified[digest] = (status.st_ino, status.st_mtime_ns)
        except FileNotFoundError:
            yield f"{digest} has no file"


# --- reading


def _tables(path: Path) -> dict[str, list[dict[str, Any]]]:
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    database.row_factory = sqlite3.Row
    try:
        database.execute("BEGIN")
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: [dict(row) for row in database.execute(f"SELECT * FROM {name}")] for name in names}
    finally:
        database.close()


def _mounts(below: tuple[str, ...]) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4] for line in lines]
    return [point for point in points if any(point.startswith(f"{folder}/") for folder in below)]


def _elements() -> dict[str, set[str]]:
    table = json.loads(_output("nft", "-j", "list", "table", "ip", "sampan"))["nftables"]
    found = {}
    for item in table:
        for kind in ("set", "map"):
            if kind in item:
                found[item[kind]["name"]] = {_flat(element) for element in item[kind].get("elem", [])}
    return found


def _flat(element: Any) -> str:
    if isinstance(element, list):
        return " ".join(_flat(part) for part in element)
    if not isinstance(element, dict):
        return str(element)
    if "prefix" in element:
        return f"{element['prefix']['addr']}/{element['prefix']['len']}"
    return " ".join(_flat(part) for part in element["concat"])


def _groups() -> dict[str, set[str]]:
    found = {}
    for parent in [*CGROUPS.glob("sampan*"), *CGROUPS.glob("*/sampan*")]:
        if parent.is_dir() and not parent.parent.is_symlink():
            found[str(parent)] = {entry.name for entry in parent.iterdir() if entry.is_dir()}
    return found


def _held(path: Path) -> list[dict[str, Any]]:
    """What the keeper tells of itself."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        connection.send(b'{"id": 1, "do": "hello"}')
        found: list[dict[str, Any]] = []
        while True:
            reply = json.loads(connection.recv(1 << 20))
            if reply.get("id") == 1:
                found += reply["ok"]["processes"]
                if not reply["ok"]["more"]:
                    return found


def _with_namespace(facts: Facts) -> set[str]:
    """Running containers with a network namespace of their own."""
    modes = {one: row["wanted"]["host"].get("NetworkMode", "") for one, row in facts.alive.items()}
    return {one for one, mode in modes.items() if mode != "host" and not mode.startswith("container:")}


def _frozen(container: str) -> bool:
    files = dict.fromkeys(CGROUPS.glob(f"freezer/sampan*/{container}/freezer.state"), "THAWED")
    files |= dict.fromkeys(CGROUPS.glob(f"sampan*/{container}/cgroup.freeze"), "0")
    return any(file.read_text().strip() != thawed for file, thawed in files.items())


def _strays(what: str, folder: Path, wanted: set[str], *, exact: bool = False) -> Iterator[str]:
    present = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    yield from (f"{what}/{one} belongs to nobody" for one in sorted(present - wanted))
    if exact:
        yield from (f"{what}/{one} is missing" for one in sorted(wanted - present))


def _status(pid: int) -> dict[str, str] | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _blob(facts: Facts, digest: str) -> Path:
    assert re.fullmatch(r"sha(256|512):[0-9a-f]+", digest)
    return facts.data / "content" / "blobs" / digest.replace(":", "/")


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main(arguments: list[str]) -> None:
    """Print what is wrong when the patience is over."""
    data, run = Path(os.path.realpath(arguments[0])), Path(os.path.realpath(arguments[1]))
    patience_s = float(arguments[3]) if arguments[2:3] == ["--patience"] else 5.0
    deadline = time.monotonic() + patience_s
    verified: dict[str, tuple[int, int]] = {}
    while True:
        try:
            found = violations(data, run, verified)
        except (FileNotFoundError, ProcessLookupError) as error:
            found = [f"something went away while it was read: {error}"]
        if not found or time.monotonic() > deadline:
            print(json.dumps(found))
            return
        time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1:])
