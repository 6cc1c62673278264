"""Every command and flag of the stock client is here, under the same name, letter and kind, or a reason why not."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess

import pytest

from sampan.cli import main, table

pytestmark = pytest.mark.skipif(shutil.which("docker") is None, reason="the docker command line is not installed")

SWARM = "swarm: Sampan is one host"
NEWER = "asks for version 1.48 of the API; 1.47 is served"
# commands, whole groups among them -> why not
ABSENT_COMMANDS = {
    **dict.fromkeys(("config", "node", "secret", "service", "stack", "swarm", "volume update"), SWARM),
    "checkpoint": "experimental in docker: runc's checkpoints",
    "manifest": "experimental in docker: indexes are made by build and push",
    "plugin": "drivers are part of Sampan",
    "trust": "Notary, which Docker itself retires",
}
# (command, flag) -> why not; "" for every command
ABSENT_FLAGS = {
    **{("volume create", name): SWARM for name in ("availability", "group", "limit-bytes", "required-bytes", "scope")},
    **{
        ("volume create", name): SWARM
        for name in ("secret", "sharing", "topology-preferred", "topology-required", "type")
    },
    ("volume ls", "cluster"): SWARM,
    **{("start", name): "experimental in docker" for name in ("checkpoint", "checkpoint-dir")},
    ("images", "tree"): "experimental in docker",
    **{(name, "platform"): NEWER for name in ("history", "image inspect", "push", "rmi", "save", "load")},
    ("build", "squash"): "experimental in docker",
    ("build", "isolation"): "of Windows",
    ("build", "compress"): "the context goes over a local socket",
    ("build", "disable-content-trust"): "nothing is verified",
    **{("build", name): "steps of a build have the daemon's defaults" for name in ("security-opt", "ulimit")},
    ("", "help"): "every command has it; docker lists it where -h is taken",
}
OURS = ("completion", "daemon", "man", "system dial-stdio")


@functools.cache
def stock(path: str) -> str:
    done = subprocess.run(["docker", *path.split(), "--help"], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout


def flags_of(text: str) -> dict[str, tuple[str, str]]:
    """Name -> letter and kind."""
    options = text.partition("\nOptions:\n")[2]
    found = re.finditer(r"^ +(?:-(\w), |    )--([\w-]+)(?: (\S+))?(?:  |$)", options, re.MULTILINE)
    return {match[2]: (match[1] or "", match[3] or "bool") for match in found}


def canonical(path: str) -> str:
    """The short spelling, under which exceptions stand."""
    return min(table.spellings(path), key=lambda other: other.count(" "))


def stock_paths() -> list[str]:
    top = set(re.findall(r"^  ([a-z]+)  ", stock(""), re.MULTILINE))
    found = []
    for name in sorted(top - set(ABSENT_COMMANDS)):
        inner = re.search(r"\nCommands:\n((?:  .*\n)+)", stock(name))
        found += (
            [f"{name} {word}" for word in re.findall(r"^  ([a-z-]+)  ", inner[1], re.MULTILINE)] if inner else [name]
        )
    return [path for path in found if path not in ABSENT_COMMANDS]


def test_every_command_of_the_stock_client_is_here() -> None:
    assert [path for path in stock_paths() if path not in table.COMMANDS] == []


@pytest.mark.parametrize("path", sorted(table.COMMANDS))
def test_its_flags_have_the_same_names_letters_and_kinds(path: str) -> None:
    if path in OURS:
        pytest.skip("Sampan's own")
    theirs = flags_of(stock(path))
    reasons = {flag for command, flag in ABSENT_FLAGS if command in ("", canonical(path), path)}
    ours = {flag.name: (flag.letter, flag.kind) for flag in main.load(path).flags if not flag.hidden}
    assert {name: shape for name, shape in theirs.items() if name not in ours and name not in reasons} == {}
    assert {name: ours[name] for name in ours if name in theirs and ours[name] != theirs[name]} == {}
    assert set(ours) - set(theirs) - OWN_FLAGS.get(canonical(path), set()) == set()


# command -> flags that docker has not
LATER = ("publish", "env", "label", "mount")
OWN_FLAGS: dict[str, set[str]] = {
    "update": {f"{name}-{verb}" for name in LATER for verb in ("add", "rm")}
    | {"command", "entrypoint", "user", "workdir"},
}
