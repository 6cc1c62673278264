"""Rows of networks, endpoints and published ports. The only file of this room that speaks SQL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any, cast

import sqlalchemy

from sampan.networks.model import Endpoint, Network, PublishedPort
from sampan.state import schema

Connection = sqlalchemy.Connection

_network, _endpoint, _port = schema.network, schema.endpoint, schema.published_port


def networks(connection: sqlalchemy.Connection) -> list[Network]:
    rows = connection.execute(_network.select().order_by(_network.c.created_ns, _network.c.id))
    return [_read_network(row) for row in rows.mappings()]


def endpoints(connection: sqlalchemy.Connection) -> list[Endpoint]:
    rows = connection.execute(_endpoint.select().order_by(_endpoint.c.container_id, sqlalchemy.text("rowid")))
    return [_read_endpoint(row) for row in rows.mappings()]


def published(connection: sqlalchemy.Connection) -> list[tuple[str, PublishedPort]]:
    """Every published entry with its container."""
    joined = sqlalchemy.select(_port, _endpoint.c.container_id, _endpoint.c.address).join(_endpoint)
    return [(row["container_id"], _read_port(row)) for row in connection.execute(joined).mappings()]


def add_network(connection: sqlalchemy.Connection, network: Network) -> None:
    connection.execute(_network.insert(), [_network_row(network)])


def remove_network(connection: sqlalchemy.Connection, network_id: str) -> None:
    connection.execute(_network.delete().where(_network.c.id == network_id))


def replace_network(connection: sqlalchemy.Connection, network: Network) -> None:
    row = _network_row(network)
    connection.execute(_network.update().where(_network.c.id == network.id).values(**row))


def add_endpoints(
    connection: sqlalchemy.Connection, endpoints: Sequence[Endpoint], published: Iterable[PublishedPort]
) -> None:
    if endpoints:
        connection.execute(_endpoint.insert(), [_endpoint_row(one) for one in endpoints])
    add_ports(connection, published)


def add_ports(connection: sqlalchemy.Connection, published: Iterable[PublishedPort]) -> None:
    rows = [_port_row(entry) for entry in published]
    if rows:
        connection.execute(_port.insert(), rows)


def remove_endpoint(connection: sqlalchemy.Connection, endpoint_id: str) -> None:
    connection.execute(_endpoint.delete().where(_endpoint.c.id == endpoint_id))


def remove_container(connection: sqlalchemy.Connection, container_id: str) -> None:
    """Every endpoint of a container; its published ports go with them."""
    connection.execute(_endpoint.delete().where(_endpoint.c.container_id == container_id))


def move_ports(connection: sqlalchemy.Connection, container_id: str, published: Iterable[PublishedPort]) -> None:
    """Replace a container's published ports: they now lead to another of its endpoints."""
    mine = sqlalchemy.select(_endpoint.c.id).where(_endpoint.c.container_id == container_id)
    connection.execute(_port.delete().where(_port.c.endpoint_id.in_(mine)))
    add_ports(connection, published)


def rename_container(connection: sqlalchemy.Connection, endpoints: Sequence[Endpoint]) -> None:
    for one in endpoints:
        connection.execute(_endpoint.update().where(_endpoint.c.id == one.id).values(**_endpoint_row(one)))


def _network_row(network: Network) -> dict[str, Any]:
    document = {
        "ip_range": _text(network.ip_range),
        "auxiliary": {name: str(address) for name, address in network.auxiliary.items()},
        "attachable": network.attachable,
        "icc": network.icc,
        "masquerade": network.masquerade,
        "mtu_bytes": network.mtu_bytes,
        "host_address": str(network.host_address),
        "foreign": network.foreign,
        "chosen_subnet": network.chosen_subnet,
        "options": dict(network.options),
        "labels": dict(network.labels),
    }
    return {
        "id": network.id,
        "name": network.name,
        "driver": network.driver,
        "interface": network.interface,
        "subnet": _text(network.subnet),
        "gateway": _text(network.gateway),
        "internal": network.internal,
        "document": json.dumps(document, sort_keys=True),
        "created_ns": network.created_ns,
    }


def _read_network(row: sqlalchemy.RowMapping) -> Network:
    document = json.loads(row["document"])
    return Network(
        id=row["id"],
        name=row["name"],
        driver=cast(Any, row["driver"]),
        created_ns=row["created_ns"],
        interface=row["interface"],
        subnet=IPv4Network(row["subnet"]) if row["subnet"] else None,
        gateway=IPv4Address(row["gateway"]) if row["gateway"] else None,
        ip_range=IPv4Network(document["ip_range"]) if document["ip_range"] else None,
        auxiliary={name: IPv4Address(text) for name, text in document["auxiliary"].items()},
        internal=row["internal"],
        attachable=document["attachable"],
        icc=document["icc"],
        masquerade=document["masquerade"],
        mtu_bytes=document["mtu_bytes"],
        host_address=IPv4Address(document["host_address"]),
        foreign=document["foreign"],
        chosen_subnet=document["chosen_subnet"],
        options=document["options"],
        labels=document["labels"],
    )


def _endpoint_row(endpoint: Endpoint) -> dict[str, Any]:
    document = {
        "name": endpoint.container_name,
        "inside": endpoint.inside,
        "gateway": _text(endpoint.gateway),
        "aliases": endpoint.aliases,
        "dns_names": endpoint.dns_names,
        "gateway_priority": endpoint.gateway_priority,
    }
    return {
        "id": endpoint.id,
        "network_id": endpoint.network_id,
        "container_id": endpoint.container_id,
        "interface": endpoint.interface,
        # An endpoint without an address (host, none) still needs a value of its own: the column is unique per network.
        "address": str(endpoint.address) if endpoint.address else f"none {endpoint.id}",
        "mac": endpoint.mac,
        "document": json.dumps(document),
    }


def _read_endpoint(row: sqlalchemy.RowMapping) -> Endpoint:
    document = json.loads(row["document"])
    return Endpoint(
        id=row["id"],
        network_id=row["network_id"],
        container_id=row["container_id"],
        container_name=document["name"],
        interface=row["interface"],
        inside=document["inside"],
        address=None if row["address"].startswith("none ") else IPv4Interface(row["address"]),
        gateway=IPv4Address(document["gateway"]) if document["gateway"] else None,
        mac=row["mac"],
        aliases=tuple(document["aliases"]),
        dns_names=tuple(document["dns_names"]),
        gateway_priority=document["gateway_priority"],
    )


def _port_row(entry: PublishedPort) -> dict[str, Any]:
    return {
        "endpoint_id": entry.endpoint_id,
        "protocol": entry.protocol,
        "host_address": str(entry.host_address),
        "host_port": entry.host_port,
        "container_port": entry.container_port,
        "count": entry.count,
    }


def _read_port(row: sqlalchemy.RowMapping) -> PublishedPort:
    return PublishedPort(
        endpoint_id=row["endpoint_id"],
        address=IPv4Interface(row["address"]).ip,
        protocol=cast(Any, row["protocol"]),
        host_address=IPv4Address(row["host_address"]),
        host_port=row["host_port"],
        container_port=row["container_port"],
        count=row["count"],
    )


def _text(value: object) -> str:
    return "" if value is None else str(value)
