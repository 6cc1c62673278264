"""What COPY takes: names with wildcards, found inside a folder that a stranger filled. Blocking.

Every name is resolved by the kernel inside its root, links included (`kernel.paths`); what is found is held open.
"""

from __future__ import annotations

import errno
import os
import posixpath
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sampan.build.model import BuildFailed
from sampan.formats import dockerignore
from sampan.host import packing
from sampan.kernel import libc, paths

_WILD = re.compile(r"[*?\[\\]")
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
MOST_MATCHES = 100_000


@dataclass(frozen=True, slots=True)
class Found:
    """One source. `directory` is an open folder and `name` what is in it, or b"." for the folder itself.

    `shown` is its path as it was asked for, below the root; its last part names the copy.
    """

    directory: int
    name: bytes
    shown: bytes
    is_directory: bool

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self.directory)


def find(root: int, pattern: str, instruction: str) -> list[Found]:
    """Every file or folder that a source names. Raises `BuildFailed` if there is none."""
    cleaned = posixpath.normpath("/" + pattern).lstrip("/")
    names = [os.fsencode(cleaned)] if not _WILD.search(cleaned) else sorted(_matches(root, cleaned.split("/"), b""))
    found: list[Found] = []
    try:
        for name in names:
            one = _open(root, name)
            if one is not None:
                found.append(one)
    except BaseException:
        for each in found:
            each.close()
        raise
    if not found:
        raise _missing(pattern, instruction)
    return found


def _missing(pattern: str, instruction: str) -> BuildFailed:
    return BuildFailed(
        f"{instruction} failed: file not found in build context or excluded by .dockerignore",
        why=f"stat {pattern[:200]}: file does not exist",
    )


def _matches(root: int, parts: Sequence[str], above: bytes) -> Iterator[bytes]:
    """The names that match, part by part: `*` never crosses a `/`."""
    if not parts:
        yield above
        return
    part, rest = parts[0], parts[1:]
    prefix = above + b"/" if above else b""
    if not _WILD.search(part):
        yield from _matches(root, rest, prefix + os.fsencode(part))
        return
    try:
        expression = re.compile(dockerignore.expression(part, deep=False) + r"\Z", re.DOTALL)
    except re.error as error:
        raise BuildFailed(f"syntax error in pattern {part[:200]!r}") from error
    for count, name in enumerate(_names(root, above)):
        if count > MOST_MATCHES:
            raise BuildFailed(f"the pattern {part[:200]!r} looks through more than {MOST_MATCHES} names")
        if expression.match(os.fsdecode(name)):
            yield from _matches(root, rest, prefix + name)


def _names(root: int, directory: bytes) -> list[bytes]:
    try:
        opened = paths.open_in(root, directory or b".", os.O_RDONLY | os.O_DIRECTORY)
    except libc.KernelError as error:
        if error.errno in _ABSENT:
            return []
        raise
    try:
        return sorted(packing.names(opened))
    finally:
        os.close(opened)


def _open(root: int, name: bytes) -> Found | None:
    """The thing itself: a link is followed inside the root, as the whole of a source is."""
    try:
        real = paths.resolve_in(root, name or b".").strip(b"/")
        probe = paths.open_in(root, real or b".", os.O_PATH)
    except libc.KernelError as error:
        if error.errno in _ABSENT:
            return None
        raise
    try:
        is_directory = stat.S_ISDIR(os.fstat(probe).st_mode)
    finally:
        os.close(probe)
    if is_directory:
        return Found(paths.open_in(root, real or b".", os.O_RDONLY | os.O_DIRECTORY), b".", name, True)
    above, _, last = real.rpartition(b"/")
    return Found(paths.open_in(root, above or b".", os.O_RDONLY | os.O_DIRECTORY), last, name, False)
