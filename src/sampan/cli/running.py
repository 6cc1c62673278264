"""`run` and `create`."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack

from sampan.api.engine import detach
from sampan.cli import create as creating
from sampan.cli import create_options, failures, output, progress
from sampan.cli.common import daemon
from sampan.cli.line import declare
from sampan.cli.settings import auth, preferences

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.cli.client import Client

FOUND = "container ID file found, make sure the other container isn't running or delete {}"


def _create(client: Client, options: dict[str, Any], image: str, command: tuple[str, ...], *, detached: bool) -> str:
    """Make the container, pulling the image if it is missing. Returns the id. Raises: CliError with 125."""
    from pathlib import Path

    cidfile = Path(options["cidfile"]) if options["cidfile"] else None
    if cidfile is not None and cidfile.exists():
        raise failures.BadUsage(FOUND.format(cidfile), failures.DAEMON)
    try:
        files = {name: Path(name).read_text() for name in creating.files_named(options)}
    except (OSError, UnicodeDecodeError) as error:
        raise failures.BadUsage(unreadable(error), failures.DAEMON) from error
    around = creating.Surroundings(files, os.environ, str(Path.cwd()))
    preferences.check_trust(options["disable_content_trust"])
    options["platform"] = preferences.platform(options["platform"])
    body = creating.body(options, image, command, around, detached=detached)
    body["Env"] += preferences.proxy_environment(client.address, body["Env"])
    query = {"name": options["name"], "platform": options["platform"]}
    if options["pull"] == "always":
        pull(client, image, options["platform"], quiet=options["quiet"], out=sys.stderr)
    try:
        made = client.post("/containers/create", query, body)
    except failures.DaemonError as error:
        if error.status != 404 or options["pull"] != "missing" or "image" not in error.message.lower():
            raise
        if not options["quiet"]:
            sys.stderr.write(f"Unable to find image '{with_tag(image)}' locally\n")
        pull(client, image, options["platform"], quiet=options["quiet"], out=sys.stderr)
        made = client.post("/containers/create", query, body)
    for warning in made.get("Warnings") or ():
        sys.stderr.write(f"WARNING: {warning}\n")
    if cidfile is not None:
        cidfile.write_text(made["Id"])
    return str(made["Id"])


def unreadable(error: OSError | UnicodeDecodeError) -> str:
    """What is wrong with a file, as docker tells it. Pure."""
    if isinstance(error, OSError):
        return f"open {error.filename}: {(error.strerror or '').lower()}"
    return f"invalid utf8 bytes in a file: {error}"


def with_tag(image: str) -> str:
    """`busybox` is `busybox:latest`. Pure."""
    return image if "@" in image or ":" in image.rpartition("/")[2] else f"{image}:latest"


def canonical(name: str) -> str:
    """`busybox` is `docker.io/library/busybox`. Pure."""
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return name
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"


def pull(client: Client, image: str, platform: str, *, quiet: bool, out: Any) -> None:
    """Pull and draw. Raises: CliError."""
    full = canonical(with_tag(image))
    name, _, tag = full.partition("@") if "@" in full else full.rpartition(":")
    query = {"fromImage": name, "tag": tag, "platform": platform}
    lines = client.lines("POST", "/images/create", query=query, headers=auth.for_image(image))
    progress.draw(lines, out, quiet=quiet)


@declare.command(interspersed=False)
@create_options.with_options
@declare.argument("image", offers="image")
@declare.argument("command", nargs=-1, metavar="[COMMAND] [ARG...]")
def create(image: str, command: tuple[str, ...], **options: Any) -> int:
    """Create a new container, not started."""
    output.echo(_create(daemon(), options, image, command, detached=False))
    return 0


@declare.command(interspersed=False)
@declare.option("--detach", "-d", is_flag=True, help="Run in the background and print the container's id")
@declare.option("--detach-keys", default="", help="Keys that leave the container without stopping it")
@declare.option("--sig-proxy", type=bool, default=True, help="Pass signals on to the process")
@create_options.with_options
@declare.argument("image", offers="image")
@declare.argument("command", nargs=-1, metavar="[COMMAND] [ARG...]")
def run(
    image: str, command: tuple[str, ...], *, detach: bool, detach_keys: str, sig_proxy: bool, **options: Any
) -> int:
    """Create and run a new container from an image."""
    try:
        return _run(
            daemon(),
            image,
            command,
            options,
            detached=detach,
            keys=preferences.detach_keys(detach_keys),
            sig_proxy=sig_proxy,
        )
    except (failures.NotATerminal, Conflict):
        raise
    except failures.CliError as error:
        error.code = failures.DAEMON if error.code == failures.GENERAL else error.code
        raise _named(error) from error


class Conflict(failures.BadUsage):
    """Options of `run` that exclude each other, told without the program's name."""


def _named(error: failures.CliError) -> failures.CliError:
    """With the program's name in front, as docker prints it."""
    return failures.CliError(f"sampan: {error}\n\nRun 'sampan run --help' for more information", error.code)


def _run(
    client: Client,
    image: str,
    command: tuple[str, ...],
    options: dict[str, Any],
    *,
    detached: bool,
    keys: str,
    sig_proxy: bool,
) -> int:
    from sampan.cli import terminal

    if detached and options["attach"]:
        raise Conflict("conflicting options: cannot specify both --attach and --detach")
    if not detached and not terminal.check_tty(
        wants_input=options["interactive"] or "stdin" in options["attach"], wants_terminal=options["tty"]
    ):
        raise failures.NotATerminal
    id_ = _create(client, options, image, command, detached=detached)
    if detached:
        _start(client, id_)
        output.echo(id_)
        return 0
    streams = creating.attached(options, detached=False)
    stdin = streams["AttachStdin"]
    query = {"stream": True, "stdin": stdin, "stdout": streams["AttachStdout"], "stderr": streams["AttachStderr"]}
    stream = client.upgrade(f"/containers/{id_}/attach", query={**query, "detachKeys": keys})
    ending = client.open(
        "POST", f"/containers/{id_}/wait", query={"condition": "removed" if options["rm"] else "next-exit"}
    )
    with ExitStack() as stack:
        stack.callback(stream.close)
        stack.enter_context(ending)
        kill = f"/containers/{id_}/kill"
        stack.enter_context(
            terminal.proxied(lambda name: client.post(kill, {"signal": name}), wanted=sig_proxy and not options["tty"])
        )
        _start(client, id_)
        stack.enter_context(terminal.raw(wanted=options["tty"] and stdin))
        if options["tty"]:
            stack.enter_context(terminal.resizing(client, f"/containers/{id_}/resize"))
        try:
            terminal.copy(stream, stdin=stdin, keys=detach.parse(keys) if options["tty"] else b"")
        except terminal.Detached:
            return 0
        return exit_code(ending)


def _start(client: Client, id_: str) -> None:
    """Raises: CliError with 125, 126 or 127."""
    try:
        client.post(f"/containers/{id_}/start")
    except failures.DaemonError as error:
        error.code = failures.start_code(error.message)
        raise


def exit_code(ending: Any) -> int:
    """What `wait` answers, once it does."""
    found = json.loads(ending.read())
    if found.get("Error"):
        raise failures.CliError(f"Error waiting for container: {found['Error']['Message']}", failures.DAEMON)
    return int(found["StatusCode"])
