"""Addresses: which subnet a network gets, which address an endpoint gets, which MAC follows from it. Pure.

Addresses are given in order, starting after the last one given and wrapping around: an address that a container has
just left is not given to the next one while the world still remembers the old neighbour.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from sampan.networks import failures
from sampan.networks.model import Network, NetworkWish


def mac_of(address: IPv4Address) -> str:
    """02:42 and the four bytes of the address: unique on a network as long as the address is."""
    return b"\x02\x42".hex(":") + ":" + address.packed.hex(":")


def choose_subnet(pools: Iterable[tuple[IPv4Network, int]], used: Collection[IPv4Network]) -> IPv4Network:
    """The first piece of the pools that overlaps nothing in `used`."""
    for base, prefix in pools:
        for piece in base.subnets(new_prefix=prefix):
            if not any(piece.overlaps(other) for other in used):
                return piece
    raise failures.NoPoolLeft


def read_subnet(text: str) -> IPv4Network:
    """A subnet as users write it. Host bits are an error, as a typing mistake is likelier than a meaning."""
    try:
        network = IPv4Network(text)
    except ValueError as error:
        raise failures.BadNetwork(f"invalid subnet {text}", why=str(error)) from error
    if network.prefixlen > 30:
        raise failures.BadNetwork(f"invalid subnet {text}", why="it has no room for a gateway and one container")
    return network


def read_bip(text: str) -> IPv4Interface:
    """`--bip`: the default bridge's own address, with the prefix of its subnet."""
    try:
        value = IPv4Interface(text)
    except ValueError as error:
        raise failures.BadNetwork(f"invalid bip {text}", why=str(error)) from error
    if value.ip in (value.network.network_address, value.network.broadcast_address):
        raise failures.BadNetwork(
            f"invalid bip {text}", why="the address is the subnet's own", remedy="use its first host"
        )
    return value


def read_address(text: str, subnet: IPv4Network, *, what: str) -> IPv4Address:
    """An address that must be a host of `subnet`."""
    try:
        address = IPv4Address(text)
    except ValueError as error:
        raise failures.BadNetwork(f"invalid {what} {text}", why=str(error)) from error
    if address not in subnet or address in (subnet.network_address, subnet.broadcast_address):
        raise failures.BadNetwork(f"invalid {what} {text}", why=f"it is no host of {subnet}")
    return address


def read_range(text: str, subnet: IPv4Network) -> IPv4Network | None:
    """`--ip-range`: the part of the subnet that addresses are given from."""
    if not text:
        return None
    try:
        inner = IPv4Network(text)
    except ValueError as error:
        raise failures.BadNetwork(f"invalid ip range {text}", why=str(error)) from error
    if not inner.subnet_of(subnet):
        raise failures.BadNetwork(f"invalid ip range {text}", why=f"it is not within {subnet}")
    return inner


def plan_pool(
    wish: NetworkWish,
    *,
    pools: Iterable[tuple[IPv4Network, int]],
    networks: Collection[Network],
    host: Collection[IPv4Network],
) -> tuple[IPv4Network, IPv4Address, IPv4Network | None, dict[str, IPv4Address]]:
    """Subnet, gateway, range and auxiliary addresses for a wish.

    A subnet that Sampan chooses keeps clear of the host's routes; one that a user chooses only of other networks.
    """
    taken = {network.subnet: network.name for network in networks if network.subnet is not None}
    if wish.subnet:
        subnet = read_subnet(wish.subnet)
        for other, name in taken.items():
            if subnet.overlaps(other):
                raise failures.PoolOverlap(subnet, f"network {name}")
    elif wish.gateway or wish.ip_range or wish.auxiliary:
        raise failures.BadNetwork("a gateway, ip range or auxiliary address needs a subnet", remedy="give --subnet")
    else:
        subnet = choose_subnet(pools, [*taken, *host])
    inner = read_range(wish.ip_range, subnet)
    auxiliary = {
        name: read_address(text, subnet, what=f"auxiliary address {name}") for name, text in wish.auxiliary.items()
    }
    if wish.gateway:
        gateway = read_address(wish.gateway, subnet, what="gateway")
        if gateway in auxiliary.values():
            raise failures.AddressInUse(gateway)
    else:
        gateway = _first_free(inner or subnet, subnet, set(auxiliary.values()))
    return subnet, gateway, inner, auxiliary


def next_address(network: Network, taken: Collection[IPv4Address], *, after: IPv4Address | None) -> IPv4Address:
    """The next free address behind `after`, wrapping around. `taken` holds the endpoints' addresses.

    Raises: `NoAddressLeft`.
    """
    subnet = network.subnet
    assert subnet is not None, "only networks with a subnet give addresses"
    reserved = {network.gateway, *network.auxiliary.values(), subnet.network_address, subnet.broadcast_address}
    window = network.ip_range or subnet
    first, size = int(window.network_address), window.num_addresses
    start = int(after) - first + 1 if after is not None and after in window else 0
    for step in range(size):
        candidate = IPv4Address(first + (start + step) % size)
        if candidate not in taken and candidate not in reserved:
            return candidate
    raise failures.NoAddressLeft(network.name, network.id)


def requested_address(network: Network, text: str, taken: Collection[IPv4Address]) -> IPv4Address:
    """An address that a user asked for, checked."""
    assert network.subnet is not None, "only networks with a subnet give addresses"
    if network.predefined:
        raise failures.BadEndpoint("user specified IP address is supported on user defined networks only")
    if not network.chosen_subnet:
        what = "user specified IP address is supported only when connecting to networks with user configured subnets"
        raise failures.BadEndpoint(what, remedy="create the network with --subnet")
    address = read_address(text, network.subnet, what="address")
    if address in taken or address == network.gateway or address in network.auxiliary.values():
        raise failures.AddressInUse(address)
    return address


def _first_free(window: IPv4Network, subnet: IPv4Network, taken: set[IPv4Address]) -> IPv4Address:
    for candidate in window:
        if candidate not in taken and candidate not in (subnet.network_address, subnet.broadcast_address):
            return candidate
    raise failures.BadNetwork(f"no address is left for the gateway of {subnet}")
