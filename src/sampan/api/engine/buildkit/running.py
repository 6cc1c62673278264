"""One build from what a client wants to where its result goes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sampan import errors
from sampan.api.engine.buildkit import contexts, exporting, following, reporting, requests
from sampan.api.engine.buildkit.attachables import ClientLogins, ClientSecrets, ClientSsh
from sampan.api.engine.buildkit.messages import Exporter, SolveRequest
from sampan.api.engine.buildkit.progress import Progress
from sampan.api.engine.buildkit.sessions import Session
from sampan.build import scope, workplace
from sampan.build.model import Event, Request, Result, StepStarted
from sampan.formats import reference
from sampan.formats.digest import Digest
from sampan.images import platforms, viewing

if TYPE_CHECKING:
    from sampan.build.service import Builder
    from sampan.images.service import Images


@dataclasses.dataclass(slots=True)
class Runner:
    """Runs builds. One for the daemon."""

    builder: Builder
    images: Images

    async def run(
        self, session: Session, attrs: Mapping[str, str], exporter: Exporter, progress: Progress
    ) -> dict[str, str]:
        """Build and export; what the client is told of the result. Raises: kinds of SampanError."""
        exporting.check(exporter)
        tags = requests.tags_of(exporter.attrs.get("name", "")) if exporter.type in exporting.IMAGES else ()
        wanted = requests.decode(attrs, tags)
        keeps = exporter.type in exporting.IMAGES
        reporter = reporting.Reporter(progress, keeps_image=keeps)
        before = frozenset() if keeps else frozenset(image.id for image in self.images.list())
        async with self._folder() as folder:
            context = contexts.ClientContext(
                session,
                folder,
                progress,
                main=wanted.context_name,
                named=wanted.named,
                upload=wanted.upload,
                kept=self.builder.kept,
            )

            def report(event: Event) -> None:
                if isinstance(event, StepStarted) and event.step.name.startswith("ONBUILD "):
                    context.follow(())  # an image's triggers copy what this Dockerfile does not name
                reporter(event)

            try:
                request = await self._with_dockerfile(wanted, context, reporter)
                result = await self.builder.build(
                    request,
                    context,
                    secrets=ClientSecrets(session),
                    ssh=ClientSsh(session, folder),
                    logins=ClientLogins(session),
                    report=report,
                )
                if not keeps:
                    try:
                        await self._hand_over(exporter, session, result, progress)
                    finally:
                        await self._forget(result, before)
                reporter.exported()
            except errors.SampanError as error:
                raise reporting.failure(error, reporter) from error
            finally:
                await context.close()
        return _told(exporter, result)

    async def _hand_over(self, exporter: Exporter, session: Session, result: Result, progress: Progress) -> None:
        async with viewing.mounted(self.images, str(result.image_id), self.builder.viewpoint()) as root:
            await exporting.export(exporter, session, root, progress)

    async def _forget(self, result: Result, before: frozenset[Digest]) -> None:
        """The image that was made on the way, unless it was there already. The cache keeps its layers."""
        if result.image_id not in before:
            with contextlib.suppress(errors.Conflict, errors.NotFound):  # somebody uses it, or removed it
                await self.images.remove(str(result.image_id))

    @contextlib.asynccontextmanager
    async def _folder(self) -> AsyncIterator[Path]:
        """A private folder for the client's files. What a killed daemon leaves of it, the builder's room sweeps."""
        folder = await asyncio.to_thread(self.builder.receive)
        try:
            yield folder
        finally:
            await asyncio.shield(asyncio.to_thread(workplace.erase, folder))

    async def _with_dockerfile(
        self, wanted: requests.Wanted, context: contexts.ClientContext, reporter: reporting.Reporter
    ) -> Request:
        """The Dockerfile comes apart from the context, unless the context is one stream."""
        if wanted.remote:
            raise requests.UnsupportedBuild(
                f"the context {wanted.remote[:200]!r} is not fetched", remedy="clone it and build from the directory"
            )
        if wanted.upload:
            content = await context.uploaded(wanted.filename)
        else:
            content = await context.dockerfile(wanted.dockerfile_name, wanted.filename)
            await context.ignores()
        reporter.read(wanted.filename, content)
        if wanted.syntax:
            reporter.remark(f"the frontend {wanted.syntax} is not used: this daemon has its own for Dockerfiles")
        request = dataclasses.replace(wanted.request, dockerfile=content)
        context.follow(self._named_paths(request))
        return request

    def _named_paths(self, request: Request) -> list[str]:
        here = self.images.platform
        try:
            target = platforms.parse(request.platform) if request.platform else here
        except errors.SampanError:
            return []  # the build itself says what is wrong
        known = scope.platform_args(target, here, stage=request.target)
        build_args = {name: value for name, value in request.build_args.items() if value is not None}
        return following.paths(request.dockerfile or b"", request.target, build_args, known)


def exporter_of(request: SolveRequest) -> Exporter:
    """The one exporter of a solve; the image store if it names none. Raises: UnsupportedBuild."""
    found = request.exporters or [Exporter(request.exporter, dict(request.exporter_attrs))]
    if len(found) > 1:
        raise requests.UnsupportedBuild("a build has one output", remedy="build once for each --output")
    return found[0]


def _told(exporter: Exporter, result: Result) -> dict[str, str]:
    if exporter.type not in exporting.IMAGES:
        return {}
    told = {"containerimage.digest": str(result.image_id), "containerimage.config.digest": str(result.image_id)}
    if result.names:
        told["image.name"] = ",".join(str(reference.parse(name)) for name in result.names)
    return told
