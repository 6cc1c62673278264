"""Names for containers: which resolv.conf each gets, and the door of the name server that answers it.

Joins the ledger (who is called what), the containers' own name settings and the name server.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from sampan import errors
from sampan.networks import plan, resolvconf
from sampan.networks.host import Host, NameSockets
from sampan.networks.ledger import Ledger
from sampan.networks.model import Resolver, Settings
from sampan.networks.nameserver import Knowledge, NameServer

log = logging.getLogger(__name__)


class Naming:
    """The names side of one daemon's networks. Call it from the event loop."""

    def __init__(
        self, ledger: Ledger, settings: Settings, host: Host, *, host_files: Sequence[Path], upstream_port: int
    ) -> None:
        self._ledger = ledger
        self._defaults = Resolver(settings.dns, settings.dns_search, settings.dns_options)
        self._host = host
        self._host_files = host_files
        self._server = NameServer(upstream_port=upstream_port)
        self._own: dict[str, Resolver] = {}

    def wanted(self, container_id: str) -> bool:
        """Whether a container is on a network that resolves names."""
        return any(network.has_names for network in self._ledger.networks_of(container_id))

    def is_open(self, container_id: str) -> bool:
        return self._server.is_open(container_id)

    def settle(self, container_id: str, resolver: Resolver) -> None:
        """Note what `--dns` and its like gave a container."""
        self._own[container_id] = resolver

    async def open(self, container_id: str, sockets: NameSockets | None) -> None:
        """Answer a container from here on; None: it has no name server of its own."""
        if sockets is not None:
            await self._server.open(container_id, sockets, self._knowledge(container_id))

    def close(self, container_id: str) -> None:
        self._server.close(container_id)
        self._own.pop(container_id, None)
        self._ledger.linked.pop(container_id, None)

    def close_all(self) -> None:
        self._server.close_all()

    async def reopen(self, resolvers: Mapping[str, Resolver]) -> None:
        """After a daemon's start: open the doors of every container that had one."""
        self._own = dict(resolvers)
        for container_id in self._ledger.containers():
            if not self.wanted(container_id):
                continue
            try:
                sockets = await asyncio.to_thread(self._host.open_names, container_id)
            except errors.SampanError as error:  # one container's trouble must not keep the daemon from starting
                log.error("container %s cannot resolve names: %s", container_id[:12], error)
            else:
                await self.open(container_id, sockets)

    def resolv_conf(self, container_id: str, *, in_host_mode: bool) -> str:
        """The text of a container's resolv.conf as it is attached now."""
        text, own = resolvconf.host_text(self._host_files), self._resolver(container_id)
        if in_host_mode:
            return resolvconf.for_host_mode(text, resolvconf.read(text), own)
        return resolvconf.for_container(resolvconf.read(text), own, embedded=self.wanted(container_id))

    def _resolver(self, container_id: str) -> Resolver:
        return resolvconf.merge(self._own.get(container_id, Resolver()), self._defaults)

    def _upstreams(self, container_id: str) -> tuple[str, ...]:
        if plan.way_out(self._ledger.endpoints_of(container_id)) is None:
            return ()  # only on internal networks: not even names leave them
        text = resolvconf.host_text(self._host_files[:1])
        return resolvconf.upstreams(resolvconf.read(text), self._resolver(container_id))

    def _knowledge(self, container_id: str) -> Knowledge:
        ledger = self._ledger
        return Knowledge(
            lookup=lambda name: ledger.directory.addresses(
                name, ledger.networks_of(container_id), ledger.linked.get(container_id, ())
            ),
            reverse=lambda address: ledger.directory.name(address, ledger.networks_of(container_id)),
            upstreams=lambda: self._upstreams(container_id),
        )
