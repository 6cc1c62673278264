"""Networks and endpoints as Docker shows them. Pure.

Source: Engine API 1.47, Network, NetworkContainer, EndpointSettings.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from sampan.api.engine import words
from sampan.containers.wanted import EndpointSettings
from sampan.networks.model import Endpoint, Network


def endpoint_settings(endpoint: Endpoint | None, asked: EndpointSettings | None) -> dict[str, Any]:
    """One entry of a container's `Networks`; None for an endpoint that is not made yet."""
    address = endpoint.address if endpoint else None
    names = [name for name in endpoint.dns_names if name] if endpoint else []
    return {
        "IPAMConfig": msgspec.to_builtins(asked.ipam_config) if asked else None,
        "Links": (asked.links or None) if asked else None,
        "Aliases": (list(endpoint.aliases) if endpoint else asked.aliases if asked else []) or None,
        "MacAddress": endpoint.mac if endpoint else asked.mac_address if asked else "",
        "DriverOpts": (asked.driver_opts or None) if asked else None,
        "NetworkID": endpoint.network_id if endpoint else "",
        "EndpointID": endpoint.id if endpoint else "",
        "Gateway": str(endpoint.gateway or "") if endpoint else "",
        "IPAddress": str(address.ip) if address else "",
        "IPPrefixLen": address.network.prefixlen if address else 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": names or None,
    }


def inspect(network: Network, endpoints: Iterable[Endpoint] = ()) -> dict[str, Any]:
    """One network; the list of networks is the same without the containers."""
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": words.moment(network.created_ns),
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Options": None, "Config": _pools(network)},
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {endpoint.container_id: _container(endpoint) for endpoint in endpoints},
        "Options": dict(network.options),
        "Labels": dict(network.labels),
    }


def _pools(network: Network) -> list[dict[str, Any]]:
    if network.subnet is None:
        return []
    pool: dict[str, Any] = {"Subnet": str(network.subnet)}
    if network.ip_range is not None:
        pool["IPRange"] = str(network.ip_range)
    if network.gateway is not None:
        pool["Gateway"] = str(network.gateway)
    if network.auxiliary:
        pool["AuxiliaryAddresses"] = {name: str(address) for name, address in network.auxiliary.items()}
    return [pool]


def _container(endpoint: Endpoint) -> dict[str, str]:
    return {
        "Name": endpoint.container_name,
        "EndpointID": endpoint.id,
        "MacAddress": endpoint.mac,
        "IPv4Address": str(endpoint.address or ""),
        "IPv6Address": "",
    }
