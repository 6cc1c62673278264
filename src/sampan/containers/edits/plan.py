"""What an edit makes of a container: its new wish, what changes live, what holds from the next start on. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

import msgspec

from sampan import errors
from sampan.containers import joining, merging, mountpoints, ports, resources
from sampan.containers.edits.wish import Edit
from sampan.containers.model import Container
from sampan.containers.mountpoints import MountPoint
from sampan.containers.wanted import Config, HostConfig, PortBinding, Wanted
from sampan.networks.model import ANY, PortWish, PublishedPort

# What dockerd's `update` takes; everything else of a HostConfig in its body is ignored.
# Source: moby/moby container.UpdateContainer.
LIMITS = (
    *("blkio_weight", "cpu_shares", "nano_cpus", "cpu_period", "cpu_quota", "cpuset_cpus", "cpuset_mems"),
    *("memory", "memory_swap", "memory_reservation", "pids_limit"),
    *("blkio_weight_device", "blkio_device_read_bps", "blkio_device_write_bps"),
    *("blkio_device_read_iops", "blkio_device_write_iops"),
)
_REMOVAL = re.compile(r"(?:(?P<address>[0-9.]+):)?(?P<port>[0-9]{1,5})(?::[0-9]+)?(?:/(?P<protocol>tcp|udp|sctp))?")


class EditInvalid(errors.Invalid):
    """An edit that cannot be meant: of a port, a mount or a variable that is not there, or of a wrong form."""


@dataclass(frozen=True, slots=True)
class Removal:
    """One published port to be taken back."""

    protocol: str
    host_address: IPv4Address
    host_port: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done. `next_start` are the parts that hold from then on, in the words of the answer."""

    wanted: Wanted
    warnings: tuple[str, ...] = ()
    limits: bool = False
    ports_remove: tuple[Removal, ...] = ()
    ports_add: tuple[PortWish, ...] = ()
    volumes: tuple[MountPoint, ...] = ()  # named by the new wish and not by the former
    next_start: tuple[str, ...] = ()

    @property
    def ports(self) -> bool:
        """Whether published ports change."""
        return bool(self.ports_remove or self.ports_add)


def plan(
    container: Container,
    host: HostConfig,
    edit: Edit,
    *,
    published: Sequence[PublishedPort],
    cpus: int,
    new_name: Callable[[], str],
) -> Plan:
    """`host` brings new limits and policy, `published` is what the container has now. Raises kinds of `Invalid`."""
    config, former = container.wanted.config, container.wanted.host
    changed = {name: getattr(host, name) for name in LIMITS if getattr(host, name) != getattr(HostConfig(), name)}
    if host.restart_policy.name:
        changed["restart_policy"] = host.restart_policy
    limits = any(name in LIMITS for name in changed)
    bindings, removed = _take_ports(former.port_bindings, edit.publish_remove, published, former.publish_all_ports)
    bindings = _add_ports(bindings, edit.publish_add)
    kept = _without_mounts(former, edit.mount_remove)
    merged = msgspec.structs.replace(
        former, **changed, port_bindings=bindings, **{**kept, "mounts": [*kept["mounts"], *edit.mount_add]}
    )
    if edit.mount_add:
        merged = _settled(merged, new_name)
    edited = _config(config, edit)
    wanted = Wanted(edited, merged, container.wanted.networking)
    warnings = merging.check(wanted, cpus=cpus) if edit != Edit() else resources.check(merged, cpus=cpus)
    merging.check_policy(merged)
    joining.check(wanted)
    added = tuple(ports.wishes(Config(), HostConfig(port_bindings=edit.publish_add)))
    before = {point.source for point in mountpoints.of(container) if point.kind == "volume"}
    points = mountpoints.collect(merged, (), new_name)
    return Plan(
        wanted,
        warnings=tuple(warnings),
        limits=limits,
        ports_remove=removed,
        ports_add=added,
        volumes=tuple(point for point in points if point.kind == "volume" and point.source not in before),
        next_start=_next_start(edit) if container.alive else (),
    )


def _next_start(edit: Edit) -> tuple[str, ...]:
    parts = {
        "environment": edit.env_add or edit.env_remove,
        "mounts": edit.mount_add or edit.mount_remove,
        "command": edit.cmd is not None or edit.entrypoint is not None,
        "working directory": edit.working_dir is not None,
        "user": edit.user is not None,
    }
    return tuple(name for name, asked in parts.items() if asked)


def _config(config: Config, edit: Edit) -> Config:
    labels = {**config.labels, **edit.label_add}
    for name in edit.label_remove:
        if labels.pop(name, None) is None:
            raise EditInvalid(f"no label {name!r} to remove")
    exposed = {**config.exposed_ports, **{port: {} for port in edit.publish_add}}
    found = {
        "cmd": edit.cmd,
        "entrypoint": edit.entrypoint,
        "working_dir": edit.working_dir,
        "user": edit.user,
    }
    given = {name: value for name, value in found.items() if value is not None}
    env = _environment(config.env, edit)
    return msgspec.structs.replace(config, env=env, labels=labels, exposed_ports=exposed, **given)


def _environment(present: Sequence[str], edit: Edit) -> list[str]:
    def name_of(item: str) -> str:
        return item.partition("=")[0]

    for item in edit.env_add:
        if "=" not in item or item.startswith("="):
            raise EditInvalid(f"invalid environment variable: {item!r}", remedy="write NAME=VALUE")
    names = {name_of(item) for item in present}
    for name in edit.env_remove:
        if name not in names:
            raise EditInvalid(f"no environment variable {name!r} to remove")
    new = {name_of(item): item for item in edit.env_add}
    kept = [new.pop(name_of(item), item) for item in present if name_of(item) not in edit.env_remove]
    return [*kept, *new.values()]


# --- ports


def _take_ports(
    bindings: Mapping[str, list[PortBinding]],
    removals: Iterable[str],
    published: Sequence[PublishedPort],
    publish_all: bool,
) -> tuple[dict[str, list[PortBinding]], tuple[Removal, ...]]:
    """The bindings without those named, and what is to be taken from the kernel."""
    rest = {key: list(hosts) for key, hosts in bindings.items()}
    taken: list[Removal] = []
    for text in removals:
        match = _REMOVAL.fullmatch(text)
        if match is None or not 1 <= int(match["port"]) <= 65535:
            raise EditInvalid(f"invalid published port: {text!r}", remedy="write [ADDRESS:]HOSTPORT[/PROTOCOL]")
        live = [(one, port) for one, port in _single(published) if _is_meant(match, one)]
        found = [_drop(rest, one.protocol, port, one.host_port) for one, port in live] or [_drop_stored(rest, match)]
        if not all(found):
            why = "it is published by -P" if publish_all and live else ""
            raise EditInvalid(f"port {text} is not published", why=why, remedy="see the ports by: port NAME")
        taken += [one for one, _ in live]
    return {key: hosts for key, hosts in rest.items() if hosts or not bindings[key]}, tuple(taken)


def _single(published: Iterable[PublishedPort]) -> Iterable[tuple[Removal, int]]:
    """Every host port alone, with its container's port."""
    for entry in published:
        for step in range(entry.count):
            yield (
                Removal(entry.protocol, entry.host_address, entry.host_port + step),
                entry.container_port + step,
            )


def _is_meant(match: re.Match[str], one: Removal) -> bool:
    return (
        one.host_port == int(match["port"])
        and one.protocol == (match["protocol"] or "tcp")
        and (match["address"] is None or str(one.host_address) == match["address"])
    )


def _drop(rest: dict[str, list[PortBinding]], protocol: str, container_port: int, host_port: int) -> bool:
    """Take the binding that gave this host port: the one that names it, else one that leaves the choice."""
    for key, hosts in rest.items():
        first, _, spoken = ports.parse_port(key)
        if (first, spoken) != (container_port, protocol):
            continue
        named = [one for one in hosts if _covers(one.host_port, host_port)]
        chosen = next(iter(sorted(named, key=lambda one: "-" in one.host_port)), None)
        chosen = chosen or next((one for one in hosts if not one.host_port), None)
        if chosen is not None:
            hosts.remove(chosen)
            return True
    return False


def _drop_stored(rest: dict[str, list[PortBinding]], match: re.Match[str]) -> bool:
    """Of a container that has no ports now: by what its wish names."""
    dropped = False
    for key, hosts in rest.items():
        if ports.parse_port(key)[2] != (match["protocol"] or "tcp"):
            continue
        for one in list(hosts):
            fits = match["address"] is None or (one.host_ip or str(ANY)) == match["address"]
            if fits and one.host_port and _covers(one.host_port, int(match["port"])):
                hosts.remove(one)
                dropped = True
    return dropped


def _covers(text: str, port: int) -> bool:
    if not text:
        return False
    first, last, _ = ports.parse_port(text)
    return first <= port <= last


def _add_ports(
    bindings: Mapping[str, list[PortBinding]], added: Mapping[str, list[PortBinding]]
) -> dict[str, list[PortBinding]]:
    ports.check(added, added)
    merged = {key: list(hosts) for key, hosts in bindings.items()}
    taken = _named(merged)
    for key, hosts in added.items():
        for one in hosts:
            mine = _named({key: [one]})
            if mine & taken:
                raise EditInvalid(f"host port {one.host_port} is published by this container already")
            taken |= mine
        first, last, protocol = ports.parse_port(key)
        if first != last:
            raise EditInvalid(f"invalid port specification: {key!r}", remedy="name each port")
        merged.setdefault(f"{first}/{protocol}", []).extend(hosts or [PortBinding()])
    return merged


def _named(bindings: Mapping[str, Iterable[PortBinding]]) -> set[tuple[str, str, str]]:
    """The host ports that bindings name exactly."""
    return {
        (ports.parse_port(key)[2], one.host_ip or str(ANY), one.host_port)
        for key, hosts in bindings.items()
        for one in hosts
        if one.host_port and "-" not in one.host_port
    }


# --- mounts


def _without_mounts(host: HostConfig, removals: Collection[str]) -> dict[str, list[object] | dict[str, str]]:
    """`binds`, `mounts` and `tmpfs` without the destinations named."""
    gone = {posixpath.normpath(path) for path in removals}

    def keeps(destination: str) -> bool:
        return posixpath.normpath(destination) not in gone

    present = {point.destination for point in mountpoints.collect(host, (), lambda: "x")}
    for path in gone - present:
        raise EditInvalid(f"nothing is mounted at {path!r}", remedy="see the mounts by: inspect NAME")
    return {
        "binds": [text for text in host.binds if keeps(mountpoints.parse_bind(text, lambda: "x").destination)],
        "mounts": [mount for mount in host.mounts if keeps(mount.target)],
        "tmpfs": {path: options for path, options in host.tmpfs.items() if keeps(path)},
    }


def _settled(host: HostConfig, new_name: Callable[[], str]) -> HostConfig:
    """Anonymous volumes get their names now, as at a creation."""
    mounts = []
    for mount in host.mounts:
        if mount.type == "volume" and not mount.source:
            mounts.append(msgspec.structs.replace(mount, source=new_name()))
        else:
            mounts.append(mount)
    return msgspec.structs.replace(host, mounts=mounts)
