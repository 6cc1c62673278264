"""Leave the host as it was found, data excepted: `sampan daemon --tear-down`, run when no daemon runs.

Ends every container, then removes mounts, bridges, the firewall table and the keeper. Goes to the end and reports
everything.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from sampan import errors
from sampan.config.options import Options
from sampan.daemon import assembly, serving
from sampan.kernel import cgroups, libc, links, mounts, netlink, nft
from sampan.networks import ruleset

log = logging.getLogger("sampan")


async def tear_down(options: Options) -> None:
    """Raises an ExceptionGroup of what could not be removed."""
    harbour = assembly.assemble(options)
    harbour.room.stopping = True  # policies start nothing any more
    failures: list[Exception] = []
    await serving.restore(harbour)
    await harbour.containers.stop_all(timeout_s=options.shutdown_timeout)
    try:
        await harbour.room.keeper.stop()
    except errors.SampanError as error:
        failures.append(error)
    bridges = [network.interface for network in harbour.networks.list() if network.interface and not network.foreign]
    await serving.close(harbour)
    cgroups.remove_parent(harbour.room.host.hierarchy)
    for step in (lambda: _remove_links(bridges), _remove_table, lambda: _unmount_below(os.fsencode(options.run_root))):
        try:
            await asyncio.to_thread(step)
        except errors.SampanError as error:
            failures.append(error)
    if failures:
        raise ExceptionGroup("something could not be removed", failures)


def _remove_links(names: list[str]) -> None:
    with netlink.Socket() as kernel:
        present = {link.name for link in links.links(kernel)}
        for name in names:
            if name in present:
                kernel.perform([links.delete(name)])


def _remove_table() -> None:
    firewall = nft.Nft()
    try:
        firewall.run(f"add table {ruleset.TABLE}\ndelete table {ruleset.TABLE}")
    finally:
        firewall.close()


def _unmount_below(root: bytes) -> None:
    for mount in reversed(mounts.current()):
        if mount.point.startswith(root + b"/"):
            try:
                mounts.unmount(Path(os.fsdecode(mount.point)), detach=True)
            except libc.KernelError as error:
                log.error("%s", error)
