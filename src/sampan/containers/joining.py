"""Which networks and namespaces a container joins, from Docker's modes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sampan import errors
from sampan.containers.model import Container
from sampan.containers.wanted import EndpointSettings, Wanted
from sampan.networks.model import Endpoint, EndpointWish

SHARED = "container:"  # prefix of a mode that names another container


IPC_MODES = ("", "none", "private", "shareable", "host")
UNDEFINED = "This would result in undefined behavior"


class ModeInvalid(errors.Invalid):
    """Modes that exclude each other."""


def network_wishes(wanted: Wanted) -> tuple[EndpointWish, ...]:
    """One wish a network; none for a container that shares another's namespace."""
    mode = network_mode(wanted)
    if mode.startswith(SHARED):
        return ()
    settings = dict(wanted.networking.endpoints_config)
    first = settings.pop(mode, None) or (settings.pop("default", None) if mode == "bridge" else None)
    wishes = [_wish(mode, first or EndpointSettings(), wanted.config.mac_address)]
    wishes += [_wish(name, more, "") for name, more in settings.items()]
    return tuple(wishes)


def network_mode(wanted: Wanted) -> str:
    """The network's name, host, none, or container:<reference>."""
    if wanted.config.network_disabled:
        return "none"
    mode = wanted.host.network_mode
    return "bridge" if mode in ("", "default") else mode


def check(wanted: Wanted) -> None:
    """Raises `ModeInvalid`."""
    mode, host, config = network_mode(wanted), wanted.host, wanted.config
    ipc = wanted.host.ipc_mode
    if ipc not in IPC_MODES and not shared_with(ipc):
        raise ModeInvalid(f"invalid IPC mode: {ipc}", remedy="use none, private, shareable, host or container:NAME")
    if mode == "container":
        raise ModeInvalid("invalid container format container:<name|id>")
    if host.links and mode == "host":
        raise ModeInvalid(f"conflicting options: host type networking can't be used with links. {UNDEFINED}")
    macs = [config.mac_address, *(one.mac_address for one in wanted.networking.endpoints_config.values())]
    if any(macs) and (mode == "host" or mode.startswith(SHARED)):
        raise ModeInvalid("conflicting options: mac-address and the network mode")
    if mode.startswith(SHARED):
        _check_shared(wanted)
    if mode == "none" and set(wanted.networking.endpoints_config) - {mode}:
        raise ModeInvalid(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        )
    if mode == "host" and set(wanted.networking.endpoints_config) - {mode}:
        raise ModeInvalid(f"container cannot be connected to other networks in the network mode {mode}")


def _check_shared(wanted: Wanted) -> None:
    """What cannot be asked for beside another container's network. Source: moby/moby, runconfig/errors.go."""
    host, config = wanted.host, wanted.config
    if host.links:
        raise ModeInvalid(f"conflicting options: container type network can't be used with links. {UNDEFINED}")
    conflicts = {
        "hostname and the network mode": config.hostname,
        "dns and the network mode": host.dns,
        "custom host-to-IP mapping and the network mode": host.extra_hosts,
        "port publishing and the container type network mode": host.port_bindings or host.publish_all_ports,
        "port exposing and the container type network mode": config.exposed_ports,
    }
    for what, asked in conflicts.items():
        if asked:
            raise ModeInvalid(f"conflicting options: {what}")
    if wanted.networking.endpoints_config:
        raise ModeInvalid(
            "container sharing network namespace with another container or host "
            "cannot be connected to any other network"
        )


def shared_with(mode: str) -> str:
    """The container a mode names, "" if it names none."""
    return mode.removeprefix(SHARED) if mode.startswith(SHARED) else ""


def hosts_file(container: Container, endpoints: Sequence[Endpoint], extra: Iterable[str], gateway: str) -> str:
    """The content of /etc/hosts. `extra` items are `name:address`; the address `host-gateway` is the bridge's."""
    lines = [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::\tip6-localnet",
        "ff00::\tip6-mcastprefix",
        "ff02::1\tip6-allnodes",
        "ff02::2\tip6-allrouters",
    ]
    for item in extra:
        name, _, address = item.replace("=", ":", 1).partition(":")
        lines.append(f"{gateway if address == 'host-gateway' else address.strip('[]')}\t{name}")
    config = container.wanted.config
    hostname = config.hostname or container.short_id
    names = f"{hostname}.{config.domainname} {hostname}" if config.domainname else hostname
    lines += [f"{endpoint.address.ip}\t{names}" for endpoint in endpoints if endpoint.address is not None]
    return "\n".join(lines) + "\n"


def _wish(network: str, settings: EndpointSettings, mac: str) -> EndpointWish:
    return EndpointWish(
        network,
        address=settings.ipam_config.ipv4_address if settings.ipam_config else "",
        mac=settings.mac_address or mac,
        aliases=tuple(settings.aliases),
    )
