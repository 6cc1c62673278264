"""Handlers: exec, the parts that answer at once. Starting one is a stream: `streams.py`."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from sampan import errors
from sampan.api.engine import containers
from sampan.api.engine.call import Call, done
from sampan.api.http import bodies
from sampan.containers.execs import Exec, ExecWish


class InvalidExec(errors.Invalid):
    """A body that is no exec configuration."""


class ExecCreate(msgspec.Struct, rename="pascal"):
    """The body of `POST /containers/{id}/exec`."""

    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    console_size: list[int] = []
    detach_keys: str = ""
    tty: bool = False
    env: list[str] = []
    cmd: list[str] = []
    privileged: bool = False
    user: str = ""
    working_dir: str = ""


class ExecStart(msgspec.Struct, rename="pascal"):
    """The body of `POST /exec/{id}/start`."""

    detach: bool = False
    tty: bool = False
    console_size: list[int] = []


def decode_create(body: dict[str, Any]) -> ExecWish:
    """Raises: InvalidExec."""
    try:
        asked = msgspec.convert(_present(body), ExecCreate)
    except msgspec.ValidationError as error:
        raise InvalidExec("invalid exec configuration", why=str(error)) from error
    if not asked.cmd:
        raise InvalidExec("No exec command specified")
    return ExecWish(
        tuple(asked.cmd),
        terminal=asked.tty,
        stdin=asked.attach_stdin,
        stdout=asked.attach_stdout,
        stderr=asked.attach_stderr,
        env=tuple(asked.env),
        user=asked.user,
        working_dir=asked.working_dir,
        privileged=asked.privileged,
        detach_keys=asked.detach_keys,
    )


def decode_start(body: dict[str, Any]) -> ExecStart:
    """Raises: InvalidExec."""
    try:
        asked = msgspec.convert(_present(body), ExecStart)
    except msgspec.ValidationError as error:
        raise InvalidExec("invalid exec configuration", why=str(error)) from error
    if len(asked.console_size) not in (0, 2) or not all(0 <= size < 65536 for size in asked.console_size):
        raise InvalidExec("invalid exec configuration", why="ConsoleSize is [height, width]")
    return asked


def _present(body: dict[str, Any]) -> dict[str, Any]:
    """Without nulls; a lone string is a command of one word, as Docker's StrSlice reads it."""
    found: dict[str, Any] = bodies.without_nulls(body)
    if isinstance(found.get("Cmd"), str):
        found["Cmd"] = [found["Cmd"]]
    if "detachKeys" in found:  # so spelled by the SDK for Python
        found.setdefault("DetachKeys", found.pop("detachKeys"))
    return found


def render(item: Exec) -> dict[str, Any]:
    """The answer of `GET /exec/{id}/json`. Pure."""
    wish = item.wish
    return {
        "ID": item.id,
        "Running": item.running,
        "ExitCode": item.exit_code,
        "ProcessConfig": {
            "tty": wish.terminal,
            "entrypoint": wish.command[0],
            "arguments": list(wish.command[1:]),
            "privileged": wish.privileged,
            "user": wish.user,
        },
        "OpenStdin": wish.stdin,
        "OpenStderr": wish.stderr,
        "OpenStdout": wish.stdout,
        "CanRemove": item.exit_code is not None,
        "ContainerID": item.container_id,
        "DetachKeys": wish.detach_keys,
        "Pid": item.pid,
    }


async def create(call: Call) -> web.StreamResponse:
    """POST /containers/{name}/exec."""
    item = call.engine.containers.execs.create(call.name, decode_create(await call.body()))
    return bodies.answer({"Id": item.id}, status=201)


async def inspect(call: Call) -> web.StreamResponse:
    """GET /exec/{name}/json."""
    return bodies.answer(render(call.engine.containers.execs.get(call.name)))


async def resize(call: Call) -> web.StreamResponse:
    """POST /exec/{name}/resize."""
    await call.engine.containers.execs.resize(call.name, *containers.window(call))
    return done(200)
