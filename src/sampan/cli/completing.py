"""`completion`: the script for a shell, and the question it asks while somebody types."""

from __future__ import annotations

from sampan.cli import failures, main, output
from sampan.cli.common import daemon
from sampan.cli.line import completion as completing
from sampan.cli.line import declare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

PATHS = {"container": "/containers/json?all=1", "image": "/images/json", "network": "/networks", "volume": "/volumes"}


@declare.command()
@declare.argument("shell", metavar="bash|zsh|fish")
def completion(shell: str) -> int:
    """Print the completion script for a shell."""
    script = completing.SCRIPTS.get(shell)
    if script is None:
        raise failures.BadUsage(f"there is no completion for {shell!r}: bash, zsh and fish have one")
    output.echo(script, nl=False)
    return 0


@declare.command(interspersed=False)
@declare.argument("words", nargs=-1)
def complete(words: tuple[str, ...]) -> int:
    """Answer a shell: a candidate a line."""
    output.echo("".join(f"{line}\n" for line in completing.candidates(words, main.load, offered)), nl=False)
    return 0


def offered(kind: str) -> Iterable[str]:
    """Names of this kind. Raises: CliError."""
    if kind == "context":
        from sampan.cli.endpoint import contexts

        return contexts.names()
    kinds = PATHS if kind == "any" else {kind: PATHS[kind]}
    return [name for one in kinds for name in _names(one)]


def _names(kind: str) -> list[str]:
    client = daemon()
    if kind == "container":
        found = client.get("/containers/json", {"all": True})
        return [name.lstrip("/") for item in found for name in item["Names"]]
    if kind == "image":
        return [tag for item in client.get("/images/json") for tag in item["RepoTags"] or () if tag != "<none>:<none>"]
    if kind == "network":
        return [item["Name"] for item in client.get("/networks")]
    return [item["Name"] for item in client.get("/volumes")["Volumes"] or ()]
