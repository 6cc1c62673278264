"""Start a container: files, mounts, networks, the runtime; all of it, or none of it.

The steps that can wait for each other's kernel work run beside each other: mounting and plugging in touch different
things. A failed step undoes the ones before it; a daemon killed between two steps finds the row in phase `starting` and
undoes by what it finds (`recovery`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path

from sampan import errors
from sampan.containers import (
    cleaning,
    facts,
    joining,
    keeping,
    labels,
    mounting,
    mountpoints,
    ports,
    rootfs,
    runtime,
    spec,
    store,
    telling,
    users,
)
from sampan.containers.layout import Paths
from sampan.containers.links import apply as links
from sampan.containers.links import plan as linking
from sampan.containers.logdrivers import options as logoptions
from sampan.containers.model import Container, Phase
from sampan.containers.room import Live, Room
from sampan.host import files
from sampan.networks.model import Attachment, Resolver
from sampan.security import confinement


async def start(room: Room, live: Live, container: Container, *, by_policy: bool = False) -> Container:
    """The caller holds the lock. Returns the running container; raises what went wrong, with nothing left behind."""
    live.stopping = False
    before = container.state
    count = before.restart_count + 1 if by_policy else 0
    began = dataclasses.replace(before, error="", oom_killed=False, restart_count=count, stopped_by_user=False)
    announced = asyncio.ensure_future(room.database.write(lambda c: store.move(c, container.id, Phase.STARTING, began)))
    try:
        started = await _perform(room, container, announced)
    except BaseException as error:
        await asyncio.shield(announced)
        await _undo(room, dataclasses.replace(container, state=began), error)
        raise
    state = dataclasses.replace(began, pid=started.pid, started_ns=started.started_ns, exit_code=0, finished_ns=0)
    container = await room.database.write(lambda c: store.move(c, container.id, Phase.RUNNING, state))
    live.started.set()
    for companion in room.companions:
        companion.begin(container, fresh=True)
    telling.joined(room, container)
    await links.follow(room, container)
    room.publish(container, "start")
    return container


async def _perform(room: Room, container: Container, announced: Awaitable[Container]) -> keeping.Started:
    """`announced`: the row says `starting`. That must be on disk before a process runs; what comes before it is swept
    at the next start in any phase."""
    place = room.paths(container.id)
    prepared = asyncio.create_task(_prepare_root(room, container, place))
    try:
        attachment, joined = await join(room, container)
    finally:
        await asyncio.wait([prepared])
    prepared.result()
    if links.has_links(container):
        await links.open_ports(room, container)
    configuration = await asyncio.to_thread(write_bundle, room, container, place, attachment, joined)
    await announced
    return await launch(room, container, place, configuration)


async def _undo(room: Room, container: Container, error: BaseException) -> None:
    code = exit_code_of(error)
    back = Phase.EXITED if container.state.started_ns else Phase.CREATED
    now_ns = room.now_ns()
    state = dataclasses.replace(container.state, pid=0, error=str(error), exit_code=code, finished_ns=now_ns)
    if back is Phase.CREATED:
        state = dataclasses.replace(state, finished_ns=0)
    await asyncio.shield(cleaning.release(room, container))
    await asyncio.shield(room.database.write(lambda c: store.move(c, container.id, back, state)))


def exit_code_of(error: BaseException) -> int:
    """Docker's code of a container that could not start: 127 no such command, 126 not executable, else 128."""
    text = str(error)
    if "executable file not found" in text or "no such file or directory" in text:
        return 127
    if "permission denied" in text:
        return 126
    return 128


async def _prepare_root(room: Room, container: Container, place: Paths) -> None:
    lowers = await room.images.lowers(container.image_id)

    def prepare() -> None:
        place.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.directory.mkdir(mode=0o710, parents=True, exist_ok=True)
        rootfs.mount(place, lowers, label=labels.of(room, container).mount)
        rootfs.check(place.rootfs)

    await asyncio.to_thread(prepare)


async def join(room: Room, container: Container) -> tuple[Attachment | None, Mapping[str, str]]:
    """Networks, and the namespaces of other containers by type."""
    host = container.wanted.host
    joined: dict[str, str] = {}
    for kind, mode in (("pid", host.pid_mode), ("ipc", host.ipc_mode), ("uts", host.uts_mode)):
        if other := joining.shared_with(mode):
            joined[kind] = f"/proc/{_running(room, other).state.pid}/ns/{kind}"
    if joining.shared_with(host.ipc_mode):
        joined["shm"] = f"/proc/{_running(room, joining.shared_with(host.ipc_mode)).state.pid}/root/dev/shm"
    if other := joining.shared_with(joining.network_mode(container.wanted)):
        joined["network"] = f"/proc/{_running(room, other).state.pid}/ns/net"
        return None, joined
    attachment = await room.networks.attach(
        container.id,
        name=container.name,
        hostname=spec.hostname(container),
        wishes=joining.network_wishes(container.wanted),
        ports=tuple(ports.wishes(container.wanted.config, host)) if host.network_mode != "host" else (),
        resolver=Resolver(tuple(host.dns), tuple(host.dns_search), tuple(host.dns_options)),
    )
    return attachment, joined


def _running(room: Room, reference: str) -> Container:
    other = room.get(reference)
    if not other.alive:
        raise errors.Conflict(
            f"cannot join namespace of a non running container: container {other.short_id} is {other.phase}",
            remedy=f"start {other.name} first",
        )
    return other


def write_bundle(
    room: Room, container: Container, place: Paths, attachment: Attachment | None, joined: Mapping[str, str]
) -> Path:
    """Everything the runtime reads. Blocking."""
    host, config = container.wanted.host, container.wanted.config
    identity = users.resolve(
        config.user,
        rootfs.read_inside(place.rootfs, "/etc/passwd"),
        rootfs.read_inside(place.rootfs, "/etc/group"),
        tuple(host.group_add),
    )
    if config.working_dir and config.working_dir != "/":
        rootfs.make_working_directory(place.rootfs, config.working_dir, identity.uid, identity.gid)
    init = facts.init_program(room.defaults.init_path) if spec.wants_init(host, by_default=room.defaults.init) else ""
    linked = links.peers(room, container, needed=True)
    bound = [*_name_files(room, container, place, attachment, linked), *mounting.bound(room, container, place)]
    if init:
        bound.append(spec.BoundPath(init, spec.INIT_INSIDE, read_only=True))
    network = joined.get("network") or (str(attachment.namespace) if attachment and attachment.namespace else None)
    settled = spec.Facts(
        rootfs=str(place.rootfs),
        network_namespace=network,
        identity=identity,
        labels=labels.of(room, container),
        linked=linking.environment(container.name, linked),
        confinement=_confine(room, container),
        cgroup_version=room.host.hierarchy.version,
        cgroup_parent=room.host.hierarchy.parent,
        bound=bound,
        scratch=[
            spec.Scratch(point.destination, point.options, point.read_only)
            for point in mountpoints.of(container)
            if point.kind == "tmpfs"
        ],
        devices=facts.devices(host.devices, all_devices=host.privileged),
        joined={kind: path for kind, path in joined.items() if kind != "network"},
        init=init,
        block=facts.block_devices(host),
        hard_limits=room.host.hard_limits,
    )
    mounting.populate(room, container, place)
    document = spec.runtime_configuration(container, settled)
    files.write_scratch(place.configuration, json.dumps(document).encode(), mode=0o600)
    return place.configuration


def _confine(room: Room, container: Container) -> confinement.Confinement:
    host = container.wanted.host
    options = list(host.security_opt)
    if room.defaults.no_new_privileges and not any(option.startswith("no-new-privileges") for option in options):
        options.append("no-new-privileges")
    default_profile = room.defaults.seccomp_profile
    if default_profile and not host.privileged and not any(option.startswith("seccomp") for option in options):
        options.append(f"seccomp={default_profile}")
    return confinement.confine(
        privileged=host.privileged,
        cap_add=host.cap_add,
        cap_drop=host.cap_drop,
        security_opt=options,
        bounding=room.host.bounding,
        machine=room.host.machine,
        masked_paths=host.masked_paths,
        readonly_paths=host.readonly_paths,
    )


def _network_owner(room: Room, container: Container) -> Container:
    """Whose network it shares; that one may share another's."""
    seen = {container.id}
    while reference := joining.shared_with(joining.network_mode(container.wanted)):
        container = room.get(reference)
        if container.id in seen:
            raise errors.Conflict("cannot join own network", why="the containers share each other's")
        seen.add(container.id)
    return container


def _name_files(
    room: Room, container: Container, place: Paths, attachment: Attachment | None, linked: Sequence[linking.Peer]
) -> list[spec.BoundPath]:
    """hostname, hosts and resolv.conf, bound into /etc. A container that shares a network shares its files."""
    host = container.wanted.host
    sources = {"hostname": place.hostname, "hosts": place.hosts, "resolv.conf": place.resolv_conf}
    if attachment is None:
        other = room.paths(_network_owner(room, container).id)
        sources = {"hostname": other.hostname, "hosts": other.hosts, "resolv.conf": other.resolv_conf}
    else:
        leading = next((endpoint for endpoint in attachment.endpoints if endpoint.gateway is not None), None)
        gateway = room.defaults.host_gateway or (str(leading.gateway) if leading else "127.0.0.1")
        hosts = joining.hosts_file(container, attachment.endpoints, host.extra_hosts, gateway)
        files.write_scratch(place.hostname, f"{spec.hostname(container)}\n".encode())
        files.write_scratch(place.hosts, linking.hosts(hosts, linked).encode())
        files.write_scratch(place.resolv_conf, attachment.resolv_conf.encode())
    labels.share(room, container, sources.values())
    read_only = host.readonly_rootfs
    return [spec.BoundPath(str(source), f"/etc/{name}", read_only) for name, source in sources.items()]


async def launch(room: Room, container: Container, place: Paths, configuration: Path) -> keeping.Started:
    config = container.wanted.config
    rows, columns = (container.wanted.host.console_size or [0, 0])[:2]
    place.runtime_log.unlink(missing_ok=True)
    program = room.runtime(container)
    arguments = program.run(
        container.id,
        bundle=configuration.parent,
        pid_file=place.pid_file,
        log=place.runtime_log,
        terminal=config.tty,
    )
    launch = functools.partial(
        room.keeper.run,
        container.id,
        arguments,
        pid_file=place.pid_file,
        log_dir=place.directory,
        runtime_log=place.runtime_log,
        terminal=config.tty,
        open_stdin=config.open_stdin,
        stdin_once=config.stdin_once,
        rows=rows,
        cols=columns,
        record=not container.wanted.host.auto_remove,  # a removed container has no exit code: spare two flushes
        log=log_limits(room, container),
    )
    try:
        return await launch()
    except keeping.RuntimeFailed as error:
        raise runtime.explain(error.stderr, error.runtime_log) from error


def log_limits(room: Room, container: Container) -> keeping.LogLimits:
    """How much log is kept: `--log-opt max-size/max-file`, else the daemon's defaults."""
    wanted = container.wanted.host.log_config
    if wanted.type == "none":
        return keeping.LogLimits(kind="none")
    default = logoptions.Files(room.defaults.log_max_size_bytes, room.defaults.log_max_files)
    kept = logoptions.files(wanted, default)
    return keeping.LogLimits(max_size_bytes=kept.max_size_bytes, max_files=kept.max_files)
