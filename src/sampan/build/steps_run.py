"""The step RUN: its words, its key, its mounts, its container."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sampan.build import configure, copying, keys, running, scope, sources
from sampan.build.copying import Copies
from sampan.build.model import Step, StepLog, StepRunning
from sampan.build.placing import Owner
from sampan.formats.dockerfile import Heredoc
from sampan.formats.dockerfile_instructions import Run
from sampan.formats.dockerfile_mounts import RunMount
from sampan.formats.stdcopy import STDERR
from sampan.images.store import Layer

if TYPE_CHECKING:
    from sampan.build.executor import StageRun


async def run(stage: StageRun, meaning: Run, step: Step) -> None:
    """One RUN."""
    making, state = stage.making, stage.state
    words, script = _words(meaning, configure.shell(state.config))
    mounts = [_expanded(stage, mount) for mount in meaning.mounts]
    arguments = stage.arguments()
    async with contextlib.AsyncExitStack() as held:
        origins: dict[str, int] = {}
        known: dict[str, str] = {}
        for mount in mounts:
            if mount.kind == "bind" and mount.origin not in origins:
                opened, layers = await held.enter_async_context(making.origin(mount.origin, stage.stage, step))
                origins[mount.origin] = opened
                known[mount.origin] = keys.digest([layer.diff_id for layer in layers]) if layers is not None else ""
        facts = [await _facts(mount, origins, known, making.context.content_digest) for mount in mounts]
        key = keys.key(
            "run",
            state.key,
            words=list(words),
            script=script.decode("utf-8", "surrogateescape") if script else "",
            arguments=arguments,
            mounts=facts,
            network=meaning.network,
            limits=[],
        )
        command = running.Command(
            arguments=words,
            shown=_shown(words),
            environment={
                **scope.proxies(making.build_args), **arguments, **configure.environment(state.config)
            },
            user=str(state.config.get("User") or ""),
            directory=configure.working_directory(state.config),
            network=meaning.network,
            mounts=mounts,
            script=script,
        )  # fmt: skip

        async def make() -> Layer:
            def output(stream: int, data: bytes) -> None:
                making.report(StepLog(step, "stderr" if stream == STDERR else "stdout", data, time.time_ns()))

            return await running.run(
                making.tools,
                command,
                state.layers,
                origins,
                started=lambda container_id: making.report(StepRunning(step, container_id)),
                output=output,
                clamp_s=making.clamp_s,
            )

        outcome = await making.cached(stage.stage, step, key, state.key, make)
    stage.advance(key, _history(arguments, words), outcome)


def _words(meaning: Run, shell: Sequence[str]) -> tuple[list[str], bytes | None]:
    """The argument vector, and the content of a script that runs by itself."""
    if meaning.script is not None:
        content = _content(meaning.script)
        if content.startswith("#!"):
            return [running.SCRIPT], content.encode("utf-8", "surrogateescape")
        return [*shell, content], None
    return [*shell, *meaning.command.words] if meaning.command.shell else list(meaning.command.words), None


def _content(document: Heredoc) -> str:
    """Here-documents of RUN are the shell's: nothing in them is expanded here."""
    if not document.chomp:
        return document.content
    return "".join(line.lstrip("\t") for line in document.content.splitlines(keepends=True))


def _shown(words: Sequence[str]) -> str:
    return " ".join(words)


def _history(arguments: Mapping[str, str], words: Sequence[str]) -> str:
    """RUN as the image's history has it, with the arguments it was given."""
    given = [f"|{len(arguments)}", *(f"{name}={value}" for name, value in sorted(arguments.items()))]
    plain = words if len(words) > 2 else [shlex.quote(word) for word in words]
    return " ".join(["RUN", *(given if arguments else []), *plain, "# buildkit"])


def _expanded(stage: StageRun, mount: RunMount) -> RunMount:
    directory = configure.working_directory(stage.state.config)
    target = stage.expand(mount.target)
    if target and not target.startswith("/"):
        target = f"{directory.rstrip('/')}/{target}"
    return running.with_words(
        mount,
        target=target,
        source=stage.expand(mount.source),
        cache_id=stage.expand(mount.id),
        size=stage.expand(mount.size),
    )


async def _facts(
    mount: RunMount, origins: Mapping[str, int], known: Mapping[str, str], contents: copying.Known
) -> keys.Value:
    """What of a mount decides the result: all that is written down, and for a bind what is there."""
    told: dict[str, keys.Value] = {
        "kind": mount.kind,
        "target": mount.target,
        "source": mount.source,
        "id": mount.id,
        "read_only": mount.read_only,
        "mode": mount.mode,
        "owner": [mount.uid, mount.gid],
        "size": mount.size,
        "variable": mount.variable,
    }
    if mount.kind != "bind":
        return told
    if known[mount.origin]:
        return {**told, "layers": known[mount.origin]}
    return {**told, "content": await asyncio.to_thread(_bound_digest, origins[mount.origin], mount.source, contents)}


def _bound_digest(root: int, source: str, contents: copying.Known) -> str:
    found = sources.find(root, source or ".", "RUN --mount")
    copies = Copies("RUN", found, (), "/bound/", "/", Owner(0, 0))
    try:
        return copying.digest(copies, contents)
    finally:
        copies.close()
