"""The room's memory of its rows, so that deciding asks no database: networks, endpoints, addresses, ports. Pure.

`service` changes it in step with the rows, from the event loop only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address

from sampan.networks import failures
from sampan.networks.directory import Directory
from sampan.networks.model import Alias, Endpoint, Network, PublishedPort
from sampan.networks.ports import PortTable


class Ledger:
    """Everything the room has promised to anybody."""

    def __init__(self) -> None:
        self.networks: dict[str, Network] = {}
        self.ports = PortTable()
        self.directory = Directory()
        self.linked: dict[str, tuple[Alias, ...]] = {}  # by container: what it alone calls others
        self._names: dict[str, str] = {}
        self._by_container: dict[str, dict[str, Endpoint]] = {}
        self._by_network: dict[str, dict[str, Endpoint]] = {}
        self._addresses: dict[str, dict[IPv4Address, str]] = {}
        self._last: dict[str, IPv4Address] = {}
        self._published: dict[str, tuple[PublishedPort, ...]] = {}

    # --- networks

    def add_network(self, network: Network) -> None:
        self.networks[network.id] = network
        self._names[network.name] = network.id
        self._by_network.setdefault(network.id, {})
        self._addresses.setdefault(network.id, {})

    def remove_network(self, network: Network) -> None:
        self.networks.pop(network.id, None)
        self._names.pop(network.name, None)
        self._by_network.pop(network.id, None)
        self._addresses.pop(network.id, None)
        self._last.pop(network.id, None)

    def named(self, name: str) -> Network | None:
        return self.networks.get(self._names.get(name, ""))

    def find(self, reference: str) -> Network:
        """By id, name, or start of an id. Raises: `NoSuchNetwork`, `AmbiguousNetwork`."""
        exact = self.networks.get(reference) or self.named(reference)
        if exact is not None:
            return exact
        matches = [one for one in self.networks.values() if reference and one.id.startswith(reference)]
        if len(matches) > 1:
            raise failures.AmbiguousNetwork(reference, len(matches))
        if not matches:
            raise failures.NoSuchNetwork(reference)
        return matches[0]

    # --- endpoints

    def add_endpoint(self, endpoint: Endpoint) -> None:
        self._by_container.setdefault(endpoint.container_id, {})[endpoint.network_id] = endpoint
        self._by_network[endpoint.network_id][endpoint.id] = endpoint
        if endpoint.address is not None:
            self._addresses[endpoint.network_id][endpoint.address.ip] = endpoint.id
            self._last[endpoint.network_id] = endpoint.address.ip
        if self.networks[endpoint.network_id].has_names:
            self.directory.add(endpoint)

    def remove_endpoint(self, endpoint: Endpoint) -> None:
        self._by_container.get(endpoint.container_id, {}).pop(endpoint.network_id, None)
        if not self._by_container.get(endpoint.container_id):
            self._by_container.pop(endpoint.container_id, None)
        self._by_network.get(endpoint.network_id, {}).pop(endpoint.id, None)
        if endpoint.address is not None:
            self._addresses.get(endpoint.network_id, {}).pop(endpoint.address.ip, None)
        self.directory.remove(endpoint)

    def endpoints_of(self, container_id: str) -> tuple[Endpoint, ...]:
        """In the order in which they were attached."""
        return tuple(self._by_container.get(container_id, {}).values())

    def endpoints_on(self, network_id: str) -> tuple[Endpoint, ...]:
        return tuple(self._by_network.get(network_id, {}).values())

    def count_on(self, network_id: str) -> int:
        return len(self._by_network.get(network_id, {}))

    def containers(self) -> Iterator[str]:
        return iter(tuple(self._by_container))

    def networks_of(self, container_id: str) -> tuple[Network, ...]:
        return tuple(self.networks[network_id] for network_id in self._by_container.get(container_id, {}))

    def taken(self, network_id: str) -> dict[IPv4Address, str]:
        return self._addresses[network_id]

    def last_address(self, network_id: str) -> IPv4Address | None:
        return self._last.get(network_id)

    # --- published ports

    def publish(self, container_id: str, published: Iterable[PublishedPort]) -> None:
        entries = tuple(published)
        if entries:
            self._published[container_id] = (*self._published.get(container_id, ()), *entries)
            self.ports.add(entries)

    def unpublish(self, container_id: str) -> tuple[PublishedPort, ...]:
        entries = self._published.pop(container_id, ())
        self.ports.remove(entries)
        return entries

    def published_by(self, container_id: str) -> tuple[PublishedPort, ...]:
        return self._published.get(container_id, ())

    def all_published(self) -> Iterator[PublishedPort]:
        for entries in self._published.values():
            yield from entries
