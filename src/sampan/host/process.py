"""Other programs: run with an argument list, never a shell; a failure carries the command line, ready to paste."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence

from sampan import errors

LONGEST_COMPLAINT = 4096  # characters of standard error kept in an error


class ProgramFailed(errors.Broken):
    """A program ended with a code other than 0."""

    def __init__(self, arguments: Sequence[str], code: int, complaint: str) -> None:
        super().__init__(f"`{shlex.join(arguments)}` ended with code {code}", why=complaint.strip())
        self.code = code
        self.complaint = complaint


class ProgramMissing(errors.Unavailable):
    """No such program on this host."""


async def run(arguments: Sequence[str], *, stdin: bytes | None = None) -> bytes:
    """Run to the end and return standard output. Raises `ProgramFailed`, `ProgramMissing`."""
    try:
        child = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError as error:
        raise ProgramMissing(
            f"no program {arguments[0]!r} on this host", remedy="install it, then try again"
        ) from error
    output, complaint = await child.communicate(stdin)
    if child.returncode != 0:
        raise ProgramFailed(arguments, child.returncode or 0, complaint.decode(errors="replace")[-LONGEST_COMPLAINT:])
    return output
