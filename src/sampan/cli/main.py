"""`sampan`: one table of commands, each imported when it is called.

`sampan-ps` (a link to this program) means `sampan ps`. `sampan daemon …` and `sampan -d …` hand everything behind to
the daemon's own parser.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import PurePath

import click

from sampan import __version__
from sampan.cli import failures

# name -> (module, attribute, one line of help)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "attach": ("attaching", "attach", "Attach to a running container's streams"),
    "container": ("groups", "container", "Manage containers"),
    "create": ("running", "create", "Create a container"),
    "daemon": ("", "", "Run the daemon (all options: sampan daemon --help)"),
    "events": ("system", "events", "Get events from the daemon"),
    "exec": ("attaching", "exec_", "Execute a command in a running container"),
    "history": ("images", "history", "Show the history of an image"),
    "image": ("groups", "image", "Manage images"),
    "images": ("images", "list_", "List images"),
    "import": ("images", "import_", "Import the contents of a tarball to make an image"),
    "info": ("system", "info", "Display system-wide information"),
    "inspect": ("inspecting", "inspect", "Return low-level information on objects"),
    "kill": ("containers", "kill", "Kill one or more running containers"),
    "logs": ("attaching", "logs", "Fetch the logs of a container"),
    "network": ("networks", "network", "Manage networks"),
    "pause": ("containers", "pause", "Pause all processes of containers"),
    "port": ("containers", "port", "List port mappings of a container"),
    "ps": ("containers", "ps", "List containers"),
    "pull": ("images", "pull", "Download an image from a registry"),
    "push": ("images", "push", "Upload an image to a registry"),
    "rename": ("containers", "rename", "Rename a container"),
    "restart": ("containers", "restart", "Restart one or more containers"),
    "rm": ("containers", "rm", "Remove one or more containers"),
    "rmi": ("images", "rmi", "Remove one or more images"),
    "run": ("running", "run", "Create and run a new container from an image"),
    "start": ("attaching", "start", "Start one or more stopped containers"),
    "stop": ("containers", "stop", "Stop one or more running containers"),
    "tag": ("images", "tag", "Give an image one more name"),
    "top": ("containers", "top", "Display the running processes of a container"),
    "unpause": ("containers", "unpause", "Unpause all processes of containers"),
    "version": ("system", "version", "Show the versions of client and daemon"),
    "volume": ("volumes", "volume", "Manage volumes"),
    "wait": ("containers", "wait", "Block until containers stop, then print their exit codes"),
}


class Lazy(click.Group):
    """A group whose commands live in modules that are imported on use; the help needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, sorted."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one."""
        if cmd_name not in COMMANDS or cmd_name == "daemon":
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"sampan.cli.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in self.list_commands(ctx)])


@click.command(cls=Lazy, context_settings={"help_option_names": ["--help", "-h"]})
@click.option("-H", "--host", metavar="ADDRESS", help="Daemon socket: unix:///path or tcp://host:port.")
@click.version_option(__version__, "-v", "--version", message="Sampan version %(version)s")
@click.pass_context
def sampan(ctx: click.Context, host: str | None) -> None:
    """A private container cloud: registry, Docker-compatible engine, networks and stacks."""
    ctx.obj = host


def arguments(argv: Sequence[str]) -> list[str]:
    """The words behind the program's name; `sampan-ps` contributes `ps`. Pure."""
    name = PurePath(argv[0]).name
    _, dash, command = name.removesuffix(".py").partition("sampan-")
    return [command, *argv[1:]] if dash and command in COMMANDS else list(argv[1:])


def daemon_arguments(words: Sequence[str]) -> list[str] | None:
    """What the daemon's parser gets, or None when this is a client's command. Pure.

    `-d` was Docker's way to say daemon; other options may stand before it, as in `-D -d`.
    """
    if words and words[0] == "daemon":
        return list(words[1:])
    for position, word in enumerate(words):
        if not word.startswith("-"):
            return None
        if word in ("-d", "--daemon"):
            return [*words[:position], *words[position + 1 :]]
        if word in ("-H", "--host"):
            return daemon_after_host(words)
    return None


def daemon_after_host(words: Sequence[str]) -> list[str] | None:
    """`-H ADDRESS -d`: an option with a value stands before `-d`. Pure."""
    for position, word in enumerate(words):
        if word in ("-d", "--daemon"):
            return [*words[:position], *words[position + 1 :]]
        is_value = position > 0 and words[position - 1] in ("-H", "--host")
        if not word.startswith("-") and not is_value:
            return None
    return None


def command_of(words: Sequence[str]) -> list[str]:
    """The command's name, with the group in front for `container run`. Pure."""
    position = 0
    while position < len(words) and words[position].startswith("-"):
        position += 2 if words[position] in ("-H", "--host") else 1
    is_group = words[position : position + 1] == ["container"]
    return list(words[position : position + (2 if is_group else 1)])


def main(argv: Sequence[str] | None = None) -> int:
    """The entry point. Returns the exit code."""
    words = arguments(sys.argv if argv is None else argv)
    for_daemon = daemon_arguments(words)
    if for_daemon is not None:
        from sampan.daemon.main import main as run_daemon

        return run_daemon(for_daemon)
    # Source: docker run's exit status 125, for wrong options too.
    usage_code = failures.DAEMON if command_of(words) in (["run"], ["container", "run"]) else None
    try:
        result = sampan.main(words, prog_name="sampan", standalone_mode=False)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.ClickException as error:
        error.show()
        return usage_code or error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        return 141
    except failures.CliError as error:
        if str(error):
            sys.stderr.write(f"{error}\n")
        return error.code
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    sys.exit(main())
