"""Who is called what: names and addresses of endpoints, per network, in one look-up each. Pure.

Names are compared without regard to case. Several endpoints may share an alias; all of them are answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address

from sampan.networks.model import Alias, Endpoint, Network

Lookup = Callable[[str], tuple[IPv4Address, ...]]  # a name's addresses
Reverse = Callable[[IPv4Address], str]  # an address's name, "" for none


class Directory:
    """The names on every network that resolves names."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, tuple[Endpoint, ...]]] = {}
        self._addresses: dict[str, dict[IPv4Address, Endpoint]] = {}

    def add(self, endpoint: Endpoint) -> None:
        names = self._names.setdefault(endpoint.network_id, {})
        for name in _keys(endpoint):
            names[name] = (*names.get(name, ()), endpoint)
        if endpoint.address is not None:
            self._addresses.setdefault(endpoint.network_id, {})[endpoint.address.ip] = endpoint

    def remove(self, endpoint: Endpoint) -> None:
        names = self._names.get(endpoint.network_id, {})
        for name in _keys(endpoint):
            rest = tuple(one for one in names.get(name, ()) if one.id != endpoint.id)
            if rest:
                names[name] = rest
            else:
                names.pop(name, None)
        if endpoint.address is not None:
            self._addresses.get(endpoint.network_id, {}).pop(endpoint.address.ip, None)

    def addresses(
        self, name: str, networks: Iterable[Network], aliases: Iterable[Alias] = ()
    ) -> tuple[IPv4Address, ...]:
        """The addresses of `name`, or of `name.network`, on the networks of whoever asks. Empty: nobody's name.

        `aliases` are those of whoever asks, and go before the names that all know.
        """
        wanted = name.rstrip(".").lower()
        found: list[IPv4Address] = []
        for network in networks:
            names = self._names.get(network.id, {})
            own = [one for one in aliases if wanted in (one.alias.lower(), f"{one.alias}.{network.name}".lower())]
            targets = [_target(one) for one in own if one.network in (network.id, network.name)]
            linked = [one for target in targets for one in names.get(target, ())]
            if linked:
                found += [one.address.ip for one in linked if one.address is not None]
                continue
            matches = names.get(wanted, ())
            if not matches and wanted.endswith(f".{network.name.lower()}"):
                matches = names.get(wanted[: -len(network.name) - 1], ())
            found += [one.address.ip for one in matches if one.address is not None]
        return tuple(dict.fromkeys(found))

    def name(self, address: IPv4Address, networks: Iterable[Network]) -> str:
        """`container.network` for an address on one of the networks, or ""."""
        for network in networks:
            endpoint = self._addresses.get(network.id, {}).get(address)
            if endpoint is not None:
                return f"{endpoint.container_name}.{network.name}"
        return ""


def _target(alias: Alias) -> str:
    """Containers are known by their names and the first digits of their ids."""
    is_id = len(alias.target) == 64 and all(letter in "0123456789abcdef" for letter in alias.target)
    return alias.target[:12] if is_id else alias.target.lower()


def _keys(endpoint: Endpoint) -> set[str]:
    return {name.lower() for name in endpoint.dns_names}
