"""The firewall table as a whole: written, kept whole, and judged against other programs' tables."""

from __future__ import annotations

import asyncio

from sampan.networks import obstacles
from sampan.networks.host import Host
from sampan.networks.ledger import Ledger
from sampan.networks.linking import Links
from sampan.networks.sentry import Sentry


class Table:
    """One daemon's. What is in it follows from the ledger and the links."""

    def __init__(self, host: Host, ledger: Ledger, links: Links) -> None:
        self._host = host
        self._ledger = ledger
        self._links = links
        self._sentry = Sentry(self.is_whole, self.rewrite)

    async def watch(self) -> None:
        """From now on it is written again when another program takes from it."""
        self._sentry.start()

    def close(self) -> None:
        """Watch no more."""
        self._sentry.close()

    def is_whole(self) -> bool:
        """Whether nobody took anything from it. Blocking."""
        return self._host.table_is_whole(tuple(self._ledger.networks.values()))

    async def rewrite(self) -> None:
        """All of it, in one transaction."""
        networks = tuple(self._ledger.networks.values())
        published, links = tuple(self._ledger.all_published()), self._links.all()
        await asyncio.to_thread(self._host.write_table, networks, published, links)

    async def pay(self) -> None:
        """Write it where a port could not be published in what was left of it."""
        if self._host.owes_table:
            self._host.owes_table = False
            await self.rewrite()

    async def obstacles(self) -> tuple[str, ...]:
        """For info: other programs' firewalls on the way of our containers."""
        names = [one.interface for one in self._ledger.networks.values() if one.driver == "bridge"]
        found = await asyncio.to_thread(self._host.in_the_way, names) if names else []
        return tuple(obstacles.warning(chain, names[0]) for chain in found)
