"""Published ports of a running container, changed without a restart: some map elements go and some come, at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from ipaddress import IPv4Address

from sampan.kernel import nft
from sampan.networks import failures, plan, ports, store
from sampan.networks.host import Host, held
from sampan.networks.ledger import Ledger
from sampan.networks.model import PortWish, PublishedPort
from sampan.state.database import Database

log = logging.getLogger(__name__)
Removed = tuple[str, IPv4Address, int]  # protocol, host address, host port


async def edit(
    container_id: str,
    *,
    remove: Collection[Removed],
    add: Sequence[PortWish],
    row: Callable[[store.Connection], None],
    ledger: Ledger,
    database: Database,
    host: Host,
    rewrite: Callable[[], Awaitable[None]],
) -> tuple[PublishedPort, ...]:
    """Everything the container publishes now. `row` is written in the transaction of the ports' rows.

    Row first, kernel after: a start writes the table from its rows. Raises: `PortTaken`, `BadEndpoint`, with nothing
    changed.
    """
    former = ledger.unpublish(container_id)
    try:
        current = _decide(container_id, former, remove, add, ledger)
    except BaseException:
        ledger.publish(container_id, former)
        raise
    ledger.publish(container_id, current)

    def verb(connection: store.Connection) -> None:
        row(connection)
        store.move_ports(connection, container_id, current)

    try:
        await database.write(verb)
    except BaseException:
        ledger.unpublish(container_id)
        ledger.publish(container_id, former)
        raise
    gone = [entry for entry in former if entry not in current]
    new = [entry for entry in current if entry not in former]
    try:
        await asyncio.to_thread(host.move_ports, gone, new)
    except nft.NftFailed:
        log.warning("the firewall table lacked ports of container %s; writing it again", container_id[:12])
        await rewrite()
    return current


def _decide(
    container_id: str,
    former: Sequence[PublishedPort],
    remove: Collection[Removed],
    add: Sequence[PortWish],
    ledger: Ledger,
) -> tuple[PublishedPort, ...]:
    leading = plan.way_out(ledger.endpoints_of(container_id))
    if leading is None:
        if add:
            raise failures.BadEndpoint(
                "the container has no way in", why="none of its networks leads out", remedy="connect it to a bridge"
            )
        return ()
    gone = set(remove)
    kept = [one for one in ports.singles(former) if (one.protocol, one.host_address, one.host_port) not in gone]
    kept_entries = ports.compact(kept, leading)
    ledger.ports.add(kept_entries)
    try:
        default = ledger.networks[leading.network_id].host_address
        chosen = ledger.ports.choose(add, leading, default=default, held=held)
    finally:
        ledger.ports.remove(kept_entries)
    return ports.compact([*kept, *chosen], leading)
