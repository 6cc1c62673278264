"""Archives: import, save, load, export, commit, diff, and `cp` of a big tree both ways, through the stock command line.

Run as root: python bench/archives.py [--rounds 3] [--files 10000] [--engines NAME,NAME]

The tree has `--files` files of 11 KiB on average, in folders of a hundred. Each figure is the time from the start of
the docker command to its end. Archives are written to a file and read from one, so that the disk's cache is the same
for all; what a round makes is removed before the next. podman's service refuses the stock client's commit. About ten
minutes.
"""

from __future__ import annotations

import argparse
import functools
import os
import random
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Collection
from pathlib import Path

import harness
import peers

AVERAGE_BYTES = 11 << 10
IMAGE, MADE, MOVED = "bench/tree:1", "bench/made:1", "bench/moved:1"
NO_COMMIT = (peers.PODMAN,)
BUSYBOX = "/bin/busybox"


def make_tree(folder: Path, files: int) -> None:
    """The same every time: sizes and contents come from a seed."""
    chance = random.Random(1)
    for number in range(files):
        directory = folder / f"d{number // 1000}" / f"e{number // 100}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"f{number}").write_bytes(chance.randbytes(chance.randrange(2 * AVERAGE_BYTES)))


def pack(tree: Path, archive: Path, marker: str) -> None:
    """A root file system: busybox and the tree. Another marker makes another layer."""
    with tarfile.open(archive, "w") as tar:
        for name in ("bin", "dev", "etc", "proc", "sys", "tmp", marker):
            made = tarfile.TarInfo(name)
            made.type, made.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(made)
        tar.add(BUSYBOX, "bin/busybox")
        tar.add(tree, "tree")


class Subject:
    """One engine, with the image, a container that has the tree in its writable layer, and a folder for archives."""

    def __init__(self, engine: peers.Engine, folder: Path, tree: Path, archive: Path) -> None:
        self.engine, self.folder, self.tree, self.other = engine, folder, tree, archive.with_name("other.tar")
        folder.mkdir()
        self.run("import", str(archive), IMAGE)
        self.run("create", "--name", "empty", IMAGE, "/bin/busybox", "true")
        self.run("create", "--name", "full", IMAGE, "/bin/busybox", "true")
        self.run("cp", str(tree), "full:/copied")

    def run(self, *words: str, into: Path | None = None) -> float:
        """Seconds of one command."""
        command = [peers.docker_cli(), "-H", self.engine.host, *words]
        target = os.open(into or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            started = time.perf_counter()
            done = subprocess.run(command, stdout=target, stderr=subprocess.PIPE, check=False)
            elapsed = time.perf_counter() - started
        finally:
            os.close(target)
        if done.returncode:
            raise SystemExit(f"{self.engine.name}: docker {' '.join(words)}: {done.stderr.decode()}")
        return elapsed

    def import_(self) -> float:
        """A tar that the engine does not have."""
        elapsed = self.run("import", "-c", "LABEL once=1", str(self.other), MOVED)
        self.run("rmi", "-f", MOVED)
        return elapsed

    def save(self) -> float:
        """To a file."""
        return self.run("save", IMAGE, into=self.folder / "saved.tar")

    def load(self) -> float:
        """From a file, into an engine that has nothing of it."""
        self.run("import", str(self.other), MOVED)
        self.run("save", MOVED, into=self.folder / "load.tar")
        self.run("rmi", "-f", MOVED)
        elapsed = self.run("load", "-i", str(self.folder / "load.tar"))
        self.run("rmi", "-f", MOVED)
        return elapsed

    def export(self) -> float:
        """To a file."""
        return self.run("export", "full", into=self.folder / "exported.tar")

    def commit(self) -> float:
        """A container whose writable layer has the tree."""
        elapsed = self.run("commit", "full", MADE)
        self.run("rmi", "-f", MADE)
        return elapsed

    def diff(self) -> float:
        """All of the tree is new."""
        return self.run("diff", "full")

    def copy_in(self) -> float:
        """Into a container that does not have it."""
        self.run("rm", "-f", "empty")
        self.run("create", "--name", "empty", IMAGE, "/bin/busybox", "true")
        return self.run("cp", str(self.tree), "empty:/copied")

    def copy_out(self) -> float:
        """Onto this side's disk."""
        target = self.folder / "out"
        shutil.rmtree(target, ignore_errors=True)
        return self.run("cp", "full:/copied", str(target))

    def stream_out(self) -> float:
        """As an archive."""
        return self.run("cp", "full:/copied", "-", into=self.folder / "stream.tar")

    def file_in(self) -> float:
        """One small file."""
        return self.run("cp", str(self.tree / "d0/e0/f0"), "full:/tmp/one")


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--engines", default="", help=f"contenders beside ours, of {', '.join(peers.available())}")
    arguments = parser.parse_args()
    names = peers.chosen(arguments.engines)
    with peers.running(names) as engines:
        base = next(iter(engines.values())).folder.parent
        tree, archive = base / "tree", base / "tree.tar"
        make_tree(tree, arguments.files)
        pack(tree, archive, "one")
        pack(tree, archive.with_name("other.tar"), "other")
        subjects = {name: Subject(engine, base / f"{name}.files", tree, archive) for name, engine in engines.items()}
        rows = measured(subjects, arguments.rounds)
        notes = {
            "files": str(arguments.files),
            "bytes": str(archive.stat().st_size),
            "command line": peers.docker_cli_version(),
        }
        print(harness.report("archives", rows, ours=peers.OURS, notes=notes))


def measured(subjects: dict[str, Subject], rounds: int) -> list[harness.Row]:
    """A row for each operation, one after the other."""
    rows: list[harness.Row] = []

    def measure(what: str, action: Callable[[Subject], float], *, without: Collection[str] = ()) -> None:
        able = {name: subject for name, subject in subjects.items() if name not in without}
        contenders = {name: functools.partial(action, subject) for name, subject in able.items()}
        rows.append(harness.in_turn(what, "s", contenders, rounds=rounds, lower_is_better=True))

    measure("save", Subject.save)
    measure("export", Subject.export)
    measure("diff", Subject.diff)
    measure("commit", Subject.commit, without=NO_COMMIT)
    measure("load", Subject.load)
    measure("cp of the tree, in", Subject.copy_in)
    measure("cp of the tree, out", Subject.copy_out)
    measure("cp of the tree, to a stream", Subject.stream_out)
    measure("cp of one file, in", Subject.file_in)
    measure("import", Subject.import_)
    return rows


if __name__ == "__main__":
    main()
