"""The OCI runtime configuration of a container. Pure: what the host is like comes in as `Facts`.

Source: OCI runtime-spec 1.0, config.md and config-linux.md; defaults as dockerd sets them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.containers import resources
from sampan.containers.model import Container
from sampan.containers.users import Identity
from sampan.containers.wanted import HostConfig
from sampan.security.confinement import Confinement
from sampan.security.selinux import Labels

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHM_BYTES = 64 << 20
INIT_INSIDE = "/sbin/docker-init"  # as in dockerd: people look for it in ps


NO_LABELS = Labels("", "")


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """A host device as stat(2) saw it. `kind` is "c" or "b"."""

    path: str
    kind: str
    major: int
    minor: int
    mode: int = 0o666
    uid: int = 0
    gid: int = 0
    access: str = "rwm"


@dataclass(frozen=True, slots=True)
class BoundPath:
    """A host path that is mounted into the container."""

    source: str
    destination: str
    read_only: bool = False
    propagation: str = "rprivate"
    recursive: bool = True  # what is mounted below the source comes along
    flat_read_only: bool = False  # what is mounted below stays as it is


@dataclass(frozen=True, slots=True)
class Scratch:
    """A tmpfs of the container. `options` are comma-separated words of mount(8)."""

    destination: str
    options: str = ""
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What the host and the earlier steps of a start have settled."""

    rootfs: str
    network_namespace: str | None  # None: the host's
    identity: Identity
    confinement: Confinement
    cgroup_version: int
    cgroup_parent: str
    labels: Labels = NO_LABELS
    linked: Sequence[str] = ()  # variables that tell of linked containers
    bound: Sequence[BoundPath] = ()
    scratch: Sequence[Scratch] = ()
    devices: Sequence[DeviceNode] = ()
    joined: Mapping[str, str] | None = None  # namespace type -> path, for `--pid container:x` and the like
    init: str = ""  # the program in front of the command, "" for none
    block: Mapping[str, tuple[int, int]] | None = None  # block device -> major and minor number
    hard_limits: Mapping[str, int] | None = None  # RLIMIT_* -> this host's own hard limit; more cannot be given


def runtime_configuration(container: Container, facts: Facts) -> dict[str, Any]:
    """The content of `config.json` in the bundle."""
    config, host = container.wanted.config, container.wanted.host
    return {
        "ociVersion": "1.0.2",
        "process": process(container, facts),
        "root": {"path": facts.rootfs, "readonly": host.readonly_rootfs},
        **({"hostname": hostname(container)} if host.uts_mode != "host" else {}),
        **({"domainname": config.domainname} if config.domainname and host.uts_mode != "host" else {}),
        "mounts": _mounts(container, facts),
        "annotations": dict(host.annotations),
        "linux": _linux(container, facts),
    }


def process(container: Container, facts: Facts) -> dict[str, Any]:
    """The first process."""
    config = container.wanted.config
    rows, columns = (container.wanted.host.console_size or [0, 0])[:2]
    result: dict[str, Any] = {
        "terminal": config.tty,
        "user": user(facts.identity),
        "args": [*((INIT_INSIDE, "--") if facts.init else ()), *container.entrypoint_and_command],
        "env": environment(container, facts.identity, facts.linked),
        "cwd": config.working_dir or "/",
        "capabilities": _capabilities(facts),
        "noNewPrivileges": facts.confinement.no_new_privileges,
        **({"selinuxLabel": facts.labels.process} if facts.labels.process else {}),
        "rlimits": _limits(container, facts.hard_limits or {}),
    }
    if config.tty and rows and columns:
        result["consoleSize"] = {"height": rows, "width": columns}
    if container.wanted.host.oom_score_adj:
        result["oomScoreAdj"] = container.wanted.host.oom_score_adj
    return result


def wants_init(host: HostConfig, *, by_default: bool) -> bool:
    """A container in another's process namespace never gets one: its first process is not the namespace's."""
    return (by_default if host.init is None else host.init) and not host.pid_mode


def hostname(container: Container) -> str:
    """As given, or the short id."""
    return container.wanted.config.hostname or container.short_id


def environment(container: Container, identity: Identity, linked: Sequence[str] = ()) -> list[str]:
    """Defaults first, so that what the image and the user say wins."""
    config = container.wanted.config
    merged = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname(container)}
    if config.tty:
        merged["TERM"] = "xterm"
    for item in (*linked, *config.env):
        name, equals, value = item.partition("=")
        if equals:
            merged[name] = value
        else:  # `-e NAME` of a name the client did not have: it is taken away
            merged.pop(name, None)
    merged.setdefault("HOME", identity.home)
    return [f"{name}={value}" for name, value in merged.items()]


def user(identity: Identity) -> dict[str, Any]:
    """Who a process is."""
    umask = 0o022  # said, because else it is that of whoever started the keeper
    return {"uid": identity.uid, "gid": identity.gid, "umask": umask, "additionalGids": list(identity.groups)}


def _capabilities(facts: Facts) -> dict[str, list[str]]:
    names = [f"CAP_{name}" for name in sorted(facts.confinement.capabilities)]
    held = names if facts.identity.uid == 0 else []  # another user gains them only through files, as without Sampan
    return {"bounding": names, "effective": held, "permitted": held, "inheritable": [], "ambient": []}


def _limits(container: Container, hard_limits: Mapping[str, int]) -> list[dict[str, Any]]:
    limits = []
    for limit in container.wanted.host.ulimits:
        name = f"RLIMIT_{limit.name.upper()}"
        most = hard_limits.get(name, -1)
        hard = limit.hard if most < 0 or 0 <= limit.hard <= most else most
        soft = limit.soft if hard < 0 or 0 <= limit.soft <= hard else hard
        limits.append({"type": name, "hard": hard % 2**64, "soft": soft % 2**64})
    return limits


def _mounts(container: Container, facts: Facts) -> list[dict[str, Any]]:
    host = container.wanted.host
    privileged = facts.confinement.all_devices
    shm_bytes = host.shm_size or DEFAULT_SHM_BYTES
    system = "rw" if privileged else "ro"
    quiet = ["nosuid", "noexec", "nodev"]
    mounts = [
        _mount("/proc", "proc", "proc", quiet),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount(
            "/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
        ),
        _mount("/sys", "sysfs", "sysfs", [*quiet, system]),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", [system, *quiet]),
        _mount("/dev/mqueue", "mqueue", "mqueue", quiet),
    ]
    joined = facts.joined or {}
    if host.ipc_mode == "host" or "ipc" in joined:
        source = joined.get("shm", "/dev/shm")
        mounts.append(_mount("/dev/shm", "bind", source, ["rbind", "rprivate", *quiet]))
    else:
        mounts.append(_mount("/dev/shm", "tmpfs", "shm", [*quiet, "mode=1777", f"size={shm_bytes}"]))
        mounts = [
            m if m["destination"] != "/sys" else _mount("/sys", "bind", "/sys", ["rbind", "rslave", system])
            for m in mounts
        ]
        mounts = [m for m in mounts if m["destination"] != "/sys/fs/cgroup"] if privileged else mounts
    hidden = {point.destination for point in facts.bound} | {point.destination for point in facts.scratch}
    mounts = [mount for mount in mounts if mount["destination"] not in hidden]
    extra = [_bound(point) for point in facts.bound] + [_scratch(point) for point in facts.scratch]
    return mounts + sorted(extra, key=lambda mount: mount["destination"].count("/"))


def _mount(destination: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": options}


def _bound(point: BoundPath) -> dict[str, Any]:
    # Source: runc 1.1, crun: `rro` makes the whole tree read-only, `ro` only its top.
    writing = "rw" if not point.read_only else "ro" if point.flat_read_only or not point.recursive else "rro"
    options = ["rbind" if point.recursive else "bind", writing, point.propagation or "rprivate"]
    return _mount(point.destination, "bind", point.source, options)


def _scratch(point: Scratch) -> dict[str, Any]:
    words = [word for word in point.options.split(",") if word]
    defaults = [word for word in ("noexec", "nosuid", "nodev") if word.removeprefix("no") not in words]
    return _mount(point.destination, "tmpfs", "tmpfs", [*defaults, *(["ro"] if point.read_only else []), *words])


def _linux(container: Container, facts: Facts) -> dict[str, Any]:
    host, confinement = container.wanted.host, facts.confinement
    limits = resources.limits(host, facts.devices, all_devices=confinement.all_devices, block=facts.block or {})
    result: dict[str, Any] = {
        "cgroupsPath": _cgroup(container, facts),
        "namespaces": _namespaces(container, facts),
        "maskedPaths": list(confinement.masked_paths),
        "readonlyPaths": list(confinement.readonly_paths),
        "resources": limits,
        "devices": [_device(node) for node in facts.devices],
        "sysctl": dict(host.sysctls),
        **({"mountLabel": facts.labels.mount} if facts.labels.mount else {}),
    }
    if confinement.seccomp is not None:
        result["seccomp"] = confinement.seccomp
    shared = [
        point.propagation for point in facts.bound if "shared" in point.propagation or "slave" in point.propagation
    ]
    if shared:
        result["rootfsPropagation"] = "shared" if any("shared" in word for word in shared) else "slave"
    return result


def _cgroup(container: Container, facts: Facts) -> str:
    name = container.cgroup
    return name if name.startswith("/") else f"/{facts.cgroup_parent}/{name}"


def _namespaces(container: Container, facts: Facts) -> list[dict[str, str]]:
    host = container.wanted.host
    joined = facts.joined or {}
    result = [{"type": "mount"}]
    for kind, mode in (("pid", host.pid_mode), ("ipc", host.ipc_mode), ("uts", host.uts_mode)):
        if kind in joined:
            result.append({"type": kind, "path": joined[kind]})
        elif mode != "host":
            result.append({"type": kind})
    if facts.network_namespace is not None:
        result.append({"type": "network", "path": facts.network_namespace})
    if host.cgroupns_mode == "private" or (not host.cgroupns_mode and facts.cgroup_version == 2):
        result.append({"type": "cgroup"})
    return result


def _device(node: DeviceNode) -> dict[str, Any]:
    return {
        "path": node.path,
        "type": node.kind,
        "major": node.major,
        "minor": node.minor,
        "fileMode": node.mode,
        "uid": node.uid,
        "gid": node.gid,
    }
