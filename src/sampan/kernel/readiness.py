"""Wait until a descriptor can be read or written, in the event loop, and write without blocking it."""

from __future__ import annotations

import asyncio
import os


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


async def write_all(descriptor: int, content: bytes) -> None:
    """Write to a non-blocking descriptor; return when all of it was taken. Raises BrokenPipeError at its end."""
    view = memoryview(content)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            await wait(descriptor, reading=False)
