"""The client's files for one build: its Dockerfile, its ignore file, and directories when a step first needs them.

Everything lies in one private folder that goes with the build. Whole directories are kept when it ends (`build.kept`)
if the client gave its session a key, which it makes of itself and its directory: unchanged files are not sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from sampan import errors
from sampan.api.engine.buildkit import receiving, uploads
from sampan.api.engine.buildkit.progress import Progress
from sampan.api.engine.buildkit.requests import NamedContext
from sampan.api.engine.buildkit.sessions import Session
from sampan.build.kept import Contexts, Key
from sampan.formats import dockerignore
from sampan.kernel import libc, paths

IGNORE_FILE = ".dockerignore"
LARGEST_DOCKERFILE_BYTES = 4 << 20


class NoDockerfile(errors.NotFound):
    """The client has no such file."""


class ClientContext:
    """`build.model.Context` over a session."""

    def __init__(
        self,
        session: Session,
        folder: Path,
        progress: Progress,
        *,
        main: str,
        named: Mapping[str, NamedContext],
        upload: str = "",
        kept: Contexts,
    ) -> None:
        self._session = session
        self._folder = folder
        self._progress = progress
        self._main = main
        self._upload = upload
        self._unpacked: Path | None = None
        self._named = named
        self._excludes: Sequence[str] | None = None
        self._follow: Sequence[str] = ()
        self._flights: dict[str, asyncio.Task[Path]] = {}
        self._replaced: list[asyncio.Task[Path]] = []
        self._count = 0
        self._kept = kept
        self._whole: list[tuple[Key, Path, int]] = []  # to be kept: key, tree, bytes

    async def dockerfile(self, directory: str, filename: str) -> bytes:
        """The Dockerfile, and on the way the ignore file that belongs to it alone. Raises: NoDockerfile."""
        follow = [filename, f"{filename}{IGNORE_FILE}"]
        if filename == "Dockerfile":
            follow.append(filename.lower())
        title = f"[internal] load build definition from {filename}"
        with (
            self._progress.vertex(title) as vertex,
            self._progress.counting(vertex, "transferring dockerfile:") as line,
        ):
            folder = await self._receive(directory, follow=follow, counted=line.to)
            content = await asyncio.to_thread(_first, folder, (filename, *follow[2:]))
            line.to(max(line.count, len(content) if content is not None else 0))
            if content is None:
                raise NoDockerfile(f"failed to read dockerfile: open {filename}: no such file or directory")
            ignore = await asyncio.to_thread(_first, folder, (follow[1],))
        if ignore is not None:
            self._excludes = dockerignore.lines(ignore)
        return content

    async def uploaded(self, filename: str) -> bytes:
        """The Dockerfile of a context that comes as one stream, which may be nothing but a Dockerfile."""
        title = "[internal] load remote build context"
        file, folder = self._folder / "upload", self._folder / "files-upload"
        with self._progress.vertex(title) as vertex, self._progress.counting(vertex, "transferring context:") as line:
            await uploads.receive(self._session, self._upload, file, progress=line.to)
            if not await asyncio.to_thread(uploads.open_archive, file, folder):
                folder.mkdir(mode=0o700)
                file.rename(folder / "Dockerfile")
                filename = "Dockerfile"
            self._unpacked = folder
            content = await asyncio.to_thread(_first, folder, (filename,))
        if content is None:
            raise NoDockerfile(f"failed to read dockerfile: open {filename}: no such file or directory")
        return content

    async def ignores(self) -> None:
        """The main context's ignore file, unless the Dockerfile has one of its own."""
        with self._progress.vertex("[internal] load .dockerignore") as vertex:
            if self._excludes is None:
                with self._progress.counting(vertex, "transferring context:") as line:
                    self._excludes = await self._ignore_file(self._main, line.to)

    def follow(self, names: Sequence[str]) -> None:
        """Only these parts of the main context are needed; none means everything."""
        if list(names) != list(self._follow):
            self._follow = names
            flight = self._flights.pop("", None)
            if flight is not None:
                self._replaced.append(flight)  # steps that named what it brings still use it

    async def directory(self, name: str) -> Path | None:
        """As `build.model.Context`. Several steps that want one directory share its coming."""
        if name and (name not in self._named or self._named[name].kind != "local"):
            return None
        flight = self._flights.get(name)
        if flight is None:
            flight = self._flights[name] = asyncio.create_task(self._named_directory(name) if name else self._root())
        return await asyncio.shield(flight)

    def content_digest(self, status: os.stat_result) -> bytes | None:
        """As `build.model.Context`: nothing is known, files are read when a step needs them."""
        return None

    async def close(self) -> None:
        """Nothing comes any more, and no step reads any more: what came whole is kept for the next build."""
        flights = [*self._flights.values(), *self._replaced]
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        while self._whole:
            with contextlib.suppress(OSError):  # a full disk, say: the next build is sent everything
                await asyncio.to_thread(self._kept.keep, *self._whole.pop())

    async def _root(self) -> Path:
        if self._unpacked is not None:
            return self._unpacked
        title = "[internal] load build context"
        with self._progress.vertex(title) as vertex, self._progress.counting(vertex, "transferring context:") as line:
            return await self._tree(self._main, self._excludes or (), self._follow, line.to)

    async def _named_directory(self, name: str) -> Path:
        directory = self._named[name].value
        what = f"transferring {name}:"
        title = f"[context {name}] load {IGNORE_FILE}"
        with self._progress.vertex(title) as vertex, self._progress.counting(vertex, what) as line:
            excludes = await self._ignore_file(directory, line.to)
        title = f"[context {name}] load from client"
        with self._progress.vertex(title) as vertex, self._progress.counting(vertex, what) as line:
            return await self._tree(directory, excludes, (), line.to)

    async def _ignore_file(self, directory: str, counted: receiving.Counted) -> list[str]:
        folder = await self._receive(directory, follow=[IGNORE_FILE], counted=counted)
        content = await asyncio.to_thread(_first, folder, (IGNORE_FILE,))
        return dockerignore.lines(content) if content is not None else []

    async def _receive(self, directory: str, *, follow: Sequence[str], counted: receiving.Counted) -> Path:
        folder = self._new()
        await receiving.receive(self._session, folder, name=directory, follow=follow, progress=counted)
        return folder

    async def _tree(
        self, directory: str, excludes: Sequence[str], follow: Sequence[str], counted: receiving.Counted
    ) -> Path:
        """A directory, or the named parts of it, as far as possible from what an earlier build was sent."""
        folder = self._new()
        key = _key(self._session.shared_key, directory, excludes, follow)
        size_bytes = await receiving.receive(
            self._session,
            folder,
            name=directory,
            excludes=excludes,
            follow=follow,
            former=None if key is None else self._kept.find(key),
            progress=counted,
        )
        if key is not None:
            self._whole.append((key, folder, size_bytes))
        return folder

    def _new(self) -> Path:
        self._count += 1
        folder = self._folder / f"files-{self._count}"
        folder.mkdir(mode=0o700)
        return folder


def _key(shared_key: str, directory: str, excludes: Sequence[str], follow: Sequence[str]) -> Key | None:
    """None if the client does not say whose directory it is."""
    if not shared_key:
        return None
    return Key(_digest([shared_key, directory]), _digest([list(excludes), list(follow)]))


def _digest(said: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _first(folder: Path, names: Sequence[str]) -> bytes | None:
    """The first of these files that is there and plain. Links are followed inside the folder only."""
    root = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in names:
            try:
                descriptor = paths.open_in(root, os.fsencode(name), os.O_RDONLY | os.O_NONBLOCK)
            except libc.KernelError:
                continue  # not there, or a link that leads nowhere: the next name may do
            with os.fdopen(descriptor, "rb") as file:
                if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    return file.read(LARGEST_DOCKERFILE_BYTES + 1)
        return None
    finally:
        os.close(root)
