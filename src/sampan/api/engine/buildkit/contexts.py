"""The client's files for one build: its Dockerfile, its ignore file, and directories when a step first needs them.

Everything lies in one private folder that goes with the build.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from sampan import errors
from sampan.api.engine.buildkit import receiving, uploads
from sampan.api.engine.buildkit.progress import Progress
from sampan.api.engine.buildkit.requests import NamedContext
from sampan.api.engine.buildkit.sessions import Session
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
    ) -> None:
        self._session = session
        self._folder = folder
        self._progress = progress
        self._main = main
        self._upload = upload
        self._unpacked: Path | None = None
        self._named = named
        self._excludes: Sequence[str] | None = None
        self._flights: dict[str, asyncio.Task[Path]] = {}
        self._count = 0

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
        """Nothing comes any more."""
        for flight in self._flights.values():
            flight.cancel()
        await asyncio.gather(*self._flights.values(), return_exceptions=True)

    async def _root(self) -> Path:
        if self._unpacked is not None:
            return self._unpacked
        title = "[internal] load build context"
        with self._progress.vertex(title) as vertex, self._progress.counting(vertex, "transferring context:") as line:
            return await self._receive(self._main, excludes=self._excludes or (), counted=line.to)

    async def _named_directory(self, name: str) -> Path:
        directory = self._named[name].value
        what = f"transferring {name}:"
        title = f"[context {name}] load {IGNORE_FILE}"
        with self._progress.vertex(title) as vertex, self._progress.counting(vertex, what) as line:
            excludes = await self._ignore_file(directory, line.to)
        title = f"[context {name}] load from client"
        with self._progress.vertex(title) as vertex, self._progress.counting(vertex, what) as line:
            return await self._receive(directory, excludes=excludes, counted=line.to)

    async def _ignore_file(self, directory: str, counted: receiving.Counted) -> list[str]:
        folder = await self._receive(directory, follow=[IGNORE_FILE], counted=counted)
        content = await asyncio.to_thread(_first, folder, (IGNORE_FILE,))
        return dockerignore.lines(content) if content is not None else []

    async def _receive(
        self, directory: str, *, follow: Sequence[str] = (), excludes: Sequence[str] = (), counted: receiving.Counted
    ) -> Path:
        self._count += 1
        folder = self._folder / f"files-{self._count}"
        folder.mkdir(mode=0o700)
        await receiving.receive(
            self._session, folder, name=directory, excludes=excludes, follow=follow, progress=counted
        )
        return folder


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
