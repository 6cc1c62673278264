"""Handlers: networks."""

from __future__ import annotations

import time
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from sampan import errors
from sampan.api.engine import query, render_network
from sampan.api.engine.call import Call, done
from sampan.api.http import bodies
from sampan.containers import wanted
from sampan.networks.model import Network, NetworkWish

FILTERS = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})


class InvalidNetworkRequest(errors.Invalid):
    """A body or filter that networks do not have."""


class NetworkOptionAbsent(errors.Unsupported):
    """A kind of network that Sampan does not have."""


class Pool(msgspec.Struct, rename="pascal"):
    """One member of `IPAM.Config`."""

    subnet: str = ""
    ip_range: str = msgspec.field(default="", name="IPRange")
    gateway: str = ""
    auxiliary_addresses: dict[str, str] = {}


class Ipam(msgspec.Struct, rename="pascal"):
    """The `IPAM` part of the body."""

    driver: str = ""
    config: list[Pool] = []
    options: dict[str, str] = {}


class ConfigFrom(msgspec.Struct, rename="pascal"):
    """Another network to take the configuration from."""

    network: str = ""


class NetworkCreate(msgspec.Struct, rename="pascal"):
    """The body of `POST /networks/create`."""

    name: str = ""
    driver: str = ""
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    scope: str = ""
    enable_ipv4: bool = msgspec.field(default=True, name="EnableIPv4")
    enable_ipv6: bool = msgspec.field(default=False, name="EnableIPv6")
    ipam: Ipam = msgspec.field(default_factory=Ipam, name="IPAM")
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    config_only: bool = False
    config_from: ConfigFrom = msgspec.field(default_factory=ConfigFrom)


class Connect(msgspec.Struct, rename="pascal"):
    """The body of `POST /networks/{id}/connect`. The settings are decoded by the room they are for."""

    container: str = ""
    endpoint_config: dict[str, Any] = {}


class Disconnect(msgspec.Struct, rename="pascal"):
    """The body of `POST /networks/{id}/disconnect`."""

    container: str = ""
    force: bool = False


T = TypeVar("T")


def _decode(body: dict[str, Any], kind: type[T]) -> T:
    """Raises: InvalidNetworkRequest."""
    try:
        return msgspec.convert(bodies.without_nulls(body), kind)
    except msgspec.ValidationError as error:
        raise InvalidNetworkRequest("invalid network configuration", why=str(error)) from error


def _wish(body: dict[str, Any]) -> NetworkWish:
    """Raises: InvalidNetworkRequest."""
    asked = _decode(body, NetworkCreate)
    if asked.config_only or asked.config_from.network:
        raise NetworkOptionAbsent("configuration-only networks are not supported", remedy="give each its own options")
    if not asked.enable_ipv4:
        raise NetworkOptionAbsent("networks without IPv4 are not supported", remedy="leave EnableIPv4 out")
    if asked.ingress or asked.scope not in ("", "local"):
        raise InvalidNetworkRequest("only networks of scope local are supported")
    if asked.ipam.driver not in ("", "default"):
        raise InvalidNetworkRequest(f"IPAM driver {asked.ipam.driver!r} not found", remedy="use the driver default")
    if len(asked.ipam.config) > 1:
        raise InvalidNetworkRequest("a network has one subnet", why="more than one IPAM configuration was given")
    pool = asked.ipam.config[0] if asked.ipam.config else Pool()
    return NetworkWish(
        asked.name,
        asked.driver or "bridge",
        subnet=pool.subnet,
        gateway=pool.gateway,
        ip_range=pool.ip_range,
        auxiliary=pool.auxiliary_addresses,
        internal=asked.internal,
        attachable=asked.attachable,
        ipv6=asked.enable_ipv6,
        options=asked.options,
        labels=asked.labels,
    )


def _passes(call: Call, network: Network, keys: dict[str, tuple[str, ...]]) -> bool:
    if "dangling" in keys:
        unused = not network.predefined and not call.engine.networks.endpoints_on(network)
        if unused != (query.parse_switch("dangling", keys["dangling"][0])):
            return False
    kind = "builtin" if network.predefined else "custom"
    return (
        ("driver" not in keys or network.driver in keys["driver"])
        and ("id" not in keys or any(network.id.startswith(part) for part in keys["id"]))
        and ("name" not in keys or any(part in network.name for part in keys["name"]))
        and ("scope" not in keys or "local" in keys["scope"])
        and ("type" not in keys or kind in keys["type"])
        and all(query.is_label_match(label, network.labels) for label in keys.get("label", ()))
    )


async def list_all(call: Call) -> web.StreamResponse:
    """GET /networks."""
    keys = call.query.filters()
    for key in keys:
        if key not in FILTERS:
            raise InvalidNetworkRequest(f"invalid filter '{key}'")
    _check_words(keys, "type", ("builtin", "custom"))
    _check_words(keys, "scope", ("local", "swarm", "global"))
    chosen = [one for one in call.engine.networks.list() if _passes(call, one, keys)]
    return bodies.answer([render_network.inspect(network) for network in chosen])


def _check_words(keys: dict[str, tuple[str, ...]], key: str, known: tuple[str, ...]) -> None:
    for value in keys.get(key, ()):
        if value not in known:
            raise InvalidNetworkRequest(f"invalid filter: '{key}'='{value}'", remedy=f"use one of {', '.join(known)}")


async def create(call: Call) -> web.StreamResponse:
    """POST /networks/create."""
    network = await call.engine.networks.create(_wish(await call.body()))
    return bodies.answer({"Id": network.id, "Warning": ""}, status=201)


async def inspect(call: Call) -> web.StreamResponse:
    """GET /networks/{name}."""
    network = call.engine.networks.get(call.name)
    if call.query.text("scope") not in ("", "local"):
        raise InvalidNetworkRequest("only networks of scope local are supported")
    return bodies.answer(render_network.inspect(network, call.engine.networks.endpoints_on(network)))


async def remove(call: Call) -> web.StreamResponse:
    """DELETE /networks/{name}."""
    await call.engine.networks.remove(call.name)
    return done()


async def prune(call: Call) -> web.StreamResponse:
    """POST /networks/prune."""
    keys = call.query.filters()
    for key in keys:
        if key not in ("label", "label!", "until"):
            raise InvalidNetworkRequest(f"invalid filter '{key}'")
    before_ns = query.parse_until_ns(keys["until"][0], time.time_ns()) if "until" in keys else None

    def is_chosen(network: Network) -> bool:
        return (
            all(query.is_label_match(label, network.labels) for label in keys.get("label", ()))
            and not any(query.is_label_match(label, network.labels) for label in keys.get("label!", ()))
            and (before_ns is None or network.created_ns < before_ns)
        )

    names = await call.engine.networks.prune(is_chosen)
    call.engine.bus.publish("network", "prune", "", reclaimed="0")
    return bodies.answer({"NetworksDeleted": list(names) or None})


async def connect(call: Call) -> web.StreamResponse:
    """POST /networks/{name}/connect."""
    asked = _decode(await call.body(), Connect)
    settings = wanted.decode_endpoint(asked.endpoint_config)
    await call.engine.containers.connect(call.name, _container(asked.container), settings)
    return done(200)


async def disconnect(call: Call) -> web.StreamResponse:
    """POST /networks/{name}/disconnect."""
    asked = _decode(await call.body(), Disconnect)
    await call.engine.containers.disconnect(call.name, _container(asked.container), force=asked.force)
    return done(200)


def _container(name: str) -> str:
    if not name:
        raise InvalidNetworkRequest("Container must be a name or an id")
    return name
