"""RUN: the command in a container that nobody lists, its mounts, and the layer of what it wrote."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import stat
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sampan import errors
from sampan.build import workplace
from sampan.build.model import BuildFailed, Request, Secrets, Ssh
from sampan.containers import oneshot, starting
from sampan.containers.room import Room
from sampan.containers.wanted import Config, HostConfig, Mount, NetworkingConfig, Ulimit, Wanted
from sampan.formats.dockerfile_mounts import RunMount
from sampan.images import upper
from sampan.images.assembly import Assembly, Write
from sampan.images.store import Layer
from sampan.kernel import libc, mounts, paths

SCRIPT = "/dev/pipes/script"


@dataclass(frozen=True, slots=True)
class Command:
    """One RUN with its words settled. `script`: a file that becomes `SCRIPT`, executable."""

    arguments: Sequence[str]
    shown: str
    environment: Mapping[str, str]
    user: str
    directory: str
    network: str
    mounts: Sequence[RunMount]
    script: bytes | None = None


@dataclass(slots=True)
class Tools:
    """What a run needs of the build: `places` opens the folder that a mount comes from (a stage, an image, a
    context), `locks` keep users of one locked cache apart."""

    room: Room
    assembly: Assembly
    work: workplace.Workplace
    run: Path
    request: Request
    secrets: Secrets | None
    ssh: Ssh | None
    locks: dict[str, asyncio.Lock]


def with_words(mount: RunMount, *, target: str, source: str, cache_id: str, size: str) -> RunMount:
    """A mount with its words expanded."""
    return dataclasses.replace(mount, target=target, source=source, id=cache_id, size=size)


Origins = Mapping[str, int]  # open folders, by the name that `from=` gives


async def run(
    tools: Tools,
    command: Command,
    below: Sequence[Layer],
    origins: Origins,
    *,
    started: Callable[[str], None],
    output: oneshot.Output,
    clamp_s: int | None,
) -> Layer:
    """The layer. Raises `BuildFailed` if the command fails, and what a start raises."""
    lowers = await asyncio.to_thread(tools.assembly.lowers, below)
    async with (
        _mounted(tools, command, origins) as wanted,
        oneshot.prepared(tools.room, oneshot.Job(wanted, lowers)) as one,
    ):
        started(one.id)
        await _execute(one, command, output)

        def fill(write: Write) -> None:
            upper.write_layer(one.upper, write, clamp_mtime_s=clamp_s)

        return await asyncio.to_thread(tools.assembly.make, fill)


async def _execute(one: oneshot.Run, command: Command, output: oneshot.Output) -> None:
    try:
        code = await one.execute(output)
    except errors.SampanError as error:
        raise BuildFailed(str(error), exit_code=starting.exit_code_of(error)) from error
    if code:
        raise BuildFailed(f"The command '{command.shown}' returned a non-zero code: {code}", exit_code=code)


@contextlib.asynccontextmanager
async def _mounted(tools: Tools, command: Command, origins: Origins) -> AsyncIterator[Wanted]:
    """The wish with all mounts made. What was mounted for it goes at the end."""
    place = tools.run / f"run-{os.urandom(6).hex()}"
    host = _limits(tools.request, command)
    environment = dict(command.environment)
    async with contextlib.AsyncExitStack() as held:
        held.callback(_take_down, place)
        place.mkdir(mode=0o700, parents=True)
        found: list[Mount] = []
        for number, mount in enumerate(command.mounts):
            if mount.kind == "tmpfs":
                host.tmpfs = {**host.tmpfs, mount.target: f"size={mount.size}" if mount.size else ""}
                continue
            made = await _make(tools, held, mount, place / str(number), origins, environment)
            found += [made] if made else []
        if command.script is not None:
            script = place / "script"
            script.write_bytes(command.script)
            script.chmod(0o755)
            found.append(_bound(script, SCRIPT))
        host.mounts = found
        config = Config(
            env=[f"{name}={value}" for name, value in environment.items()],
            cmd=list(command.arguments),
            user=command.user,
            working_dir=command.directory,
            hostname=tools.request.hostname,
        )
        yield Wanted(config, host, NetworkingConfig())


def _limits(request: Request, command: Command) -> HostConfig:
    limits = request.limits
    network = command.network if command.network != "default" else request.network_mode
    return HostConfig(
        init=False,
        auto_remove=True,  # no exit record: who waits for the run is in this process
        network_mode=network,
        extra_hosts=list(request.extra_hosts),
        memory=limits.memory_bytes,
        memory_swap=limits.memory_swap_bytes,
        shm_size=limits.shm_size_bytes,
        cpu_shares=limits.cpu_shares,
        cpu_period=limits.cpu_period,
        cpu_quota=limits.cpu_quota,
        cpuset_cpus=limits.cpuset_cpus,
        cpuset_mems=limits.cpuset_mems,
        cgroup_parent=limits.cgroup_parent,
        ulimits=[Ulimit(name=name, soft=soft, hard=hard) for name, soft, hard in limits.ulimits],
    )


def _bound(source: Path, target: str, *, read_only: bool = True) -> Mount:
    return Mount(type="bind", source=str(source), target=target, read_only=read_only)


async def _make(
    tools: Tools,
    held: contextlib.AsyncExitStack,
    mount: RunMount,
    place: Path,
    origins: Origins,
    environment: dict[str, str],
) -> Mount | None:
    match mount.kind:
        case "bind":
            await asyncio.to_thread(_bind, mount, place, origins)
            return _bound(place / "at", mount.target, read_only=mount.read_only)
        case "cache":
            return await _cache(tools, held, mount)
        case "secret":
            return await _secret(tools, mount, place, environment)
        case _:
            return await _agent(tools, held, mount, place, environment)


def _bind(mount: RunMount, place: Path, origins: Origins) -> None:
    """A folder or file of another stage or the context. What is written to a folder goes to a layer nobody keeps."""
    place.mkdir(mode=0o700)
    source = os.fsencode(mount.source.strip("/"))
    writable = not mount.read_only
    try:
        workplace.bind_inside(origins[mount.origin], source, place / ("from" if writable else "at"), read_only=True)
    except libc.KernelError as error:
        raise BuildFailed(
            f"failed to compute cache key: {mount.source!r} of {mount.origin or 'the build context'}", why=str(error)
        ) from error
    if not writable:
        return
    if not (place / "from").is_dir():
        raise BuildFailed("a file cannot be mounted with rw", remedy="mount its folder, or leave rw out")
    for name in ("upper", "work", "at"):
        (place / name).mkdir(mode=0o755)
    mounts.overlay(place / "at", [place / "from"], upper=place / "upper", work=place / "work")


async def _cache(tools: Tools, held: contextlib.AsyncExitStack, mount: RunMount) -> Mount:
    if mount.origin:
        raise BuildFailed("a cache mount begins empty here: from= is not served", remedy="leave from= out")
    cache_id = mount.id or mount.target
    if mount.sharing != "shared":  # private ones take turns too: then each still finds what the last one left
        await held.enter_async_context(tools.locks.setdefault(cache_id, asyncio.Lock()))
    uid, gid = mount.uid, mount.gid
    folder = await asyncio.to_thread(tools.work.cache, cache_id, mode=mount.mode, uid=uid, gid=gid)
    if mount.source.strip("/"):
        place = tools.run / f"cache-{os.urandom(6).hex()}"
        held.callback(_take_down, place)
        await asyncio.to_thread(_bind_part, folder, mount.source, place)
        folder = place / "at"
    return _bound(folder, mount.target, read_only=mount.read_only)


def _bind_part(folder: Path, source: str, place: Path) -> None:
    """A folder in a cache: looked up inside it and mounted by what was found, whoever changes the cache meanwhile."""
    place.mkdir(mode=0o700)
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(paths.make_directories_in(root, os.fsencode(source)))
        workplace.bind_inside(root, os.fsencode(source), place / "at", read_only=False)
    finally:
        os.close(root)


async def _secret(tools: Tools, mount: RunMount, place: Path, environment: dict[str, str]) -> Mount | None:
    name = mount.id or mount.target.rpartition("/")[2]
    content = await tools.secrets.get(name) if tools.secrets is not None and name else None
    if content is None:
        if mount.required:
            raise BuildFailed(f"secret {name}: not found", remedy=f"give it with --secret id={name},src=FILE")
        return None
    if mount.variable:
        environment[mount.variable] = content.decode("utf-8", "surrogateescape")
        if not mount.target:
            return None
    place.touch(mode=0o600)
    place.write_bytes(content)
    os.chown(place, mount.uid, mount.gid)
    place.chmod(mount.mode if mount.mode >= 0 else 0o400)
    return _bound(place, mount.target or f"/run/secrets/{name}")


async def _agent(
    tools: Tools, held: contextlib.AsyncExitStack, mount: RunMount, place: Path, environment: dict[str, str]
) -> Mount | None:
    agent_id = mount.id or "default"
    socket = await held.enter_async_context(tools.ssh.agent(agent_id)) if tools.ssh is not None else None
    if socket is None:
        if mount.required:
            raise BuildFailed(f"ssh agent {agent_id}: not found", remedy="give it with --ssh default")
        return None
    if stat.S_ISSOCK(socket.stat().st_mode):
        os.chown(socket, mount.uid, mount.gid)
        socket.chmod(mount.mode if mount.mode >= 0 else 0o600)
    target = mount.target or f"/run/buildkit/ssh_agent.{place.name}"
    environment["SSH_AUTH_SOCK"] = target
    return _bound(socket, target, read_only=False)


def _take_down(place: Path) -> None:
    """Unmount everything below, then remove it."""
    prefix = os.fsencode(place) + b"/"
    for mount in reversed(mounts.current()):
        if mount.point.startswith(prefix):
            mounts.unmount(Path(os.fsdecode(mount.point)), detach=True)
    workplace.erase(place)
