"""The errors of the networks room. Where a docker user knows a sentence for it, that sentence is used. Pure."""

from __future__ import annotations

from sampan import errors


class NoSuchNetwork(errors.NotFound):
    def __init__(self, reference: str) -> None:
        super().__init__(f"network {reference} not found")


class AmbiguousNetwork(errors.Invalid):
    def __init__(self, reference: str, count: int) -> None:
        what = f"network {reference} is ambiguous ({count} matches found based on ID prefix)"
        super().__init__(what, remedy="give more of the id, or the name")


class NetworkExists(errors.Conflict):
    def __init__(self, name: str) -> None:
        super().__init__(f"network with name {name} already exists")


class PredefinedNetwork(errors.Forbidden):
    """Somebody would create, remove or reshape `bridge`, `host` or `none`."""


class NetworkInUse(errors.Conflict):
    """A network that has endpoints cannot be removed."""


class BadNetwork(errors.Invalid):
    """A network's name, addresses or options cannot be meant as they are."""


class PoolOverlap(errors.Conflict):
    def __init__(self, subnet: object, other: str) -> None:
        why = f"{subnet} shares addresses with {other}"
        super().__init__("Pool overlaps with other one on this address space", why=why, remedy="choose another subnet")


class NoPoolLeft(errors.Conflict):
    def __init__(self) -> None:
        super().__init__(
            "all predefined address pools have been fully subnetted",
            remedy="remove unused networks (docker network prune), or give --subnet",
        )


class NoAddressLeft(errors.Conflict):
    def __init__(self, name: str, network_id: str) -> None:
        super().__init__(f"no available IPv4 addresses on this network's address pools: {name} ({network_id})")


class AddressInUse(errors.Conflict):
    def __init__(self, address: object) -> None:
        super().__init__("Address already in use", why=str(address))


class BadEndpoint(errors.Invalid):
    """An endpoint was asked for that its network cannot give."""


class NoPortLeft(errors.Conflict):
    """A Linux bridge holds 1023 ports."""


class AlreadyConnected(errors.Conflict):
    """A container has one endpoint per network."""


class NotConnected(errors.Conflict):
    """The container has no endpoint on that network."""


class PortTaken(errors.Conflict):
    """A host port is published already, or another program listens on it."""


class BridgeGone(errors.Unavailable):
    """Somebody deleted a bridge that containers need."""


class ForwardingOff(errors.Unavailable):
    """The kernel does not forward packets and may not be told to."""
