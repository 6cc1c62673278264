"""What goes into a build and what comes out: the request, its sources, the events on the way, the result. Pure values.

`service.Builder.build` takes a `Request` and a `Context` and reports `Event`s. A face turns a client's words into the
former and the latter into the client's words; neither side knows the other's protocol.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from sampan import errors
from sampan.formats.digest import Digest
from sampan.images.model import Credentials


class BuildFailed(errors.Invalid):
    """A step failed: its command, its files or its words. `exit_code` is the command's own, 1 for anything else."""

    def __init__(self, what: str, *, why: str = "", remedy: str = "", exit_code: int = 1, line: int = 0) -> None:
        super().__init__(what, why=why, remedy=remedy)
        self.exit_code = exit_code
        self.line = line


@dataclass(frozen=True, slots=True)
class Limits:
    """What the processes of RUN may use; 0 and "" mean no limit. The words of `POST /build`."""

    memory_bytes: int = 0
    memory_swap_bytes: int = 0
    shm_size_bytes: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    cgroup_parent: str = ""
    ulimits: tuple[tuple[str, int, int], ...] = ()  # name, soft, hard


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One build. `dockerfile` is the text if the client sent it apart, else None: it is read from the context.

    `build_args`: None for a name without a value (the client has it not set). `tags` are references as typed.
    `source_date_epoch` (seconds) makes times, and so the image id, the same in every build of the same input.
    `cache_from` is taken and not needed: the cache is the host's own.
    """

    dockerfile: bytes | None = None
    dockerfile_name: str = "Dockerfile"
    target: str = ""
    build_args: Mapping[str, str | None] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    no_cache: bool = False
    no_cache_stages: frozenset[str] = frozenset()  # `--no-cache-filter`
    pull: bool = False
    platform: str = ""
    limits: Limits = Limits()
    network_mode: str = ""  # "", default, host, none, a network, container:ID
    extra_hosts: tuple[str, ...] = ()  # NAME:ADDRESS
    cache_from: tuple[str, ...] = ()
    source_date_epoch: int | None = None
    hostname: str = ""
    images: Mapping[str, str] = field(default_factory=dict)  # `--build-context NAME=docker-image://…`


class Context(Protocol):
    """The files a build may use. Asked only when a step needs them, so that a face may fetch late."""

    async def directory(self, name: str) -> Path | None:
        """The folder of the main context (`""`) or of a named one; None if there is no such context.

        The build reads it, and follows no link out of it. Whoever made it removes it after the build.
        """
        ...

    def content_digest(self, status: os.stat_result) -> bytes | None:
        """The SHA-256 of a file in one of the folders if it is known without reading the file again."""
        ...


Stamp = tuple[int, int, int, int, int]  # a file as it was at one moment: device, inode, bytes, two times in ns


def stamp(status: os.stat_result) -> Stamp:
    """What changes when a file's content does."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@dataclass(frozen=True, slots=True)
class Folders:
    """A context whose files are all there: a root and named ones beside it. `contents` are SHA-256 known already."""

    root: Path | None
    extra: Mapping[str, Path] = field(default_factory=dict)
    contents: Mapping[Stamp, bytes] = field(default_factory=dict)

    async def directory(self, name: str) -> Path | None:
        """As `Context`."""
        return self.extra.get(name) if name else self.root

    def content_digest(self, status: os.stat_result) -> bytes | None:
        """As `Context`."""
        return self.contents.get(stamp(status))


class Secrets(Protocol):
    """`RUN --mount=type=secret`: the client's secrets, asked for one at a time."""

    async def get(self, secret_id: str) -> bytes | None:
        """The secret's content, None if the client has none by that id."""
        ...


class Ssh(Protocol):
    """`RUN --mount=type=ssh`: the client's agent."""

    def agent(self, agent_id: str) -> AbstractAsyncContextManager[Path | None]:
        """Inside, a Unix socket on this host that forwards to the agent; None if the client has none by that id."""
        ...


class Logins(Protocol):
    """Passwords for the registries that FROM and `COPY --from` pull from."""

    async def get(self, host: str) -> Credentials | None:
        """What the client has for the registry `host`."""
        ...


# --- events -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the plan. `index` counts from 1 over all stages that run, in the order of the file; `total` is their
    number. `digest` names the step within the build and `inputs` the steps it waits for: BuildKit's vertices."""

    index: int
    total: int
    stage: str  # its name, "" without one
    stage_index: int
    stage_position: int  # from 1, of `stage_total`; FROM is 1
    stage_total: int
    text: str  # as the file has it, continuations joined
    name: str  # for people: variables expanded
    line: int
    digest: str
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Planned:
    """All steps that will run, before the first starts. `warnings` are about the file."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class StepStarted:
    """Work on a step begins. Steps of independent stages overlap."""

    step: Step
    time_ns: int


@dataclass(frozen=True, slots=True)
class StepRunning:
    """The step's command got a container; `container_id` is gone when the step is."""

    step: Step
    container_id: str


@dataclass(frozen=True, slots=True)
class StepCached:
    """The step's result was there; `StepFinished` follows."""

    step: Step


@dataclass(frozen=True, slots=True)
class StepLog:
    """Output of the command, or progress of a pull or download, as it comes."""

    step: Step
    stream: Literal["stdout", "stderr"]
    data: bytes
    time_ns: int


@dataclass(frozen=True, slots=True)
class StepFinished:
    """`result` is a digest that names the state after the step: `sha256:…`."""

    step: Step
    result: str
    time_ns: int


@dataclass(frozen=True, slots=True)
class StepFailed:
    """The build ends with this; `build` raises the same error."""

    step: Step
    error: errors.SampanError
    exit_code: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class Warned:
    """Something people should know: an unused build argument, an old form."""

    message: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class Built:
    """The image is there (and has its tags)."""

    image_id: Digest


@dataclass(frozen=True, slots=True)
class Tagged:
    """The image has this name now, as Docker prints it."""

    image_id: Digest
    name: str


Event = Planned | StepStarted | StepRunning | StepCached | StepLog | StepFinished | StepFailed | Warned | Built | Tagged


@dataclass(frozen=True, slots=True)
class Result:
    """A finished build. `config_digest` is the image id."""

    image_id: Digest
    manifest_digest: Digest
    layers: tuple[Digest, ...]
    names: tuple[str, ...]


# --- cache ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One record of the build cache, for `system df` and `prune`."""

    key: str
    parent: str
    description: str
    size_bytes: int
    created_ns: int
    used_ns: int
    uses: int
    in_use: bool
    shared: bool  # an image has its layer too
    kind: str = "regular"
