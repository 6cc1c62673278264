"""Published and exposed ports, from Docker's words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, cast

from sampan import errors
from sampan.containers.wanted import Config, HostConfig, PortBinding
from sampan.networks.model import PortWish

Protocol = Literal["tcp", "udp", "sctp"]


class PortInvalid(errors.Invalid):
    """A port that is no port."""


def parse_port(text: str) -> tuple[int, int, Protocol]:
    """`80`, `80/udp`, `8000-8010/tcp` -> first, last, protocol. Raises `PortInvalid`."""
    numbers, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    first, dash, last = numbers.partition("-")
    if protocol not in ("tcp", "udp", "sctp"):
        raise PortInvalid(f"invalid proto: {protocol}", why=f"in {text!r}", remedy="use tcp, udp or sctp")
    low = _number(first, text)
    return low, _number(last, text) if dash else low, cast(Protocol, protocol)


def wishes(config: Config, host: HostConfig) -> Iterator[PortWish]:
    """What has to be published: `-p`, and with `-P` every exposed port that `-p` does not name."""
    for text, bindings in host.port_bindings.items():
        container_port, _, protocol = parse_port(text)
        for binding in bindings or [PortBinding()]:
            yield _wish(container_port, protocol, binding)
    if host.publish_all_ports:
        named = {parse_port(text)[::2] for text in host.port_bindings}
        for text in config.exposed_ports:
            first, last, protocol = parse_port(text)
            for port in range(first, last + 1):
                if (port, protocol) not in named:
                    yield PortWish(port, protocol)


def check(exposed: Mapping[str, object], bindings: Mapping[str, list[PortBinding]]) -> None:
    """Raises `PortInvalid` for what could never be published, when the container is created."""
    for text in (*exposed, *bindings):
        parse_port(text)
    for text, hosts in bindings.items():
        for binding in hosts:
            _wish(parse_port(text)[0], "tcp", binding)


def _wish(container_port: int, protocol: Protocol, binding: PortBinding) -> PortWish:
    if not binding.host_port:
        return PortWish(container_port, protocol, binding.host_ip)
    first, last, _ = parse_port(binding.host_port)
    return PortWish(container_port, protocol, binding.host_ip, first, last if last > first else 0)


def _number(text: str, whole: str) -> int:
    if not text.isdigit() or not 0 <= int(text) <= 65535:
        raise PortInvalid(f"invalid port specification: {whole!r}", remedy="ports are numbers from 1 to 65535")
    return int(text)
