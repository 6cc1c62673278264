"""COPY and ADD: sources and a destination become the tar of a layer, or the digest that names the same. Blocking.

Both are one walk (`write`): with an image below for the layer, and without times for the digest of a cache key. Names,
kinds, modes, owners, attributes, link targets and contents count; when a file was last written does not.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sampan.build import archives, placing, sources
from sampan.build.model import BuildFailed
from sampan.build.placing import Owner, Place
from sampan.build.sources import Found
from sampan.formats import dockerignore
from sampan.formats.digest import Digest
from sampan.formats.tar import EntryKind, TarEntry
from sampan.host import packing

Write = Callable[[bytes], None]
Known = Callable[[os.stat_result], bytes | None]  # the SHA-256 of a file's content, if somebody has it


@dataclass(frozen=True, slots=True)
class File:
    """A file made or fetched for the build: a here-document, a download."""

    name: bytes
    content: bytes = b""
    place: Path | None = None
    mode: int = 0o644
    mtime_ns: int = 0


@dataclass(frozen=True, slots=True)
class Copies:
    """One COPY or ADD with everything found. `owner` None keeps that of the sources, `mode` None theirs."""

    instruction: str
    found: Sequence[Found]
    files: Sequence[File]
    destination: str  # expanded
    directory: str  # WORKDIR
    owner: Owner | None
    mode: int | None = None
    unpack: bool = False  # ADD: archives among the sources are taken apart
    archive_owner: Owner | None = None  # of what is in archives; None keeps theirs
    exclude: Sequence[str] = ()
    parents: bool = False
    mtime_ns: int = 0  # of folders that are made
    clamp_ns: int | None = None
    scratch: Path = field(default_factory=Path)  # a folder for inflated archives

    def close(self) -> None:
        """Let go of the sources."""
        for each in self.found:
            each.close()


def digest(copies: Copies, known: Known = lambda status: None) -> str:
    """What is copied, without times and without the image below. A content counts by its SHA-256, `known` or read."""
    hashed = hashlib.sha256()

    def summary(file: int, status: os.stat_result) -> bytes:
        return known(status) or _digest_of(iter(lambda: os.read(file, packing.PIECE_BYTES), b""))

    _Copier(copies, hashed.update, None, timeless=True, summary=summary).run()
    return Digest(f"sha256:{hashed.hexdigest()}")


def _digest_of(pieces: Iterable[bytes]) -> bytes:
    hashed = hashlib.sha256()
    for piece in pieces:
        hashed.update(piece)
    return hashed.digest()


def write(copies: Copies, view: int | None, to: Write) -> None:
    """The layer. `view` is the image below, open. Raises `BuildFailed`."""
    _Copier(copies, to, view, timeless=False).run()


class _Copier:
    def __init__(
        self, copies: Copies, to: Write, view: int | None, *, timeless: bool, summary: packing.Summary | None = None
    ) -> None:
        self._copies = copies
        self._timeless = timeless
        self._packer = packing.Packer(to, adapt=self._adapt, summary=summary)
        owner = copies.owner or Owner(0, 0)
        self._place = Place(
            view, self._packer.put, owner=owner, mtime_ns=0 if timeless else self._clamped(copies.mtime_ns)
        )
        self._ignored = dockerignore.Ignored(dockerignore.parse(copies.exclude))
        self._prefix = b""

    def run(self) -> None:
        copies = self._copies
        target, is_folder = placing.normal(copies.directory, copies.destination)
        count = len(copies.found) + len(copies.files)
        if count > 1 and not is_folder and not self._place.is_directory(target):
            raise BuildFailed(
                f"When using {copies.instruction} with more than one source file, the destination must be a directory "
                "and end with a /"
            )
        into = is_folder or copies.parents or self._place.is_directory(target)
        for each in copies.found:
            self._one(each, target, into=into)
        for file in copies.files:
            self._file(file, target, into=into)
        self._packer.finish()

    def _one(self, each: Found, target: bytes, *, into: bool) -> None:
        if self._copies.parents:
            target = self._with_parents(each, target)
        if each.is_directory:
            base = self._place.directory(target)
            self._prefix = base + b"/" if base else b""
            self._packer.add_children(each.directory, base)
            return
        if self._copies.unpack and not self._timeless and self._unpacked(each, target):
            return
        self._prefix = b""
        if self._ignored(os.fsdecode(each.shown)):
            return
        self._packer.add(each.directory, each.name, self._target(each.shown, target, into=into))

    def _with_parents(self, each: Found, target: bytes) -> bytes:
        above = each.shown if each.is_directory else each.shown.rpartition(b"/")[0]
        return b"/".join(filter(None, [target, above]))

    def _target(self, name: bytes, target: bytes, *, into: bool) -> bytes:
        if not into:
            return self._place.file(target)
        base = self._place.directory(target)
        last = name.rpartition(b"/")[2]
        return base + b"/" + last if base else last

    def _file(self, file: File, target: bytes, *, into: bool) -> None:
        size = len(file.content) if file.place is None else file.place.stat().st_size
        entry = TarEntry(
            self._target(file.name, target, into=into),
            mode=self._copies.mode if self._copies.mode is not None else file.mode,
            uid=self._copies.owner.uid if self._copies.owner else 0,
            gid=self._copies.owner.gid if self._copies.owner else 0,
            mtime_ns=0 if self._timeless else self._clamped(file.mtime_ns or self._copies.mtime_ns),
            size_bytes=size,
        )
        pieces: Iterable[bytes] = (file.content,) if file.place is None else archives.pieces(file.place)
        self._packer.put(entry, (_digest_of(pieces),) if self._timeless and size else pieces)

    def _unpacked(self, each: Found, target: bytes) -> bool:
        """Whether it is an archive, which is then put below the target."""
        with archives.opened(each.directory, each.name, self._copies.scratch) as content:
            if content is None:
                return False
            base = self._place.directory(target)
            archives.unpack(content, self._place, base, self._packer.put, owner=self._copies.archive_owner)
            return True

    def _adapt(self, entry: TarEntry) -> Sequence[TarEntry]:
        if self._copies.exclude and self._ignored(os.fsdecode(entry.path.removeprefix(self._prefix))):
            return ()
        if entry.kind is EntryKind.DIRECTORY:
            path = self._place.merged(entry.path)
        else:
            path = self._place.under(entry.path)
            if self._place.covers_directory(path):
                raise BuildFailed(f"cannot overwrite directory /{os.fsdecode(path)} with a file")
        owner = self._copies.owner
        mode = (
            self._copies.mode if self._copies.mode is not None and entry.kind is not EntryKind.SYMLINK else entry.mode
        )
        changed = entry._replace(
            path=path,
            mode=mode,
            uid=owner.uid if owner else entry.uid,
            gid=owner.gid if owner else entry.gid,
            mtime_ns=0 if self._timeless else self._clamped(entry.mtime_ns),
        )
        return packing.portable(changed)

    def _clamped(self, mtime_ns: int) -> int:
        limit = self._copies.clamp_ns
        return mtime_ns if limit is None else min(mtime_ns, limit)


def find(root: int, patterns: Sequence[str], instruction: str) -> list[Found]:
    """All sources of an instruction, in its order. Raises `BuildFailed`."""
    found: list[Found] = []
    try:
        for pattern in patterns:
            found += sources.find(root, pattern, instruction)
    except BaseException:
        for each in found:
            each.close()
        raise
    return found


def with_found(copies: Copies, found: Sequence[Found]) -> Copies:
    """The same with its sources open. Folders that are made get the time of the first source."""
    mtime_ns = 0
    if found:
        mtime_ns = os.stat(found[0].name, dir_fd=found[0].directory, follow_symlinks=False).st_mtime_ns
    elif copies.files:
        mtime_ns = copies.files[0].mtime_ns
    return dataclasses.replace(copies, found=found, mtime_ns=mtime_ns)
