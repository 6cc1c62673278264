"""Wait until a descriptor can be read or written, in the event loop."""

from __future__ import annotations

import asyncio


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def wait(descriptor: int, *, reading: bool) -> None:
    """Return once a read (or a write) of the non-blocking descriptor would not block."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    add, remove = (loop.add_reader, loop.remove_reader) if reading else (loop.add_writer, loop.remove_writer)
    add(descriptor, _resolve, future)
    try:
        await future
    finally:
        remove(descriptor)
