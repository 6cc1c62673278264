"""Answers about a container's files, in the words of the API. Pure."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from typing import Any, Final

from sampan.api.engine import words
from sampan.containers.files.reading import PathStat
from sampan.images.differences import Change

# How Go writes the kind of a file above its nine permission bits. Source: io/fs, FileMode.
_KINDS: Final = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
}
EPOCH: Final = "1970-01-01T00:00:00Z"
_BITS: Final = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


def changes(found: Sequence[Change]) -> list[dict[str, Any]] | None:
    """`null` for none, as dockerd."""
    return [{"Path": change.path.decode("utf-8", "replace"), "Kind": int(change.kind)} for change in found] or None


def path_stat(found: PathStat) -> dict[str, Any]:
    """What `X-Docker-Container-Path-Stat` holds, in base64."""
    return {
        "name": found.name,
        "size": found.size_bytes,
        "mode": go_mode(found.st_mode),
        "mtime": words.moment(found.mtime_ns) if found.mtime_ns else EPOCH,
        "linkTarget": found.link_target,
    }


def go_mode(st_mode: int) -> int:
    """A mode of stat(2) as Go's FileMode."""
    bits = sum(flag for bit, flag in _BITS.items() if st_mode & bit)
    return _KINDS.get(stat.S_IFMT(st_mode), 0) | bits | (st_mode & 0o777)
