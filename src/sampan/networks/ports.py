"""Published ports: which host port a wish gets, who holds which, and how runs of ports become one entry. Pure.

Whether a program of the host holds a port is a fact that comes in (`held`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from sampan.networks import failures
from sampan.networks.model import ANY, Endpoint, PortWish, Protocol, PublishedPort

EPHEMERAL: Final = range(32768, 61000)  # source: net.ipv4.ip_local_port_range's default, which Docker uses too
RUN: Final = 16  # from so many equal consecutive ports on, one interval is cheaper than single entries

# Why the host cannot give a port ("address already in use"), or "" if it can.
Held = Callable[[Protocol, IPv4Address, int], str]


@dataclass(frozen=True)
class Choice:
    """One wish with its host port decided."""

    protocol: Protocol
    host_address: IPv4Address
    host_port: int
    container_port: int


class PortTable:
    """The host ports that are published. An entry on 0.0.0.0 meets every address."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, int], tuple[IPv4Address, ...]] = {}
        self._last = EPHEMERAL.start - 1

    def add(self, published: Iterable[PublishedPort]) -> None:
        for entry in published:
            for port in range(entry.host_port, entry.host_port + entry.count):
                key = (entry.protocol, port)
                self._taken[key] = (*self._taken.get(key, ()), entry.host_address)

    def remove(self, published: Iterable[PublishedPort]) -> None:
        for entry in published:
            for port in range(entry.host_port, entry.host_port + entry.count):
                key = (entry.protocol, port)
                rest = list(self._taken.get(key, ()))
                if entry.host_address in rest:
                    rest.remove(entry.host_address)
                if rest:
                    self._taken[key] = tuple(rest)
                else:
                    self._taken.pop(key, None)

    def is_taken(self, protocol: str, address: IPv4Address, port: int) -> bool:
        holders = self._taken.get((protocol, port))
        return holders is not None and (address == ANY or ANY in holders or address in holders)

    def choose(
        self, wishes: Sequence[PortWish], endpoint: Endpoint, *, default: IPv4Address, held: Held
    ) -> tuple[Choice, ...]:
        """A host port for every wish, exact ones first. Takes nothing yet. Raises: `PortTaken`, `BadEndpoint`."""
        chosen: dict[int, Choice] = {}
        mine: set[tuple[str, int]] = set()
        for exact in (True, False):
            for position, wish in enumerate(wishes):
                if _is_exact(wish) != exact:
                    continue
                choice = self._one(wish, endpoint, default=default, held=held, mine=mine)
                if choice is not None:
                    chosen[position] = choice
                    mine.add((choice.protocol, choice.host_port))
        return tuple(chosen[position] for position in sorted(chosen))

    def _one(
        self, wish: PortWish, endpoint: Endpoint, *, default: IPv4Address, held: Held, mine: set[tuple[str, int]]
    ) -> Choice | None:
        address = _read_address(wish.host_address, default)
        if address is None:
            return None
        if _is_exact(wish):
            self._check(wish, endpoint, address, held)
            return Choice(wish.protocol, address, wish.host_port, wish.container_port)
        for port in self._candidates(wish):
            if (wish.protocol, port) in mine or self.is_taken(wish.protocol, address, port):
                continue
            if not held(wish.protocol, address, port):
                if not wish.host_port:
                    self._last = port
                return Choice(wish.protocol, address, port, wish.container_port)
        raise _failed(endpoint, "all ports are allocated")

    def _check(self, wish: PortWish, endpoint: Endpoint, address: IPv4Address, held: Held) -> None:
        if self.is_taken(wish.protocol, address, wish.host_port):
            raise _failed(endpoint, f"Bind for {address}:{wish.host_port} failed: port is already allocated")
        reason = held(wish.protocol, address, wish.host_port)
        if reason:
            raise _failed(endpoint, f"listen {wish.protocol}4 {address}:{wish.host_port}: bind: {reason}")

    def _candidates(self, wish: PortWish) -> Iterable[int]:
        if wish.host_port:
            yield from range(wish.host_port, wish.host_port_last + 1)
            return
        yield from range(max(self._last + 1, EPHEMERAL.start), EPHEMERAL.stop)
        yield from range(EPHEMERAL.start, self._last + 1)


def exact(wishes: Iterable[PortWish], default: IPv4Address) -> list[tuple[Protocol, IPv4Address, int]]:
    """The host ports that wishes name exactly, as `Held` takes them."""
    found = []
    for wish in wishes:
        address = _read_address(wish.host_address, default)
        if address is not None and _is_exact(wish):
            found.append((wish.protocol, address, wish.host_port))
    return found


def compact(choices: Iterable[Choice], endpoint: Endpoint) -> tuple[PublishedPort, ...]:
    """The entries for choices: a run of at least `RUN` consecutive ports that keep their numbers becomes one."""
    assert endpoint.address is not None, "ports are published on endpoints with an address"
    ordered = sorted(set(choices), key=lambda one: (one.protocol, one.host_address, one.host_port, one.container_port))
    entries: list[PublishedPort] = []
    at = 0
    while at < len(ordered):
        length = _run_length(ordered, at)
        step = length if length >= RUN else 1
        one = ordered[at]
        entries.append(
            PublishedPort(
                endpoint_id=endpoint.id,
                address=endpoint.address.ip,
                protocol=one.protocol,
                host_address=one.host_address,
                host_port=one.host_port,
                container_port=one.container_port,
                count=step,
            )
        )
        at += step
    return tuple(entries)


def singles(entries: Iterable[PublishedPort]) -> list[Choice]:
    """The choices that entries were made of."""
    return [
        Choice(entry.protocol, entry.host_address, entry.host_port + step, entry.container_port + step)
        for entry in entries
        for step in range(entry.count)
    ]


def _run_length(ordered: Sequence[Choice], at: int) -> int:
    first = ordered[at]
    if first.host_port != first.container_port:
        return 1
    length = 1
    for one in ordered[at + 1 :]:
        expected = Choice(first.protocol, first.host_address, first.host_port + length, first.container_port + length)
        if one != expected:
            break
        length += 1
    return length


def _is_exact(wish: PortWish) -> bool:
    return wish.host_port > 0 and wish.host_port_last <= wish.host_port


def _read_address(text: str, default: IPv4Address) -> IPv4Address | None:
    """None for an IPv6 address: published ports are IPv4, and clients ask for both when they mean every address."""
    if not text:
        return default
    if text in ("::", "[::]"):
        return None
    try:
        return IPv4Address(text)
    except ValueError as error:
        why = "ports are published on IPv4 addresses"
        raise failures.BadEndpoint(f"invalid host address {text}", why=why) from error


def _failed(endpoint: Endpoint, reason: str) -> failures.PortTaken:
    where = f"{endpoint.container_name} ({endpoint.id})"
    return failures.PortTaken(f"driver failed programming external connectivity on endpoint {where}: {reason}")
