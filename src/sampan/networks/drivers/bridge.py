"""The bridge driver: a Linux bridge per network, a veth pair per endpoint. Endpoint in, kernel requests out.

The host end takes no IPv6 address: a link-local one per port would be announced to every other port of the bridge.
"""

from __future__ import annotations

from ipaddress import IPv4Interface
from typing import Final

from sampan.kernel import libc, links, namespaces, netlink
from sampan.networks import failures, ipam
from sampan.networks.model import Endpoint, Network

ALIAS: Final = "sampan network "  # on every bridge made here: what tells ours from another program's br-...


def create(kernel: netlink.Socket, network: Network) -> None:
    """Make the bridge, or bring one that is there to the state it should have. A foreign one is never made."""
    present = {link.name: link for link in links.links(kernel)}
    assert network.gateway is not None and network.subnet is not None, "a bridge network has addresses"
    if network.interface not in present:
        if network.foreign:
            remedy = "create it, or start with another -b"
            raise failures.BridgeGone(f"bridge {network.interface} does not exist", remedy=remedy)
        mac = ipam.mac_of(network.gateway)
        alias = f"{ALIAS}{network.id}"
        kernel.perform(links.bridge(network.interface, mac=mac, mtu=network.mtu_bytes, alias=alias))
        present = {link.name: link for link in links.links(kernel)}
    _settle(network.interface, masquerade=not network.internal)
    if present[network.interface].kind != "bridge":
        raise failures.BadNetwork(f"link {network.interface} is no bridge", remedy="choose another bridge name")
    index = present[network.interface].index
    own = IPv4Interface((network.gateway, network.subnet.prefixlen))
    kernel.perform([links.address(index, own), links.up(index)])


def _settle(interface: str, *, masquerade: bool) -> None:
    namespaces.write_sysctl(f"net/ipv6/conf/{interface}/disable_ipv6", "1")
    # A port published on 127.0.0.1 is dialled from 127.0.0.1: the packet must be allowed out on this bridge until the
    # masquerade rule gives it another source. The `guard` chain keeps 127.0.0.0/8 from coming in here.
    namespaces.write_sysctl(f"net/ipv4/conf/{interface}/route_localnet", "1" if masquerade else "0")


def remove(kernel: netlink.Socket, network: Network) -> None:
    """Delete the bridge; one that is gone is no error."""
    if network.foreign:
        return
    try:
        kernel.perform([links.delete(network.interface)])
    except libc.KernelError as error:
        if error.errno != links.NO_DEVICE_ERRNO:
            raise


def port(network: Network, *, filtered: bool) -> links.Port | None:
    """How the bridge treats a network's ports. None: as any bridge does.

    `filtered`: the kernel passes bridged frames through the IP firewall (bridge-nf-call-iptables, which Kubernetes and
    dockerd turn on). Then the table keeps quiet neighbours apart, and a packet for a container's own published port is
    turned around inside the bridge, which needs `hairpin`. Otherwise the bridge itself must keep neighbours apart.
    """
    if filtered:
        return links.Port(hairpin=True)
    return None if network.icc else links.Port(isolated=True)


def plug(
    network: Network, endpoint: Endpoint, *, master: int, namespace_fd: int, filtered: bool
) -> list[netlink.Request]:
    """The requests on the host's side, to be sent together with those of the container's other endpoints."""
    pair = links.Veth(
        name=endpoint.interface,
        master=master,
        mtu=network.mtu_bytes,
        peer=endpoint.inside,
        peer_mac=endpoint.mac,
        namespace_fd=namespace_fd,
    )
    return [
        links.veth(pair),
        links.change(endpoint.interface, up=True, no_ipv6=True, port=port(network, filtered=filtered)),
    ]


def settle_inside(endpoint: Endpoint, *, index: int, leads_out: bool, set_mac: bool = False) -> list[netlink.Request]:
    """The requests inside the container's namespace. `index` is the link's number there.

    `set_mac`: the pair was made before anybody knew whose it would be.
    """
    assert endpoint.address is not None, "a bridge endpoint has an address"
    requests = [links.up(index, mac=endpoint.mac if set_mac else ""), links.address(index, endpoint.address)]
    if leads_out and endpoint.gateway is not None:
        requests.append(links.default_route(endpoint.gateway, index))
    return requests
