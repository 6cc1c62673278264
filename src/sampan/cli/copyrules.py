"""Where a copy lands, as `docker cp` decides it: `cp -a` with a few differences. Pure; paths are bytes.

A trailing `/` says "a directory", a trailing `/.` "its content". Source: the rules of `docker cp` in its reference.
"""

from __future__ import annotations

import posixpath

from sampan.cli import failures


class Place:
    """One end of a copy, after a look at it. `rebase` is the name it was asked for, where a link changed it."""

    __slots__ = ("exists", "is_directory", "path", "rebase")

    def __init__(self, path: bytes, *, exists: bool, is_directory: bool = False, rebase: bytes = b"") -> None:
        self.path, self.exists, self.is_directory, self.rebase = path, exists, is_directory, rebase


class Landing:
    """The directory to unpack into, and what the first part of every name becomes."""

    __slots__ = ("directory", "new", "old")

    def __init__(self, directory: bytes, old: bytes, new: bytes) -> None:
        self.directory, self.old, self.new = directory, old, new

    def renamed(self, name: bytes) -> bytes:
        """An entry's name at its new place."""
        return name if self.old == self.new else name.replace(b"" if self.old == b"/" else self.old, self.new, 1)


def parse(text: str) -> tuple[str, str]:
    """Container and path of `CONTAINER:PATH`; no container for a local path, `-` included."""
    if text.startswith(("/", ".")) or ":" not in text:
        return "", text
    container, _, path = text.partition(":")
    return container, path


def split(path: bytes) -> tuple[bytes, bytes]:
    """Directory and name; the name is `.` for a path that ends in `/.`."""
    clean = posixpath.normpath(path)
    if path.endswith(b"/.") or path == b".":
        return clean, b"."
    return posixpath.dirname(clean) or b".", posixpath.basename(clean) or b"/"


def keep_ending(clean: bytes, original: bytes) -> bytes:
    """A cleaned path with the trailing `/` or `/.` that the original had."""
    if (original.endswith(b"/.") or original == b".") and not clean.endswith(b"/."):
        return clean.rstrip(b"/") + b"/."
    if original.endswith(b"/") and not clean.endswith(b"/"):
        return clean + b"/"
    return clean


def followed(path: bytes, target: bytes) -> tuple[bytes, bytes]:
    """For a link that leads to `target`: the path to use, and the name that its content keeps."""
    resolved = keep_ending(target, path)
    asked, found = posixpath.basename(posixpath.normpath(path)), posixpath.basename(posixpath.normpath(target))
    return resolved, asked if asked != found else b""


def landing(source: Place, target: Place) -> Landing:
    """Raises CliError for a directory that would replace a file, and for a directory that is not there."""
    name = source.rebase or split(source.path)[1]
    if target.exists and target.is_directory:
        return Landing(target.path, split(source.path)[1], name)
    if target.exists and source.is_directory:
        raise failures.CliError("cannot copy directory")
    if not target.exists and not source.is_directory and target.path.endswith((b"/", b"/.")):
        raise failures.CliError("no such directory")
    directory, new = split(target.path)
    return Landing(directory, split(source.path)[1], new)
