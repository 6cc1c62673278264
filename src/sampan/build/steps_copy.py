"""The steps COPY and ADD: what they name, their keys, their layers."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from sampan.build import configure, copying, downloads, keys
from sampan.build.copying import Copies, File
from sampan.build.model import BuildFailed, Step
from sampan.build.placing import Owner
from sampan.formats import dockerfile_words
from sampan.formats.digest import Digest, InvalidDigest
from sampan.formats.dockerfile import Heredoc
from sampan.formats.dockerfile_instructions import Copy
from sampan.images.store import Layer

if TYPE_CHECKING:
    from sampan.build.executor import StageRun


async def copy(stage: StageRun, meaning: Copy, step: Step) -> None:
    """One COPY or ADD."""
    making, state = stage.making, stage.state
    names = [stage.expand(name) for name in meaning.sources]
    urls = [name for name in names if meaning.adds and downloads.is_url(name)]
    local = [name for name in names if name not in urls]
    _check(meaning, local)
    async with contextlib.AsyncExitStack() as held:
        root, layers = -1, None
        if local:
            root, layers = await held.enter_async_context(making.origin(meaning.source_stage, stage.stage, step))
        files = [*_inline(stage, meaning), *[await _fetched(stage, url, meaning.checksum) for url in urls]]
        owner = await _owner(stage, meaning)
        facts: dict[str, keys.Value] = {
            "destination": stage.expand(meaning.destination),
            "directory": configure.working_directory(state.config),
            "unpack": meaning.adds,
            "chown": bool(meaning.chown),
            "owner": [owner.uid, owner.gid] if owner else [],
        }
        layers_key = ""
        if layers is not None and not files:
            layers_key = keys.key(
                "copy-from",
                state.key,
                layers=[layer.diff_id for layer in layers],
                sources=local,
                chmod=stage.expand(meaning.chmod),
                exclude=list(meaning.exclude),
                parents=meaning.parents,
                **facts,
            )
        copies = Copies(
            instruction="ADD" if meaning.adds else "COPY",
            found=[],
            files=files,
            destination=str(facts["destination"]),
            directory=str(facts["directory"]),
            owner=owner,
            mode=_mode(stage.expand(meaning.chmod)),
            unpack=meaning.adds,
            archive_owner=owner if meaning.chown else None,
            exclude=meaning.exclude,
            parents=meaning.parents,
            clamp_ns=None if making.clamp_s is None else making.clamp_s * 10**9,
            scratch=making.scratch,
        )
        await _copied(stage, step, copies, root, local, facts, layers_key)


async def _copied(
    stage: StageRun,
    step: Step,
    copies: Copies,
    root: int,
    local: Sequence[str],
    facts: dict[str, keys.Value],
    layers_key: str,
) -> None:
    """Find it by the layers it comes from, by what it is, or make it."""
    making, state = stage.making, stage.state

    async def make() -> Layer:
        async with making.looked_at(state.layers) as view, _found(copies, root, local) as found:
            return await asyncio.to_thread(making.assembly.make, lambda write: copying.write(found, view, write))

    if layers_key:  # layers are named by their content already
        key = layers_key
    else:
        async with _found(copies, root, local) as found:
            content = await asyncio.to_thread(copying.digest, found, making.context.content_digest)
        key = keys.key("copy", state.key, **facts, content=content)
    outcome = await making.cached(stage.stage, step, key, state.key, make)
    stage.advance(key, f"{step.text.replace(chr(10), ' ')[:1000]} # buildkit", outcome)


@contextlib.asynccontextmanager
async def _found(copies: Copies, root: int, local: Sequence[str]) -> AsyncIterator[Copies]:
    found = await asyncio.to_thread(copying.find, root, local, copies.instruction) if local else []
    complete = copying.with_found(copies, found)
    try:
        yield complete
    finally:
        complete.close()


def _check(meaning: Copy, local: Sequence[str]) -> None:
    if meaning.checksum and (local or len(meaning.sources) != 1):
        raise BuildFailed("checksum can only be specified for a single HTTP(S) source")
    for name in local:
        if meaning.adds and (name.startswith(("git@", "git://", "ssh://")) or name.endswith(".git")):
            raise BuildFailed(
                f"ADD of the git repository {name[:200]} is not served", remedy="clone it and send it in the context"
            )


def _inline(stage: StageRun, meaning: Copy) -> list[File]:
    return [File(os.fsencode(each.name), _content(stage, each)) for each in meaning.inline]


def _content(stage: StageRun, document: Heredoc) -> bytes:
    text = document.content
    if document.chomp:
        text = "".join(line.lstrip("\t") for line in text.splitlines(keepends=True))
    if document.expand:
        text = dockerfile_words.expand_content(text, stage.variables(), stage.making.plan.escape)
    return text.encode("utf-8", "surrogateescape")


async def _fetched(stage: StageRun, url: str, checksum: str) -> File:
    to = stage.making.scratch / f"download-{os.urandom(6).hex()}"
    fetched = await asyncio.to_thread(downloads.fetch, url, to)
    if checksum:
        try:
            wanted = Digest.parse(checksum)
        except InvalidDigest as error:
            raise BuildFailed(f"invalid checksum {checksum[:200]!r}") from error
        if wanted != fetched.digest:
            raise BuildFailed(f"digest mismatch {fetched.digest}: {wanted}")
    return File(os.fsencode(fetched.name or "download"), place=to, mode=0o600, mtime_ns=fetched.mtime_ns)


async def _owner(stage: StageRun, meaning: Copy) -> Owner | None:
    """Root for the context's files; `--from` keeps what the files have. A user's group is looked up in the image."""
    text = stage.expand(meaning.chown)
    if not text:
        return None if meaning.source_stage else Owner(0, 0)
    user, _, group = text.partition(":")
    if user.isdigit() and (not group or group.isdigit()):
        return Owner(int(user), int(group or user))
    async with stage.making.looked_at(stage.state.layers) as view:
        return await stage.identity(text, view)


def _mode(text: str) -> int | None:
    if not text:
        return None
    try:
        mode = int(text, 8)
    except ValueError as error:
        raise BuildFailed(
            f"invalid chmod parameter: '{text[:50]}'", remedy="write an octal number, as in 0755"
        ) from error
    if not 0 <= mode <= 0o7777:
        raise BuildFailed(f"invalid chmod parameter: '{text[:50]}'", remedy="it should be octal between 0 and 07777")
    return mode
