"""`attach`, `exec`, `logs`, `start`: commands that hold a container's streams."""

from __future__ import annotations

import os
from contextlib import ExitStack

from sampan.api.engine import detach
from sampan.cli import failures, specs
from sampan.cli.common import daemon, each
from sampan.cli.line import declare
from sampan.cli.running import exit_code
from sampan.cli.settings import preferences

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.cli.client import Client


@declare.command()
@declare.option("--detach-keys", default="", help="Keys that leave the container without stopping it")
@declare.option("--no-stdin", is_flag=True, help="Do not attach stdin")
@declare.option("--sig-proxy", type=bool, default=True, help="Pass signals on to the process")
@declare.argument("container", offers="container")
def attach(container: str, *, detach_keys: str, no_stdin: bool, sig_proxy: bool) -> int:
    """Attach this terminal's streams to a running container."""
    client = daemon()
    shown = client.get(f"/containers/{container}/json")
    if not shown["State"]["Running"]:
        raise failures.CliError("You cannot attach to a stopped container, start it first")
    if shown["State"]["Paused"]:
        raise failures.CliError("You cannot attach to a paused container, unpause it first")
    return _hold(client, shown, stdin=not no_stdin, keys=preferences.detach_keys(detach_keys), sig_proxy=sig_proxy)


def _hold(client: Client, shown: Any, *, stdin: bool, keys: str, sig_proxy: bool, start: bool = False) -> int:
    """Attach, start if asked, copy until the end. Returns the container's exit code."""
    from sampan.cli import terminal

    id_, config = shown["Id"], shown["Config"]
    is_terminal, stdin = config["Tty"], stdin and config["OpenStdin"]
    if not terminal.check_tty(wants_input=stdin, wants_terminal=is_terminal):
        raise failures.NotATerminal
    query = {"stream": True, "stdin": stdin, "stdout": True, "stderr": True, "detachKeys": keys}
    stream = client.upgrade(f"/containers/{id_}/attach", query=query)
    removed = shown["HostConfig"]["AutoRemove"]
    condition = "removed" if removed else "next-exit" if start else "not-running"
    ending = client.open("POST", f"/containers/{id_}/wait", query={"condition": condition})
    with ExitStack() as stack:
        stack.callback(stream.close)
        stack.enter_context(ending)
        kill = f"/containers/{id_}/kill"
        stack.enter_context(
            terminal.proxied(lambda name: client.post(kill, {"signal": name}), wanted=sig_proxy and not is_terminal)
        )
        if start:
            client.post(f"/containers/{id_}/start")
        stack.enter_context(terminal.raw(wanted=is_terminal and stdin))
        if is_terminal:
            stack.enter_context(terminal.resizing(client, f"/containers/{id_}/resize"))
        try:
            terminal.copy(stream, stdin=stdin, keys=detach.parse(keys) if is_terminal else b"")
        except terminal.Detached:
            return 0
        return exit_code(ending)


@declare.command()
@declare.option("--attach", "-a", is_flag=True, help="Attach stdout and stderr, and pass signals on")
@declare.option("--interactive", "-i", is_flag=True, help="Attach the container's stdin")
@declare.option("--detach-keys", default="", help="Keys that leave the container without stopping it")
@declare.argument("containers", nargs=-1, required=True, offers="container")
def start(containers: tuple[str, ...], *, attach: bool, interactive: bool, detach_keys: str) -> int:
    """Start one or more stopped containers."""
    client = daemon()
    if not (attach or interactive):
        failed: list[str] = []
        each(containers, lambda name: client.post(f"/containers/{name}/start"), failed=failed)
        if failed:
            raise failures.CliError(f"Error: failed to start containers: {', '.join(failed)}")
        return 0
    if len(containers) > 1:
        raise failures.BadUsage("you cannot start and attach multiple containers at once")
    shown = client.get(f"/containers/{containers[0]}/json")
    return _hold(
        client,
        shown,
        stdin=interactive,
        keys=preferences.detach_keys(detach_keys),
        sig_proxy=True,
        start=not shown["State"]["Running"],
    )


# --- exec ------------------------------------------------------------------------------------------------------------


@declare.command(interspersed=False)
@declare.option("--detach", "-d", is_flag=True, help="Run in the background")
@declare.option("--detach-keys", default="", help="Keys that leave the command without stopping it")
@declare.option("--env", "-e", multiple=True, help="Environment variables")
@declare.option("--env-file", multiple=True, help="Read environment variables from a file")
@declare.option("--interactive", "-i", is_flag=True, help="Keep stdin open")
@declare.option("--privileged", is_flag=True, help="Give extended privileges")
@declare.option("--tty", "-t", is_flag=True, help="Allocate a terminal")
@declare.option("--user", "-u", default="", help="User name or id")
@declare.option("--workdir", "-w", default="", help="Working directory inside")
@declare.argument("container", offers="container")
@declare.argument("command", nargs=-1, required=True, metavar="COMMAND [ARG...]")
def exec_(container: str, command: tuple[str, ...], **options: Any) -> int:
    """Execute a command in a running container."""
    from pathlib import Path

    from sampan.cli import terminal

    client = daemon()
    files = [(name, Path(name).read_text()) for name in options["env_file"]]
    background = options["detach"]
    keys = preferences.detach_keys(options["detach_keys"])
    stdin = options["interactive"] and not background
    if not terminal.check_tty(wants_input=stdin, wants_terminal=options["tty"]):
        raise failures.NotATerminal
    body = {
        "Cmd": list(command),
        "AttachStdin": stdin,
        "AttachStdout": not background,
        "AttachStderr": not background,
        "Tty": options["tty"],
        "Env": specs.read_environment(files, options["env"], os.environ),
        "User": options["user"],
        "WorkingDir": options["workdir"],
        "Privileged": options["privileged"],
        "DetachKeys": keys,
    }
    id_ = client.post(f"/containers/{container}/exec", body=body)["Id"]
    asked: dict[str, Any] = {"Detach": background, "Tty": options["tty"]}
    if background:
        client.post(f"/exec/{id_}/start", body=asked)
        return 0
    rows, columns = terminal.size()
    if options["tty"] and rows:
        asked["ConsoleSize"] = [rows, columns]
    try:
        stream = client.upgrade(f"/exec/{id_}/start", body=asked)
    except failures.DaemonError as error:
        error.code = failures.start_code(error.message)
        error.code = failures.GENERAL if error.code == failures.DAEMON else error.code
        raise
    with ExitStack() as stack:
        stack.callback(stream.close)
        stack.enter_context(terminal.raw(wanted=options["tty"] and stdin))
        if options["tty"]:
            stack.enter_context(terminal.resizing(client, f"/exec/{id_}/resize"))
        typed = detach.parse(keys) if options["tty"] else b""
        try:
            terminal.copy(stream, stdin=stdin, keys=typed)
        except terminal.Detached:
            return 0
    return int(client.get(f"/exec/{id_}/json")["ExitCode"] or 0)
